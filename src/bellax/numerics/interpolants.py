"""Interpolants: each represents V between its nodes. Public as `bx.interpolants`."""

from bellax.numerics.hermite import Hermite
from bellax.numerics.interpolate import Cost, Interpolant
from bellax.numerics.linear import Linear

__all__ = ["Cost", "Hermite", "Interpolant", "Linear"]
