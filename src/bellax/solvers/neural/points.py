"""Points at which equations are asked to hold."""

from typing import NamedTuple

from jax import Array
from jaxtyping import Int


class Points(NamedTuple):
    """States and periods, one row a point."""

    states: dict[str, Array]
    periods: Int[Array, "n"]
