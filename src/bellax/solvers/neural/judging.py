"""How a trained actor is judged, by equations at states that it was not trained on, and what is said of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.learning import sampling
from bellax.problem.period import as_float
from bellax.solution.solution import Result
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.following import Following
from bellax.solvers.neural.roles import Roles
from bellax.solvers.neural.stakes import decisive

_TRIED = 64  # actions that are tried anywhere between the bounds, of every combination
_NEAR = (0.003, 0.01, 0.03, 0.1)  # and by how much each number of the policy is moved, both ways
_ENDS = 0.02  # a share nearer to a bound lies at it
_STEPS = (1, 20)  # periods after which states are looked at, too
_LEAST = 1e-3  # of the mean of |V|: its spread where it has less


class Judged(NamedTuple):
    """What equations say of a policy.

    Attributes:
        residual, gain: see following.py, root mean squares, times the periods for which they last, in units of the
            spread of V, or of what decisions are about where that is less (stakes.py).
        at_bound: which part of the shares lies at a bound.
        leaving: the chance of leaving what nets tell apart, in a period.
        infeasible: whether nothing may be done in some state.
    """

    residual: Array
    gain: Array
    at_bound: Array
    leaving: Array
    infeasible: Array


def tries(roles: Roles, seed: int) -> tuple[Array, Array]:
    """Shares anywhere between the bounds, shape (c, m), and steps around the policy, shape (b, m)."""
    m = roles.numbers
    with jax.ensure_compile_time_eval():
        anywhere = jnp.asarray(sampling.points(_TRIED, m, seed)) if m else jnp.zeros((0, 0))
        each = [sign * size * np.eye(m)[k] for k in range(m) for size in _NEAR for sign in (-1.0, 1.0)]
        return anywhere, jnp.asarray(np.array(each).reshape(len(each), m))


def judged(following: Following, states: Any, numbers: Array, seed: int) -> Judged:
    """What equations say of a policy and its V at some states, and where paths lead from there.

    Args:
        states, numbers: states of the box and periods, one row each.
    """
    roles, found, problem = following.roles, following.found, following.problem
    draws = jax.random.key(seed)
    after = [following.led(states, numbers, jax.random.fold_in(draws, steps), steps) for steps in _STEPS]
    states, numbers = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), (states, numbers), *after)
    anywhere, around = tries(roles, seed)

    def at(states: Any, number: Array) -> Any:
        decided, rows = following.decided(number, states), following.looked(number, states)
        row = jax.tree.map(lambda leaf: leaf[decided.place], rows)
        right = jnp.where(decided.stop, decided.value, following.ahead(row))
        x = roles.candidates(found.actor, rows.u[0])
        best, stake = following.tried(number, states, _all(roles, x, anywhere, around))
        share = decided.acted.share
        near = jnp.asarray(roles.bounded) & ((share < _ENDS) | (share > 1 - _ENDS))
        discount = jnp.where(decided.stop, 0.0, jnp.sum(row.later.weights))
        away = jnp.where(decided.stop, 0.0, row.away)
        period = problem.period(following.arguments, number)
        # whatever became of the weights
        possible = jnp.any(roles.fitting(period, states, jnp.nan_to_num(x))) | (period.payoff(states) > -jnp.inf)
        off = decided.value - right
        return decided.value, off, jnp.maximum(best - right, 0.0), stake, discount, near, away, possible

    value, off, gain, stake, discount, near, away, possible = jax.vmap(at)(states, numbers)
    spread = jnp.std(value) + _LEAST * jnp.mean(jnp.abs(value)) + TINY * following.scale.unit
    lasting = 1 / jnp.maximum(1 - jnp.mean(discount), 1e-6)
    lasting = jnp.minimum(lasting, problem.clock.count) if problem.finite else lasting
    unit = decisive(spread / lasting, stake)
    size = lambda x: jnp.sqrt(jnp.mean(x**2)) / unit  # noqa: E731
    counted = max(int(np.sum(roles.bounded)), 1) * numbers.shape[0]
    return Judged(size(off), size(gain), jnp.sum(as_float(near)) / counted, jnp.mean(away), ~jnp.all(possible))


def _all(roles: Roles, x: Array, anywhere: Array, around: Array) -> Array:
    """Outputs that are tried at a state, of every combination, shape (k, c, m)."""
    if not roles.numbers:
        return jnp.zeros((roles.count, 1, 0))
    bounded = jnp.asarray(roles.bounded)

    def of(own: Array) -> Array:
        shares = roles.shares(own)
        near = lambda step: jnp.where(bounded, roles.outputs_of(jnp.clip(shares + step, 0.0, 1.0)), own + 5 * step)  # noqa: E731
        any_of = lambda share: jnp.where(bounded, roles.outputs_of(share), own + roles.outputs_of(share))  # noqa: E731
        return jnp.concatenate([own[None], jax.vmap(near)(around), jax.vmap(any_of)(anywhere)])

    return jax.vmap(of)(x)


def code_of(found: Judged, drawn: Array, diverged: Array, tolerance: float) -> Array:
    """How it ended, as a `Result`."""
    fine = (found.residual <= tolerance) & (found.gain <= tolerance) & (found.leaving <= 0.1 * tolerance)
    code = jnp.where(fine, int(Result.successful), int(Result.max_steps_reached))
    numbers = jnp.isfinite(found.residual) & jnp.isfinite(found.gain)
    code = jnp.where(~numbers | (drawn >= 0) | (diverged >= 0), int(Result.nonfinite), code)
    return jnp.where(found.infeasible, int(Result.infeasible), code).astype(jnp.int32)


def complaint(what: str, code: Any, stats: Any, tolerance: float) -> str:
    """Why a training failed; empty where it did not."""
    result, number = Result(int(code)), {name: float(value) for name, value in stats.items()}
    if result == Result.successful:
        return ""
    if result == Result.infeasible:
        return (
            f"{what}: in some states of the box nothing may be done: constraints forbid every combination, or bounds "
            "cross. Likely causes: a constraint that is too strict, a lower bound above the upper one, or a box= that "
            "holds states which the model does not mean."
        )
    if result == Result.nonfinite:
        return _not_a_number(what, int(number["not_a_number_at"]), int(number["diverged_at"]))
    found = (
        f"{what}: at states that it was not trained on, V is off by {number['residual']:.2g} of its own spread, or of "
        "what decisions are about where that is less, from what the policy is worth, and what other actions promise is "
        f"{number['gain']:.2g} of it better; tolerance={tolerance:g}."
    )
    if number["at_bound"] > 0.5 and number["gain"] > tolerance:
        return (
            f"{found} The policy is in a trap: {number['at_bound']:.0%} of its actions lie at a bound, and others are "
            "better. Likely causes: too little noise=, learning that is too fast (actor_rate=), an actor that learns "
            "before the critics know anything (wait=). Another seed= may do, too."
        )
    if number["leaving"] > 0.1 * tolerance:
        return (
            f"{found} Paths leave the box: with a chance of {number['leaving']:.2g} in a period a state is reached "
            "that lies three times as far from its middle as its sides do, where nets know nothing. Give a wider box=, "
            "or bounds of actions that keep states where the model has a meaning."
        )
    return (
        f"{found} It has not converged. Likely causes: too few steps (steps=), nets that are too small (hidden=, "
        "worth=), rewards whose size differs by orders of magnitude from state to state, or a kink that a smooth net "
        "rounds off. Where the model is differentiable bx.solvers.EulerNet() is far more accurate."
    )


def _not_a_number(what: str, drawn: int, diverged: int) -> str:
    if diverged >= 0:
        return (
            f"{what}: the weights diverged in step {diverged}: critics or actor were no numbers. Lower critic_rate= "
            "and actor_rate=, or soft=, and see that rewards are of one size."
        )
    when = f"in step {drawn} of the training" if drawn >= 0 else "at a state that was not seen in the training"
    return (
        f"{what}: the model gave no number {when}. Likely causes: a reward or a law that is none for some actions or "
        "states (a logarithm or a root of a negative number, a reward of -inf at a bound: shares={'action': "
        "bx.shares.Logistic()} keeps off it), or a box= beyond where the model has a meaning."
    )
