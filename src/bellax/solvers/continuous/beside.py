"""A trained solution beside finite differences, wherever these run.

Finite differences have errors of their own, which their change from a coarser grid tells: what is further from them
than that, and by more than a net's own errors, is another solution.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import ModelError
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solvers.continuous.core import Core
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.continuous.pointwise import Pointwise

_GRIDS = {1: (200, 400), 2: (60, 120), 3: (16, 24)}
_NEAR = 1e-3  # of V relative, of means in standard deviations ten times it: a net's own errors
_STEPS = 3.0  # changes from the coarser grid to the finer one


class Beside(NamedTuple):
    """How far a solution is from finite differences on the core.

    Attributes:
        value, value_step: the largest relative difference of V where the population is, and what it changes from the
            coarser to the finer grid of finite differences.
        means, means_step: by continuous state, the same of the mean, in standard deviations; none without a density.
        agrees: whether differences are no more than both errors together.
        why: what does not agree; empty where all does, or why finite differences do not run.
        runs: whether finite differences do.
    """

    value: float
    value_step: float
    means: dict[str, float]
    means_step: dict[str, float]
    agrees: bool
    why: str
    runs: bool = True


def beside(solution: FlowSolution) -> Beside:
    """Compares a solution on the nodes of its core; with numbers only.

    Args:
        solution: by `PINN`.
    """
    none: dict[str, float] = {}
    try:
        coarse, fine = (_solved(solution, count) for count in _GRIDS[len(solution.setting.flow.continuous)])
    except ModelError as error:
        return Beside(np.nan, np.nan, none, none, False, str(error), False)
    for other in (coarse, fine):
        if int(other.code) != int(Result.successful):
            setting: Any = other.setting
            return Beside(np.nan, np.nan, none, none, False, setting.explain(other), False)
    mass, points = _population(solution)
    values = [np.asarray(each.value(**points)) for each in (solution, coarse, fine)]
    used = mass > 1e-4 * np.max(mass)
    apart = lambda a, b: float(np.max(np.abs(a - b)[used]) / np.max(np.abs(b)[used]))  # noqa: E731
    value, step = apart(values[0], values[2]), apart(values[1], values[2])
    means, steps = _means(solution, coarse, fine)
    wrong = [f"V is {value:.3g} away, relative"] if not value <= _NEAR + _STEPS * step else []
    wrong += [
        f"the mean of {name!r} is {gap:.3g} standard deviations away"
        for name, gap in means.items()
        if not gap <= 10 * _NEAR + _STEPS * steps[name]
    ]
    why = f"beside finite differences {' and '.join(wrong)}: another branch of the equation." if wrong else ""
    return Beside(value, step, means, steps, not wrong, why)


def _solved(solution: FlowSolution, count: int) -> FlowSolution:
    names = solution.setting.flow.continuous
    prepared = FiniteDifference(grid=dict.fromkeys(names, count)).prepare(solution.model)
    prepared.check(solution.arguments)
    return prepared.solve(solution.arguments)


def _population(solution: FlowSolution) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What points of the core count for, the normal density of the linear approximation, and the points."""
    nodes = {name: np.asarray(values) for name, values in solution.nodes().items()}
    thin = {name: values[:: max(len(values) // 24, 1)] for name, values in nodes.items()}
    laid = np.meshgrid(*thin.values(), indexing="ij")
    points = dict(zip(thin, laid, strict=True))
    flat = {name: jnp.asarray(values.reshape(-1)) for name, values in points.items()}
    core: Core = solution.values.core  # type: ignore[attr-defined]
    point = Pointwise(solution.setting.flow, solution.arguments)
    log = jax.jit(jax.vmap(lambda states: core.normal(point.coordinates(states))))(flat)
    return np.exp(np.asarray(log)).reshape(laid[0].shape), points


def _means(*solutions: FlowSolution) -> tuple[dict[str, float], dict[str, float]]:
    """Differences of means from the finest solution, in its standard deviations: of the first, and of the second."""
    if not solutions[0].setting.options.density:
        return {}, {}
    found: list[dict[str, float]] = []
    moments = [_moments(each) for each in solutions]
    for other in moments[:2]:
        found.append({n: abs(other[n][0] - mean) / sd for n, (mean, sd) in moments[2].items() if sd > 0})
    return found[0], found[1]


def _moments(solution: FlowSolution) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of every continuous state."""
    mass, found = np.asarray(solution.setting.mass(solution).mass), {}
    names = list(solution.setting.flow.spaces)
    for place, (name, nodes) in enumerate(solution.nodes().items()):
        own, x = mass.sum(axis=tuple(axis for axis in range(len(names)) if axis != place)), np.asarray(nodes)
        mean = float(own @ x)
        found[name] = (mean, float(np.sqrt(max(own @ (x - mean) ** 2, 0.0))))
    return found
