"""Solvers that fit the value of each action on simulated states."""
