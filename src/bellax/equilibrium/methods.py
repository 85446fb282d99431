"""How prices are looked for: where to look first, and where next, given what was found there.

A method owns no loop: it is asked for prices, and told what conditions are there. Public as `bx.clearing`.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, ParameterError, check_count, check_mapping, check_names, listed, named_options

__all__ = ["Bracketing", "DampedLogs", "Method", "Newton"]


class Told(NamedTuple):
    """What was found at some prices.

    Attributes:
        residuals: of the conditions, shape (n,); not a number where the solve failed.
        slopes: their derivatives in unknowns, shape (n, n), where the method asks for `slopes`.
        updates: what the method's `update` gives, shape (n,), where it has one.
    """

    residuals: Array
    slopes: Array
    updates: Array


class Seen(NamedTuple):
    """Where it was looked, as numbers: names of unknowns and conditions; the path of both, shape (steps, n); and the
    conditions at the end, shape (n,)."""

    unknowns: tuple[str, ...]
    conditions: tuple[str, ...]
    path: np.ndarray
    residuals: np.ndarray
    left: np.ndarray

    def at(self, x: np.ndarray) -> str:
        return ", ".join(f"{name} = {value:.8g}" for name, value in zip(self.unknowns, x, strict=True))

    def are(self, residuals: np.ndarray) -> str:
        return ", ".join(f"{name!r} {value:.4g}" for name, value in zip(self.conditions, residuals, strict=True))


@named_options
@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A way to look for prices.

    Args:
        max_steps: prices at which the model is solved, at most.
    """

    slopes: ClassVar[bool] = False
    max_steps: int = 60

    def __post_init__(self) -> None:
        check_count(self.max_steps, f"{type(self).__name__}: max_steps")

    @property
    def name(self) -> tuple:
        """Hashable, the same for methods that differ by their updates alone."""
        fields = {key: value for key, value in vars(self).items() if key != "update"}
        return type(self), *fields.items()

    @property
    def updates(self) -> Mapping[str, Any]:
        """By unknown, the quantity that it is moved towards, where the method has such quantities."""
        return {}

    @abc.abstractmethod
    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        """Raises where it does not find such unknowns."""

    @abc.abstractmethod
    def init(self, lower: Array, upper: Array) -> Any:
        """To begin with, given the ends of brackets, shape (n,). The state has `steps`."""

    @abc.abstractmethod
    def ask(self, state: Any) -> Array:
        """Where to look, shape (n,)."""

    @abc.abstractmethod
    def tell(self, state: Any, x: Array, told: Told, tolerance: Array) -> Any:
        """The state after what was found at x."""

    @abc.abstractmethod
    def done(self, state: Any, tolerance: Array) -> Array:
        """Whether there is nothing more to look for."""

    @abc.abstractmethod
    def ended(self, state: Any) -> tuple[Array, Array]:
        """The unknowns, and whether they were found."""

    @abc.abstractmethod
    def explain(self, state: Any, seen: Seen) -> str:
        """Why what it ended with is no equilibrium; empty where it is one."""


_LEFT = 1e-6  # of what a condition was elsewhere, how much of it may be left


class _Bracket(NamedTuple):
    """The last point, the other end, and the one before, with the condition there; and it at both ends of the first
    bracket."""

    steps: Array
    lower: Array
    upper: Array
    a: Array
    fa: Array
    b: Array
    fb: Array
    share: Array
    ends: Array


@named_options
@dataclass(frozen=True, kw_only=True)
class Bracketing(Method):
    """One unknown, kept between prices at which the condition has two signs: inverse quadratic interpolation that falls
    back to bisection.

    Source: Chandrupatla (1997), "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
    function without using derivatives".
    """

    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        if len(unknowns) != 1:
            raise ModelError(
                f"Bracketing finds one unknown; here are {listed(unknowns)}. Leave method= out, or take "
                "bx.clearing.Newton()."
            )

    def init(self, lower: Array, upper: Array) -> _Bracket:
        none = jnp.ones(())
        a, b = lower[0], upper[0]
        return _Bracket(jnp.zeros((), jnp.int32), a, b, a, none, b, none, 0.5 * none, jnp.zeros(2))

    def ask(self, state: _Bracket) -> Array:
        # the ends come first
        inside = state.a + state.share * (state.b - state.a)
        x = jnp.where(state.steps == 0, state.lower, jnp.where(state.steps == 1, state.upper, inside))
        return x[None]

    def tell(self, state: _Bracket, x: Array, told: Told, tolerance: Array) -> _Bracket:
        return _narrowed(state, x[0], told.residuals[0], tolerance)

    def done(self, state: _Bracket, tolerance: Array) -> Array:
        best = jnp.where(jnp.abs(state.fa) < jnp.abs(state.fb), state.a, state.b)
        narrow = jnp.abs(state.b - state.a) <= 2 * tolerance * (1 + jnp.abs(best))
        exact = (state.fa == 0) | (state.fb == 0)
        hopeless = ~(state.ends[0] * state.ends[1] <= 0) | jnp.isnan(state.fa)
        return (state.steps >= 2) & (narrow | exact | hopeless | (state.steps >= self.max_steps))

    def ended(self, state: _Bracket) -> tuple[Array, Array]:
        root = jnp.where(jnp.abs(state.fa) < jnp.abs(state.fb), state.a, state.b)
        left, most = jnp.minimum(jnp.abs(state.fa), jnp.abs(state.fb)), jnp.max(jnp.abs(state.ends))
        # a condition that is zero at both ends tells no price
        changes = (state.ends[0] * state.ends[1] <= 0) & jnp.any(state.ends != 0) & jnp.isfinite(state.fa)
        return root[None], changes & (left <= _left(state) * most)

    def explain(self, state: _Bracket, seen: Seen) -> str:
        (unknown,), (condition,) = seen.unknowns, seen.conditions
        ends = np.asarray(state.ends)
        if not ends[0] * ends[1] <= 0:
            return (
                f"the bracket of {unknown!r} holds no sign change of the condition {condition!r}: it is {ends[0]:.6g} "
                f"at {float(state.lower):g} and {ends[1]:.6g} at {float(state.upper):g}. Widen it, or look at the "
                "condition."
            )
        root = float(self.ended(state)[0][0])
        if not abs(seen.left[0]) <= float(_left(state)) * np.max(np.abs(ends)):
            return (
                f"the condition {condition!r} jumps across zero at {unknown} = {root:.10g}, where it is "
                f"{seen.left[0]:.3g}: there is no equilibrium to be found. Likely causes: a condition with steps; a "
                "policy or a density that jumps with the unknown."
            )
        return ""


def _left(state: _Bracket) -> Array:
    """What may be left of a condition that does not jump: ten times what a line leaves in its last bracket."""
    return jnp.maximum(_LEFT, 10 * jnp.abs(state.b - state.a) / (state.upper - state.lower))


def _narrowed(state: _Bracket, x: Array, fx: Array, tolerance: Array) -> _Bracket:
    """The bracket with one more point, and where to look next."""
    number = state.steps
    ends = jnp.where(jnp.arange(2, dtype=jnp.int32) == number, fx, state.ends)
    same = jnp.sign(fx) == jnp.sign(state.fa)
    c, fc = jnp.where(same, state.a, state.b), jnp.where(same, state.fa, state.fb)
    b, fb = jnp.where(same, state.b, state.a), jnp.where(same, state.fb, state.fa)
    # of the second end the other one is the first
    b, fb = jnp.where(number == 1, state.a, b), jnp.where(number == 1, state.fa, fb)
    xi, phi = (x - b) / (c - b), (fx - fb) / (fc - fb)
    quadratic = (number > 1) & (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
    share = fx / (fb - fx) * fc / (fb - fc) + (c - x) / (b - x) * fx / (fc - fx) * fb / (fc - fb)
    # of two points there is the secant
    share = jnp.where(number > 1, share, fx / (fx - fb))
    share = jnp.where((quadratic | (number == 1)) & jnp.isfinite(share), share, 0.5)
    width = jnp.minimum(tolerance * (1 + jnp.abs(x)) / jnp.abs(b - x), 0.5)
    return _Bracket(number + 1, state.lower, state.upper, x, fx, b, fb, jnp.clip(share, width, 1 - width), ends)


class _Iterate(NamedTuple):
    """The best prices so far, the conditions' derivatives there, the step from there, and the share of it that comes
    next."""

    steps: Array
    lower: Array
    upper: Array
    best: Array
    slopes: Array
    step: Array
    share: Array


_LEAST = 1e-4  # share of a step below which nothing better is to be found along it


@named_options
@dataclass(frozen=True, kw_only=True)
class Newton(Method):
    """Newton's method from the middle of the brackets, inside them, with derivatives by the implicit function theorem;
    a step that leads to nothing better is halved.

    What is better is measured in unknowns, by what the last derivatives make of conditions, so that units of conditions
    do not matter.

    Source: Deuflhard (2011), "Newton methods for nonlinear problems", ch. 3 (natural monotonicity).
    """

    slopes: ClassVar[bool] = True

    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        pass

    def init(self, lower: Array, upper: Array) -> _Iterate:
        count = lower.shape[0]
        none = jnp.full(count, jnp.inf)
        return _Iterate(
            jnp.zeros((), jnp.int32), lower, upper, 0.5 * (lower + upper), jnp.eye(count), none, jnp.ones(())
        )

    def ask(self, state: _Iterate) -> Array:
        first = state.steps == 0
        return jnp.where(first, state.best, _inside(state, state.share))

    def tell(self, state: _Iterate, x: Array, told: Told, tolerance: Array) -> _Iterate:
        width = state.upper - state.lower
        size = lambda step: jnp.linalg.norm(step / width)  # noqa: E731
        first = state.steps == 0
        closer = size(jnp.linalg.solve(state.slopes, told.residuals)) < size(state.step)
        better = first | (closer & jnp.all(jnp.isfinite(told.slopes)))
        step = -jnp.linalg.solve(told.slopes, told.residuals)
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        share = pick(jnp.where(first, 1.0, jnp.minimum(2 * state.share, 1.0)), 0.5 * state.share)
        return state._replace(
            steps=state.steps + 1,
            best=pick(x, state.best),
            slopes=pick(told.slopes, state.slopes),
            step=pick(step, state.step),
            share=share,
        )

    def done(self, state: _Iterate, tolerance: Array) -> Array:
        moves = jnp.abs(_inside(state, jnp.ones(())) - state.best) > tolerance * (1 + jnp.abs(state.best))
        hopeless = (state.share < _LEAST) | ~jnp.all(jnp.isfinite(state.step))
        return (state.steps > 0) & (~jnp.any(moves) | hopeless | (state.steps >= self.max_steps))

    def ended(self, state: _Iterate) -> tuple[Array, Array]:
        near = jnp.abs(state.step) <= _NEARLY * (1 + jnp.abs(state.best))
        return state.best, jnp.all(near)

    def explain(self, state: _Iterate, seen: Seen) -> str:
        best, found = self.ended(state)
        if bool(found):
            return ""
        lower, upper, step = np.asarray(state.lower), np.asarray(state.upper), np.asarray(state.step)
        where = f"{seen.at(np.asarray(best))}, where the conditions are {seen.are(seen.left)}"
        for place, name in enumerate(seen.unknowns):
            for end, side, outward in ((lower, "lower", step[place] < 0), (upper, "upper", step[place] > 0)):
                if outward and best[place] == end[place]:
                    return (
                        f"{name!r} stays at the {side} end of its bracket: at {where}. The bracket holds no "
                        "equilibrium that Newton's method finds from its middle. Widen it, or look at the conditions."
                    )
        if not np.all(np.isfinite(step)):
            still = [
                name for name, slope in zip(seen.unknowns, np.asarray(state.slopes).T, strict=True) if not slope.any()
            ]
            which = f": no condition moves with {listed(still)}" if still else ""
            return f"the conditions do not tell the unknowns {listed(seen.unknowns)} apart at {where}{which}."
        return (
            f"Newton's method has not found an equilibrium after {int(state.steps)} solves "
            f"(max_steps={self.max_steps}): at {where}, the next step would be {seen.at(step)}. Likely causes: "
            "brackets far from an equilibrium; conditions that jump."
        )


_NEARLY = 1e-8  # of what a last step would still move, what is no failure


def _inside(state: _Iterate, share: Array) -> Array:
    return jnp.clip(state.best + share * state.step, state.lower, state.upper)


class _Damped(NamedTuple):
    """The prices to look at, those looked at last, and how far apart they are in logs."""

    steps: Array
    lower: Array
    upper: Array
    x: Array
    last: Array
    moved: Array


@named_options
@dataclass(frozen=True, kw_only=True)
class DampedLogs(Method):
    """A damped fixed point in logs, for unknowns above zero: log x becomes (1 - share) log x + share log update.

    Args:
        update: by unknown, a function of parameters, unknowns and aggregates; at equilibrium it is the unknown itself.
        share: of the way to go, in (0, 1].
    """

    update: Mapping[str, Any]
    share: float = 0.5
    max_steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mapping(self.update, "DampedLogs: update", "{'price': lambda output, eta: output**-eta}")
        if not 0 < self.share <= 1:
            raise ParameterError(f"DampedLogs: share is {self.share!r}; it is above 0, and at most 1.")

    @property
    def updates(self) -> Mapping[str, Any]:
        return self.update

    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        check_names(self.update, unknowns, "DampedLogs: update of the unknown")
        for name, (lower, _) in unknowns.items():
            if name not in self.update:
                raise ModelError(f"DampedLogs has no update of the unknown {name!r}; give update={{{name!r}: ...}}.")
            if not lower > 0:
                raise ParameterError(
                    f"the bracket of {name!r} begins at {lower:g}, and DampedLogs takes logarithms: it must be above "
                    "zero. bx.clearing.Newton() takes any sign."
                )

    def init(self, lower: Array, upper: Array) -> _Damped:
        x = jnp.sqrt(lower * upper)
        return _Damped(jnp.zeros((), jnp.int32), lower, upper, x, x, jnp.asarray(jnp.inf))

    def ask(self, state: _Damped) -> Array:
        return state.x

    def tell(self, state: _Damped, x: Array, told: Told, tolerance: Array) -> _Damped:
        new = jnp.exp((1 - self.share) * jnp.log(x) + self.share * jnp.log(told.updates))
        new = jnp.where(jnp.isfinite(told.residuals), jnp.clip(new, state.lower, state.upper), jnp.nan)
        moved = jnp.max(jnp.abs(jnp.log(new) - jnp.log(x)))
        return state._replace(steps=state.steps + 1, x=new, last=x, moved=moved)

    def done(self, state: _Damped, tolerance: Array) -> Array:
        return ~(state.moved > tolerance * self.share) | (state.steps >= self.max_steps)

    def ended(self, state: _Damped) -> tuple[Array, Array]:
        return state.last, state.moved <= _NEARLY

    def explain(self, state: _Damped, seen: Seen) -> str:
        root, found = self.ended(state)
        where = f"at {seen.at(np.asarray(root))} the conditions are {seen.are(seen.left)}"
        if not bool(found):
            return (
                f"the damped path of {listed(seen.unknowns)} has not come to rest after {int(state.steps)} solves "
                f"(max_steps={self.max_steps}): {where}, and logarithms still move by {float(state.moved):.3g}. Take a "
                f"smaller share than {self.share:g}, or bx.clearing.Newton()."
            )
        if np.any(np.abs(seen.left) > np.maximum(_LEFT * np.max(np.abs(seen.residuals), axis=0), _NEARLY)):
            return (
                f"the damped path of {listed(seen.unknowns)} rests where conditions do not hold: {where}. Likely "
                "causes: a bracket that ends there; an update that says something else than the conditions."
            )
        return ""
