"""Prices that clear."""

from bellax.equilibrium.clearing import Equilibrium, equilibrium

__all__ = ["Equilibrium", "equilibrium"]
