"""Prices at which markets clear: numbers that make conditions on aggregates zero.

A condition sees parameters, unknowns and aggregates, the means of quantities over the stationary density. A method
(methods.py) says where to look next; every solve begins with the V of the last one. Derivatives are those of the
implicit function theorem, through the solve and the density.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.equilibrium.asked import read, split
from bellax.equilibrium.method import Method, Seen
from bellax.equilibrium.methods import Bracketing, Newton
from bellax.equilibrium.search import Course, Search, moving_root, only_if
from bellax.errors import ModelError, ParameterError, SolveError, check_mapping, check_positive, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.numerics.programs import all_concrete
from bellax.population.density import Density, stationary
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSolution
from bellax.solve import prepare

_BESIDE = 1e-3  # of the way to an end of the bracket: where it is looked whether a condition is zero beside its root


class Equilibrium(eqx.Module):
    """Prices, and what agents do at them.

    Attributes:
        unknowns: by name.
        residuals: of the conditions, by name.
        aggregates: by name.
        solution: at these prices.
        density: the stationary one.
        steps: solves of the search; another one is at what it found.
        path: where the unknowns were looked for, by name, shape (steps,); under a transformation as many as there may
            be, not numbers from `steps` on.
    """

    unknowns: dict[str, Array]
    residuals: dict[str, Array]
    aggregates: dict[str, Array]
    solution: FlowSolution
    density: Density
    steps: Array
    path: dict[str, Array]

    def __str__(self) -> str:
        prices = ", ".join(f"{name} = {float(value):.8g}" for name, value in self.unknowns.items())
        left = ", ".join(f"{name} {float(value):.2g}" for name, value in self.residuals.items())
        return f"Equilibrium at {prices}; what is left: {left}; {int(self.steps)} solves."


@named_arguments
def equilibrium(
    model: DiffusionModel,
    params: Mapping[str, Any],
    unknowns: Mapping[str, tuple[float, float]],
    aggregates: Mapping[str, Any],
    conditions: Mapping[str, Any],
    *,
    solver: Any = None,
    method: Method | None = None,
    tolerance: float = 1e-10,
) -> Equilibrium:
    """Finds prices at which conditions hold.

    Args:
        model: of the agents.
        params: parameters by name, of the model and of conditions, without the unknowns.
        unknowns: by name, each a bracket (lower, upper); a parameter of the model, or of conditions alone.
        aggregates: by name, quantities of the model that are averaged over the stationary density.
        conditions: by name, each a function of parameters, unknowns and aggregates that is zero in equilibrium.
        solver: as for `solve`.
        method: one of `bx.clearing`; by default `Bracketing` of one unknown, and `Newton` of several.
        tolerance: by how much unknowns may still move, relative to 1 + abs(unknown).
    Returns:
        An `Equilibrium`. Under a transformation a failure is NaN everywhere; that a condition is zero around its root,
        too, is seen by plain calls alone.
    Raises:
        ModelError: if there are not as many conditions as unknowns, or they name what there is not.
        SolveError: if the brackets hold no equilibrium, with the conditions at their ends, or none is where the sign of
            a condition changes; if the method does not find one; or a solve fails.
    """
    check_mapping(unknowns, "equilibrium: unknowns", "{'r': (-0.05, 0.04)}")
    if method is None:
        method = Newton() if len(unknowns) > 1 else Bracketing()
    if not isinstance(method, Method):
        raise ModelError(f"equilibrium: method is {method!r}; give one of bx.clearing, such as bx.clearing.Newton().")
    check_positive(tolerance, "equilibrium: tolerance", "1e-10")
    asked = read(model, params, unknowns, aggregates, conditions, method.updates)
    lower, upper = _brackets(unknowns)
    method.check(unknowns)
    prepared = prepare(model, solver)
    prepared.check_dense()
    own, others = split(asked, params)
    arguments = prepared.arguments({**own, **asked.given({}, 0.5 * (lower + upper))})
    _check_numbers(prepared, asked, arguments, lower, upper)
    name = ("equilibrium", method.name, asked.stated, tolerance)
    search = prepared.program(name, lambda: Search(prepared, asked, method, tolerance))
    known = all_concrete((arguments, others))
    still = lax.stop_gradient((arguments, others))
    course = search.run(*still, lower, upper, all_concrete(still))
    root, found = method.ended(course.state)
    if not known:
        residual = lambda given, x: search.reached(*given[:2], x, given[2]).residuals  # noqa: E731
        steep = lambda given, x: search.slopes(*given[:2], x, given[2])  # noqa: E731
        root = moving_root(residual, steep, (arguments, others, course.values), root)
        root = jnp.where(found, root, jnp.nan)
    # of what moves no second derivatives are asked for, which slopes in unknowns would have
    reached = (search.evaluate if known else search.reached)(arguments, others, root, course.values)
    if known:
        _check(search, course, arguments, reached)
        _check_isolated(search, arguments, others, root, (lower, upper), reached)
    where = stationary(reached.density.solution)
    if not known:
        found = found & jnp.all(jnp.isfinite(where.mass))
        root, reached = only_if(found, (root, reached))
        where = reached.density
    return Equilibrium(
        dict(zip(asked.unknowns, root, strict=True)),
        dict(zip(asked.conditions, reached.residuals, strict=True)),
        reached.aggregates,
        where.solution,
        where,
        course.state.steps,
        {n: x[: int(course.state.steps)] if known else x for n, x in zip(asked.unknowns, course.path.T, strict=True)},
    )


def _check_numbers(prepared: Any, asked: Any, arguments: Any, lower: Array, upper: Array) -> None:
    """Raises ParameterError for numbers that make no model, wherever in the brackets unknowns are."""
    wrong: list[ParameterError] = []
    for x in (0.5 * (lower + upper), lower, upper):
        given = asked.given(arguments, x)
        if not all_concrete(given):
            return
        try:
            return prepared.check(given)
        except ParameterError as error:
            wrong.append(error)
    raise wrong[0]


def _brackets(unknowns: Mapping[str, Any]) -> tuple[Array, Array]:
    for name, bracket in unknowns.items():
        if not isinstance(bracket, tuple) or len(bracket) != 2 or not bracket[0] < bracket[1]:
            raise ParameterError(f"unknowns[{name!r}] is {bracket!r}; give a bracket, (lower, upper).")
    return as_float([low for low, _ in unknowns.values()]), as_float([high for _, high in unknowns.values()])


def _check(search: Search, course: Course, arguments: Any, reached: Any) -> None:
    """Raises SolveError for what is no equilibrium."""
    asked, steps = search.asked, int(course.state.steps)
    path, residuals = np.asarray(course.path[:steps]), np.asarray(course.residuals[:steps])
    left = np.asarray(reached.residuals)
    seen = Seen(asked.unknowns, tuple(asked.conditions), path, residuals, left)
    wrong = search.method.explain(course.state, seen)
    bad = np.flatnonzero(~np.all(np.isfinite(residuals), axis=1))
    if wrong and bad.size:
        # what is no number was that of a solve that failed
        at = path[bad[0]]
        given = asked.given(arguments, as_float(at))
        try:
            search.prepared.check(given)
        except ParameterError as error:
            raise ParameterError(f"at {seen.at(at)}: {error}") from error
        failed = search.prepared.explain(search.prepared.solve(given))
        raise SolveError(f"at {seen.at(at)}: {failed or 'the conditions are no numbers.'}")
    failed = search.prepared.explain(reached.density.solution)
    if wrong or failed:
        raise SolveError(wrong or f"at {seen.at(np.asarray(search.method.ended(course.state)[0]))}: {failed}")


def _check_isolated(search: Search, arguments: Any, others: Any, root: Array, bracket: Any, reached: Any) -> None:
    """Raises SolveError where one condition is zero around a price, too: it does not tell which one is right."""
    asked, (lower, upper) = search.asked, bracket
    if len(asked.unknowns) != 1 or float(reached.residuals[0]) != 0:
        return
    for end in (lower, upper):
        beside = root + _BESIDE * (end - root)
        if float(end[0]) == float(root[0]):
            continue
        if float(search.evaluate(arguments, others, beside, reached.density.solution.values).residuals[0]) == 0:
            raise SolveError(
                f"the condition {next(iter(asked.conditions))!r} is zero at {asked.unknowns[0]} = {float(root[0]):.8g} "
                f"and at {float(beside[0]):.8g}: it does not tell the price. Likely causes: demand or supply that is "
                "cut off (a maximum with zero), a condition that does not depend on the unknown."
            )
