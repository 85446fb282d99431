"""How prices are looked for: where to look first, and where next, given what was found there.

Public as `bx.clearing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.equilibrium.bracketing import Bracketing
from bellax.equilibrium.method import LEFT, NEARLY, Method, Seen, Told
from bellax.errors import ModelError, ParameterError, check_mapping, check_names, listed, named_options

__all__ = ["Bracketing", "DampedLogs", "Method", "Newton"]


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
        near = jnp.abs(state.step) <= NEARLY * (1 + jnp.abs(state.best))
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


def _inside(state: _Iterate, share: Array) -> Array:
    return jnp.clip(state.best + share * state.step, state.lower, state.upper)


_NO_WAY = 1e-3  # in logs: a path so short began at its end


class _Damped(NamedTuple):
    """The prices to look at, those looked at last, and how far apart they are in logs; how far it went in all; the
    conditions at the last ones, and the largest that each of them was; and whether an end of a bracket stops the path.
    """

    steps: Array
    lower: Array
    upper: Array
    x: Array
    last: Array
    moved: Array
    way: Array
    left: Array
    most: Array
    stopped: Array

    @property
    def holds(self) -> Array:
        """Of each condition, whether next to nothing is left of it: of what it was, or, of a path that began where it
        ends, of one."""
        fine = jnp.where(self.way < _NO_WAY, jnp.maximum(LEFT * self.most, NEARLY), LEFT * self.most)
        return (jnp.abs(self.left) <= fine) & ~self.stopped


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
        zero = jnp.zeros_like(x)
        return _Damped(
            jnp.zeros((), jnp.int32), lower, upper, x, x, jnp.asarray(jnp.inf), 0 * zero[0], zero, zero, zero > 0
        )

    def ask(self, state: _Damped) -> Array:
        return state.x

    def tell(self, state: _Damped, x: Array, told: Told, tolerance: Array) -> _Damped:
        new = jnp.exp((1 - self.share) * jnp.log(x) + self.share * jnp.log(told.updates))
        kept = jnp.clip(new, state.lower, state.upper)
        stopped = jnp.abs(jnp.log(kept) - jnp.log(new)) > NEARLY
        new = jnp.where(jnp.isfinite(told.residuals), kept, jnp.nan)
        moved = jnp.max(jnp.abs(jnp.log(new) - jnp.log(x)))
        left, most = told.residuals, jnp.maximum(state.most, jnp.abs(told.residuals))
        return state._replace(
            steps=state.steps + 1,
            x=new,
            last=x,
            moved=moved,
            way=state.way + moved,
            left=left,
            most=most,
            stopped=stopped,
        )

    def done(self, state: _Damped, tolerance: Array) -> Array:
        return ~(state.moved > tolerance * self.share) | (state.steps >= self.max_steps)

    def ended(self, state: _Damped) -> tuple[Array, Array]:
        return state.last, (state.moved <= NEARLY) & jnp.all(state.holds)

    def explain(self, state: _Damped, seen: Seen) -> str:
        root, _ = self.ended(state)
        where = f"at {seen.at(np.asarray(root))} the conditions are {seen.are(seen.left)}"
        if not float(state.moved) <= NEARLY:
            return (
                f"the damped path of {listed(seen.unknowns)} has not come to rest after {int(state.steps)} solves "
                f"(max_steps={self.max_steps}): {where}, and logarithms still move by {float(state.moved):.3g}. Take a "
                f"smaller share than {self.share:g}, or bx.clearing.Newton()."
            )
        if not np.all(state.holds):
            return (
                f"the damped path of {listed(seen.unknowns)} rests where conditions do not hold: {where}. Likely "
                "causes: a bracket that ends there; an update that says something else than the conditions."
            )
        return ""
