"""Candidates of the continuous actions, and the best of their product at one state."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int

from bellax.bellman.maximisers.maximum import Best, first_maximum, guarded, highest
from bellax.bellman.mesh import Point, row_major
from bellax.bellman.objective import Decision, Objective
from bellax.errors import ModelError, check_names
from bellax.numerics import grids
from bellax.numerics.scalar import take, where
from bellax.problem.period import Combination
from bellax.problem.plan import Plan

Laid = Callable[[Array], Array]
"""Where a candidate of the unit box lies."""

_MOST = 100_000  # candidates of one number: a count beyond is a slip


def candidates(plan: Plan, grid: Mapping[str, Any], default: int, what: str) -> list[Array]:
    """Candidates of every continuous number: shares of the way between the bounds, or the values of `grids.Given`.

    Args:
        grid: by action, a count or `grids.Given`.
        default: count where `grid` says nothing.
        what: the maximiser, for messages.
    """
    check_names(grid, plan.controls, f"{what}: grid of a continuous action")
    nodes: list[Array] = []
    for name, space in plan.controls.items():
        spec = grid.get(name, default)
        if isinstance(spec, grids.Given):
            own = np.asarray(spec.nodes, float)
        elif grids.is_count(spec):
            if spec < 2:
                raise ModelError(f"{what}: the grid of action {name!r} has {spec} candidates; give at least 2.")
            if spec > _MOST:
                raise ModelError(
                    f"{what}: the grid of action {name!r} has {spec} candidates in every state; give at most {_MOST}. "
                    "Some 100 are usual, 15 where Newton's method follows; grids.Given(values) takes any number."
                )
            own = np.linspace(0.0, 1.0, spec)
        else:
            raise ModelError(f"{what}: the grid of action {name!r} is {spec!r}; give a count or bx.grids.Given(nodes).")
        nodes += [jnp.asarray(own, jnp.result_type(float))] * space.size
    return nodes


def resized(plan: Plan, grid: Mapping[str, Any], nodes: list[Array], ratio: float) -> dict[str, Any]:
    """The grid with `ratio` times as many intervals between candidates.

    Args:
        nodes: what `candidates` made of it.
    """
    found, place = {}, 0
    for name, space in plan.controls.items():
        found[name] = grids.resized(grid.get(name, nodes[place].shape[0]), ratio)
        place += space.size
    return found


def scan(
    objective: Objective, point: Point, combination: Combination, nodes: list[Array], laid: Laid | None = None
) -> Best:
    """The best of the product of candidates: one plane, the last action inside; its u is that of the product.

    Args:
        laid: where candidates lie; as they are where it is absent.
    """
    plane = _plane(objective, point, combination, nodes, laid)
    shape = tuple(node.shape[0] for node in nodes)
    value, place = highest(plane)
    numbers = [
        take(node, _digit(place, step, node.shape[0])) for node, step in zip(nodes, row_major(shape), strict=True)
    ]
    u = jnp.stack(numbers) if nodes else jnp.zeros(0)
    return Best(value, u, jnp.asarray(float(math.prod(shape))))


def peaks(
    objective: Objective, point: Point, combination: Combination, nodes: Array, count: int, laid: Laid | None = None
) -> Best:
    """The highest local maxima among the candidates of one action, first axis; for want of more, the highest again.

    Which of two peaks is higher, candidates that miss both by a little cannot say.
    """
    # Where Q is flat its rounding decides what is a peak, and XLA may work it out anew, as other numbers, for each use:
    # then none may be one. So the plane is worked out once, and its maximum is a peak whatever lies beside it.
    plane = lax.optimization_barrier(_plane(objective, point, combination, [nodes], laid))
    wide = jnp.pad(plane, 1, constant_values=-jnp.inf)
    local = (plane >= wide[:-2]) & (plane >= wide[2:])
    top, place = highest(plane)
    found, heights = [(top, take(nodes, place))], where(local, plane, -jnp.inf)
    for _ in range(count - 1):
        heights = where(jnp.arange(nodes.shape[0], dtype=jnp.int32) == place, -jnp.inf, heights)
        place = first_maximum(heights)
        height = jnp.max(heights)
        none = height == -jnp.inf
        found.append((where(none, top, height), where(none, found[0][1], take(nodes, place))))
    values, places = (jnp.stack(column) for column in zip(*found, strict=True))
    each = nodes.shape[0] / count
    return Best(values, places[:, None], jnp.full(count, each))


def _plane(
    objective: Objective, point: Point, combination: Combination, nodes: list[Array], laid: Laid | None
) -> Array:
    """Q of the product of candidates, flat."""

    def value(*u: Array) -> Array:
        numbers = jnp.stack(u) if u else jnp.zeros(0)
        numbers = numbers if laid is None else laid(numbers)
        return guarded(objective, point, Decision(combination, numbers))

    for inner in reversed(range(len(nodes))):
        value = jax.vmap(value, in_axes=[0 if k == inner else None for k in range(len(nodes))])
    return jnp.asarray(value(*nodes)).reshape(-1)


def _digit(place: Int[Array, ""], step: int, count: int) -> Int[Array, ""]:
    """The place along one axis of a flat place."""
    whole = place if step == 1 else lax.div(place, np.int32(step))
    return lax.rem(whole, np.int32(count))
