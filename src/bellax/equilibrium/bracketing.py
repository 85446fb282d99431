"""One price between two at which its condition has two signs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.equilibrium.method import LEFT, Method, Seen, Told
from bellax.errors import ModelError, check_count, listed, named_options

_SHORT, _TINY = 1e-3, 1e-5  # of the first bracket
_SHRINKS = 0.1  # by how much a condition without a jump is smaller in a tiny bracket than in a short one, at the least


class _Bracket(NamedTuple):
    """The last point, the other end, and the one before, with the condition there; it at both ends of the first
    bracket; what it was at both ends of the last bracket that was not short; and whether the bracket is as narrow as
    asked, or the condition zero."""

    steps: Array
    lower: Array
    upper: Array
    a: Array
    fa: Array
    b: Array
    fb: Array
    share: Array
    ends: Array
    before: Array
    narrow: Array


@named_options
@dataclass(frozen=True, kw_only=True)
class Bracketing(Method):
    """One unknown, kept between prices at which the condition has two signs: inverse quadratic interpolation that falls
    back to bisection.

    Source: Chandrupatla (1997), "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
    function without using derivatives".
    """

    def __post_init__(self) -> None:
        check_count(self.max_steps, "Bracketing: max_steps, of which the ends of the bracket take two,", 2)

    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        if len(unknowns) != 1:
            raise ModelError(
                f"Bracketing finds one unknown; here are {listed(unknowns)}. Leave method= out, or take "
                "bx.clearing.Newton()."
            )

    def init(self, lower: Array, upper: Array) -> _Bracket:
        none = jnp.ones(())
        a, b = lower[0], upper[0]
        return _Bracket(
            jnp.zeros((), jnp.int32), a, b, a, none, b, none, 0.5 * none, jnp.zeros(2), none, jnp.zeros((), bool)
        )

    def ask(self, state: _Bracket) -> Array:
        # the ends come first
        inside = state.a + state.share * (state.b - state.a)
        x = jnp.where(state.steps == 0, state.lower, jnp.where(state.steps == 1, state.upper, inside))
        return x[None]

    def tell(self, state: _Bracket, x: Array, told: Told, tolerance: Array) -> _Bracket:
        return _narrowed(state, x[0], told.residuals[0], tolerance)

    def done(self, state: _Bracket, tolerance: Array) -> Array:
        hopeless = ~(state.ends[0] * state.ends[1] <= 0) | jnp.isnan(state.fa)
        return (state.steps >= 2) & (state.narrow | hopeless | (state.steps >= self.max_steps))

    def ended(self, state: _Bracket) -> tuple[Array, Array]:
        root = jnp.where(jnp.abs(state.fa) < jnp.abs(state.fb), state.a, state.b)
        left, most = jnp.minimum(jnp.abs(state.fa), jnp.abs(state.fb)), jnp.max(jnp.abs(state.ends))
        # a condition that is zero at both ends tells no price
        changes = (state.ends[0] * state.ends[1] <= 0) & jnp.any(state.ends != 0) & jnp.isfinite(state.fa)
        return root[None], changes & state.narrow & (left <= _left(state) * most) & ~_jumps(state)

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
        if not bool(state.narrow):
            low, high = sorted((float(state.a), float(state.b)))
            return (
                f"no equilibrium is found after {int(state.steps)} solves (max_steps={self.max_steps}): the condition "
                f"{condition!r} changes its sign between {unknown} = {low:.8g} and {high:.8g}. Give more max_steps=, "
                "or a larger tolerance=."
            )
        if bool(_jumps(state)) or not abs(seen.left[0]) <= float(_left(state)) * np.max(np.abs(ends)):
            return (
                f"the condition {condition!r} jumps across zero at {unknown} = {root:.10g}, where it is "
                f"{seen.left[0]:.3g}: there is no equilibrium to be found. Likely causes: a condition with steps; a "
                "policy or a density that jumps with the unknown."
            )
        return ""


def _jumps(state: _Bracket) -> Array:
    """Whether the condition is as large at the ends of a tiny bracket as at those of a short one, whatever it is
    elsewhere."""
    tiny = jnp.abs(state.b - state.a) <= _TINY * (state.upper - state.lower)
    exact = (state.fa == 0) | (state.fb == 0)
    return tiny & ~exact & (jnp.abs(state.fa - state.fb) > _SHRINKS * state.before)


def _left(state: _Bracket) -> Array:
    """What may be left of a condition that does not jump: ten times what a line leaves in its last bracket."""
    return jnp.maximum(LEFT, 10 * jnp.abs(state.b - state.a) / (state.upper - state.lower))


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
    best = jnp.where(jnp.abs(fx) < jnp.abs(fb), x, b)
    narrow = (jnp.abs(b - x) <= 2 * tolerance * (1 + jnp.abs(best))) | (fx == 0) | (fb == 0)
    wide = (number < 2) | (jnp.abs(b - x) > _SHORT * (state.upper - state.lower))
    before = jnp.where(wide, jnp.abs(fx - fb), state.before)
    share, narrow = jnp.clip(share, width, 1 - width), (number > 0) & narrow
    return _Bracket(number + 1, state.lower, state.upper, x, fx, b, fb, share, ends, before, narrow)
