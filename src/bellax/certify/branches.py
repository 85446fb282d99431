"""Every state that an action may lead to, in every regime, and how probable it is.

What is averaged is laid out: shocks at the nodes of the fine quadrature, and at each of them the categories and nodes
of the states that an outcome leaves open.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import Point
from bellax.bellman.reached import Reached
from bellax.certify.stage import Stage
from bellax.problem.categories import category
from bellax.problem.period import Outcome


class Branches(NamedTuple):
    """The states of one regime tomorrow.

    Attributes:
        chances: probabilities, that of the regime included, shape (q, c): nodes of the fine quadrature, and what they
            leave open.
        points: the states, shape (q, c); those of another regime have no place on its mesh.
    """

    chances: Float[Array, "q c"]
    points: Point


def branches(asked: Stage, point: Point, actions: Mapping[str, Array]) -> tuple[Array, Outcome, dict[str, Branches]]:
    """Where an action may lead.

    Returns:
        Weights of the nodes of the fine quadrature, shape (q,); the outcomes there, shape (q,); and the states of each
        regime, of a model of one under its name, ''.
    """
    weights, outcome = asked.fine.outcomes(point, actions)
    regime, plan = asked.objective.regime, asked.numerics.plan
    found = {}
    if not outcome.regimes or regime in outcome.regimes:
        stays = weights * outcome.staying(regime)
        found[regime] = _own(asked, point, stays, outcome)
    for target in plan.arrivals:
        comes, reached = weights * outcome.regimes[target], asked.arriving[target]
        at = lambda weight, one, target=target, reached=reached: _elsewhere(point, weight, one, target, reached)  # noqa: E731
        found[target] = jax.vmap(at)(comes, outcome)
    return weights, outcome, found


def _own(asked: Stage, point: Point, weights: Float[Array, "q"], outcome: Outcome) -> Branches:
    """In the same regime, each process at each of its nodes."""
    plan, mesh = asked.numerics.plan, asked.mesh_next
    lengths = {name: mesh.discrete_axes[name] for name in (*plan.integrated, *plan.dotted)}
    places = np.indices(tuple(lengths.values())).reshape(len(lengths), -1) if lengths else np.zeros((0, 1), int)
    codes = {name: jnp.asarray(row, jnp.int32) for name, row in zip(lengths, places, strict=True)}
    codes |= {} if lengths else {"": jnp.zeros(1, jnp.int32)}
    rows = {name: asked.fine.row(name, point) for name in plan.integrated}

    def at(weight: Array, found: Outcome, place: dict[str, Array]) -> Branches:
        probabilities = {**rows, **found.weights}
        for name in lengths:
            weight = weight * probabilities[name][place[name]]
        return Branches(weight, _reached(asked, found.following, place))

    over_places = jax.vmap(at, in_axes=(None, None, 0))
    return jax.vmap(over_places, in_axes=(0, 0, None))(weights, outcome, codes)


def _reached(asked: Stage, following: Mapping[str, Array], place: Mapping[str, Array]) -> Point:
    plan, mesh = asked.numerics.plan, asked.mesh_next
    codes: dict[str, Array] = {}
    values: dict[str, Array] = {name: following[name] for name in plan.continuous}
    for name, process in mesh.processes.items():
        codes[name] = following[name] if name in plan.scanned else place[name]
        values[name] = process.values[codes[name]]
    for name, known in mesh.discrete.items():
        if name in plan.markov:
            codes[name] = following[name] if name in plan.scanned else place[name]
        else:
            codes[name], _ = category(plan.states[name], following[name])
        values[name] = known[codes[name]]
    return Point(values, codes, {})


def _elsewhere(point: Point, weight: Array, outcome: Outcome, target: str, reached: Reached) -> Branches:
    """In another regime, from one node of the fine quadrature, shape (c,)."""
    states, _, open_, known = reached.value.places(point, *reached.arrived(outcome, target))  # type: ignore[union-attr]
    lengths = tuple(chances.shape[0] for chances, _, _ in open_.values())
    count = math.prod(lengths)
    places = np.indices(lengths).reshape(len(lengths), count)
    chance = jnp.broadcast_to(jnp.where(known | (weight == 0), weight, jnp.nan), (count,))
    values = {name: jnp.broadcast_to(value, (count, *value.shape)) for name, value in states.items()}
    for row, (name, (chances, nodes, _)) in zip(places, open_.items(), strict=True):
        chance, values[name] = jnp.where(chance == 0, 0.0, chance * chances[row]), nodes[row]
    return Branches(chance, Point(values, {}, {}))
