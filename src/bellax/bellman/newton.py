"""Newton's method on the unit box, with derivatives by autodiff, safeguarded where the objective is not concave.

One action: Newton on Q_u = 0 inside a bracket around the best of a few candidates, halved where a step leaves it.
Several: steps (D - H) p = g on the coordinates that are not held at a bound, D a damping that falls with success and
rises with failure (Levenberg 1944), projected on the box. A maximum located by values alone is good to the square root
of rounding; one located by derivatives is good to rounding.

Derivatives of the optimum itself follow from the implicit function theorem: Q_uu du = -Q_up dp on the free coordinates.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.candidates import candidates, peaks, scan
from bellax.bellman.maximum import Best, Maximiser, check_bounded, check_constraints, first_maximum
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.plan import Plan
from bellax.errors import ModelError, check_count, check_mapping, check_positive, named_options
from bellax.numerics import grids, loops
from bellax.numerics.interpolate import barrier
from bellax.numerics.scalar import take, where

_CANDIDATES = {0: 2, 1: 15, 2: 7, 3: 5}
_PEAKS = 3  # local maxima that are followed where there may be several
_RUGGED = {0: 2, 1: 60, 2: 15, 3: 7}


@named_options
@dataclass(frozen=True)
class Newton(Maximiser):
    """Newton's method from the best of a few candidates; several continuous actions at once.

    Args:
        grid: by action, the number of candidates to start from, at least 2; few suffice where Q is concave. By default
            15 for one action, 7 each for two and 5 for three; 60, 15 and 7 where discrete choices, `stop` or kinks may
            make several local maxima.
        steps: Newton steps at most; then the last iterate is taken, if it beats the candidate that it started from.
        tolerance: stops when u moves by less than this, relative to itself.
    Raises:
        ModelError: for a constraint on a continuous action, or an action without bounds.
    Assumes: Q twice differentiable almost everywhere; the best candidate lies in the basin of the maximum.
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 60
    tolerance: float = 1e-11

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Newton: grid", "{'consumption': 15}")
        check_count(self.steps, "Newton: steps")
        check_positive(self.tolerance, "Newton: tolerance")

    @property
    def smooth(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        check_bounded(plan, "Newton")
        check_constraints(plan, "Newton")
        if any(isinstance(spec, grids.Given) for spec in self.grid.values()):
            raise ModelError(
                "Newton starts from a number of candidates between the bounds; grids.Given is for Enumerate."
            )
        candidates(plan, self.grid, 2, "Newton")

    def cells(self, plan: Plan) -> int:
        nodes = self.candidates(plan)
        return math.prod(node.shape[0] for node in nodes)

    def best(self, objective: Objective, point: Point, combination: Int[Array, ""]) -> Best:
        nodes = self.candidates(objective.plan)
        widths = [1.0 / (node.shape[0] - 1) for node in nodes]
        if len(nodes) != 1 or not objective.plan.rugged:
            return self._improve(objective, point, combination, scan(objective, point, combination, nodes), widths)
        starts = peaks(objective, point, combination, nodes[0], _PEAKS)
        found = jax.vmap(lambda start: self._improve(objective, point, combination, start, widths))(starts)
        best = first_maximum(found.value)
        return Best(jnp.max(found.value), take(found.u, best), jnp.sum(found.evaluations))

    def improve(
        self, objective: Objective, point: Point, combination: Int[Array, ""], start: Best, width: float
    ) -> Best:
        """Polishes what another maximiser found to within `width` in u."""
        return self._improve(objective, point, combination, start, [width] * len(objective.plan.coordinates))

    def candidates(self, plan: Plan) -> list[Array]:
        counts = _RUGGED if plan.rugged else _CANDIDATES
        return candidates(plan, self.grid, counts.get(len(plan.coordinates), 3), "Newton")

    def _improve(
        self, objective: Objective, point: Point, combination: Int[Array, ""], start: Best, widths: list[float]
    ) -> Best:
        if not widths:
            return start
        objective, point, start = jax.tree.map(lax.stop_gradient, (objective, point, start))

        def value(u: Float[Array, "m"]) -> Float[Array, ""]:
            return objective(point, Decision(combination, u))

        if len(widths) == 1:
            found = on_line(value, start, widths[0], self.steps, self.tolerance)
        else:
            found = in_box(value, start, self.steps, self.tolerance)
        # A start that nothing beats is kept: the safeguard where derivatives mislead.
        slack = 1e-12 * jnp.maximum(1e-3, jnp.abs(start.value))
        better = (found.value >= start.value - slack) & (start.value > 0.5 * barrier(start.value.dtype))
        return Best(
            jnp.where(better, found.value, start.value),
            jnp.where(better, found.u, start.u),
            start.evaluations + found.evaluations,
        )


def check_polish(polish: Any, what: str) -> None:
    """Raises ModelError for a `polish=` that is none."""
    if polish is not None and not isinstance(polish, Newton):
        raise ModelError(f"{what}: polish is {polish!r}; give bx.maximise.Newton(), or leave it out.")


class _LineState(NamedTuple):
    low: Array
    high: Array
    u: Array
    seen: Array
    value: Array
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def on_line(value: Callable[[Array], Array], start: Best, width: float, most: int, tolerance: float) -> Best:
    """The maximum near `start.u`, by Newton on the derivative inside a bracket that halves where a step leaves it."""

    def derivatives(u: Array) -> tuple[Array, Array, Array]:
        def first(u: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda x: value(x[None]), (u,), (jnp.ones_like(u),))

        (q, g), (_, h) = jax.jvp(first, (u,), (jnp.ones_like(u),))
        return q, g, h

    def step(state: _LineState) -> _LineState:
        q, g, h = derivatives(state.u)
        # At an edge where the objective is infinite the way is inwards.
        usable = jnp.isfinite(g) & jnp.isfinite(h)
        g = where(usable, g, where(state.u - state.low <= state.high - state.u, 1.0, -1.0))
        low, high = where(g > 0, state.u, state.low), where(g > 0, state.high, state.u)
        held = ((state.u <= 0) & (g <= 0)) | ((state.u >= 1) & (g >= 0))
        concave = usable & (h < 0)
        proposal = state.u - g / where(concave, h, -1.0)
        middle = 0.5 * (low + high)
        # At the maximum the step rounds to nothing, and u is an end of its own bracket.
        within = ((proposal > low) & (proposal < high)) | (proposal == state.u)
        inside = where(within, proposal, middle)
        # A step across a bound of the action tries the bound itself: a bounded optimum is hit exactly.
        edge = where((proposal <= 0) & (low <= 0), 0.0, where((proposal >= 1) & (high >= 1), 1.0, inside))
        edge = where(edge == state.u, inside, edge)
        new = where(held, state.u, where(concave, edge, middle))
        small = jnp.abs(new - state.u) <= tolerance * jnp.abs(state.u)
        return _LineState(low, high, new, state.u, q, held | small, state.steps + 1)

    u = start.u[0]
    low, high = jnp.maximum(u - width, 0.0), jnp.minimum(u + width, 1.0)
    first = _LineState(low, high, u, u, start.value, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    last = loops.until(lambda s: s.done | (s.steps >= most), step, first)
    # the last move was too small to change Q, or else was never looked at
    return Best(last.value, where(last.done, last.u, last.seen)[None], 3.0 * last.steps.astype(last.value.dtype))


class _BoxState(NamedTuple):
    u: Array
    value: Array
    gradient: Array
    hessian: Array
    trial: Array
    usable: Bool[Array, ""]
    damping: Array
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def in_box(value: Callable[[Array], Array], start: Best, most: int, tolerance: float) -> Best:
    """A local maximum on the unit box, by damped projected Newton steps from `start.u`."""
    size = start.u.shape[0]
    # Off the bounds a little: there a derivative may be infinite. An optimum at a bound is found again by projection.
    u = jnp.clip(start.u, 1e-6, 1 - 1e-6)
    # The start is the first trial, against a value that everything beats: Q stands in the program once.
    lowest, flat = jnp.full((), jnp.finfo(u.dtype).min), jnp.zeros_like(u)
    yes, no = jnp.ones((), bool), jnp.zeros((), bool)
    damping, none = jnp.asarray(1e-3), jnp.zeros((), jnp.int32)
    first = _BoxState(u, lowest, flat, jnp.zeros((size, size), u.dtype), u, yes, damping, no, none)

    def step(state: _BoxState) -> _BoxState:
        tried = (state.trial, *derivatives(value, state.trial))
        accept = _accepted(state, tried)
        moved = jnp.max(jnp.abs(state.trial - state.u) / (jnp.abs(state.u) + 1e-8))
        small = (moved <= tolerance) & (state.steps > 0)
        # A step that neither raises Q nor flattens it by more than rounding ends the search, too.
        stuck = ~accept & (small | (state.damping > 1e12))
        lowered = jnp.where(state.damping < 1e-8, 0.0, state.damping * 0.1)
        damping = jnp.where(accept, jnp.where(state.steps > 0, lowered, state.damping), _raised(state.damping))
        kept = (state.u, state.value, state.gradient, state.hessian)
        u, q, g, h = jax.tree.map(lambda new, old: jnp.where(accept, new, old), tried, kept)
        free = _free(g, u)
        move = _damped_step(g, h, damping, free)
        done = (accept & small) | stuck | ~jnp.any(free)
        trial = jnp.clip(u + move, 0.0, 1.0)
        return _BoxState(u, q, g, h, trial, jnp.all(jnp.isfinite(move)), damping, done, state.steps + 1)

    last = loops.until(lambda s: s.done | (s.steps > most), step, first)
    return Best(last.value, last.u, (1.0 + size) ** 2 * last.steps.astype(last.value.dtype))


def _accepted(state: _BoxState, tried: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
    """Whether a trial raises Q, or flattens it where it is as high to rounding."""
    u, q, g, h = tried
    noise = 1e-13 * jnp.maximum(1e-3, jnp.abs(state.value))
    flatter = _norm(g, u) < _norm(state.gradient, state.u)
    sound = jnp.isfinite(q) & jnp.all(jnp.isfinite(g)) & jnp.all(jnp.isfinite(h)) & state.usable
    return sound & ((q > state.value + noise) | ((q >= state.value - noise) & flatter))


def _raised(damping: Array) -> Array:
    return jnp.maximum(damping * 8, 1e-6)


def _free(gradient: Array, u: Array) -> Bool[Array, "m"]:
    """The coordinates that no bound holds."""
    return ~((u <= 0) & (gradient <= 0)) & ~((u >= 1) & (gradient >= 0))


def _norm(gradient: Array, u: Array) -> Array:
    return jnp.max(jnp.where(_free(gradient, u), jnp.abs(gradient), 0.0))


def _damped_step(gradient: Array, hessian: Array, damping: Array, free: Array) -> Float[Array, "m"]:
    """(D - H) p = g on the free coordinates; infinite where the matrix is not positive definite."""
    scale = jnp.maximum(jnp.abs(jnp.diagonal(hessian)), 1e-12)
    matrix = -hessian + damping * jnp.diag(scale)
    both = free[:, None] & free[None, :]
    matrix = jnp.where(both, matrix, jnp.eye(free.shape[0]))
    factor = jnp.linalg.cholesky(matrix)
    move = jax.scipy.linalg.cho_solve((factor, True), jnp.where(free, gradient, 0.0))
    return jnp.where(jnp.all(jnp.isfinite(factor)), move, jnp.inf)


def derivatives(value: Callable[[Array], Array], u: Float[Array, "m"]) -> tuple[Array, Array, Array]:
    """Q, its gradient and its Hessian, forward over forward: the fastest to compile for a few actions."""
    basis = jnp.eye(u.shape[0])

    def gradient(u: Array) -> tuple[Array, Array]:
        q, g = jax.vmap(lambda d: jax.jvp(value, (u,), (d,)))(basis)
        return q[0], g

    (q, g), (_, h) = jax.vmap(lambda d: jax.jvp(gradient, (u,), (d,)), out_axes=0)(basis)
    return q[0], g[0], h


@eqx.filter_custom_jvp
def implicit(
    u: Float[Array, "m"], objective: Objective, point: Point, combination: Int[Array, ""]
) -> Float[Array, "m"]:
    """u itself, with the derivative that the implicit function theorem gives an interior maximum, and 0 at a bound."""
    return u


@implicit.def_jvp
def _implicit_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, objective, point, combination = primals
    _, t_objective, t_point, _ = tangents
    if u.shape[0] == 0:
        return u, jnp.zeros_like(u)
    _, _, curved = derivatives(lambda x: objective(point, Decision(combination, x)), u)
    sound = jnp.all(jnp.isfinite(curved))

    def gradient(u: Array, objective: Objective, point: Point) -> Array:
        def value(u: Array) -> Array:
            return objective(point, Decision(combination, u))

        return jax.vmap(lambda d: jax.jvp(value, (u,), (d,))[1])(jnp.eye(u.shape[0]))

    def along(at: Array, *inputs: Any) -> Array:
        return gradient(at, *guard_inputs(sound, inputs))

    # The primal through `implicit` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, a step of Newton's method.
    here = along(lax.stop_gradient(u), objective, point)
    step = _interior(lax.stop_gradient((u, curved)), jnp.where(sound, here - lax.stop_gradient(here), 0.0))
    u = implicit(lax.stop_gradient(u) + step, objective, point, combination)
    _, moved = eqx.filter_jvp(lambda *inputs: along(u, *inputs), (objective, point), (t_objective, t_point))
    if moved is None:  # nothing that the gradient sees moves
        return u, jnp.zeros_like(u)
    _, _, hessian = derivatives(lambda x: objective(point, Decision(combination, x)), u)
    found = _interior((u, hessian), jnp.where(sound, moved, 0.0))
    if objective.plan.kinked:

        def beside(at: Array) -> Array:
            q = lambda *inputs: _value(at, inputs, combination)  # noqa: E731
            return eqx.filter_jvp(q, (objective, point), (t_objective, t_point))[1]

        found = _at_kinks(found, lambda x: objective(point, Decision(combination, x)), u, hessian, beside)
    return u, jnp.where(sound, found, 0.0)


def _value(u: Array, inputs: tuple, combination: Array) -> Array:
    objective, point = inputs
    return objective(point, Decision(combination, u))


_ASIDE = 1e-7
"""In u: one-sided derivatives are taken this far off an optimum that may be a kink."""


def _at_kinks(
    move: Float[Array, "m"],
    value: Callable[[Array], Array],
    u: Float[Array, "m"],
    hessian: Float[Array, "m m"],
    moved: Callable[[Array], Array],
) -> Float[Array, "m"]:
    """The move of an optimum, which at a kink of Q follows the kink: (f1 - f2)_u du = -(f1 - f2)_p dp.

    f1 is Q on the left of the kink and f2 on the right. The Hessian of a side says nothing of the kink, and where Q is
    piecewise linear it is rounding. With several actions, of which some are at a kink, the move is NaN.

    Args:
        move: where there is no kink.
        value: Q as a function of u.
        moved: the derivative of Q, of u held fixed, along dp.
    """
    aside = _ASIDE if u.dtype == jnp.float64 else 1e-3
    steps = aside * jnp.eye(u.shape[0])
    slope = lambda at, d: jax.jvp(value, (at,), (d,))[1]  # noqa: E731
    left, right = (jax.vmap(slope)(u[None] + side * steps, jnp.eye(u.shape[0])) for side in (-1.0, 1.0))
    drop = left - right
    smooth = 2 * aside * jnp.abs(jnp.diagonal(hessian))
    rounding = 1e-9 if u.dtype == jnp.float64 else 1e-4
    kink = (u > aside) & (u < 1 - aside) & (left > 0) & (right < 0)
    kink = kink & (drop > 3 * smooth + rounding * jnp.maximum(jnp.abs(value(u)), 1e-3))
    if u.shape[0] > 1:
        # between kinks of several actions a search may end before the optimum: no derivative is known there
        flat = 1e-5 * jnp.abs(jnp.diagonal(hessian)) + 1e-6 * jnp.maximum(jnp.abs(value(u)), 1e-3)
        off = (u > aside) & (u < 1 - aside) & (jnp.abs(0.5 * (left + right)) > flat)
        return move * jnp.where(jnp.any(kink | off), jnp.nan, 1.0)  # a factor is NaN in reverse mode, too
    apart = jax.vmap(lambda step: moved(u - step) - moved(u + step))(steps)
    return jnp.where(kink, -apart / jnp.where(kink, drop, 1.0), move)


def drift(
    u: Float[Array, "m"],
    objective: Objective,
    point: Callable[[Array], Point],
    combination: Int[Array, ""],
    coordinates: Float[Array, "d"],
) -> Float[Array, "m d"]:
    """du/dy: how an optimum moves with the coordinates of its state; 0 where the theorem says nothing.

    The values of `jax.jacfwd` of `implicit`, without what a second derivative would need.

    Args:
        point: the state at coordinates y, shape (d,).
    """

    actions, lines = u.shape[0], coordinates.shape[0]

    def value(u: Array, coordinates: Array) -> Array:
        return objective(point(coordinates), Decision(combination, u))

    def gradient(u: Array, coordinates: Array) -> Array:
        return jax.vmap(lambda d: jax.jvp(lambda x: value(x, coordinates), (u,), (d,))[1])(jnp.eye(actions))

    # the Hessian and the derivatives along the lines in one pass: the objective is written into the program once
    basis = jnp.eye(actions + lines)
    along = jax.vmap(lambda d: jax.jvp(gradient, (u, coordinates), (d[:actions], d[actions:]))[1])(basis)
    hessian, moved = along[:actions], along[actions:].T
    found = jax.vmap(lambda column: _interior((u, hessian), column), in_axes=1, out_axes=1)(moved)
    if objective.plan.kinked:

        def followed(column: Array, direction: Array) -> Array:
            beside = lambda at: jax.jvp(lambda y: value(at, y), (coordinates,), (direction,))[1]  # noqa: E731
            return _at_kinks(column, lambda x: value(x, coordinates), u, hessian, beside)

        found = jax.vmap(followed, in_axes=(1, 0), out_axes=1)(found, jnp.eye(coordinates.shape[0]))
    return jnp.where(jnp.isfinite(found), found, 0.0)


def _interior(at: tuple[Array, Array], gradient: Float[Array, "m"]) -> Float[Array, "m"]:
    """The move -H^-1 g on the coordinates that are not at a bound; `at` is u and the Hessian H there."""
    u, hessian = at
    # where Q is flat along a coordinate, as between equal bounds, any u is optimal and stays
    free = (u > 0) & (u < 1) & (jnp.diagonal(hessian) != 0)
    both = free[:, None] & free[None, :]
    matrix = jnp.where(both, hessian, -jnp.eye(u.shape[0]))
    return jnp.linalg.solve(matrix, jnp.where(free, -gradient, 0.0))


_SMALL = 256


def guard_inputs(moves: Bool[Array, ""], inputs: Any) -> Any:
    """Inputs of a function, held fixed where they must not move.

    An infinite derivative times zero is NaN, in reverse mode before anything can mask it. A select on the way in can.
    Arrays of more than 256 numbers, such as V itself, are left alone: each point would hold a copy.
    """

    def hold(leaf: Any) -> Any:
        if not eqx.is_inexact_array(leaf) or leaf.size > _SMALL:
            return leaf
        return jnp.where(moves, leaf, lax.stop_gradient(leaf))

    return jax.tree.map(hold, inputs)
