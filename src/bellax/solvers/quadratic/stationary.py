"""The linear-quadratic solution at a steady state: which one, and what randomness adds.

First everything random has its mean. Then V is the fixed point of the average of Q to second order at that state: noise
that is added to laws changes the level of V alone, and where it multiplies states or actions the rest, too.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.learning import sampling
from bellax.numerics import loops
from bellax.numerics.fixed_point import implicit
from bellax.numerics.scalar import as_small
from bellax.problem.averages import Rules
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.quadratic import starts, steady
from bellax.solvers.quadratic.decide import Decision, decide
from bellax.solvers.quadratic.expansion import Quadratic, expand
from bellax.solvers.quadratic.stage import Layout, Stage, units
from bellax.solvers.quadratic.steady import Curved, Point

_STARTS, _WIDE = 16, 20  # how many where the model is small, and how many numbers make it large
_MOST = 20_000
_ASIDE = 1e-3


class Model(NamedTuple):
    """A model without end, but for its parameters."""

    layout: Layout
    problem: Problem
    given: Rules
    start: Mapping[str, Any]
    guess: Mapping[str, Any]

    def stage(self, arguments: Arguments) -> Stage:
        return Stage(self.layout, self.problem, arguments, 0, self.given)


class Found(NamedTuple):
    """A steady state, and how the search for it ended.

    Attributes:
        there: whether it is one.
        tries: from how many starts it was sought.
        steps: of Newton, from the last of them.
    """

    point: Point
    curved: Curved
    there: Bool[Array, ""]
    peak: Bool[Array, ""]
    tries: Int[Array, ""]
    steps: Int[Array, ""]

    @property
    def good(self) -> Bool[Array, ""]:
        own = self.curved
        return self.there & self.peak & own.settled & own.sound & (own.radius < 1)


def sought(model: Model, arguments: Arguments, tolerance: float) -> Found:
    """The first steady state that is a maximum and that the policy does not leave, from several starts."""
    stage, layout = model.stage(arguments), model.layout
    count = 4 if layout.states + layout.actions > _WIDE else _STARTS
    shares = jnp.asarray(sampling.points(count, layout.states + layout.actions, 0))
    first = starts.state(stage, model.start)

    def attempt(state: Found) -> Found:
        own = shares[state.tries]
        x = jnp.where(state.tries == 0, first, _elsewhere(stage, first, own[: layout.states]))
        share = jnp.where(state.tries == 0, 0.5, own[layout.states :])
        u = starts.actions(stage, x, model.guess, share).action
        u = u if model.guess else steady.staying(stage, x, u)
        found = steady.newton(stage, steady.slopes(stage, x, u), tolerance)
        curved = steady.curved(stage, found.point)
        return Found(found.point, curved, found.found, _peak(stage, found.point, curved), state.tries + 1, found.steps)

    n, m = layout.states, layout.actions
    value = Quadratic(jnp.zeros(n), jnp.zeros(()), jnp.zeros(n), jnp.zeros((n, n)))
    no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    curved = Curved(value, jnp.zeros((m, n)), no, no, jnp.zeros(()))
    state = Found(Point(jnp.zeros(n), jnp.zeros(m), jnp.zeros(n)), curved, no, no, zero, zero)
    return loops.until(lambda state: state.good | (state.tries >= count), attempt, state)


def _elsewhere(stage: Stage, first: Float[Array, "n"], share: Float[Array, "n"]) -> Float[Array, "n"]:
    """Another start: between the bounds of the states, where they are finite."""
    layout, own, found = stage.layout, stage.layout.by_state(first), {}
    shares = layout.by_state(share)
    for name in layout.plan.states:
        found[name] = own[name]
        if name in layout.plan.continuous:
            low, high = starts.limits(layout, stage.bounds.period, name)
            both = jnp.isfinite(low) & jnp.isfinite(high)
            found[name] = jnp.where(both, starts.middle(low, high, shares[name]), own[name])
    return layout.in_a_row(found)


def _peak(stage: Stage, point: Point, curved: Curved) -> Bool[Array, ""]:
    """Whether no action next to the best one is better: at a kink derivatives do not say."""
    x, u = point.x, point.u
    draws = jnp.asarray(sampling.points(8, u.shape[0], 1))

    def worth(action: Array) -> tuple[Array, Array]:
        found = stage.certain(x, action)
        later = found.discounts[0] * curved.value(found.following[0])
        return found.rewards[0] + later, jnp.abs(found.rewards[0]) + jnp.abs(later)

    def near(draw: Array) -> Array:
        wanted = u + _ASIDE * units(u, low, high) * (2 * draw - 1)
        return worth(stage.bounds.within(x, lambda part, low, high: jnp.clip(wanted[part], low, high)).action)[0]

    _, low, high = stage.bounds.box(x, u)
    here, size = worth(u)
    slack = 1000 * float(jnp.finfo(here.dtype).eps) * size
    return ~jnp.any(jax.vmap(near)(draws) > here + slack)


def averaged(stage: Stage, x: Float[Array, "n"], u: Float[Array, "m"], value: Quadratic) -> tuple[Decision, Quadratic]:
    """One period at a steady state, with all that may happen."""
    return decide(stage, expand(stage.lottery, x, u, value), x, u)


def _sizes(value: Quadratic, room: Float[Array, "n"]) -> list[Array]:
    """What changes of the level, the slope and the curvature are compared with: their own sizes, and one, or less
    where all of V is less over the room that states have."""
    slope, curvature = value.slope * room, value.curvature * room[:, None] * room[None]
    whole = jnp.abs(value.level) + jnp.max(jnp.abs(slope)) + jnp.max(jnp.abs(curvature))
    whole, least = jnp.where(whole > 0, whole, 1.0), jnp.min(room)
    own = (value.level, value.slope, value.curvature)
    per = (whole, whole / least, whole / least**2)
    return [jnp.max(jnp.abs(part)) + jnp.minimum(1.0, each) for part, each in zip(own, per, strict=True)]


def with_noise(
    model: Model, arguments: Arguments, point: Point, first: Quadratic
) -> tuple[Decision, Quadratic, Bool[Array, ""]]:
    """V and the policy with all that may happen, with derivatives in arguments and in the steady state.

    Args:
        first: V where everything random has its mean.
    Returns:
        What is done, V, and whether V is found.
    """
    still, x, u = lax.stop_gradient((arguments, point.x, point.u))
    stage = model.stage(still)
    drawn = stage.lottery(x, u)
    share = drawn.weights @ drawn.discounts

    def step(state: tuple[Quadratic, Array, Array]) -> tuple[Quadratic, Array, Array]:
        value, _, count = state
        new = averaged(stage, x, u, value)[1]
        new = new._replace(level=value.level + (new.level - value.level) / (1 - share))
        pairs = zip(new[1:], value[1:], _sizes(new, least_x), strict=True)
        size = jnp.stack([jnp.max(jnp.abs(a - b)) / unit for a, b, unit in pairs])
        return new, jnp.max(size), count + 1

    least, least_x = as_small(1e-13), steady.room(stage, Point(x, u, x)).x
    over = lambda state: (state[1] <= least) | ~jnp.isfinite(state[1]) & (state[2] > 0) | (state[2] >= _MOST)  # noqa: E731
    begun = (first, jnp.full((), jnp.inf), jnp.zeros((), jnp.int32))
    found, change, _ = lax.stop_gradient(loops.until(over, step, begun))

    def operator(given: Any, own: Any) -> Any:
        arguments, x, u = given
        return averaged(model.stage(arguments), x, u, Quadratic(x, *own))[1][1:]

    own = implicit(operator, None, (arguments, point.x, point.u), tuple(found[1:]))
    value = Quadratic(point.x, *own)
    decision, _ = averaged(model.stage(arguments), point.x, point.u, value)
    return decision, value, change <= as_small(1e-9)
