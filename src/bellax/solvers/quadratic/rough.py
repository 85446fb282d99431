"""Jumps of a model between its bounds, and kinks where paths lead: what an expansion at one path does not know.

Derivatives are zero on both sides of a jump, so that a search passes by what lies beyond it. At a kink they are those
of one side, and what is averaged over both of them is none of a quadratic.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.learning import sampling
from bellax.numerics import loops, steps
from bellax.numerics.kinks import branch
from bellax.problem.draws import Laws
from bellax.problem.period import by_action
from bellax.solvers.quadratic import starts
from bellax.solvers.quadratic.path import Along, acted
from bellax.solvers.quadratic.stage import Stage
from bellax.solvers.quadratic.trajectory import Trajectory

_PERIODS, _WIDE, _LINES, _FEW = 4, 20, 16, 4  # periods and lines that are looked at; of many numbers fewer
_PATHS, _AHEAD = 32, 50  # that are simulated, and for how many periods where there is no end


class Rough(NamedTuple):
    """What was found.

    Attributes:
        jump: the largest jump of a reward, a law, a discount, a bound or the terminal value, relative to its size.
        kink: whether simulated paths lie on several sides of a kink.
    """

    jump: Float[Array, ""]
    kink: Bool[Array, ""]


def rough(along: Along, found: Trajectory) -> Rough:
    """Jumps between the bounds, and kinks next to the path."""
    finite = along.problem.finite
    count = along.count if finite else 1
    wide = along.layout.states + along.layout.actions > _WIDE
    numbers = np.unique(np.linspace(0, count - 1, 1 if wide else _PERIODS).round().astype(np.int32))
    jumps = [_jump(along, found, int(number), wide) for number in numbers]
    if finite:
        jumps.append(_terminal_jump(along, found))
    return Rough(jnp.max(jnp.stack(jumps)), _kink(along, found))


def _box(along: Along, found: Trajectory, stage: Stage) -> tuple[Array, Array]:
    """Between what states are looked at: their bounds, or where there is none, as far from the path as its size."""
    layout, path = along.layout, found.values.at
    middle = layout.by_state(jnp.mean(path, axis=0))
    reach = layout.by_state(1 + jnp.max(jnp.abs(path), axis=0))
    lows, highs = {}, {}
    for name in layout.plan.states:
        lows[name], highs[name] = middle[name] - reach[name], middle[name] + reach[name]
        if name in layout.plan.continuous:
            low, high = starts.limits(layout, stage.bounds.period, name)
            lows[name] = jnp.where(jnp.isfinite(low), low, lows[name])
            highs[name] = jnp.where(jnp.isfinite(high), high, highs[name])
    return layout.in_a_row(lows), layout.in_a_row(highs)


def _jump(along: Along, found: Trajectory, number: int, wide: bool) -> Array:
    stage, n = along.stage(number), along.layout.states
    rules, values = jax.tree.map(lambda leaf: leaf[number], (found.rules, found.values))
    low, high = _box(along, found, stage)
    own = acted(stage.bounds, rules, values.at).action

    def act(x: Array, share: Array) -> Any:
        def choose(part: slice, lower: Array, upper: Array) -> Array:
            far = 4 * (1 + jnp.abs(own[part]))
            bottom = jnp.where(jnp.isfinite(lower), lower, jnp.where(jnp.isfinite(upper), upper, own[part]) - far)
            top = jnp.where(jnp.isfinite(upper), upper, jnp.where(jnp.isfinite(lower), lower, own[part]) + far)
            return bottom + share[part] * (top - bottom)

        return stage.bounds.within(x, choose)

    def brings(z: Array) -> Array:
        x = low + z[:n] * (high - low)
        done = act(x, z[n:])
        outcomes = stage.lottery(x, done.action)
        return jnp.concatenate(
            [outcomes.rewards, outcomes.discounts, outcomes.following.ravel(), done.lower, done.upper]
        )

    width = jnp.where(high > low, high - low, 1.0)
    centre = jnp.concatenate([jnp.clip((values.at - low) / width, 0.0, 1.0), jnp.full(along.layout.actions, 0.5)])
    return steps.largest(brings, *_lines(centre, wide)).size


def _lines(centre: Float[Array, "z"], wide: bool) -> tuple[Array, Array]:
    """Along every number through a point, and anywhere through the unit box."""
    size, some = centre.shape[0], _FEW if wide else _LINES
    own = jnp.eye(size)
    ends = jnp.asarray(sampling.points(some, 2 * size, 3))
    starts_at = jnp.concatenate([centre[None] * (1 - own), ends[:, :size]])
    return starts_at, jnp.concatenate([centre[None] * (1 - own) + own, ends[:, size:]])


def _terminal_jump(along: Along, found: Trajectory) -> Array:
    low, high = _box(along, found, along.stage(along.count - 1))
    last = lambda z: jnp.atleast_1d(along.terminal(low + z * (high - low)))  # noqa: E731
    width = jnp.where(high > low, high - low, 1.0)
    return steps.largest(last, *_lines(jnp.clip((found.values.at[-1] - low) / width, 0.0, 1.0), False)).size


def _kink(along: Along, found: Trajectory) -> Array:
    """Whether simulated paths, and what is next to them, lie on several sides of a kink."""
    layout, finite, n = along.layout, along.problem.finite, along.layout.states
    count = along.count if finite else _AHEAD
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), (found.rules, found.values))
    draws = 1e-3 * (2 * jnp.asarray(sampling.points(_PATHS, n + layout.actions, 5)) - 1)

    def step(states: Array, row: Any) -> tuple[Array, Array]:
        number, key, (rule, value) = row
        stage = along.stage(number)
        laws = Laws(along.problem, along.arguments, number)
        side = lambda z: branch(lambda z: tuple(stage.lottery(z[:n], z[n:])), z)  # noqa: E731
        done = lambda x: jnp.concatenate([x, acted(stage.bounds, rule, x).action])  # noqa: E731
        own, every = done(value.at), jax.vmap(done)(states)
        moved = jax.vmap(lambda z, key: laws.advance(layout.by_state(z[:n]), by_action(layout.plan, z[n:]), key))
        after = moved(every, jax.random.split(jax.random.fold_in(key, number), _PATHS)).following
        near = own[None] + draws * (1 + jnp.abs(own))[None]
        sides = jax.vmap(side)(jnp.concatenate([own[None], every, near]))
        return jax.vmap(layout.in_a_row)(after), jnp.any(sides != sides[0])

    numbers, key = jnp.arange(count, dtype=jnp.int32), jax.random.key(1)
    first = jnp.broadcast_to(found.values.at[0], (_PATHS, n))
    keys = jax.random.split(key, count)
    last, kinks = loops.over(step, first, (numbers if finite else 0 * numbers, keys, rows))
    if not finite:
        return jnp.any(kinks)
    ends = jax.vmap(lambda x: branch(along.terminal, x))(last)
    return jnp.any(kinks) | jnp.any(ends != ends[0])
