"""What the stationary density says of a solution: that it stays, where it is, how its means move on coarser grids."""

from typing import Any

import numpy as np
from jax import Array

from bellax.certify.flow_certificate import Crowd
from bellax.certify.refinement import number_error, steps_of
from bellax.errors import BellaxError
from bellax.numerics.programs import quickly
from bellax.population import Density, stationary
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSolution
from bellax.solution.table import Representation


def crowd(solutions: list[FlowSolution]) -> tuple[Crowd | None, str]:
    """What the density of the first solution says, or why there is none.

    Args:
        solutions: the others are on coarser grids.
    """
    try:
        density = stationary(solutions[0])
    except BellaxError as error:
        return None, str(error)
    mass, held = np.asarray(density.mass), np.asarray(density.held)
    names = list(solutions[0].setting.flow.spaces)
    spread, edges = np.where(held, 0.0, mass), {}
    for name in solutions[0].setting.flow.continuous:
        along = spread.sum(axis=tuple(axis for axis in range(mass.ndim) if axis != names.index(name)))
        edges[name] = {"lower": float(along[0] + 0.5 * along[1]), "upper": float(along[-1] + 0.5 * along[-2])}
    means = {name: _means(name, [density, *_others(solutions[1:])]) for name in edges}
    left = balance(density)
    return Crowd(float(mass.sum() - 1), float(mass.min()), left, float(mass[held].sum()), edges, means), ""


def balance(density: Density) -> float:
    """What the forward equation leaves of a density, as a share of the largest flow out of a node: see `Crowd`."""
    solution = density.solution
    setting: Any = solution.setting

    def run(arguments: Arguments, values: Representation, mass: Array) -> Array:
        return values.balance(setting, arguments, mass)

    program = setting.program("balance", lambda: quickly(run, True))
    return float(program(solution.arguments, solution.values, density.mass))


def _others(solutions: list[FlowSolution]) -> list[Density]:
    """The densities of coarser grids, up to the first that has none."""
    found = []
    for each in solutions:
        try:
            found.append(stationary(each))
        except BellaxError:
            break
    return found


def _means(name: str, densities: list[Density]) -> dict[str, float]:
    """The mean of a state, and the estimated error of that."""
    at = [density.marginal(name) for density in densities]
    means = [float(np.asarray(nodes) @ np.asarray(mass)) for nodes, mass in at]
    solutions = [density.solution for density in densities]
    return {"mean": means[0], "error": number_error(means, steps_of(solutions), solutions[0].setting.order)}
