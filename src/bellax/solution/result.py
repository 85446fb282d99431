"""How a solve ended, whatever it was of."""

import enum

import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError


class Result(enum.IntEnum):
    """How a solve ended."""

    successful = 0
    max_steps_reached = 1
    infeasible = 2
    nonfinite = 3
    not_concave = 4
    unstable = 5
    trapped = 6
    biased = 7
    diverged = 8
    escaped = 9
    inaccurate = 10

    def __str__(self) -> str:
        return self.name


def unless_failed(code: Array) -> Array:
    """One, or NaN after a failure: as a factor it makes derivatives NaN, too."""
    known = (code == int(Result.successful)) | (code == int(Result.inaccurate))
    return jnp.where(known, 1.0, jnp.nan)


def check_single(code: Array, one: str = "solution") -> None:
    """Raises ModelError for a batch of solutions.

    Args:
        code: of how they ended.
        one: how a value is asked of one of them.
    """
    if code.ndim:
        raise ModelError(
            f"this is a batch of solutions, shape {code.shape}, as jax.vmap returns. Ask them together: "
            f"jax.vmap(lambda solution: {one}.value(...))(solutions); or take one: "
            "jax.tree.map(lambda leaf: leaf[0], solutions)."
        )
