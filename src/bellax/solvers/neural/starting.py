"""Where paths of a training begin: at numbers that a user gave, or anywhere in the box."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ParameterError, check_names
from bellax.problem.reading import as_seen
from bellax.solvers.neural.inputs import Inputs, Layout
from bellax.solvers.neural.paths import First


class Starts:
    """What a solver was given as `start=`, checked. Static.

    Attributes:
        fixed: by state, a number or an array in its shape.
        rows: by state, one such a row; rows of the states belong together.
    Raises:
        ModelError: for an unknown state.
        ParameterError: for what is no state, and rows of different numbers.
    """

    def __init__(self, layout: Layout, given: Mapping[str, Any]) -> None:
        plan = layout.plan
        check_names(given, plan.states, "start: state")
        self.layout = layout
        self.fixed: dict[str, np.ndarray] = {}
        self.rows: dict[str, np.ndarray] = {}
        for name, value in given.items():
            seen = plan.graph.seen[name]
            array = np.asarray(as_seen(plan.states[name], value, seen.dtype, f"start of {name!r}"))
            if array.shape == seen.shape:
                self.fixed[name] = array
            elif array.shape[1:] == seen.shape and len(array):
                self.rows[name] = array
            else:
                raise ParameterError(
                    f"start of {name!r} has shape {array.shape}; one is of shape {seen.shape}, and several are rows of "
                    "these."
                )
        counts = {name: len(array) for name, array in self.rows.items()}
        if len(set(counts.values())) > 1:
            raise ParameterError(
                f"start has different numbers of rows, {counts}; row by row they are one state: give as many of each."
            )

    @property
    def everywhere(self) -> bool:
        """Whether paths begin anywhere."""
        return not self.fixed and not self.rows

    @property
    def begins(self) -> dict[str, np.ndarray]:
        """Where paths begin, by state, one row each, or one in all."""
        return {**{name: array[None] for name, array in self.fixed.items()}, **self.rows}

    @property
    def columns(self) -> int:
        """How many numbers between zero and one say where a path begins."""
        return self.layout.columns + bool(self.rows)

    def at(self, seen: Inputs, shares: Float[Array, "n c"]) -> First:
        """Where paths begin."""
        count = shares.shape[0]
        states, periods = jax.vmap(seen.state)(shares[:, : self.layout.columns])
        for name, array in self.fixed.items():
            states[name] = jnp.broadcast_to(jnp.asarray(array), (count, *array.shape))
        for name, array in self.rows.items():
            place = jnp.minimum((shares[:, -1] * len(array)).astype(jnp.int32), len(array) - 1)
            states[name] = jnp.asarray(array)[place]
        return First(states, periods if self.everywhere else jnp.zeros(count, jnp.int32))
