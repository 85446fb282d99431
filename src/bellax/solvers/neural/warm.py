"""What a training begins with: a policy and a value that are known before, put into nets by least squares.

A prior is a dict of functions of names, as `bx.evaluate` takes a rule, with V under `value`; or the solution of another
solver, on a grid or without one. It is asked at points of the box, outside of compiled programs, and what it says there
is all that a training sees of it.
"""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, ParameterError
from bellax.learning import nets, training
from bellax.learning.levenberg import LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.model.model import Model
from bellax.model.parameters import entries
from bellax.model.rule import Rule
from bellax.numerics.scalar import put
from bellax.problem.period import as_float
from bellax.problem.problem import Arguments, Problem
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result, Solution

VALUE = "value"
_STEPS = 60


class Prior(NamedTuple):
    """What is known at some points.

    Attributes:
        states, periods: the points, one row each.
        actions: the continuous actions there, by name; none where only V is known.
        values: V there; None where it is not known.
    """

    states: dict[str, Array]
    periods: Array
    actions: dict[str, Array]
    values: Array | None


def prior(model: Model, problem: Problem, arguments: Arguments, given: Any, points: Any, what: str) -> Prior:
    """What a `warm_start=` says at points.

    Args:
        points: states, and the period, one row each.
        what: the name of the solver.
    Raises:
        ModelError: for what is neither functions of the model's actions nor a solution of such a model.
        ParameterError: where it says what is no number.
    """
    states, periods = points
    if isinstance(given, Mapping):
        actions, values = _of_functions(model, problem, arguments, given, points, what)
    elif isinstance(given, Solution | GridlessSolution):
        actions, values = _of_solution(problem, given, points, what)
    else:
        raise ModelError(
            f"{what}: warm_start is {given!r}; give a dict of functions, one for each action and V under 'value', or "
            "the solution of another solver."
        )
    said = {**actions, **({} if values is None else {VALUE: values})}
    _check_shapes(problem, said, periods.shape[0], what)
    for name, array in said.items():
        if not np.all(np.isfinite(np.asarray(array))):
            raise ParameterError(
                f"{what}: warm_start gives no number for {name!r} at some states of the box. Give a function that "
                "does, or a box= where it does."
            )
    return Prior(states, periods, {name: jnp.asarray(array) for name, array in actions.items()}, values)


def _check_shapes(problem: Problem, said: Mapping[str, Any], count: int, what: str) -> None:
    """Raises ModelError where a prior says something of another shape than what it is asked for."""
    for name, array in said.items():
        wanted = problem.plan.controls[name].shape if name in problem.plan.controls else ()
        own = tuple(np.shape(array)[1:])
        if np.shape(array)[:1] != (count,) or own not in (wanted, ()):  # one number is the same for all
            raise ModelError(
                f"{what}: warm_start gives for {name!r} an array of shape {own} in a state, and it is of shape "
                f"{tuple(wanted)}. Likely cause: a vector of states or parameters that was neither summed up nor "
                "indexed."
            )


def _of_functions(
    model: Model, problem: Problem, arguments: Arguments, given: Mapping[str, Any], points: Any, what: str
) -> tuple[dict[str, Array], Array | None]:
    own = dict(given)
    value = None if VALUE in problem.plan.actions else own.pop(VALUE, None)
    rule = Rule(model, own) if own else None
    asked = {} if rule is None else {name: put(value) for name, value in rule.graph.literals().items()}
    own_entries = [] if rule is None else entries(rule)
    asked |= {entry.name: put(entry.default) for entry in own_entries if entry.has_default}
    unknown = [entry.name for entry in own_entries if entry.name not in arguments and entry.name not in asked]
    if unknown:
        raise ModelError(
            f"{what}: warm_start names {unknown[0]!r}, which is neither a state nor a parameter of the model."
        )

    def at(states: dict[str, Array], number: Array) -> dict[str, Any]:
        environment = {**asked, **problem.environment(arguments, number)}
        found: dict[str, Any] = {}
        if rule is not None:
            found = {n: as_float(x) for n, x in rule.graph.compose(rule.nodes())(**environment, **states).items()}
        if value is not None:
            found[VALUE] = as_float(value(**_named(value, {**environment, **states}, what)))
        return found

    found = jax.vmap(at)(*points)
    values = found.pop(VALUE, None) if value is not None else None
    return {name: array for name, array in found.items() if name in problem.plan.controls}, values


def _named(function: Any, known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The arguments of a function, by name."""
    if not callable(function):
        raise ModelError(f"{what}: warm_start: 'value' is {function!r}; give a function of states and parameters.")
    wanted = list(inspect.signature(function).parameters)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ModelError(f"{what}: warm_start: 'value' names {unknown[0]!r}, which is neither a state nor a parameter.")
    return {name: known[name] for name in wanted}


def _of_solution(problem: Problem, given: Any, points: Any, what: str) -> tuple[dict[str, Array], Array | None]:
    states, periods = points
    given.check_one()
    if int(given.code) != int(Result.successful):
        raise ModelError(f"{what}: the solution to begin with ended as {Result(int(given.code)).name!r}.")
    theirs = given.setting.plan
    if set(theirs.states) != set(problem.plan.states) or set(theirs.controls) != set(problem.plan.controls):
        raise ModelError(
            f"{what}: warm_start is the solution of another model: its states are {', '.join(theirs.states)}, and its "
            f"continuous actions {', '.join(theirs.controls)}."
        )
    if not problem.finite:
        return {n: x for n, x in given.policy(**states).items() if n in theirs.controls}, given.value(**states)
    number, rows = np.asarray(periods), []
    for period in np.unique(number):
        here = {name: np.asarray(array)[number == period] for name, array in states.items()}
        rows.append(
            (
                np.flatnonzero(number == period),
                given.policy(period=int(period), **here),
                given.value(period=int(period), **here),
            )
        )
    order = np.argsort(np.concatenate([row for row, _, _ in rows]))
    joined = lambda parts: np.concatenate([np.asarray(part) for part in parts])[order]  # noqa: E731
    actions = {name: jnp.asarray(joined([policy[name] for _, policy, _ in rows])) for name in theirs.controls}
    return actions, jnp.asarray(joined([value for _, _, value in rows]))


def distilled(shape: Shape, weights: Array, seen: Array, targets: Array) -> Array:
    """Weights of a net that is as near as may be to targets at points, by least squares; inside a compiled program.

    Args:
        weights: to begin with.
        seen: inputs of the net, shape (n, i).
        targets: what it should say there, shape (n, o).
    """

    def one(weights: Array, row: Any) -> Array:
        u, target = row
        return nets.forward(nets.layers(shape, weights), u) - target

    method = LevenbergMarquardt(
        lambda frozen, number: [(one, (seen, targets))], lambda weights, frozen: frozen, (_STEPS,)
    )
    return training.run(method, method.init(weights, None)).weights
