"""What holds at the edges of a state, and what V would be off by if it did not.

A drift that leads outward at a rate b where nobody may go is a flow b V_s that the equation counts and nobody gets.
At a wall V_s is zero; a slope there is that of a solution of the equation without reward which dies away inward like
exp(-m x), discount = variance m^2 / 2 - b m with b the inward drift, and which is V_s / m at the wall. Where the
problem ends V is what it ends with.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.certify.equation import Bent, bent, lasting
from bellax.model.diffusion import Absorbing, Boundary, Reflecting
from bellax.problem.flow import Arguments
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Representation

SIDES = ("lower", "upper")


class Edge(NamedTuple):
    """What was found at a point of an edge.

    Attributes:
        outward: how fast the reported policy leads outward, in units of the state; zero where the edge lets it.
        gap: what V would be off by for that, or for a condition that does not hold.
        spread: the standard deviation of the state.
    """

    outward: Array
    gap: Array
    spread: Array


class _At(NamedTuple):
    """A point of an edge.

    Attributes:
        bent: V there.
        outward: the drift.
        variance: of the state.
        lasting: what a flow of one is worth to the end.
        rate: at which what is wrong is discounted, to be counted so many times as `times`.
        ends: what V is if the problem ends there.
    """

    bent: Bent
    name: str
    outward: Array
    variance: Array
    lasting: Array
    rate: Array
    times: Array
    ends: Array


def _kept(at: _At) -> tuple[Array, Array]:
    outward = jnp.maximum(at.outward, 0.0)
    return outward, outward * jnp.abs(at.bent.slopes[at.name]) * at.lasting


def _mirrored(at: _At) -> tuple[Array, Array]:
    inward, twice = -at.outward, 2 * at.rate
    # the distance over which what is wrong at the wall dies away
    reach = (jnp.sqrt(inward**2 + twice * at.variance) - inward) / twice
    return jnp.zeros(()), jnp.abs(at.bent.slopes[at.name]) * reach * at.times


def _ended(at: _At) -> tuple[Array, Array]:
    return jnp.zeros(()), jnp.abs(at.bent.value - at.ends)


_CONDITIONS: dict[type[Boundary], Callable[[_At], tuple[Array, Array]]] = {Reflecting: _mirrored, Absorbing: _ended}


def at_edge(
    setting: FlowSetting,
    arguments: Arguments,
    values: Representation,
    point: Mapping[str, Array],
    place: tuple[str, str],
    condition: Boundary,
    least: Array,
) -> Edge:
    """What is wrong at a point of the edge of a state.

    Args:
        place: the state, and the side.
        condition: what holds there.
        least: the least discount at all points.
    """
    flow, graph, (name, side) = setting.flow, setting.graph, place
    local = values.at(setting, arguments, point)
    flowing = flow.flowing(arguments, point, local.marginals, local.curvatures)
    drift, slot = flowing.drift[name], f"boundary:{side}.{name}"
    discount = flow.discount(arguments, point)
    found = _At(
        bent(setting, arguments, values, point),
        name,
        -drift if side == "lower" else drift,
        flow.variances(arguments, point, flowing)[name],
        lasting(setting, discount, least),
        *_rate(setting, discount, least),
        as_float(graph.compose([slot])(**arguments, **point)[slot]) if slot in graph.slots else jnp.zeros(()),
    )
    outward, gap = _CONDITIONS.get(type(condition), _kept)(found)
    edge = Edge(outward, gap, jnp.sqrt(found.variance))
    if not flow.stops or isinstance(condition, Absorbing):
        return edge
    stopped = values.stops(setting, arguments, point)
    return Edge(*(jnp.where(stopped, 0.0, number) for number in edge))


def _rate(setting: FlowSetting, discount: Array, least: Array) -> tuple[Array, Array]:
    """A discount of what goes on without end that counts no less, so many times, than what ends at the horizon.

    Up to a time T, exp(-discount t) is at most exp(1 + T max(-discount, 0)) times exp(-(max(discount, 0) + 1/T) t).
    """
    if not setting.flow.timed:
        return discount, jnp.ones(())
    horizon = float(setting.model.horizon)
    return jnp.maximum(least, 0.0) + 1 / horizon, jnp.exp(1 + jnp.maximum(-least, 0.0) * horizon)


def at_end(setting: FlowSetting, arguments: Arguments, values: Representation, point: Mapping[str, Array]) -> Array:
    """What V is off by at the end of a finite horizon, at states there."""
    flow = setting.flow
    point = {**point, "time": jnp.asarray(float(setting.model.horizon))}
    ends = jnp.zeros(()) if setting.model.terminal is None else flow.terminal(arguments, point)
    ends = jnp.maximum(ends, flow.stop(arguments, point)) if flow.stops else ends
    return jnp.abs(values.smooth(setting, arguments, point) - ends)
