"""The room that smooth constraints leave in the unit box, and candidates that fill it.

g(u) >= 0 may leave a small corner of the box, which a lattice of the box misses. Seen from an anchor inside, every ray
leaves the room somewhere, and the box somewhere: stretching each ray by the ratio maps the box onto the room, where
that is star-shaped around the anchor, as it is for concave g.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.numerics import loops
from bellax.numerics.scalar import where
from bellax.problem.period import Combination

Margins = Callable[[Float[Array, "m"]], tuple[Float[Array, "j"], Float[Array, "j"]]]
"""The numbers of the constraints at u, and how far below zero rounding may take them."""

_SIDES = {1: 17, 2: 7, 3: 5, 4: 3}  # points of the lattice along each action, from which an anchor is sought
_DEEP = 1e-2  # in u, from the nearest edge: an anchor that is as deep needs no improvement
_INWARDS = (
    0.1,
    0.65,
    30,
    45,
)  # first depth that is sought, what is left of it at each step, steps until none, and in all
_ALONG = 40  # steps at most to where a ray leaves the room


def margins_of(objective: Objective, point: Point, combination: Combination) -> Margins:
    """The margins of one combination of discrete actions at a state."""
    return lambda u: objective.margins(point, Decision(combination, u))


def slopes_of(margins: Margins, u: Float[Array, "m"]) -> tuple[Float[Array, "j"], Float[Array, "j m"]]:
    """The numbers of the constraints, and their derivatives."""
    numbers, normals = jax.vmap(lambda d: jax.jvp(lambda x: margins(x)[0], (u,), (d,)))(jnp.eye(u.shape[0]))
    return numbers[0], normals.T


def anchor(margins: Margins, size: int) -> Float[Array, "m"]:
    """A point of the room, some way from its edges if there is one; any point of the box where no room is found.

    The deepest of a lattice is moved inwards, along the normals of the constraints that are less than some depth away,
    a depth that shrinks to nothing. Two concave constraints that leave little room between them may need more steps.

    Args:
        size: how many numbers u has.
    """
    lattice = jnp.asarray(_lattice(size), jnp.result_type(float))
    depths = jax.vmap(lambda u: _depth(*slopes_of(margins, u)))(lattice)
    place = jnp.argmax(depths)
    first, shrinks, until, most = _INWARDS

    def deeper(state: _Inwards) -> _Inwards:
        numbers, normals = slopes_of(margins, state.u)
        depth = _depth(numbers, normals)
        best = jnp.where(depth > state.depth, state.u, state.best)
        sought = where(state.steps < until, first * shrinks**state.steps, 0.0)
        u = state.u
        for number, normal in zip(numbers, normals, strict=True):
            stopped = ((u <= 0) & (normal < 0)) | ((u >= 1) & (normal > 0))
            free = jnp.where(stopped, 0.0, normal)
            square = jnp.sum(free * free)
            lacking = sought * jnp.sqrt(jnp.sum(normal * normal)) - number - normal @ (u - state.u)
            step = jnp.maximum(lacking, 0.0) / where(square > 0, square, 1.0)
            u = jnp.clip(u + where(jnp.isfinite(step), step, 0.0) * jnp.where(jnp.isfinite(free), free, 0.0), 0.0, 1.0)
        return _Inwards(u, best, jnp.maximum(depth, state.depth), state.steps + 1)

    start = _Inwards(lattice[place], lattice[place], depths[place], jnp.zeros(()))
    return loops.until(lambda s: (s.depth >= _DEEP) | (s.steps >= most), deeper, start).best


class _Inwards(NamedTuple):
    u: Array
    best: Array
    depth: Array
    steps: Array


def _depth(numbers: Float[Array, "j"], normals: Float[Array, "j m"]) -> Float[Array, ""]:
    """How far u is from the nearest edge, about; negative beyond it, and minus infinity where that is no number."""
    length = jnp.sqrt(jnp.sum(normals * normals, axis=1))
    # a constraint that no action moves holds everywhere or nowhere
    depth = jnp.where(length > 0, numbers / jnp.where(length > 0, length, 1.0), jnp.where(numbers >= 0, 1.0, -jnp.inf))
    return jnp.min(jnp.where(jnp.isnan(depth), -jnp.inf, depth))


def _lattice(size: int) -> np.ndarray:
    """Points of the box, its corners among them; beyond four dimensions lines through it."""
    if size in _SIDES:
        return np.asarray(list(itertools.product(np.linspace(0, 1, _SIDES[size]), repeat=size)))
    steps = np.linspace(0, 1, 9)
    axes = [level + step * np.eye(size)[k] * (1 - 2 * level) for level in (0, 1) for k in range(size) for step in steps]
    return np.asarray([*(np.full(size, step) for step in steps), *axes])


class Room(NamedTuple):
    """What the constraints leave of the box.

    Attributes:
        margins: of u.
        anchor: a point inside.
        inset: how far inside points are, in units of the rounding of constraints; zero where one is zero all over the
            room, which then has no inside.
    """

    margins: Margins
    anchor: Float[Array, "m"]
    inset: Float[Array, ""]

    def filled(self, u: Float[Array, "m"], whole: Array | bool = True) -> Float[Array, "m"]:
        """The point of the room that corresponds to one of the box, in the same direction from the anchor.

        Args:
            whole: whether the box corresponds to the room; else u is itself where all of the way there is in the room,
                and the point at which one leaves it.
        """
        ray = u - self.anchor
        edge = jnp.where(ray > 0, 1 - self.anchor, self.anchor) / jnp.where(ray != 0, jnp.abs(ray), 1.0)
        end = jnp.min(jnp.where(ray != 0, edge, jnp.inf))
        end = jnp.where(jnp.isfinite(end) & whole, end, 1.0)
        return jnp.clip(self.anchor + ray * (self._leaves(ray, end) / end), 0.0, 1.0)

    def ends(self) -> tuple[Float[Array, "m"], Float[Array, "m"]]:
        """Of a single number the ends of the room around its anchor, on the edges to rounding."""

        def end(corner: Array) -> Array:
            u = self.filled(corner)
            numbers, normals = slopes_of(self.margins, u)
            # `filled` stops a little short: a step of Newton's method to the edge that is nearest
            steps = jnp.where(normals[:, 0] != 0, -numbers / jnp.where(normals[:, 0] != 0, normals[:, 0], 1.0), jnp.inf)
            outward = jnp.where((steps > 0) == (corner > self.anchor), jnp.abs(steps), jnp.inf)
            step = jnp.where(corner > self.anchor, 1.0, -1.0) * jnp.min(outward)
            edge = jnp.clip(u + step, 0.0, 1.0)
            return jnp.where((jnp.abs(edge - u) < 1e-6) & self.holds(edge) & (u != corner), edge, u)

        return end(jnp.zeros_like(self.anchor)), end(jnp.ones_like(self.anchor))

    def holds(self, u: Float[Array, "m"]) -> Array:
        """Whether u is in the room."""
        return self._number(u) >= -0.5

    def _number(self, u: Array) -> Array:
        """The least of the constraints, in units of the rounding that they are allowed."""
        numbers, slack = self.margins(u)
        least = jnp.min(numbers / slack)
        return where(jnp.isnan(least), -jnp.inf, least)

    def _leaves(self, ray: Float[Array, "m"], end: Float[Array, ""]) -> Float[Array, ""]:
        """How much of a ray from the anchor lies in the room: `end`, or the root of the least constraint before it, by
        regula falsi with the weights of Illinois."""

        def step(state: _Ray) -> _Ray:
            t = state.low + (state.high - state.low) * state.inside / (state.inside - state.outside)
            t = where((t > state.low) & (t < state.high), t, 0.5 * (state.low + state.high))
            # a little inside: what cheats by rounding would beat what is found on the edge itself
            number = self._number(self.anchor + t * ray) - self.inset
            holds = number >= -0.5
            bounded = jnp.maximum(number, -1e300 if number.dtype == jnp.float64 else -1e30)
            inside = where(holds, jnp.maximum(number, 0.0), where(state.last < 0, 0.5 * state.inside, state.inside))
            outside = where(holds, where(state.last > 0, 0.5 * state.outside, state.outside), bounded)
            low, high = where(holds, t, state.low), where(holds, state.high, t)
            there = ((jnp.abs(number) <= 0.5) & (self.inset > 0)) | (high - low <= 1e-15 * high)
            side = where(holds, 1.0, -1.0)
            return _Ray(low, high, inside, outside, side, there, state.steps + 1)

        last, first = self._number(self.anchor + end * ray), jnp.maximum(self._number(self.anchor) - self.inset, 0.0)
        big = jnp.asarray(1e300 if first.dtype == jnp.float64 else 1e30, first.dtype)
        start = _Ray(
            jnp.zeros(()), end, jnp.minimum(first, big), jnp.clip(last, -big, -0.5), jnp.zeros(()), last >= -0.5,
            jnp.zeros((), jnp.int32),
        )  # fmt: skip
        found = loops.until(lambda s: s.there | (s.steps >= _ALONG), step, start)
        return where(last >= -0.5, end, found.low)


class _Ray(NamedTuple):
    low: Array
    high: Array
    inside: Array
    outside: Array
    last: Array
    there: Array
    steps: Array


def room(objective: Objective, point: Point, combination: Combination) -> Room:
    """The room of one combination of discrete actions at a state."""
    margins = margins_of(objective, point, combination)
    u = anchor(margins, len(objective.plan.coordinates))
    numbers, normals = slopes_of(margins, u)
    level = (jnp.abs(numbers) <= 0.5 * margins(u)[1]) & jnp.all(normals == 0, axis=1)
    return Room(margins, u, where(jnp.any(level), 0.0, jnp.ones((), u.dtype)))
