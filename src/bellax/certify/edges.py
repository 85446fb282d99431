"""What holds at the edges of a state, and what V would be off by if it did not.

A drift that leads outward at a rate b where nobody may go is a flow b V_s that the equation counts and nobody gets.
At a wall V_s is zero; a slope there is that of a solution of the equation without reward which dies away inward like
exp(-m x), discount = variance m^2 / 2 - b m with b the inward drift, and which is V_s / m at the wall. Where the
problem ends V is what it ends with.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.certify.equation import Bent, bent
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
    """A point of an edge: V there, the outward drift, the variance, the discount."""

    bent: Bent
    name: str
    outward: Array
    variance: Array
    discount: Array
    ends: Array


def _kept(at: _At) -> tuple[Array, Array]:
    outward = jnp.maximum(at.outward, 0.0)
    return outward, outward * jnp.abs(at.bent.slopes[at.name]) / at.discount


def _mirrored(at: _At) -> tuple[Array, Array]:
    inward, twice = -at.outward, 2 * at.discount
    # the distance over which what is wrong at the wall dies away
    reach = (jnp.sqrt(inward**2 + twice * at.variance) - inward) / twice
    return jnp.zeros(()), jnp.abs(at.bent.slopes[at.name]) * reach


def _ended(at: _At) -> tuple[Array, Array]:
    return jnp.zeros(()), jnp.abs(at.bent.value - at.ends)


_CONDITIONS: dict[type[Boundary], Callable[[_At], tuple[Array, Array]]] = {Reflecting: _mirrored, Absorbing: _ended}


def at_edge(
    setting: FlowSetting, arguments: Arguments, values: Representation, point: Mapping[str, Array], name: str, side: str
) -> Edge:
    """What is wrong at a point of the edge of a state."""
    flow, graph = setting.flow, setting.graph
    condition: Any = setting.edges(name)[SIDES.index(side)]
    local = values.at(setting, arguments, point)
    drift = flow.flowing(arguments, point, local.marginals, local.curvatures).drift[name]
    slot = f"boundary:{side}.{name}"
    ends = as_float(graph.compose([slot])(**arguments, **point)[slot]) if slot in graph.slots else jnp.zeros(())
    found = _At(
        bent(setting, arguments, values, point),
        name,
        -drift if side == "lower" else drift,
        flow.variance(arguments, point, name),
        flow.discount(arguments, point),
        ends,
    )
    outward, gap = _CONDITIONS.get(type(condition), _kept)(found)
    return Edge(outward, gap, jnp.sqrt(found.variance))
