"""Several regimes that are alike as one table: V averaged over them by their probabilities, and looked up once.

sum over r of P(r | d) V_r(x') is linear in the tables of V. Where these lie on the same nodes, x' is the same in all of
them, and P sees discrete states and actions d alone, one table for each d stands for all regimes, as if they were the
categories of a `Markov` state. Off the grid distances are shortened at the mean of their rates.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.continuation import Continuation, Way
from bellax.bellman.expectation import contribution
from bellax.bellman.mesh import Point
from bellax.model.crossing import Arrival
from bellax.numerics.scalar import take
from bellax.problem.categories import as_seen, category
from bellax.problem.period import Period
from bellax.problem.plan import Plan

_AXIS = "next_regime"
"""The axis of tables, one for each combination; no state is called so."""


class Joint(eqx.Module):
    """Expected V in several regimes, times the probability to be there.

    Attributes:
        value: of the tables of all combinations, its first discrete axis; bends of its lines along a first axis.
        plan: today's.
        seen: discrete states and actions that move probabilities.
    """

    value: Continuation
    plan: Plan = eqx.field(static=True)
    seen: tuple[str, ...] = eqx.field(static=True)

    def __call__(
        self,
        point: Point,
        actions: Mapping[str, Array],
        following: Mapping[str, Array],
        weights: Mapping[str, Array],
    ) -> Float[Array, ""]:
        """The sum over regimes.

        Args:
            actions: today's.
            following, weights: as of a `Continuation`.
        """
        place = jnp.zeros((), jnp.int32)
        for name in self.seen:
            space = _space(self.plan, name)
            code, _ = category(space, {**point.values, **actions}[name])
            place = place * len(space.values) + code
        bends = [jax.tree.map(lambda leaf: take(leaf, place), line.bend) for line in self.value.lines]
        lines = tuple(replace(line, bend=bend) for line, bend in zip(self.value.lines, bends, strict=True))
        between = None if self.value.between is None else replace(self.value.between, lines=lines)
        value = replace(self.value, lines=lines, between=between)
        return value(point, {**following, _AXIS: place}, weights)


def joint(
    period: Period,
    targets: tuple[str, ...],
    value: Continuation,
    there: Bool[Array, "r"],
    arrivals: Mapping[str, Arrival],
) -> Joint | None:
    """Alike targets as one; None where they are not the same to whoever leaves.

    Args:
        period: today's.
        value: of the targets, along a first axis.
        there: whether they are active.
        arrivals: how states come there.
    """
    plan = period.plan
    seen = tuple(sorted(plan.graph.leaves("slot:next_regime", "state", "action", "shock", "next")))
    if not {*seen} <= {*plan.discrete, *plan.choices} or not _same_place(value, arrivals):
        return None
    values = [as_seen(_space(plan, name).values) for name in seen]
    rows = list(itertools.product(*(range(len(known)) for known in values)))
    places = np.array(rows, int).reshape(len(rows), len(seen))
    if len(places) > len(targets):  # more tables than there were
        return None
    given = {name: known[place] for name, known, place in zip(seen, values, places.T, strict=True)}

    def chances(given: dict[str, Array]) -> Float[Array, "r"]:
        found = plan.graph.compose(["slot:next_regime"])(**period.environment, **given)
        known = period.regimes(found["slot:next_regime"])
        return jnp.stack([known[name] for name in targets])

    odds = jax.vmap(chances)(given) if seen else chances({})[None]
    return Joint(_averaged(value, odds, there), plan, seen)


def _averaged(value: Continuation, odds: Float[Array, "k r"], there: Bool[Array, "r"]) -> Continuation:
    """The tables of all combinations, one after the other."""
    known = jax.vmap(lambda there, table: jnp.where(there, table, jnp.nan))(there, value.table)
    shape = known.shape[1:]
    weighed = jax.vmap(jax.vmap(jax.vmap(contribution, in_axes=(None, 0))), in_axes=(0, None))
    table = jnp.sum(weighed(odds, known.reshape(len(there), -1)), axis=1).reshape(-1, *shape[1:])
    total = jnp.sum(odds, axis=1, keepdims=True)
    share = jnp.where(total > 0, odds / jnp.where(total > 0, total, 1.0), 1 / odds.shape[1])
    first = jax.tree.map(lambda leaf: leaf[0], value)
    bends = [jax.tree.map(lambda leaf: share @ leaf, line.bend) for line in value.lines]
    lines = tuple(replace(line, bend=bend) for line, bend in zip(first.lines, bends, strict=True))
    return replace(
        first,
        table=table,
        lines=lines,
        strides={_AXIS: shape[0], **value.strides},
        ways={_AXIS: Way.coded, **value.ways},
        between=None if value.between is None else _averaged(value.between, odds, there),
    )


def _same_place(value: Continuation, arrivals: Mapping[str, Arrival]) -> bool:
    """Whether all targets have the same nodes, and states arrive in the same way in all of them."""
    graph = value.plan.graph
    if any(arrival.way not in ("carried", "afresh") for arrival in arrivals.values()):
        return False
    valued = [name for name, way in value.ways.items() if way is Way.category]
    if Way.between in value.ways.values() or not {*valued} <= {*value.plan.discrete}:
        return False
    bounds = [f"{side}:{name}" for name in value.plan.continuous for side in ("lower", "upper")]
    needed = {name for node in bounds for name in graph.reach(node) if name not in graph.slots}
    return needed <= {*graph.literals(), "period", "age"}


def _space(plan: Plan, name: str):  # noqa: ANN202
    return plan.states[name] if name in plan.states else plan.actions[name]
