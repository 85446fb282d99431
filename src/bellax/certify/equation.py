"""The Hamilton-Jacobi-Bellman equation at points that no solver saw, pointwise.

    discount V = max over a of r + drift . V_s + 1/2 variance . V_ss + covariance . V_st + V_t
                 + sum over resets of rate (V(to) - V) + intensities . V

Derivatives are those of `Representation.smooth`, so that the solver's own marginal values play no part: with them the
closed forms are asked again. What the solution reports as its policy is compared with that, and with a scan of each
action about it and between its bounds, derivatives held fixed. Where one may stop, the equation is
min(discount V - ..., V - payoff) = 0, and what is reported is which of the two holds.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.model.spaces import Continuous
from bellax.problem.flow import Arguments, Flow
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Representation

States = Mapping[str, Array]

_BETWEEN = np.linspace(0.0, 1.0, 41)  # of the bounds of an action
_ABOUT = np.concatenate([-np.logspace(1, -3, 17), np.logspace(-3, 1, 17)])  # it, in its own size


class Bent(NamedTuple):
    """V at a point, and its derivatives.

    Attributes:
        value: V.
        slopes: V_s by name of the state; of a model with an end also `time`.
        bends: V_ss by name of the state.
        crosses: V_st by the names of two states that have common shocks.
    """

    value: Array
    slopes: dict[str, Array]
    bends: dict[str, Array]
    crosses: dict[tuple[str, str], Array]


class Looked(NamedTuple):
    """What was found at a point, in units of V: flows are worth what they are from now to the end.

    Attributes:
        value: V, as the solution answers it.
        residual: what the equation does not hold by is worth.
        missed: what the best action found is better than the reported one.
        stopping: what is lost where the solution stops though going on is worth more, or the reverse.
        between: V as it is answered, less the smooth one.
        discount: the discount.
    """

    value: Array
    residual: Array
    missed: Array
    stopping: Array
    between: Array
    discount: Array


def lasting(setting: FlowSetting, discount: Array, least: Array) -> Array:
    """What a flow of one is worth to the end.

    Args:
        discount: at the point, which decides where there is no end: a constant that the equation is off by moves V by
            that over the discount.
        least: at all points, which decides where there is one.
    """
    if not setting.flow.timed:
        return 1 / discount
    horizon = jnp.asarray(float(setting.model.horizon))
    small = jnp.abs(least * horizon) < 1e-6
    return jnp.where(small, horizon, -jnp.expm1(-least * horizon) / jnp.where(small, 1.0, least))


def bent(setting: FlowSetting, arguments: Arguments, values: Representation, point: States) -> Bent:
    """V and its derivatives at a point."""

    def slope(name: str, at: States) -> Array:
        along = lambda x: values.smooth(setting, arguments, {**at, name: x})  # noqa: E731
        return jax.jvp(along, (at[name],), (jnp.ones_like(at[name]),))[1]

    def second(one: str, other: str) -> tuple[Array, Array]:
        of = lambda x: slope(one, {**point, other: x})  # noqa: E731
        return jax.jvp(of, (point[other],), (jnp.ones_like(point[other]),))

    flow, slopes, bends = setting.flow, {}, {}
    for name in flow.continuous:
        slopes[name], bends[name] = second(name, name)
    if flow.timed:
        slopes["time"] = slope("time", point)
    crosses = {pair: second(*pair)[1] for pair in flow.correlated(arguments, point)}
    return Bent(values.smooth(setting, arguments, point), slopes, bends, crosses)


def known(flow: Flow, arguments: Arguments, point: States, at: Bent) -> dict[str, Any]:
    """What functions of the model may name."""
    own = {f"marginal_{name}": at.slopes[name] for name in flow.continuous}
    return {**arguments, **point, **own, **{f"curvature_{name}": bend for name, bend in at.bends.items()}}


def brought(flow: Flow, arguments: Arguments, point: States, at: Bent) -> Callable[[States], Array]:
    """What V brings per unit of time, of actions: but for what jumps bring."""
    given = known(flow, arguments, point, at)
    common = [flow.covariance(arguments, point, *pair) * cross for pair, cross in at.crosses.items()]
    still = at.slopes.get("time", jnp.zeros(())) + sum(common)

    def of(actions: States) -> Array:
        found = flow.under(given, actions)
        variances = flow.variances(arguments, point, found)
        moved = sum(found.drift[name] * at.slopes[name] for name in flow.continuous)
        return found.reward + still + moved + sum(0.5 * variances[name] * at.bends[name] for name in flow.continuous)

    return of


def look(setting: FlowSetting, arguments: Arguments, values: Representation, point: States, least: Array) -> Looked:
    """What is wrong at a point.

    Args:
        least: the least discount at all points.
    """
    flow, at = setting.flow, bent(setting, arguments, values, point)
    local = values.at(setting, arguments, point)
    reported = flow.flowing(arguments, point, local.marginals, local.curvatures).actions
    own_slopes = {name: at.slopes[name] for name in flow.continuous}
    own_bends = {name: at.bends[name] for name in flow.risky}
    best = flow.flowing(arguments, point, own_slopes, own_bends).actions
    discount, of = flow.discount(arguments, point), brought(flow, arguments, point, at)
    worth = lasting(setting, discount, least)
    residual = worth * (discount * at.value - of(best) - _by_jumps(setting, arguments, values, point, at.value))
    own = of(reported)
    scanned = jnp.maximum(of(best), _scanned(flow, known(flow, arguments, point, at), of, reported)) - own
    # an action at which nothing is known of the flow is as wrong as can be
    missed = jnp.where(jnp.isfinite(own), jnp.maximum(scanned, 0.0), jnp.inf) * worth
    stopping = jnp.zeros(())
    if flow.stops:
        # whoever goes on has V less what the equation does not hold by, whoever stops the payoff
        ahead = at.value - flow.stop(arguments, point)
        better, stopped = jnp.maximum(ahead, ahead - residual), values.stops(setting, arguments, point)
        worse = jnp.maximum(-ahead, residual - ahead)
        stopping = jnp.maximum(jnp.where(stopped, better, worse), 0.0)
        residual, missed = jnp.minimum(residual, ahead), jnp.where(stopped, 0.0, missed)
    return Looked(local.value, residual, missed, stopping, local.value - at.value, discount)


def _by_jumps(setting: FlowSetting, arguments: Arguments, values: Representation, point: States, value: Array) -> Array:
    """What chains and resets bring per unit of time."""
    flow, total = setting.flow, jnp.zeros(())
    smooth = lambda moved: values.smooth(setting, arguments, {**point, **moved})  # noqa: E731
    for name in flow.chains:
        nodes, intensity = flow.chain(arguments, name)
        others = jax.vmap(lambda node, name=name: smooth({name: node}))(nodes)
        total = total + intensity[jnp.argmin(jnp.abs(nodes - point[name]))] @ others
    for name in flow.resets:
        jump = flow.jumping(arguments, point, name)
        total = total + jump.rate * (smooth(jump.to) - value)
    return total


def _scanned(flow: Flow, given: Mapping[str, Any], of: Callable[[States], Array], reported: States) -> Array:
    """The best flow when one action at a time takes another value: from what is reported, and from every combination
    of discrete actions, under which others are the best as the model's conditions have it."""
    highest = _beside(flow, given, of, reported)
    if not flow.choices:
        return highest
    others = lambda chosen: _beside(flow, given, of, flow.answering(dict(given), chosen))  # noqa: E731
    return jnp.maximum(highest, jnp.max(jax.vmap(others)(flow.combinations())))


def _beside(flow: Flow, given: Mapping[str, Any], of: Callable[[States], Array], actions: States) -> Array:
    """The best flow when one of these actions at a time takes another value."""
    highest = -jnp.asarray(jnp.inf)
    for name, space in flow.actions.items():
        tried = _candidates(flow, given, name, space, actions)
        found = jax.vmap(lambda own, name=name: of({**actions, name: own}))(tried)
        highest = jnp.maximum(highest, jnp.max(jnp.where(jnp.isnan(found), -jnp.inf, found)))
    return highest


def _candidates(flow: Flow, given: Mapping[str, Any], name: str, space: Any, actions: States) -> Array:
    if not isinstance(space, Continuous):
        return jnp.asarray(space.values)
    lower, upper = flow.limits(dict(given), actions, name)
    own = actions[name]
    about = own + (1 + jnp.abs(own)) * jnp.asarray(_ABOUT)
    share = lower + jnp.asarray(_BETWEEN) * (upper - lower)
    return jnp.clip(jnp.concatenate([about, jnp.where(jnp.isfinite(share), share, own)]), lower, upper)
