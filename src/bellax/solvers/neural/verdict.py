"""Whether a policy that was trained along paths is one to be trusted, by what fresh paths say.

- *divergence*: a return, or its gradient, was no number in some step; the period and the quantity are those of the same
  paths, walked once more.
- *a trap*: an action lies at a bound at states where it would pay to move away from it, and where a share that is cut
  off, or next to flat, shows no gradient. At which states it would is told by half of the paths, as a linear function
  of what nets see, and what that brings by the other half: of an optimum it brings nothing on average.
- *another hill*: shares all over the way between bounds are better, by the V that was fitted (other_hills.py).
- *bias*: actions moved a little everywhere change returns by something else than their gradients say, as they do where
  a reward or a law jumps.
- *V*: what is left of its equation, and by how much it is off where paths begin.

All of it but the last is in standard deviations of the return, or in units of what decisions are about where that is
less (stakes.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.solution.solution import Result

_NEAR = 1e-3  # a share that is nearer to a bound counts as at it
_SEEN = 12  # numbers of a state at most, by which states of a trap are told from others
_RIDGE = 1e-3
_AWAY = 0.1  # of the way between bounds, by which a trapped action would be moved
_LITTLE = 1e-9  # of the way between bounds, by which actions that stand still are moved
MOVE = 0.1  # of the standard deviation of an action, by which it is moved to see whether returns follow the gradient
_SURE = 4.0  # standard errors
_BIASED = 10.0  # times the tolerance, by which a return that follows no gradient counts, for a whole standard deviation
OF_DECISIONS = ("gain", "trapped", "bias", "bias_noise", "residual")  # what is told in units of what is decided about
_AHEAD = 100.0  # steps for which the last gain goes on, in the judgement whether it was the last


Totals = Callable[[Float[Array, "t n m"]], Float[Array, "n"]]


class Sides(NamedTuple):
    """Actions along paths, leaves of shape (t, n, m).

    Attributes:
        slopes: of a path's return in its actions.
        share: of the way between bounds.
        width: of that way; zero where there are not two bounds.
        seen: what nets see of a state.
    """

    slopes: Float[Array, "t n m"]
    share: Float[Array, "t n m"]
    width: Float[Array, "t n m"]
    seen: Float[Array, "t n i"]


def mean_and_error(each: Float[Array, "n ..."], twins: bool) -> tuple[Array, Array]:
    """A mean over paths, and its standard error; a path and its twin count as one.

    Args:
        twins: whether the second half of the paths are antithetic twins of the first, as in draws.py.
    """
    own = each.reshape(2, -1, *each.shape[1:]).mean(axis=0) if twins else each
    return jnp.mean(own, axis=0), jnp.std(own, axis=0) / jnp.sqrt(jnp.asarray(float(own.shape[0])))


def trapped(sides: Sides, alive: Float[Array, "t n"], twins: bool) -> Float[Array, "m"]:
    """What moving each action away from a bound, where that pays, would bring, to first order.

    Args:
        twins: see `mean_and_error`.
    """
    paths = alive.shape[1]
    pairs = paths // 2 if twins else paths
    half = (jnp.arange(paths) % pairs) % 2 == 0  # with its twin
    features = jnp.concatenate([jnp.ones((*alive.shape, 1)), _few(sides.seen)], axis=-1)

    def at_bound(near: Bool[Array, "t n m"], sign: Array) -> Float[Array, "m"]:
        here = near & (sides.width > 0) & (alive[:, :, None] > 0)
        brings = jnp.where(here, sign * sides.slopes * sides.width, 0.0)
        told = jax.vmap(lambda own: _told(features, here, brings, own))(jnp.stack([half, ~half]))
        pays = jnp.where(half[None, :, None], told[1], told[0])
        each = _AWAY * jnp.sum(jnp.where(pays > 0, alive[:, :, None] * brings, 0.0), axis=0)
        mean, error = mean_and_error(each, twins)
        return jnp.where(mean > _SURE * error, mean, 0.0)

    # all systems in one call: on the CPU calls that run side by side may wait for each other for ever (jaxlib 0.10.2)
    nears = jnp.stack([sides.share < _NEAR, sides.share > 1 - _NEAR])
    return jnp.max(jax.vmap(at_bound)(nears, jnp.asarray([1.0, -1.0])), axis=0)


def _few(seen: Float[Array, "t n i"]) -> Float[Array, "t n j"]:
    """Not more than some numbers of each state: of many, random directions."""
    count = seen.shape[-1]
    if count <= _SEEN:
        return seen
    with jax.ensure_compile_time_eval():
        ways = np.random.default_rng(0).standard_normal((count, _SEEN)) / np.sqrt(count)
    return seen @ jnp.asarray(ways)


def _told(
    features: Float[Array, "t n f"], here: Array, brings: Float[Array, "t n m"], half: Bool[Array, "n"]
) -> Float[Array, "t n m"]:
    """What a linear function, fitted in every period to half of the paths, says of all of them."""
    weight = (here & half[None, :, None]).astype(brings.dtype)
    gram = jnp.einsum("tnf,tnm,tng->tmfg", features, weight, features)
    gram = gram + _RIDGE * (1 + jnp.sum(weight, axis=1))[:, :, None, None] * jnp.eye(features.shape[-1])[None, None]
    right = jnp.einsum("tnf,tnm->tmf", features, weight * brings)
    slopes = jnp.linalg.solve(gram, right[..., None])[..., 0]
    return jnp.einsum("tnf,tmf->tnm", features, slopes)


def bias(
    rows: Float[Array, "t n m"], slopes: Float[Array, "t n m"], width: Float[Array, "m"], totals: Totals, seed: int
) -> Float[Array, "n"]:
    """By how much each return differs from what its gradient says where actions are moved everywhere by their standard
    deviation, from what it does where they are moved by a little of that.

    Args:
        rows: actions along paths.
        width: between the bounds of each, one where there are none.
        totals: returns, where actions are moved.
    """
    size = jnp.std(rows, axis=(0, 1)) + 1e-2 * jnp.mean(jnp.abs(rows), axis=(0, 1)) + _LITTLE * width
    with jax.ensure_compile_time_eval():
        signs = jnp.asarray(np.random.default_rng(seed).choice([-1.0, 1.0], rows.shape[-1]))
    wide = jnp.broadcast_to((MOVE * size * signs)[None, None, :], slopes.shape)
    told = jnp.sum(slopes * wide, axis=(0, 2)) / MOVE
    sides = jnp.asarray([1.0, -1.0, 0.5, -0.5])
    far, back, near, behind = jax.vmap(lambda side: totals(side * wide))(sides) / MOVE
    # what curvature makes of it is a quarter for half the move, what a kink does half as much, and a jump as much
    gap = (4 * (near - behind) - 0.5 * (far - back)) / 3 - told
    # beyond a bound there may be no number, which says nothing
    return jnp.where(jnp.all(jnp.isfinite(gap)), gap, 0.0)


def code(stats: Mapping[str, Array], tolerance: float) -> Array:
    """The `Result`."""
    fine = jnp.stack([jnp.isfinite(stats[name]) for name in ("mean_return", "residual", "value_error")])
    there = (
        (stats["gain"] <= tolerance)
        & (stats["residual"] <= tolerance)
        & (stats["value_error"] <= tolerance + _SURE * stats["value_noise"])
    )
    found = jnp.where(there, int(Result.successful), int(Result.max_steps_reached))
    jumps = (stats["bias"] > _BIASED * tolerance) & (stats["bias"] > _SURE * stats["bias_noise"])
    found = jnp.where(jumps, int(Result.biased), found)
    # of a training that is over: else more steps may do
    lesser = (found == int(Result.successful)) & (stats["better_elsewhere"] > tolerance)
    found = jnp.where(lesser | (stats["trapped"] > tolerance), int(Result.trapped), found)
    return jnp.where((stats["fault"] > 0) | ~jnp.all(fine), int(Result.nonfinite), found).astype(jnp.int32)


def ahead(gain: Array, unit: Array, spread: Array) -> Array:
    """What as many steps again would bring at most, in standard deviations of the return."""
    return _AHEAD * gain * unit / spread


def complaint(result: Result, told: Mapping[str, float], tolerance: float, names: tuple[Sequence[str], Any]) -> str:
    """Why a solve failed; empty where nothing is wrong.

    Args:
        told: the stats.
        names: `quantities`, and the actions, number by number.
    """
    if result == Result.successful:
        return ""
    if result == Result.nonfinite:
        return _diverged(told, names[0])
    if result == Result.trapped and not told["trapped"] > tolerance:
        return (
            f"PolicyGradient: other actions are better by {told['better_elsewhere']:.3g} of what decisions are about; "
            f"tolerance={tolerance:g}. The training went up a lesser hill. Begin on the higher one (warm_start=, "
            "another seed=), or take bx.solvers.NeuralValueIteration(), which compares actions."
        )
    if result == Result.trapped:
        action = names[1][int(told["trapped_action"])]
        return (
            f"PolicyGradient: the action {action!r} lies at a bound at states where moving it away by a tenth of the "
            f"way would bring {told['trapped']:.3g} of what decisions are about: the training ran into a trap "
            "that shows no gradient. Likely causes: steps that were too large (rate=), weights to begin with that "
            "are too far from where they should go (another seed=), or a share that is cut off where one that is not "
            "would do (shares=)."
        )
    if result == Result.biased:
        return (
            "PolicyGradient: returns do not follow their gradients. Actions that are moved by their standard deviation "
            f"would change the return by {told['bias']:.3g} of what decisions are about more or less than gradients "
            "along paths say. Likely cause: a reward, a law or a bound that jumps in an action or a continuous state "
            "(a comparison, a rounding). Use a solver on a grid, or bx.solvers.NeuralValueIteration()."
        )
    causes = []
    if told["gain"] > tolerance:
        causes.append(
            f"the return was still rising, by {told['gain']:.3g} of what decisions are about in a hundred steps: raise "
            "finish= or budget="
        )
    if told["residual"] > tolerance:
        causes.append(
            f"what is left of V's equation is {told['residual']:.3g} of what decisions are about: a larger net for V "
            "(critic=), more points="
        )
    if told["value_error"] > tolerance:
        causes.append(
            f"V is off by {told['value_error']:.3g} standard deviations of the return where paths begin: as before, or "
            "more paths="
        )
    return f"PolicyGradient: tolerance={tolerance:g}, and {'; '.join(causes)}. `throw=False` gives what there is."


def _diverged(told: Mapping[str, float], quantities: Sequence[str]) -> str:
    step, period, place = int(told["steps"]), int(told["fault_period"]), int(told["fault_quantity"])
    what = "its gradient is no number" if int(told["fault"]) == 2 else "it is no number"
    where = f": in period {period} of a path {quantities[place]!r} is none" if place >= 0 else ""
    if int(told["fault"]) == 0:
        return (
            "PolicyGradient: what is left of V's equation, or V itself, is no number at some states where the policy "
            "leads. Likely causes: a law or a reward that is none at a node of quadrature; a discount above one."
        )
    return (
        f"PolicyGradient: in step {step} of the training the return was lost, {what}{where}. Likely causes: steps that "
        "are too large (rate=); a law or a reward that is no number where actions lead (a negative number under a "
        "logarithm or a root), which bounds of the action could exclude; a box= or a start= beyond where the model has "
        "a meaning."
    )


def spread(total: Float[Array, "n"], unit: Array) -> Array:
    """The standard deviation of returns, and a little of their size and of the spread before the training, so that it
    means something where the best returns are all alike."""
    return jnp.std(total) + 1e-3 * jnp.abs(jnp.mean(total)) + 1e-2 * unit


def in_rows(plan_names: Any, actions: Mapping[str, Array]) -> Float[Array, "t n m"]:
    """Actions along paths, number by number."""
    return jnp.concatenate([actions[name].reshape(*actions[name].shape[:2], -1) for name in plan_names], axis=-1)
