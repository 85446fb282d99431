"""What is linear in V and touches the equation at the last V, along driven states and beside them.

With p the marginal value that was selected, a secant in units of the state, and v the velocity H_p there, the equation
on nodes has H(p) + v (D - p), where D is what the rates of v make of V, in the coordinate: the drift is exact in it.
Its derivative in V is that of v D, and of H_pp (D - p) p: rates along the difference that p is of.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from bellax.model.diffusion import Reflecting
from bellax.numerics.generator import Generator
from bellax.problem.flow import Flowing
from bellax.solvers.continuous.nodes import Nodes
from bellax.solvers.continuous.selection import Kind, Selected, of_kind

_STILL = 1e-6  # of the largest velocity, how fast a state may move that is to stay where it is


class Given(NamedTuple):
    """What a tangent is made of.

    Attributes:
        flowing: what flows at the nodes.
        velocity: of driven states, by name, in their own units.
        steep: how fast each of them rises with the marginal value of each.
    """

    marginals: dict[str, Array]
    curvatures: dict[str, Array]
    selected: dict[str, Selected]
    flowing: Flowing
    velocity: dict[str, Array]
    steep: dict[str, dict[str, Array]]
    variance: dict[str, Array]


class Tangent(NamedTuple):
    """What is linear in V.

    Attributes:
        generator: of values.
        reward: shape of the nodes.
        selected: of every driven state, by name.
        marginals: of every continuous state, by name.
        curvatures: of every state whose diffusion an action moves.
        drift: of every continuous state, by name, in coordinates.
        astray: nodes at which a state that is to stay moves, by name of driven states.
        variance: of every continuous state.
        bent: by place among continuous states, of driven ones, rates up and down by which marginal values change,
            beside those of the generator.
        paid: what these make of V, so that the equation stays what it is.
        least: the least variance that correlation leaves to an axis, as a share of its own; below zero no scheme of
            neighbours is monotone.
    """

    generator: Generator
    reward: Array
    selected: dict[str, Selected]
    marginals: dict[str, Array]
    curvatures: dict[str, Array]
    drift: dict[str, Array]
    astray: dict[str, Array]
    variance: dict[str, Array]
    bent: dict[int, tuple[Array, Array]]
    paid: Array
    least: Array

    def whole(self, among: Array) -> tuple[Generator, Array]:
        """The generator and the reward of a step of Newton's method.

        Args:
            among: nodes whose rates are those of the tangent.
        """
        up, down = list(self.generator.up), list(self.generator.down)
        for place, (more_up, more_down) in self.bent.items():
            up[place] = up[place] + jnp.where(among, more_up, 0.0)
            down[place] = down[place] + jnp.where(among, more_down, 0.0)
        made = eqx.tree_at(lambda g: (g.up, g.down), self.generator, (tuple(up), tuple(down)))
        return made, self.reward - jnp.where(among, self.paid, 0.0)


def tangent(nodes: Nodes, value: Array, given: Given, transport: Any) -> Tangent:
    """Assembled at V, with derivatives in parameters.

    Args:
        transport: whether velocities are those of mass and not of values.
    """
    marginals, selected, variance = given.marginals, given.selected, given.variance
    flow, still_value = nodes.flow, lax.stop_gradient(value)
    # the worth of a variance that an action moves is in the curvature, and moves rewards alone
    fixed = {name: lax.stop_gradient(v) if name in flow.risky else v for name, v in variance.items()}
    reward, velocity, still, astray, gaps = given.flowing.reward, {}, {}, {}, {}
    for name in flow.continuous:
        slope, shift = nodes.over(name, "slope"), nodes.shift(name, variance[name])
        velocity[name] = given.flowing.drift[name] * slope + shift
        if name not in selected:
            still[name] = velocity[name]
            continue
        stays = selected[name].kind == Kind.stays
        size = jnp.max(jnp.abs(jnp.where(stays, 0.0, velocity[name])))
        astray[name] = stays & (jnp.abs(velocity[name]) > _STILL * (1 + size))
        own = jnp.where(stays, 0.0, given.velocity[name])
        velocity[name] = jnp.where(stays, 0.0, own * slope + shift)
        moved = jnp.where(stays, 0.0, nodes.shift(name, fixed[name]))
        still[name] = lax.stop_gradient(velocity[name] - moved) + moved
        at = jnp.where(stays, 0.0, _made(nodes, name, still_value, velocity[name], variance[name]))
        gaps[name] = jnp.where(stays, 0.0, slope * at - marginals[name])
        reward = reward + marginals[name] * given.flowing.drift[name] + own * (slope * at - marginals[name])
        # what these rates make of V moves with nodes, here and below
        reward = reward - lax.stop_gradient(own * slope) * at
    for name in flow.risky:
        worth = 0.5 * lax.stop_gradient(given.curvatures[name]) * given.flowing.variance[name]
        reward = reward + worth - lax.stop_gradient(worth)
    generator, least = nodes.generator(velocity, variance)
    # what moves the rates besides the velocities of driven states
    beside = nodes.generator(still, fixed)[0].apply(still_value)
    reward = reward + beside - lax.stop_gradient(beside)
    bent, paid = _bent(nodes, still_value, generator, given, gaps, transport)
    known = (selected, marginals, given.curvatures, velocity, astray, variance)
    return Tangent(generator, reward, *known, bent, paid, least)


def _walls(nodes: Nodes, name: str) -> tuple[Array, Array]:
    """Nodes at which the state is reflected."""
    low, high = (
        edge & isinstance(side, Reflecting) for edge, side in zip(nodes.ends(name), nodes.axes[name].sides, strict=True)
    )
    return low, high


def _shares(nodes: Nodes, name: str, low: Array, high: Array) -> tuple[Array, Array]:
    """Of the difference ahead and of the one behind, in one that is central; the mirror of a wall gives its node, which
    is half a cell, a whole difference."""
    below, above = nodes.over(name, "below"), nodes.over(name, "above")
    ahead = jnp.where(low, 1.0, jnp.where(high, 0.0, below / (below + above)))
    return ahead, 1 - ahead


def _made(nodes: Nodes, name: str, value: Array, velocity: Array, variance: Array) -> Array:
    """The difference of V in the coordinate that rates make of a velocity: central wherever the variance suffices."""
    below, above = nodes.over(name, "below"), nodes.over(name, "above")
    ahead, behind = nodes.steps(name, value)
    ahead, behind = ahead / above, behind / below
    low, high = _walls(nodes, name)
    first, last = nodes.ends(name)
    share_ahead, share_behind = _shares(nodes, name, first, last)
    spread = nodes.in_coordinate(name, variance)
    central = (jnp.maximum(velocity * above, -velocity * below) <= spread) & (spread > 0)
    onward = jnp.where(velocity > 0, ahead, behind)
    return jnp.where(central, share_ahead * ahead + share_behind * behind, onward)


def _bent(
    nodes: Nodes, value: Array, generator: Generator, given: Given, gaps: Mapping[str, Array], transport: Any
) -> tuple[dict[int, tuple[Array, Array]], Array]:
    """Rates along the differences that marginal values are of, never so that one is negative, and what they make of
    V."""
    found, paid = {}, jnp.zeros(nodes.shape)
    for place, name in enumerate(nodes.flow.continuous):
        if name not in given.selected:
            continue
        kind, slope = given.selected[name].kind, nodes.over(name, "slope")
        below, above = nodes.over(name, "below"), nodes.over(name, "above")
        low, high = _walls(nodes, name)
        share_ahead, share_behind = _shares(nodes, name, low, high)
        halved = jnp.where(low | high, 0.5, 1.0) * slope
        none = jnp.zeros(nodes.shape)
        by_ahead = of_kind(kind, none, 1 / nodes.over(name, "right"), none, halved * share_ahead / above)
        by_behind = of_kind(kind, none, none, 1 / nodes.over(name, "left"), halved * share_behind / below)
        more = sum(given.steep[other][name] * gap for other, gap in gaps.items())
        # a marginal value that was kept from its difference does not move with it
        more = jnp.where(transport | ~given.selected[name].found, 0.0, more)
        up = jnp.maximum(more * by_ahead, -generator.up[place])
        down = jnp.maximum(-more * by_behind, -generator.down[place])
        found[place] = lax.stop_gradient((up, down))
        ahead, behind = nodes.steps(name, value)
        paid = paid + up * ahead - down * behind
    return found, lax.stop_gradient(paid)
