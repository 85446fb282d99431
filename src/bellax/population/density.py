"""The density of a population, and the one that does not move: the Kolmogorov forward equation.

On nodes it is the exact adjoint of what values obey, the transpose of one matrix: mass is conserved to rounding, and
never negative. Mass that a constraint holds at an edge, where the state does not diffuse, is an atom, and reported as
one.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, SolveError
from bellax.model.quantity import Quantity, quantity
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result

APART = 1e-6  # how far apart masses may be that began elsewhere
_ATOM = 1e-12  # of all mass, what is not worth the name


class Density(eqx.Module):
    """Where a population is.

    Attributes:
        solution: whose policy the population follows.
        mass: at every node of it, an axis for each state in their order; sums to one.
        held: whether a node holds mass at an edge, as an atom.
        apart: how far apart densities are that began at different places; zero where there is one alone.
    """

    solution: FlowSolution
    mass: Array
    held: Array
    apart: Array

    def mean(self, what: Any) -> Array:
        """The mean of a quantity: a state, an action, a function of the model, or a function of any names of it."""
        return self.mean_of(quantity(what, "the mean of a quantity"))

    def mean_of(self, what: Quantity) -> Array:
        """As `mean`, of a quantity that was read."""
        return self.solution.setting.mean(self.solution, self.mass, what)

    def marginal(self, name: str) -> tuple[Array, Array]:
        """Nodes of a state, and the mass at each."""
        names = list(self.solution.setting.flow.spaces)
        if name not in names:
            raise ModelError(f"the density is over {names}, and {name!r} is none of them.")
        axes = tuple(place for place, other in enumerate(names) if other != name)
        return self.solution.nodes()[name], jnp.sum(self.mass, axis=axes)

    def pdf(self) -> Array:
        """The density at every node, atoms left out: mass by the size of the cell, in units of the states."""
        return jnp.where(self.held, 0.0, self.mass) / self._sizes()

    def atoms(self) -> list[tuple[dict[str, float], float]]:
        """States at which there is mass, and how much, the largest first."""
        mass, held = np.asarray(self.mass), np.asarray(self.held)
        nodes = {name: np.asarray(values) for name, values in self.solution.nodes().items()}
        places = np.argwhere(held & (mass > _ATOM))
        found = [
            ({n: float(v[i]) for (n, v), i in zip(nodes.items(), at, strict=True)}, float(mass[tuple(at)]))
            for at in places
        ]
        return sorted(found, key=lambda atom: -atom[1])

    def __str__(self) -> str:
        atoms = float(jnp.sum(jnp.where(self.held, self.mass, 0.0)))
        return (
            f"Density of mass {float(jnp.sum(self.mass)):.12g} on {self.mass.size} nodes, {atoms:.4g} of it in atoms."
        )

    def _sizes(self) -> Array:
        """The size of the cell around every node, along chains one."""
        flow, shape = self.solution.setting.flow, self.mass.shape
        sizes = jnp.ones(shape)
        for place, (name, nodes) in enumerate(self.solution.nodes().items()):
            if name in flow.continuous:
                step = jnp.diff(nodes)
                own = 0.5 * (jnp.concatenate([step, jnp.zeros(1)]) + jnp.concatenate([jnp.zeros(1), step]))
                sizes = sizes * own.reshape([-1 if axis == place else 1 for axis in range(len(shape))])
        return sizes


def stationary(solution: FlowSolution) -> Density:
    """The density that does not move under the policy of a solution.

    Args:
        solution: of a `DiffusionModel`.
    Raises:
        ModelError: for anything else.
        SolveError: where the solve failed, or where the population is depends on where it began.
    """
    if not isinstance(solution, FlowSolution):
        raise ModelError(f"stationary takes the solution of a bx.DiffusionModel, not {type(solution).__name__}.")
    if all_concrete(solution.code) and int(solution.code) != int(Result.successful):
        raise SolveError(
            f"the solution ended as {solution.result!s}; there is no policy that a population could follow."
        )
    setting: Any = solution.setting
    build: Callable[[], Any] = lambda: Shared(lambda given: density(setting, given))  # noqa: E731
    found = setting.program("stationary", build)(solution)
    apart = found.apart
    if all_concrete(apart) and not float(apart) < APART:
        raise SolveError(
            "where the population ends depends on where it begins: there are parts of the state space that nobody "
            "leaves, or mass moves too slowly to tell. Restrict the bounds of the states to one of these parts."
        )
    return found


def density(setting: Any, solution: FlowSolution) -> Density:
    """The stationary density, inside a compiled program."""
    return Density(solution, *setting.mass(solution))
