"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated and not known."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import Mesh
from bellax.certify.stage import Stage, branches, on_lines
from bellax.bellman.mesh import Point

_SLACK = 1e-9  # of the length of a line: what counts as being on the grid


class Escape(NamedTuple):
    """Of each line: the probability that the next state is below the first node, or above the last; and E[b]."""

    below: Float[Array, "d"]
    above: Float[Array, "d"]
