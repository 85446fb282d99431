"""Prices at which markets clear: a number that makes a condition on aggregates zero.

A condition sees parameters, unknowns and aggregates, the means of quantities over the stationary density. One unknown
is found inside its bracket by inverse quadratic interpolation that falls back to bisection; its derivatives are those
of the implicit function theorem.

Source: Chandrupatla (1997), "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function
without using derivatives".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import ModelError, ParameterError, SolveError, check_mapping, listed, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.model.quantity import Quantity, quantity
from bellax.numerics import loops
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.population.density import APART, Density, density, stationary
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solve import prepare

_STEPS = 60
_LEFT = 1e-6  # of what a condition is at the ends of the bracket, how much of it may be left


class Equilibrium(eqx.Module):
    """Prices, and what agents do at them.

    Attributes:
        unknowns: by name.
        residuals: of the conditions, by name.
        aggregates: by name.
        solution: at these prices.
        density: the stationary one.
        steps: solves that it took.
    """

    unknowns: dict[str, Array]
    residuals: dict[str, Array]
    aggregates: dict[str, Array]
    solution: FlowSolution
    density: Density
    steps: Array

    def __str__(self) -> str:
        prices = ", ".join(f"{name} = {float(value):.8g}" for name, value in self.unknowns.items())
        left = ", ".join(f"{name} {float(value):.2g}" for name, value in self.residuals.items())
        return f"Equilibrium at {prices}; what is left: {left}; {int(self.steps)} solves."


class _Asked(NamedTuple):
    """What was asked, read."""

    unknown: str
    aggregates: dict[str, Quantity]
    conditions: dict[str, Quantity]
    others: set[str]


@named_arguments
def equilibrium(
    model: DiffusionModel,
    params: Mapping[str, Any],
    unknowns: Mapping[str, tuple[float, float]],
    aggregates: Mapping[str, Any],
    conditions: Mapping[str, Any],
    *,
    solver: Any = None,
    tolerance: float = 1e-10,
) -> Equilibrium:
    """Finds prices at which conditions hold.

    Args:
        model: of the agents.
        params: parameters by name, of the model and of conditions, without the unknowns.
        unknowns: by name, each a bracket (lower, upper).
        aggregates: by name, quantities of the model that are averaged over the stationary density.
        conditions: by name, each a function of parameters, unknowns and aggregates that is zero in equilibrium.
        solver: as for `solve`.
        tolerance: width of the bracket at which it is done, relative to 1 + abs(unknown).
    Raises:
        ModelError: if there are not as many conditions as unknowns, or they name what there is not.
        SolveError: if the bracket holds no equilibrium, with the conditions at its ends, or none is where the sign of
            the condition changes; or a solve fails.
    """
    asked = _read(model, params, unknowns, aggregates, conditions)
    (lower, upper), prepared = unknowns[asked.unknown], prepare(model, solver)
    # what conditions alone name is no parameter of the agents
    others = {name: as_float(value) for name, value in params.items() if name in asked.others}
    own = {name: value for name, value in params.items() if name not in others}
    arguments = prepared.arguments({**own, asked.unknown: 0.5 * (lower + upper)})
    build = lambda: Shared(lambda *given: _found(prepared, asked, tolerance, *given))  # noqa: E731
    stated = [
        tuple((name, q.function, q.names, str(q.literal)) for name, q in quantities.items())
        for quantities in (asked.conditions, asked.aggregates)
    ]
    program = prepared.program(("equilibrium", asked.unknown, *stated, tolerance), build)
    root, ends, steps = program(arguments, others, as_float(lower), as_float(upper))
    if all_concrete(ends) and not float(ends[0]) * float(ends[1]) <= 0:
        name = next(iter(conditions))
        raise SolveError(
            f"the bracket of {asked.unknown!r} holds no sign change of the condition {name!r}: it is "
            f"{float(ends[0]):.6g} at {float(lower):g} and {float(ends[1]):.6g} at {float(upper):g}. Widen it, or look "
            "at the condition; a number that is none is that of a solve that failed there."
        )
    settled = {**arguments, asked.unknown: root}
    solution = prepared.solve(settled)
    if all_concrete(solution.code) and int(solution.code) != int(Result.successful):
        raise SolveError(f"at {asked.unknown} = {float(root):.8g}: {prepared.explain(solution)}")
    where = stationary(solution)
    found = {name: where.mean_of(q) for name, q in asked.aggregates.items()}
    left = {name: _value(q, {**settled, **others}, found) for name, q in asked.conditions.items()}
    if all_concrete((left, ends)):
        _check_continuous(asked.unknown, root, left, ends)
    return Equilibrium({asked.unknown: root}, left, found, solution, where, steps)


def _check_continuous(unknown: str, root: Array, left: Mapping[str, Array], ends: Array) -> None:
    """Raises SolveError where a condition is not zero at the place at which its sign changes."""
    for name, value in left.items():
        if not abs(float(value)) <= _LEFT * float(jnp.max(jnp.abs(ends))):
            raise SolveError(
                f"the condition {name!r} jumps across zero at {unknown} = {float(root):.10g}, where it is "
                f"{float(value):.3g}: there is no equilibrium to be found. Likely causes: a condition with steps; a "
                "policy or a density that jumps with the unknown."
            )


def _read(model: Any, params: Any, unknowns: Any, aggregates: Any, conditions: Any) -> _Asked:
    if not isinstance(model, DiffusionModel):
        raise ModelError(f"equilibrium takes a bx.DiffusionModel in this version, not a {type(model).__name__}.")
    for given, what, example in (
        (unknowns, "unknowns", "{'r': (-0.05, 0.04)}"),
        (aggregates, "aggregates", "{'K': 'assets'}"),
        (conditions, "conditions", "{'capital': lambda K: K}"),
    ):
        check_mapping(given, f"equilibrium: {what}", example)
    if len(unknowns) != len(conditions):
        raise ModelError(
            f"there are {len(unknowns)} unknowns, {listed(unknowns)}, and {len(conditions)} conditions, "
            f"{listed(conditions)}; give one condition for each unknown."
        )
    if len(unknowns) != 1:
        raise ModelError(f"this version finds one unknown; here are {listed(unknowns)}.")
    unknown, bracket = next(iter(unknowns.items()))
    if not isinstance(bracket, tuple) or len(bracket) != 2 or not bracket[0] < bracket[1]:
        raise ParameterError(f"unknowns[{unknown!r}] is {bracket!r}; give a bracket, (lower, upper).")
    if unknown in params:
        raise ParameterError(f"{unknown!r} is unknown, and a parameter, too; remove it from one of them.")
    if unknown not in set(model.template()["name"]):
        known = listed(model.template()["name"])
        raise ModelError(f"the unknown {unknown!r} is no parameter of the model, which has {known}.")
    found = {name: quantity(given, f"aggregates[{name!r}]") for name, given in aggregates.items()}
    zeros = {name: quantity(given, f"conditions[{name!r}]") for name, given in conditions.items()}
    for name, zero in zeros.items():
        for needed in zero.names:
            if needed not in {*params, *unknowns, *aggregates, *zero.defaults}:
                raise ModelError(
                    f"the condition {name!r} names {needed!r}, which is no parameter, unknown or aggregate. It may "
                    f"name {listed([*params, *unknowns, *aggregates])}."
                )
    others = {name for zero in zeros.values() for name in zero.names if name in params}
    return _Asked(unknown, found, zeros, others - set(model.template()["name"]))


def _value(zero: Quantity, arguments: Mapping[str, Any], aggregates: Mapping[str, Array]) -> Array:
    known = {**zero.defaults, **arguments, **aggregates}
    return as_float(zero.node()(**{name: known[name] for name in zero.names}))


class _Bracket(NamedTuple):
    """Chandrupatla's: the last point, the other end, and the one before; and the condition at both ends of the first
    bracket."""

    steps: Array
    a: Array
    fa: Array
    b: Array
    fb: Array
    share: Array
    ends: Array


def _found(
    prepared: Any,
    asked: _Asked,
    tolerance: float,
    arguments: Any,
    others: Mapping[str, Array],
    lower: Array,
    upper: Array,
) -> tuple:
    """The unknown, the condition at the ends of its bracket, and how many solves that took."""
    zero = next(iter(asked.conditions.values()))

    def residual(arguments: Any, others: Mapping[str, Array], price: Array) -> Array:
        given = {**arguments, asked.unknown: price}
        found = prepared.found(prepared.scheme(given))
        where = density(prepared, prepared.solution(given, found))
        means = {name: where.mean_of(q) for name, q in asked.aggregates.items()}
        value = _value(zero, {**given, **others}, means)
        return jnp.where((found.code == int(Result.successful)) & (where.apart < APART), value, jnp.nan)

    still = lax.stop_gradient((arguments, dict(others)))

    def step(state: _Bracket) -> _Bracket:
        # the ends come first
        inside = state.a + state.share * (state.b - state.a)
        x = jnp.where(state.steps == 0, lower, jnp.where(state.steps == 1, upper, inside))
        return _narrowed(state, x, residual(*still, x), tolerance)

    def done(state: _Bracket) -> Array:
        best = jnp.where(jnp.abs(state.fa) < jnp.abs(state.fb), state.a, state.b)
        narrow = jnp.abs(state.b - state.a) <= 2 * tolerance * (1 + jnp.abs(best))
        exact = (state.fa == 0) | (state.fb == 0)
        hopeless = ~(state.ends[0] * state.ends[1] <= 0) | jnp.isnan(state.fa)
        return (state.steps >= 2) & (narrow | exact | hopeless | (state.steps >= _STEPS))

    none = jnp.ones(())
    start = _Bracket(jnp.zeros((), jnp.int32), lower, none, upper, none, 0.5 * none, jnp.zeros(2))
    last = loops.until(done, step, start)
    root = lax.stop_gradient(jnp.where(jnp.abs(last.fa) < jnp.abs(last.fb), last.a, last.b))
    moved = lax.custom_root(
        lambda price: residual(arguments, others, price),
        root,
        lambda _, x: x,
        lambda slope, y: y / slope(jnp.ones_like(y)),
    )
    return moved, last.ends, last.steps


def _narrowed(state: _Bracket, x: Array, fx: Array, tolerance: float) -> _Bracket:
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
    share = jnp.where(quadratic & jnp.isfinite(share), share, 0.5)
    width = jnp.minimum(tolerance * (1 + jnp.abs(x)) / jnp.abs(b - x), 0.5)
    return _Bracket(number + 1, x, fx, b, fb, jnp.clip(share, width, 1 - width), ends)
