"""The Hamilton-Jacobi-Bellman equation at points that no solver saw, pointwise.

    discount V = max over a of r + drift . V_s + 1/2 variance . V_ss + intensities . V

Derivatives are those of `Representation.smooth`, so that the solver's own marginal values play no part: with them the
closed forms are asked again. What the solution reports as its policy is compared with that, and with a scan of each
action about it and between its bounds, derivatives held fixed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.model.spaces import Continuous
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Representation

States = Mapping[str, Array]

_BETWEEN = np.linspace(0.0, 1.0, 41)  # of the bounds of an action
_ABOUT = np.concatenate([-np.logspace(1, -3, 17), np.logspace(-3, 1, 17)])  # it, in its own size


class Bent(NamedTuple):
    """V at a point, and its derivatives by the name of the state."""

    value: Array
    slopes: dict[str, Array]
    bends: dict[str, Array]


class Looked(NamedTuple):
    """What was found at a point, in units of V.

    Attributes:
        value: V, as the solution answers it.
        residual: by how much the equation does not hold, divided by the discount.
        missed: what the best action found is better than the reported one, divided by the discount.
        between: V as it is answered, less the smooth one.
        discount: the discount.
    """

    value: Array
    residual: Array
    missed: Array
    between: Array
    discount: Array


def bent(setting: FlowSetting, arguments: Arguments, values: Representation, point: States) -> Bent:
    """V and its derivatives at a point."""
    slopes, bends = {}, {}
    for name in setting.flow.continuous:

        def along(x: Array, name: str = name) -> Array:
            return values.smooth(setting, arguments, {**point, name: x})

        one = jnp.ones_like(point[name])
        slope = lambda x, along=along, one=one: jax.jvp(along, (x,), (one,))[1]  # noqa: E731
        slopes[name], bends[name] = jax.jvp(slope, (point[name],), (one,))
    return Bent(values.smooth(setting, arguments, point), slopes, bends)


def known(arguments: Arguments, point: States, at: Bent) -> dict[str, Any]:
    """What functions of the model may name."""
    own = {f"marginal_{name}": slope for name, slope in at.slopes.items()}
    return {**arguments, **point, **own, **{f"curvature_{name}": bend for name, bend in at.bends.items()}}


def flow_of(flow: Flow, given: Mapping[str, Any], at: Bent, actions: States) -> Array:
    """What V brings per unit of time under these actions, but for what chains bring."""
    nodes = ["slot:reward", *(f"drift:{n}" for n in flow.continuous), *(f"diffusion:{n}" for n in flow.spreads)]
    found = {name: as_float(own) for name, own in flow.graph.compose(nodes)(**{**given, **actions}).items()}
    total = found["slot:reward"]
    for name in flow.continuous:
        total = total + found[f"drift:{name}"] * at.slopes[name]
    for name in flow.spreads:
        total = total + 0.5 * found[f"diffusion:{name}"] ** 2 * at.bends[name]
    return total


def look(setting: FlowSetting, arguments: Arguments, values: Representation, point: States) -> Looked:
    """What is wrong at a point."""
    flow, at = setting.flow, bent(setting, arguments, values, point)
    local = values.at(setting, arguments, point)
    reported = flow.flowing(arguments, point, local.marginals, local.curvatures).actions
    best = flow.flowing(arguments, point, at.slopes, at.bends).actions
    given, discount = known(arguments, point, at), flow.discount(arguments, point)
    of = lambda actions: flow_of(flow, given, at, actions)  # noqa: E731
    brought = of(best) + _by_chains(setting, arguments, values, point)
    residual = discount * at.value - brought
    if "slot:stop" in flow.graph.slots:
        payoff = as_float(flow.graph.compose(["slot:stop"])(**given)["slot:stop"])
        residual = jnp.minimum(residual, discount * (at.value - payoff))
    own = of(reported)
    scanned = jnp.maximum(of(best), _scanned(flow, given, at, reported)) - own
    # an action at which nothing is known of the flow is as wrong as can be
    missed = jnp.where(jnp.isfinite(own), jnp.maximum(scanned, 0.0), jnp.inf)
    return Looked(local.value, residual / discount, missed / discount, local.value - at.value, discount)


def _by_chains(setting: FlowSetting, arguments: Arguments, values: Representation, point: States) -> Array:
    total = jnp.zeros(())
    for name in setting.flow.chains:
        nodes, intensity = setting.flow.chain(arguments, name)
        others = jax.vmap(lambda node, name=name: values.smooth(setting, arguments, {**point, name: node}))(nodes)
        total = total + intensity[jnp.argmin(jnp.abs(nodes - point[name]))] @ others
    return total


def _scanned(flow: Flow, given: Mapping[str, Any], at: Bent, actions: States) -> Array:
    """The best flow when one action at a time takes another value."""
    highest = -jnp.asarray(jnp.inf)
    for name, space in flow.actions.items():
        tried = _candidates(flow, given, name, space, actions)
        found = jax.vmap(lambda own, name=name: flow_of(flow, given, at, {**actions, name: own}))(tried)
        highest = jnp.maximum(highest, jnp.max(jnp.where(jnp.isnan(found), -jnp.inf, found)))
    return highest


def _candidates(flow: Flow, given: Mapping[str, Any], name: str, space: Any, actions: States) -> Array:
    if not isinstance(space, Continuous):
        return jnp.asarray(space.values)
    sides = [f"lower:{name}", f"upper:{name}"]
    found = flow.graph.compose(sides)(**{**given, **actions})
    lower, upper = (as_float(found[side]) for side in sides)
    own = actions[name]
    about = own + (1 + jnp.abs(own)) * jnp.asarray(_ABOUT)
    share = lower + jnp.asarray(_BETWEEN) * (upper - lower)
    return jnp.clip(jnp.concatenate([about, jnp.where(jnp.isfinite(share), share, own)]), lower, upper)
