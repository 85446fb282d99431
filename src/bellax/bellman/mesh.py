"""The nodes of one period: a tensor of processes, discrete states and lines, in this order.

Bounds of states and parameters of processes may move with parameters and with the period, so a mesh is made of arrays;
only its shape is static.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.errors import ModelError
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR, Continuous, Discrete, MarkovChain
from bellax.numerics import entropy, grids, markov, vector
from bellax.numerics.chains import Law
from bellax.numerics.grids import Line
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import take
from bellax.problem.categories import as_seen, category, close, nearest_place
from bellax.problem.period import as_float
from bellax.problem.plan import Plan
from bellax.problem.problem import moments
from bellax.problem.processes import chain, parameters


class Frame(eqx.Module):
    """The coordinates in which the nodes of a vector process are a tensor.

    Attributes:
        mean: where the coordinates are zero.
        factor: by which they become what functions see, lower triangular.
        lines: nodes of each coordinate, increasing.
    """

    mean: Float[Array, "n"]
    factor: Float[Array, "n n"]
    lines: tuple[Float[Array, "_"], ...]

    @property
    def steps(self) -> list[int]:
        """Distance of neighbours along each coordinate in the list of nodes."""
        return row_major(tuple(line.shape[0] for line in self.lines))

    def coordinates(self, value: Float[Array, "n"]) -> Float[Array, "n"]:
        """Where a value lies."""
        return jax.scipy.linalg.solve_triangular(self.factor, value - self.mean, lower=True)

    def place(self, value: Float[Array, "n"]) -> tuple[Int[Array, ""], Float[Array, "n"]]:
        """The lowest of the nodes around a value, and how far it lies on the way to the next along each coordinate."""
        x = self.coordinates(value)
        found = [between(line, x[k]) for k, line in enumerate(self.lines)]
        code = jnp.zeros((), jnp.int32)
        for (below, _), step in zip(found, self.steps, strict=True):
            code = code + below * step
        return code, jnp.stack([fraction for _, fraction in found])


class Process(eqx.Module):
    """A process on its nodes.

    Attributes:
        values: what functions see, shape (n, ...).
        transition: rows today, columns tomorrow's nodes, shape (n, n); for IID states one row of probabilities, (n,).
        continuous: whether a value between two nodes makes sense; nodes then increase.
        frame: of a vector between whose nodes values make sense, too.
        law: of one whose rows between nodes are not the mixtures of those at the nodes.
    """

    values: Array
    transition: Float[Array, "..."]
    continuous: bool = eqx.field(static=True)
    frame: Frame | None = None
    law: Law | None = None

    def sides(self, name: str, stride: int, fraction: Array) -> tuple[dict[str, int], dict[str, Array]]:
        """The directions in which a value lies between nodes: by name the distance of neighbours in a table whose
        entries for this process are `stride` apart, and how far on the way to the next it lies."""
        if self.frame is None:
            return {name: stride}, {name: fraction}
        names = [f"{name}[{k}]" for k in range(len(self.frame.lines))]
        strides = {part: stride * step for part, step in zip(names, self.frame.steps, strict=True)}
        return strides, {part: fraction[k] for k, part in enumerate(names)}

    def place(self, value: Array) -> tuple[Int[Array, ""], Array]:
        """The node below a value, and how far it lies on the way to the next, of a vector along each coordinate."""
        return between(self.values, value) if self.frame is None else self.frame.place(value)

    def along(self, values: Array) -> list[tuple[Float[Array, "_"], Float[Array, "q"]]]:
        """In each direction in which values may lie between nodes, the nodes there and where the values are."""
        if self.frame is None:
            return [(self.values, values)]
        found = jax.vmap(self.frame.coordinates)(values)
        return [(line, found[:, k]) for k, line in enumerate(self.frame.lines)]

    def reaches(self, value: Array) -> Bool[Array, ""]:
        """Whether a value does not lie beyond the nodes."""
        found = jnp.ones((), bool)
        for nodes, (own,) in self.along(value[None]):
            slack = _SLACK * jnp.max(jnp.abs(nodes))
            found = found & (own >= nodes[0] - slack) & (own <= nodes[-1] + slack)
        return found

    def shares(self, values: Array) -> Float[Array, "q n"]:
        """The shares of nodes in what lies between them, one row for each value; beyond the ends these."""
        rows = [shares(nodes, own) for nodes, own in self.along(values)]
        return functools.reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(a.shape[0], -1), rows)

    @property
    def count(self) -> int:
        return self.values.shape[0]

    @property
    def memoryless(self) -> bool:
        """True for IID states, which tomorrow does not remember."""
        return self.transition.ndim == 1


class Point(eqx.Module):
    """One state: what functions see, and where it lies on the discrete axes of the mesh.

    Attributes:
        values: by state.
        codes: by process and discrete state, the category, or the node below the value.
        fractions: by process, how far the value lies on the way to the next node, of a vector along each coordinate of
            its `Frame`; absent at a node.
        rows: by process with a `Law`, the probabilities of its nodes tomorrow; absent at a node.
    """

    values: dict[str, Array]
    codes: dict[str, Int[Array, ""]]
    fractions: dict[str, Float[Array, "..."]]
    rows: dict[str, Float[Array, "n"]] = eqx.field(default_factory=dict)


class Mesh(eqx.Module):
    """The nodes of one period.

    Attributes:
        processes: by name.
        discrete: what functions see of each discrete state, by name.
        lines: one for each number of the continuous states.
        rough: whether V on it is the best of finitely many candidates: a staircase as fine as these.
    """

    processes: dict[str, Process]
    discrete: dict[str, Array]
    lines: tuple[Line, ...]
    plan: Plan = eqx.field(static=True)
    rough: bool = eqx.field(static=True, default=False)

    @property
    def discrete_axes(self) -> dict[str, int]:
        """Names and lengths of the leading axes."""
        axes = {name: process.count for name, process in self.processes.items()}
        return axes | {name: values.shape[0] for name, values in self.discrete.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all axes."""
        return (*self.discrete_axes.values(), *(line.count for line in self.lines))

    @property
    def strides(self) -> tuple[dict[str, int], list[int]]:
        """Distance of neighbours in a flat table: by discrete axis, and along each line."""
        steps = row_major(self.shape)
        lead = len(self.discrete_axes)
        return dict(zip(self.discrete_axes, steps[:lead], strict=True)), steps[lead:]

    def point(self, codes: dict[str, Int[Array, ""]], coordinates: Float[Array, "d"]) -> Point:
        """The state at a node of the discrete axes and at coordinates of the lines."""
        values: dict[str, Array] = {name: take(self.processes[name].values, codes[name]) for name in self.processes}
        values |= {name: take(self.discrete[name], codes[name]) for name in self.discrete}
        numbers = [line.scale.inverse(coordinates[k]) for k, line in enumerate(self.lines)]
        return Point(values | assembled(self.plan, numbers), codes, {})

    def locate(self, values: Mapping[str, Array], remember: bool = False) -> Point:
        """The state at given values, which may lie between the nodes of an AR1 process.

        Args:
            remember: whether to place IID states among their nodes too; tomorrow does not ask for it.
        """
        codes: dict[str, Array] = {}
        fractions: dict[str, Array] = {}
        rows: dict[str, Array] = {}
        for name, process in self.processes.items():
            if process.memoryless and not remember:
                codes[name] = jnp.zeros((), jnp.int32)
            elif process.frame is not None or (process.continuous and process.count > 1):
                codes[name], fractions[name] = process.place(values[name])
            else:
                codes[name] = nearest_place(process.values, values[name])
            if process.law is not None:
                low, high = (take(process.transition, codes[name] + k) for k in range(2))
                rows[name] = process.law.row(values[name], low + fractions[name] * (high - low))
        for name in self.discrete:
            codes[name], _ = category(self.plan.states[name], values[name])
        return Point(dict(values), codes, fractions, rows)

    def holds(self, values: Mapping[str, Array]) -> Bool[Array, ""]:
        """Whether every discrete state and every chain is at one of its categories, and the others are numbers."""
        fits = jnp.ones((), bool)
        for name in self.plan.continuous:
            fits = fits & ~jnp.any(jnp.isnan(values[name]))
        for name in self.discrete:
            fits = fits & category(self.plan.states[name], values[name])[1]
        for name, process in self.processes.items():
            if isinstance(self.plan.states[name], MarkovChain):
                place = nearest_place(process.values, values[name])
                fits = fits & jnp.all(close(values[name], take(process.values, place)))
        return fits


def between(nodes: Float[Array, "n"], value: Float[Array, ""]) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """The node below a value, and how far it lies on the way to the next one; beyond the ends these."""
    count = nodes.shape[0]
    if count == 1:
        return jnp.zeros((), jnp.int32), jnp.zeros(())
    below = jnp.searchsorted(nodes, value, side="right").astype(jnp.int32) - 1
    code = jnp.clip(below, 0, count - 2)
    low, high = take(nodes, code), take(nodes, code + 1)
    # without a spread all nodes are one value: the middle, which does not move with the spread
    spread, apart = nodes[-1] > nodes[0], high > low
    fraction = jnp.where(apart, jnp.clip((value - low) / jnp.where(apart, high - low, 1.0), 0.0, 1.0), 0.0)
    found = jnp.where(spread, code, (count - 1) // 2).astype(jnp.int32)
    return found, jnp.where(spread, fraction, 0.5 * (1 - count % 2))


def shares(nodes: Float[Array, "n"], values: Float[Array, "q"]) -> Float[Array, "q n"]:
    """The shares of nodes in what lies between them, one row for each value; beyond the ends these."""
    places, fractions = jax.vmap(lambda value: between(nodes, value))(values)
    below, above = jax.nn.one_hot(places, nodes.shape[0]), jax.nn.one_hot(places + 1, nodes.shape[0])
    return (1 - fractions[:, None]) * below + fractions[:, None] * above


_SLACK = 1e-9  # beyond the nodes of a process, of their size, which rounding may add
_STRAY = 0.01  # of the length of a chain: how far beyond its nodes a distribution may lie, on average


def strays(process: Process, values: Array, weights: Float[Array, "q"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """How far a distribution lies beyond the nodes of a process, on average, and whether that is too far."""
    found = []
    for nodes, own in process.along(values):
        off = jnp.dot(weights, jnp.maximum(jnp.maximum(nodes[0] - own, own - nodes[-1]), 0.0))
        slack = _SLACK * jnp.max(jnp.abs(nodes))
        found.append((off, ~(off <= _STRAY * (nodes[-1] - nodes[0]) + slack)))
    off, far = (jnp.stack(each) for each in zip(*found, strict=True))
    return jnp.max(off), jnp.any(far)


def landed(process: Process, values: Array, weights: Float[Array, "q"], closely: bool) -> Float[Array, "n"]:
    """Probabilities of the nodes of a process that a distribution enters; NaN where it lies beyond them. See `laid`."""
    return jnp.where(~strays(process, values, weights)[1], laid(process, values, weights, closely), jnp.nan)


def laid(process: Process, values: Array, weights: Float[Array, "q"], closely: bool) -> Float[Array, "n"]:
    """Probabilities of the nodes of a process that stand for those of values between them: of a single number with the
    same mean and variance, where the nodes can have it.

    Args:
        closely: whether these are sought where the shares of the values do not lead there, which takes a search.
    """
    shared = weights @ process.shares(values)
    if process.frame is not None:
        return shared
    inside = jnp.clip(values, process.values[0], process.values[-1])
    mean = weights @ inside
    variance = weights @ (inside - mean) ** 2
    found, exact = entropy.narrowed(process.values, shared, variance)
    if not closely or process.count < 3:
        return found
    # a spread of zero stays where it is shared out to
    some = ~exact & (variance > 0)
    deviation = jnp.sqrt(jnp.where(some, variance, 1.0))
    return jnp.where(some, entropy.matched(process.values, mean, deviation), found)


def realised(distribution: Distribution, rule: Nodes, given: Mapping[str, Array]) -> tuple[Array, Float[Array, "q"]]:
    """The values of a distribution at standard nodes, and their weights."""
    values = jax.vmap(lambda node: distribution.realise(node, **given))(rule.nodes)
    return values, jax.vmap(lambda node, weight: distribution.weight(node, weight, **given))(rule.nodes, rule.weights)


def row_major(shape: tuple[int, ...]) -> list[int]:
    """Distance of neighbours along each axis of a flat array, the last axis fastest."""
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def assembled(plan: Plan, numbers: list[Array]) -> dict[str, Array]:
    """Continuous states in their declared shapes from the numbers on the lines."""
    values, start = {}, 0
    for name, space in plan.continuous.items():
        part = numbers[start : start + space.size]
        values[name] = part[0] if space.shape == () else jnp.stack(part).reshape(space.shape)
        start += space.size
    return values


def mesh(plan: Plan, grid: Mapping[str, Any], environment: dict[str, Array], quick: bool = False) -> Mesh:
    """The mesh of a period.

    Args:
        grid: the solver's grid, by state, completed with defaults.
        environment: leaves that are known without a state: parameters, literals, period, age.
        quick: whether states are located in planes of candidates.
    """
    processes = {name: _process(plan, name, grid, environment) for name in plan.processes}
    discrete = {}
    for name in plan.discrete:
        space = plan.states[name]
        assert isinstance(space, Discrete)
        discrete[name] = as_seen(space.values)
    return Mesh(processes, discrete, tuple(_lines(plan, grid, environment, quick)), plan, quick and bool(plan.controls))


def _lines(plan: Plan, grid: Mapping[str, Any], environment: dict[str, Array], quick: bool) -> list[Line]:
    lines = []
    for name, space in plan.continuous.items():
        bounds = plan.graph.compose([f"lower:{name}", f"upper:{name}"])(**environment)
        lower, upper = (
            jnp.broadcast_to(as_float(bounds[f"{side}:{name}"]), space.shape).reshape(-1) for side in ("lower", "upper")
        )
        given = specs(grid, name, space)
        lines += [grids.line(given[k], lower[k], upper[k], space.scale, quick) for k in range(space.size)]
    return lines


def specs(grid: Mapping[str, Any], name: str, space: Continuous) -> tuple[Any, ...]:
    """What a grid says of each line of a continuous state."""
    found = grid[name] if isinstance(grid[name], tuple) else (grid[name],) * space.size
    if len(found) != space.size:
        raise ModelError(f"the grid of {name!r} has {len(found)} entries, and the state is {space.size} numbers.")
    return found


def _process(plan: Plan, name: str, grid: Mapping[str, Any], environment: dict[str, Array]) -> Process:
    space = plan.states[name]
    if isinstance(space, MarkovChain):
        return Process(*chain(plan, name, environment), False)
    given = parameters(plan, plan.process_nodes(name), environment)
    if isinstance(space, AR1):
        return _autoregression(name, grid.get(name, grids.Autoregression(7)), given, environment)
    if isinstance(space, VAR):
        return _vector(space, grid.get(name, (grids.FarmerToda(5),) * space.shape[0]), given)
    assert isinstance(space, IID)
    return _independent(space, given, grid.get(name))


def _autoregression(name: str, spec: Any, given: dict[str, Array], environment: Mapping[str, Array]) -> Process:
    """Nodes of an AR1 today, and the transition from them to those of tomorrow, by today's law."""
    still = moments(name)[0] not in environment
    if still:
        centre, spread = given["mean"], given["sigma"] / markov.shrink(given["rho"])
        correlation = given["rho"]
    else:
        centre, spread = (environment[leaf] for leaf in moments(name))
        correlation = markov.correlation(given["rho"], given["sigma"], spread)
    if not isinstance(spec, grids.Autoregression):
        units, transition = spec.chain(correlation)
        return Process(centre + spec.span * spread * units, transition, True)
    span = spec.reach(correlation) if still else spec.span
    units, transition = spec.chain(correlation, span)
    law = Law(centre, spread, correlation, span, spec)
    return Process(centre + span * spread * units, transition, True, law=law)


def _vector(space: VAR, specs: tuple[grids.FarmerToda, ...] | vector.Corners, given: dict[str, Array]) -> Process:
    mean = jnp.broadcast_to(given["mean"], space.shape)
    if isinstance(specs, vector.Corners):
        return Process(specs.of(given["rho"], given["covariance"], mean), jnp.eye(2), False)
    options = ([getattr(spec, what) for spec in specs] for what in ("count", "span", "moments"))
    found = vector.farmer_toda(given["rho"], given["covariance"], mean, *options)
    return Process(found.values, found.transition, False, Frame(mean, found.factor, found.lines))


def _independent(space: IID, given: dict[str, Array], spec: Any) -> Process:
    rule = space.distribution.rule(spec, {key: value.shape for key, value in given.items()})
    values, weights = realised(space.distribution, rule, given)
    if values.ndim > 1 or isinstance(space.distribution, Categorical):
        return Process(values, weights, False)
    order = jnp.argsort(values)  # those of a Jump, or with a negative spread, do not increase by themselves
    return Process(values[order], weights[order], True)
