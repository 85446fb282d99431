"""A path with feedback: what is done and what V is, near the states of a path or of a steady state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.problem.period import Period, by_action
from bellax.solution.gridless import Behaviour, certain
from bellax.solution.policy import Chosen
from bellax.solvers.quadratic.decide import Rule
from bellax.solvers.quadratic.expansion import Quadratic
from bellax.solvers.quadratic.path import acted
from bellax.solvers.quadratic.stage import Bounds, Layout


class Trajectory(Behaviour):
    """Rules and quadratic values, by period along a first axis; of an infinite horizon one of them.

    Attributes:
        rules: what is done.
        values: what it is worth.
    """

    rules: Rule
    values: Quadratic

    @property
    def smooth(self) -> bool:
        return True

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        layout = period.plan.once("layout", lambda: Layout(period.plan))
        x = layout.in_a_row(states)
        at = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, jnp.asarray(number, jnp.int32), keepdims=False)  # noqa: E731
        rule, value = jax.tree.map(at, (self.rules, self.values))
        done = acted(Bounds(layout, period), rule, x)
        # where bounds exclude each other nothing may be done
        fine = jnp.where(jnp.all(done.lower <= done.upper), 1.0, jnp.nan)
        return certain(period.plan, value(x) * fine, by_action(period.plan, done.action * fine))


def stacked(rule: Any) -> Any:
    """A rule, or a value, as those of an infinite horizon are kept."""
    return jax.tree.map(lambda leaf: leaf[None], rule)
