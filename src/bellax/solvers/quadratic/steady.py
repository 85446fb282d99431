"""The steady state of a model without end, where everything random has its mean, and V to second order around it.

With level c = r / (1 - beta), the state x, the action u and the slope p of V solve

    f(x, u) = x,    Q_u = 0,    p = Q_x    for Q = r + beta (c + p'(f - x))

by Newton steps from several starts. There the curvature of V is the fixed point of the discounted Riccati equation

    P = S + K'M + M'K + K'U K,    K = -U^-1 M,    (S M'; M U) = Q_zz + beta f_z'P f_z

that follows from P = 0, as a horizon grows: by some of its steps, and then by Howard's, each a Lyapunov equation that
is solved by doubling. It is the value where sqrt(beta) (f_x + f_u K) has no eigenvalue of size one or more.

Source: Deuflhard (2004), "Newton methods for nonlinear problems", section 3.3, for the test of a step; Kleinman (1968),
IEEE Transactions on Automatic Control 13, 114-115.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.numerics import loops
from bellax.numerics.scalar import as_small, rounding
from bellax.solvers.quadratic.box import factored
from bellax.solvers.quadratic.expansion import Expansion, Quadratic, expand
from bellax.solvers.quadratic.stage import Stage, units
from bellax.solvers.quadratic.starts import limits, middle

_NEWTON, _HOWARD, _DOUBLINGS, _PLAIN = 100, 40, 45, (50, 500, 5000)
_STAYING, _MARGIN = 10, 0.01
_BARELY = 1e-8  # of the largest curvature: what keeps the first steps, where P is nearly zero, from dividing by zero


class Point(NamedTuple):
    """A state at which the model stays, what is done there, and the slope of V."""

    x: Float[Array, "n"]
    u: Float[Array, "m"]
    p: Float[Array, "n"]


def level(stage: Stage, x: Float[Array, "n"], u: Float[Array, "m"]) -> Float[Array, ""]:
    """What it is worth to stay."""
    found = stage.certain(x, u)
    return found.rewards[0] / (1 - found.discounts[0])


def equations(stage: Stage, point: Point) -> Point:
    """What is zero at a steady state."""
    c = level(stage, point.x, point.u)

    def worth(x: Array, u: Array) -> Array:
        found = stage.certain(x, u)
        return found.rewards[0] + found.discounts[0] * (c + point.p @ (found.following[0] - point.x))

    by_state, by_action = jax.grad(worth, (0, 1))(point.x, point.u)
    return Point(stage.certain(point.x, point.u).following[0] - point.x, by_action, by_state - point.p)


class Newton(NamedTuple):
    """How a search for a steady state ended.

    Attributes:
        found: whether the equations hold at the point.
    """

    point: Point
    found: Bool[Array, ""]
    steps: Int[Array, ""]


def room(stage: Stage, point: Point) -> Point:
    """What sizes are compared with, beside those of the numbers themselves: one, or less where there is less room
    between bounds; of slopes less where less is paid."""
    plan, layout = stage.layout.plan, stage.layout
    lows, highs = layout.by_state(jnp.full_like(point.x, -jnp.inf)), layout.by_state(jnp.full_like(point.x, jnp.inf))
    for name in plan.continuous:
        lows[name], highs[name] = limits(layout, stage.bounds.period, name)
    _, low, high = stage.bounds.box(point.x, point.u)
    x = units(jnp.zeros_like(point.x), layout.in_a_row(lows), layout.in_a_row(highs))
    paid = jnp.abs(stage.certain(point.x, point.u).rewards[0]) / x
    p = jnp.where(jnp.isfinite(paid) & (paid > 0), jnp.minimum(1.0, paid), 1.0)
    return Point(x, units(jnp.zeros_like(point.u), low, high), p)


def newton(stage: Stage, start: Point, tolerance: float) -> Newton:
    """Newton steps from a start, shortened until what is left, in the units of a step, shrinks."""
    flat, back = _flattener(start)
    least = _flattener(room(stage, start))[0]

    def residual(y: Array) -> Array:
        return _flattener(equations(stage, back(y)))[0]

    def allowed(y: Array) -> Array:
        point = back(y)
        _, low, high = stage.bounds.box(point.x, point.u)
        return jnp.all((point.u >= low) & (point.u <= high))

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        y, _, steps, _ = state
        scale = least + jnp.abs(y)
        inverse = _inverse(jax.jacfwd(residual)(y) * scale[None])
        ahead = lambda at: -(inverse @ residual(at))  # noqa: E731
        move = ahead(y)
        size = jnp.linalg.norm(move)

        def tried(share: Array) -> Array:
            left = jnp.linalg.norm(ahead(y + share * scale * move))
            fair = left <= (1 - share / 4) * size + rounding()
            return fair & jnp.isfinite(left) & allowed(y + share * scale * move)

        shares = 2.0 ** -jnp.arange(0.0, 16.0)
        fair = jax.vmap(tried)(shares)
        share = shares[jnp.argmax(fair)]
        stuck = ~jnp.any(fair) | ~jnp.isfinite(size)
        new = jnp.where(stuck, y, y + share * scale * move)
        return new, jnp.where(stuck | (share < 1), jnp.inf, size), steps + 1, stuck

    done = lambda state: state[3] | (state[1] <= tolerance) | (state[2] >= _NEWTON)  # noqa: E731
    state = (flat, jnp.full((), jnp.inf), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    y, size, steps, _ = loops.until(done, step, state)
    return Newton(back(y), (size <= tolerance) & _hold(residual, y, least, back(y)), steps)


def _hold(residual: Callable[[Array], Array], y: Array, least: Array, point: Point) -> Bool[Array, ""]:
    """Whether equations hold, in units of their terms: where no step changes one of them, it may still be wrong."""
    terms = jnp.max(jnp.abs(jax.jacfwd(residual)(y)) * (least + jnp.abs(y))[None], axis=1)
    own, count = least + jnp.abs(y), point.x.shape[0]
    # the equations of states and of slopes have units of their own
    units = jnp.concatenate([own[:count], jnp.zeros_like(point.u), own[-count:]])
    return jnp.all(jnp.abs(residual(y)) <= as_small(1e-8) * (terms + units))


def moved(stage: Stage, point: Point) -> Point:
    """A steady state with the derivative that the implicit function theorem gives it: one Newton step from itself."""
    still = lax.stop_gradient(point)
    flat, back = _flattener(still)
    residual = lambda y: _flattener(equations(stage, back(y)))[0]  # noqa: E731
    scale = lax.stop_gradient(_flattener(room(stage, still))[0]) + jnp.abs(flat)
    inverse = _inverse(lax.stop_gradient(jax.jacfwd(residual)(flat)) * scale[None])
    return back(flat - scale * (inverse @ residual(flat)))


def staying(stage: Stage, x: Float[Array, "n"], u: Float[Array, "m"]) -> Float[Array, "m"]:
    """A start: actions between their bounds with which the model stays at a state, as far as they can do that."""

    def step(u: Array) -> Array:
        of = lambda u: stage.certain(x, u).following[0]  # noqa: E731
        wanted = u + jnp.linalg.pinv(jax.jacfwd(of)(u)) @ (x - of(u))
        inner = lambda part, low, high: jnp.clip(  # noqa: E731
            wanted[part], middle(low, high, _MARGIN), middle(low, high, 1 - _MARGIN)
        )
        new = stage.bounds.within(x, inner).action
        return jnp.where(jnp.all(jnp.isfinite(new)), new, u)

    return loops.repeat(_STAYING, step, u)


def slopes(stage: Stage, x: Float[Array, "n"], u: Float[Array, "m"]) -> Point:
    """A start: the slope of V that leaves the least of the equations at a state and an action."""

    def of(p: Array) -> Array:
        left = equations(stage, Point(x, u, p))
        return jnp.concatenate([left.u, left.p])

    zero = jnp.zeros_like(x)
    return Point(x, u, -(jnp.linalg.pinv(jax.jacfwd(of)(zero)) @ of(zero)))


class Curved(NamedTuple):
    """V and the best action near a steady state.

    Attributes:
        value: V.
        gain: how the action moves with the state.
        sound: whether Q is strictly concave in the action.
        settled: whether the Riccati equation holds.
        radius: the largest eigenvalue of sqrt(beta) times the law under the policy, in size.
    """

    value: Quadratic
    gain: Float[Array, "m n"]
    sound: Bool[Array, ""]
    settled: Bool[Array, ""]
    radius: Float[Array, ""]


def curved(stage: Stage, point: Point) -> Curved:
    """The fixed point of the Riccati equation at a steady state."""
    x, u = point.x, point.u
    flat = Quadratic(x, level(stage, x, u), point.p, jnp.zeros((x.shape[0], x.shape[0])))
    base = expand(stage.certain, x, u, flat)
    law = jax.jacfwd(lambda z: stage.certain(z[: x.shape[0]], z[x.shape[0] :]).following[0])(jnp.concatenate([x, u]))
    riccati = _Riccati(base, law[:, : x.shape[0]], law[:, x.shape[0] :], stage.certain(x, u).discounts[0])
    plain, curvature = jnp.zeros_like(flat.curvature), jnp.zeros_like(flat.curvature)

    def attempt(state: tuple[Any, ...]) -> tuple[Any, ...]:
        plain, _, _, round = state
        most = jnp.asarray(_PLAIN, jnp.int32)[round]
        plain = _until_still(lambda P: riccati.step(P, as_small(_BARELY))[0], plain, most)
        found = _until_still(riccati.howard, plain, jnp.asarray(_HOWARD, jnp.int32))
        return plain, found, _near(riccati.step(found)[0], found, as_small(1e-9)), round + 1

    state = (plain, curvature, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    plain, found, settled, _ = loops.until(lambda s: s[2] | (s[3] >= len(_PLAIN)), attempt, state)
    found = jnp.where(jnp.all(jnp.isfinite(found)), found, plain)
    _, gain, sound = riccati.step(found)
    return Curved(flat._replace(curvature=found), gain, sound, settled, radius(riccati.closed(gain)))


class _Riccati(NamedTuple):
    """The Riccati equation: second derivatives of Q for P = 0, the law, and the discount."""

    base: Expansion
    by_state: Float[Array, "n n"]
    by_action: Float[Array, "n m"]
    discount: Float[Array, ""]

    def step(self, P: Float[Array, "n n"], barely: float = 0.0) -> tuple[Array, Array, Array]:
        """P of the period before, the gain, and whether Q is concave."""
        A, B, beta = self.by_state, self.by_action, self.discount
        U = self.base.actions + beta * B.T @ P @ B
        M = self.base.mixed + beta * B.T @ P @ A
        if barely:
            size = jnp.max(jnp.abs(self.base.states)) + jnp.max(jnp.abs(U))
            U = U - barely * size * jnp.eye(U.shape[0])
        factor = factored(U, jnp.ones(U.shape[0], bool))
        gain = factor.ascent(M)
        before = self.base.states + beta * A.T @ P @ A + M.T @ gain
        return 0.5 * (before + before.T), gain, factor.sound

    def closed(self, gain: Float[Array, "m n"]) -> Float[Array, "n n"]:
        """sqrt(beta) times the law under a policy."""
        return jnp.sqrt(self.discount) * (self.by_state + self.by_action @ gain)

    def howard(self, P: Float[Array, "n n"]) -> Float[Array, "n n"]:
        """What the best policy for P is worth for ever; no number where it is worth nothing finite."""
        _, gain, _ = self.step(P)
        both = self.base.mixed.T @ gain
        now = self.base.states + both + both.T + gain.T @ self.base.actions @ gain
        double = lambda state: (state[0] + state[1].T @ state[0] @ state[1], state[1] @ state[1])  # noqa: E731
        found, power = loops.repeat(_DOUBLINGS, double, (now, self.closed(gain)))
        return jnp.where(jnp.max(jnp.abs(power)) < 1, found, jnp.nan)


def radius(matrix: Float[Array, "n n"]) -> Float[Array, ""]:
    """The largest eigenvalue in size, from the size of a high power."""

    tiny = max(1e-300, float(jnp.finfo(matrix.dtype).tiny))

    def double(state: tuple[Array, Array]) -> tuple[Array, Array]:
        power, log = state
        size = jnp.maximum(jnp.linalg.norm(power), tiny)
        return (power / size) @ (power / size), 2 * (log + jnp.log(size))

    count = 40
    power, log = loops.repeat(count, double, (matrix, jnp.zeros(())))
    return jnp.exp((log + jnp.log(jnp.maximum(jnp.linalg.norm(power), tiny))) / 2.0**count)


def _until_still(step: Callable[[Array], Array], first: Array, most: Array) -> Array:
    """Steps until nothing changes, or no number is left."""

    def on(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        new = step(state[0])
        return new, _near(new, state[0], as_small(1e-15)) | ~jnp.all(jnp.isfinite(new)), state[2] + 1

    over = lambda state: state[1] | (state[2] >= most)  # noqa: E731
    return loops.until(over, on, (first, jnp.zeros((), bool), jnp.zeros((), jnp.int32)))[0]


def _near(a: Array, b: Array, share: float) -> Bool[Array, ""]:
    return jnp.max(jnp.abs(a - b)) <= share * jnp.max(jnp.abs(b))


def _inverse(matrix: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """The inverse, or where states that nothing moves make it singular the pseudoinverse."""
    tiny = max(1e-300, float(jnp.finfo(matrix.dtype).tiny))
    rows = 1 / jnp.maximum(jnp.max(jnp.abs(matrix), axis=1), tiny)
    return jnp.linalg.pinv(matrix * rows[:, None], rtol=as_small(1e-12)) * rows[None]


def _flattener(point: Point) -> tuple[Array, Callable[[Array], Point]]:
    n, m = point.x.shape[0], point.u.shape[0]
    return jnp.concatenate(point), lambda y: Point(y[:n], y[n : n + m], y[n + m :])
