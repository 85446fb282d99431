"""Solvers of models in continuous time."""
