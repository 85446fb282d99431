"""The density of a population, and the one that does not move: the Kolmogorov forward equation.

On nodes it is the exact adjoint of what values obey, the transpose of one matrix: mass is conserved to rounding, which
a certificate shows (`balance`), and what rounding makes negative is cut off. Mass that a constraint holds at an edge,
where the state does not diffuse, is an atom, and reported as one.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, SolveError
from bellax.model.diffusion import Natural
from bellax.model.quantity import Quantity, quantity
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Representation

APART = 1e-6  # how far apart masses may be that began elsewhere
ATOM = 1e-12  # of all mass, what is not worth the name
_LEAVES = 1e-6  # of all mass, what may gather at an edge that is never reached
_CROWDED = 1e-3  # of all mass, what may be at the node of such an edge where the state diffuses


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

    def pdf(self, **states: Any) -> Array:
        """The density, atoms left out, in units of the states: mass by the size of the cell of a node, between nodes
        as V is: straight in the coordinates of the scales, or the polynomial, which may be negative.

        Args:
            **states: every state by name, arrays that broadcast; without them at every node.
        Returns:
            The broadcast shape; zero outside the domain, where nobody is. Along a chain it is a share, no density.
        """
        at_nodes = jnp.where(self.held, 0.0, self.mass) / self._sizes()
        if not states:
            return at_nodes
        solution, setting = self.solution, self.solution.setting
        points, shape = setting.read(states)
        return setting.program("pdf", lambda: _along(setting))(
            solution.arguments, solution.values.laid(at_nodes), points
        ).reshape(shape)

    def atoms(self) -> list[tuple[dict[str, float], float]]:
        """States at which there is mass, and how much, the largest first."""
        mass, held = np.asarray(self.mass), np.asarray(self.held)
        nodes = {name: np.asarray(values) for name, values in self.solution.nodes().items()}
        places = np.argwhere(held & (mass > ATOM))
        found = [
            ({n: float(v[i]) for (n, v), i in zip(nodes.items(), at, strict=True)}, float(mass[tuple(at)]))
            for at in places
        ]
        return sorted(found, key=lambda atom: -atom[1])

    @property
    def negative(self) -> Array:
        """The sum of what is negative at nodes: none of finite differences; of polynomials the less the better the
        density is resolved, while means of smooth functions are right before it is."""
        return jnp.sum(jnp.minimum(self.mass, 0.0))

    def __str__(self) -> str:
        atoms, negative = float(jnp.sum(jnp.where(self.held, self.mass, 0.0))), float(self.negative)
        words = f"; {negative:.2g} is negative, so that means are to be trusted, and not shares" if negative < 0 else ""
        return (
            f"Density of mass {float(jnp.sum(self.mass)):.12g} on {self.mass.size} nodes, {atoms:.4g} of it in atoms"
            f"{words}."
        )

    def _sizes(self) -> Array:
        """The size of the cell around every node, along chains one."""
        setting, shape = self.solution.setting, self.mass.shape
        own, sizes = setting.sizes(self.solution), jnp.ones(shape)
        for place, name in enumerate(setting.flow.spaces):
            if name in own:
                sizes = sizes * own[name].reshape([-1 if axis == place else 1 for axis in range(len(shape))])
        return sizes


def _along(setting: Any) -> Callable[..., Array]:
    """The program of a density between nodes."""

    def run(arguments: Any, table: Representation, points: Any) -> Array:
        found = jax.vmap(lambda point: table.at(setting, arguments, point).value)(points)
        return jnp.where(jnp.isnan(found), 0.0, found)

    return jax.jit(run)


def stationary(solution: FlowSolution) -> Density:
    """The density that does not move under the policy of a solution.

    Args:
        solution: of a `DiffusionModel`.
    Returns:
        The density. Under a transformation it is NaN where this raises a SolveError.
    Raises:
        ModelError: for anything else, and for a model that has none: the horizon is finite, agents stop, or are
            absorbed at an edge.
        SolveError: where the solve failed, where the population is depends on where it began, or where it leaves
            through an edge that is said to be never reached.
    """
    if not isinstance(solution, FlowSolution):
        raise ModelError(f"stationary takes the solution of a bx.DiffusionModel, not {type(solution).__name__}.")
    solution.setting.check_dense()
    if all_concrete(solution.code) and int(solution.code) != int(Result.successful):
        raise SolveError(
            f"the solution ended as {solution.result!s}; there is no policy that a population could follow."
        )
    setting: Any = solution.setting
    wrong = setting.unsettled(solution) if all_concrete(solution.stats) else ""
    if wrong:
        raise SolveError(f"there is no density: {wrong}")
    found = unchecked(solution)
    if not all_concrete(found.mass):
        return _told(found)
    _check_inside(found)
    if not float(found.apart) < APART:
        raise SolveError(
            "where the population ends depends on where it begins: there are parts of the state space that nobody "
            "leaves, or mass moves too slowly to tell. Restrict the bounds of the states to one of these parts."
        )
    return found


def _told(density: Density) -> Density:
    """Under a transformation: not a number where `stationary` would raise."""
    fine = (density.solution.code == int(Result.successful)) & (density.apart < APART)
    for edge in _edges(density):
        fine = fine & (edge.gathered <= _LEAVES) & ((edge.mass <= _CROWDED) | ~edge.diffuses)
    return eqx.tree_at(lambda own: own.mass, density, jnp.where(fine, density.mass, jnp.nan))


def _check_inside(density: Density) -> None:
    """Raises SolveError where the box ends among the population, at an edge that is said to be never reached."""
    for edge in _edges(density):
        if float(edge.gathered) > _LEAVES:
            raise SolveError(
                f"the model has no stationary density in this box: {float(edge.gathered):.3g} of the mass leaves it "
                f"through the {edge.side} edge of {edge.name!r}, which is said to be never reached (bx.Natural()). "
                "Move the bound, or give it another condition."
            )
        if float(edge.mass) > _CROWDED and bool(edge.diffuses):
            raise SolveError(
                f"the model has no stationary density in this box: {float(edge.mass):.3g} of the mass is at the "
                f"{edge.side} edge of {edge.name!r}, where the state diffuses, and the edge is said to be never "
                "reached (bx.Natural()). Move the bound out to where nobody is, or give bx.Reflecting()."
            )


class _Edge(NamedTuple):
    """An edge that is said to be never reached.

    Attributes:
        gathered: the mass of atoms there, where there may be none.
        mass: all mass at its nodes.
        diffuses: whether the state diffuses at any of them, so that it goes on beyond.
    """

    name: str
    side: str
    gathered: Array
    mass: Array
    diffuses: Array


def _edges(density: Density) -> Iterator[_Edge]:
    setting: Any = density.solution.setting
    atoms = jnp.where(density.held, density.mass, 0.0)
    for place, name in enumerate(setting.flow.spaces):
        if name not in setting.flow.continuous:
            continue
        for which, side in zip((0, -1), ("lower", "upper"), strict=True):
            kind = setting.sides(name)[which]
            if isinstance(kind, Natural):
                gathered, mass = (jnp.take(own, which, axis=place).sum() for own in (atoms, density.mass))
                gathered = gathered if type(kind) is Natural else jnp.zeros(())  # elsewhere atoms may be
                yield _Edge(name, side, gathered, mass, _diffuses(density.solution, name, which))


def _diffuses(solution: FlowSolution, name: str, which: int) -> Array:
    """Whether a state diffuses anywhere at an edge; of one whose diffusion actions move it is not asked."""
    setting: Any = solution.setting
    flow = setting.flow
    if name not in flow.spreads or name in flow.risky:
        return jnp.zeros((), bool)
    nodes = {key: jnp.asarray(own) for key, own in solution.nodes().items()}
    nodes[name] = nodes[name][which][None]
    laid = jnp.meshgrid(*nodes.values(), indexing="ij")
    states = {key: own.reshape(-1) for key, own in zip(nodes, laid, strict=True)}
    variance = jax.vmap(lambda at: flow.variance(solution.arguments, at, name))(states)
    return jnp.max(variance) > 0


def unchecked(solution: FlowSolution) -> Density:
    """As `stationary`; nothing raises."""
    setting: Any = solution.setting
    build: Callable[[], Any] = lambda: Shared(lambda given: density(setting, given))  # noqa: E731
    return setting.program("stationary", build)(solution)


def density(setting: Any, solution: FlowSolution, check: bool = True) -> Density:
    """The stationary density, inside a compiled program.

    Args:
        check: whether it is looked whether there is more than one.
    """
    return Density(solution, *setting.mass(solution, check))
