"""Where a population of agents is: densities."""

from bellax.population.density import Density, stationary

__all__ = ["Density", "stationary"]
