"""Prices that clear."""

from bellax.equilibrium.clearing import Equilibrium, equilibrium
from bellax.equilibrium.transition import TransitionPath, transition_path

__all__ = ["Equilibrium", "TransitionPath", "equilibrium", "transition_path"]
