"""The best path: Newton steps by backward passes, as short as they need to be.

    1. A backward pass at the path; where Q is not concave in some period, once more with more damping.
    2. Forwards the whole step, half of it, a quarter, ...: the first that earns a fair share of what was foreseen.
    3. The search ends where an undamped step is nothing, which is a maximum: Q is strictly concave in each period.
    4. From there one period's action at a time is tried elsewhere, and followed by the rules that were found. Where
       that earns more, this was a local maximum, or a kink, and the search goes on from there.

Source: Mayne (1966), International Journal of Control 3, 85-95, with the second derivatives of the laws; Tassa, Erez &
Todorov (2012), "Synthesis and stabilization of complex behaviors through online trajectory optimization".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.learning import sampling
from bellax.numerics import loops
from bellax.solvers.quadratic.decide import Rule
from bellax.solvers.quadratic.path import Along, Path, acted
from bellax.solvers.quadratic.stage import units

RUNNING, CONVERGED, EXHAUSTED, FLAT, BEATEN, BROKEN = range(6)
"""How a search stands: goes on; has a maximum; ran out of steps or of damping; is where the slope is zero and Q is not
strictly concave; a path is known that earns more than the maximum it has; the path has no numbers."""

_LEAST, _MOST, _FACTOR = 1e-6, 1e8, 8.0  # of the damping, in units of the curvature
_FAIR = 1e-4
_SHARES = 2.0 ** -np.arange(11.0)
_ROUNDS = 5
_PERIODS, _WIDE, _NEAR = 32, 8, 4  # where actions are tried, and how many
_ASIDE = 1e-3


class Search(NamedTuple):
    """A running search.

    Attributes:
        path: the best one so far.
        rules: of the last backward pass.
        steep: the largest slope there, see `Decision`.
        damping: of the next one.
        blocked: whether Q was not concave at this path with less damping.
        status: how it stands.
        steps: backward passes so far.
        rounds: how often it ended.
    """

    path: Path
    rules: Rule
    steep: Float[Array, ""]
    damping: Float[Array, ""]
    blocked: Bool[Array, ""]
    status: Int[Array, ""]
    steps: Int[Array, ""]
    rounds: Int[Array, ""]


def search(along: Along, path: Path, most: int, tolerance: float) -> Search:
    """The search from a path.

    Args:
        most: backward passes.
        tolerance: the largest step that is none, relative to `units`.
    """
    zero = jnp.zeros((), jnp.int32)
    status = jnp.where(_known(path), RUNNING, BROKEN).astype(jnp.int32)
    gain = jnp.zeros((*path.actions.shape, path.states.shape[1]))
    rules = Rule(path.states[:-1], path.actions, jnp.zeros_like(path.actions), gain)
    state = Search(path, rules, jnp.zeros(()), jnp.zeros(()), jnp.zeros((), bool), status, zero, zero)
    inner = lambda state: loops.until(  # noqa: E731
        lambda state: state.status != RUNNING, lambda state: _step(along, state, most, tolerance), state
    )
    over = lambda state: (state.status != RUNNING) & (state.status != BEATEN) | (state.rounds >= _ROUNDS)  # noqa: E731
    return loops.until(over, lambda state: _elsewhere(along, inner(_on(state))), state)


def _on(state: Search) -> Search:
    return state._replace(status=jnp.where(state.status == BEATEN, RUNNING, state.status))


def _known(path: Path) -> Bool[Array, ""]:
    return jnp.isfinite(path.worth) & jnp.all(jnp.isfinite(path.states)) & ~path.crossed


def rounded(path: Path) -> Float[Array, ""]:
    """What is rounding in the worth of a path."""
    return 100 * float(jnp.finfo(path.worth.dtype).eps) * (path.size + jnp.abs(path.worth))


def _step(along: Along, state: Search, most: int, tolerance: float) -> Search:
    """One backward pass, and a path that is better, where there is one."""
    path, damping = state.path, state.damping
    found = along.backward(path, damping)
    sound = jnp.all(found.decisions.sound)
    finite = jnp.all(jnp.isfinite(found.values.level)) & jnp.all(jnp.isfinite(found.decisions.steep))
    foreseen = found.values.level[0] - path.worth
    small = jnp.max(jnp.abs(found.decisions.step) / _units(along, path), initial=0.0) <= tolerance
    shares = jnp.asarray(_SHARES)
    tried = jax.vmap(lambda share: along.moved(path, found, share))(shares)
    enough = jnp.where(foreseen > rounded(path), _FAIR * shares * foreseen, 0.0) - rounded(path)
    fair = jax.vmap(_known)(tried) & (tried.worth - path.worth >= enough) & sound & finite
    place, any_fair = jnp.argmax(fair), jnp.any(fair)
    # a damped step that promises nothing says nothing: either less damping does, or this is no maximum
    idle = sound & (damping > 0) & (foreseen <= rounded(path))
    accept = any_fair & ~idle
    new = jax.tree.map(lambda many, one: jnp.where(accept, many[place], one), tried, path)
    less = jnp.where(damping > _LEAST, damping / _FACTOR, 0.0)
    more = jnp.maximum(damping * _FACTOR, _LEAST)
    after = jnp.where(accept, less, jnp.where(idle, 0.0, more))
    steps = state.steps + 1
    converged = sound & finite & (damping == 0) & small
    status = jnp.where((steps >= most) | (after > _MOST), EXHAUSTED, RUNNING)
    status = jnp.where(idle & state.blocked, FLAT, status)
    status = jnp.where(~finite & (sound | (after > _MOST)), BROKEN, status)
    status = jnp.where(converged, CONVERGED, status).astype(jnp.int32)
    blocked = ~accept & (state.blocked | ~sound)
    steep = jnp.max(found.decisions.steep)
    return Search(new, found.decisions.rule, steep, after, blocked, status, steps, state.rounds)


def _units(along: Along, path: Path) -> Float[Array, "t m"]:
    """What steps of actions are compared with, by period."""

    def one(number: Array, x: Array, u: Array) -> Array:
        _, low, high = along.stage(number).bounds.box(x, u)
        return units(u, low, high)

    return jax.vmap(one)(along.periods(), path.states[:-1], path.actions)


def _elsewhere(along: Along, state: Search) -> Search:
    """Whether another action in some period earns more; the search then stands at its path."""
    path, rules = state.path, state.rules
    where = jnp.asarray(np.unique(np.linspace(0, along.count - 1, _PERIODS).round()).astype(np.int32))
    draws = jnp.asarray(sampling.points(_WIDE + _NEAR, along.layout.actions, 0))

    def other(number: Array, kind: Array) -> Path:
        def act(bounds, given, x):
            own = acted(bounds, given[1], x)
            instead = bounds.within(x, lambda part, low, high: _tried(kind, draws, part, own.action[part], low, high))
            return jax.tree.map(lambda a, b: jnp.where(given[0] == number, a, b), instead, own)

        return along.forward(path.states[0], act, (along.periods(), rules))

    kinds = jnp.arange(len(draws), dtype=jnp.int32)
    worth = jax.vmap(lambda t: jax.vmap(lambda kind: _worth(other(t, kind)))(kinds))(where)
    best = jnp.argmax(worth)
    stands = (state.status == CONVERGED) | (state.status == FLAT)
    beaten = stands & (jnp.max(worth) > path.worth + 10 * rounded(path))
    found = other(where[best // len(kinds)], kinds[best % len(kinds)])
    new = jax.tree.map(lambda a, b: jnp.where(beaten, a, b), found, path)
    status = jnp.where(beaten, BEATEN, state.status).astype(jnp.int32)
    return state._replace(path=new, status=status, rounds=state.rounds + 1)


def _worth(path: Path) -> Float[Array, ""]:
    return jnp.where(_known(path), path.worth, -jnp.inf)


def _tried(kind: Array, draws: Array, part: slice, action: Array, low: Array, high: Array) -> Array:
    """An action that is tried in place of another: far from it, or nearly it."""
    far = 4 * (1 + jnp.abs(action))
    bottom = jnp.where(jnp.isfinite(low), low, jnp.where(jnp.isfinite(high), high, action) - far)
    top = jnp.where(jnp.isfinite(high), high, jnp.where(jnp.isfinite(low), low, action) + far)
    share = draws[kind, part]
    wide = bottom + share * (top - bottom)
    near = action + _ASIDE * units(action, low, high) * (2 * share - 1)
    return jnp.clip(jnp.where(kind < _WIDE, wide, near), low, high)
