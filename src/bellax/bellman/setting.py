"""A model and its numerics brought together: from parameters and a period, everything that one Bellman step needs."""

import copy
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman import mesh as _mesh
from bellax.bellman import objective as _objective
from bellax.bellman.chunks import over_mesh
from bellax.bellman.continuation import Value, continuation
from bellax.bellman.maximisers.follow import Follow, Source, is_carried
from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.mesh import Mesh, Process
from bellax.bellman.objective import Objective, as_float
from bellax.bellman.options import (
    GridSolver,
    check_quadrature,
    complete_grid,
    complete_interpolant,
    complete_maximiser,
)
from bellax.problem.plan import Plan
from bellax.bellman.sweep import value_and_slopes
from bellax.model.graph import Graph
from bellax.model.model import Model
from bellax.model.parameters import convert
from bellax.model.quantity import ByPeriod
from bellax.model.rule import Rule
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1
from bellax.numerics import markov
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import whole

Arguments = dict[str, Any]
"""Parameters and literals of a model, by name: what a compiled program takes."""


class Setting:
    """The numerics of one model under one configuration. Static: it holds no array.

    Args:
        model, options: what is solved, and how.
        source: where actions come from, if they are given and not optimal.
        statement: what has the parameters; the model, or the rule that is followed.
    Attributes:
        model, plan: what is solved.
        follows: whether actions are given.
        options: the solver, as it was given.
        maximiser, interpolant, grid, quadrature: how, with defaults filled in.
        memory: bytes that a plane of candidates may take, of those that were given.
        programs: what was compiled, by name.
    """

    def __init__(
        self, model: Model, options: GridSolver, source: Source | None = None, statement: Model | Rule | None = None
    ) -> None:
        self.model = model
        self.statement = model if statement is None else statement
        self.follows = source is not None
        self.clock = model.clock
        self.options = options
        self.plan = Plan(model.graph)
        self.maximiser: Maximiser = (
            complete_maximiser(self.plan, options.maximiser)
            if source is None
            else Follow(source, frozenset(self.plan.controls))
        )
        self.interpolant = complete_interpolant(self.plan, self.maximiser, options.interpolant)
        self.grid = complete_grid(self.plan, options.grid, self.interpolant, self.clock.finite)
        check_quadrature(self.plan, options.quadrature)
        self.quadrature = dict(options.quadrature)
        self.memory = options.memory // self.interpolant.cost(len(self.plan.lines)).held
        self.programs: dict[Any, Any] = {}

    def detached(self) -> "Setting":
        """The same numerics without the model and its programs: what a derivative rule may hold.

        A compiled program holds its derivative rules. One that held the program in turn would live for ever: jax keeps
        programs where the collector of cycles does not look.
        """
        other = copy.copy(self)
        del other.model, other.statement
        other.programs = {}
        return other

    def arguments(self, params: Mapping[str, Any]) -> Arguments:
        """What the compiled programs take: checked parameters and the literals of the model."""
        return {**self._literals, **self.statement.parameters(params)}

    def timed(self, nodes: Iterable[str], arguments: Arguments) -> bool:
        """Whether some nodes of the graph see the period, the age, or a parameter or literal by period."""
        seen = {"period", "age"} | {name for name, value in arguments.items() if isinstance(value, ByPeriod)}
        return any((self.plan.graph.reach(node) | {node}) & seen for node in nodes)

    @cached_property
    def _literals(self) -> Arguments:
        with jax.ensure_compile_time_eval():  # kept for other solves, so never a tracer of this one
            return {name: convert(self.model, name, value) for name, value in self._graph.literals().items()}

    @property
    def _graph(self) -> Graph:
        """The names of what has the parameters, a rule's included."""
        return self.statement.graph

    def is_parameter(self, name: str) -> bool:
        """Whether an argument is a parameter, and neither a literal nor an array of the policy that is followed."""
        return name not in self._literals and not is_carried(name)

    def environment(self, arguments: Arguments, period: Array | int) -> dict[str, Array]:
        """What is known without a state: this period's parameters, literals and clock, and the mean and the standard
        deviation of each AR1 whose law moves with time."""
        now = self._leaves(arguments, period)
        for name in self.plan.processes:
            if isinstance(self.plan.states[name], AR1) and self.timed(self.plan.process_nodes(name), arguments):
                found = self._moments(name, arguments)
                now |= {
                    leaf: ByPeriod(moment).at(period) for leaf, moment in zip(_mesh.moments(name), found, strict=True)
                }
        return now

    def _moments(self, name: str, arguments: Arguments) -> tuple[Array, Array]:
        """Mean and standard deviation of an AR1 in periods 0 to the horizon."""
        evaluate = self.plan.graph.compose(self.plan.process_nodes(name))

        def law(period: Array) -> dict[str, Array]:
            found = evaluate(**self._leaves(arguments, period))
            return {node.rpartition(".")[2]: as_float(value) for node, value in found.items()}

        return markov.moments(**jax.vmap(law)(jnp.arange(self.clock.count, dtype=jnp.int32)))

    def _leaves(self, arguments: Arguments, period: Array | int) -> dict[str, Array]:
        now = {n: a.at(period) if isinstance(a, ByPeriod) else a for n, a in arguments.items()}
        if self.clock.finite:
            now |= {"period": jnp.asarray(period, whole()), "age": as_float(self.clock.age(as_float(period)))}
        return now

    def mesh(self, environment: dict[str, Array]) -> Mesh:
        """The nodes of a period."""
        return _mesh.mesh(self.plan, self.grid, environment, quick=not self.maximiser.smooth)

    def objective(
        self, environment: dict[str, Array], today: Mapping[str, Process], value: Value, tomorrow: Mesh
    ) -> Objective:
        """The one-period problem, given V on tomorrow's mesh."""
        # A process moves by today's law to the values of tomorrow; what is drawn afresh follows tomorrow's
        # distribution.
        moving = {
            name: Process(new.values, (new if new.memoryless else today[name]).transition, new.continuous)
            for name, new in tomorrow.processes.items()
        }
        following = continuation(value, tomorrow, moving, self.interpolant)
        return Objective(environment, following, moving, self.rules(environment), self.plan, self.maximiser.absolute)

    def rules(self, environment: dict[str, Array]) -> dict[str, Nodes]:
        """Standard nodes of the scanned shocks."""
        sizes = {name: self._sizes(name, environment) for name in self.plan.shocks}
        with jax.ensure_compile_time_eval():  # standard nodes are numbers, not computations of the program
            return _objective.rules(self.plan, self.quadrature, sizes)

    def _sizes(self, shock: str, environment: dict[str, Array]) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters of a shock whose number of nodes depends on them."""
        if not isinstance(self.plan.graph.regime.shocks[shock], Categorical):
            return {}
        nodes = self.plan.shock_nodes(shock)
        graph = self.plan.graph
        leaves = {n for node in nodes for n in graph.leaves(node, "state", "action", "next")}
        dummies = {name: jnp.zeros(graph.seen[name].shape, graph.seen[name].dtype) for name in leaves}
        found = lambda: graph.compose(nodes)(**environment, **dummies)  # noqa: E731
        shapes = jax.eval_shape(lambda: {node: jnp.asarray(value) for node, value in found().items()})
        return {node.rpartition(".")[2]: shape.shape for node, shape in shapes.items()}

    def terminal(self, arguments: Arguments, period: int) -> Value:
        """V after the last decision, on the mesh of `period`."""
        environment = self.environment(arguments, period)
        mesh = self.mesh(environment)
        slopes = self.interpolant.needs_slopes

        def at(node: Any) -> Value:
            def value(coordinates: Array) -> Array:
                if self.plan.evaluate_terminal is None:
                    return jnp.zeros(())
                point = mesh.point(node.codes, coordinates)
                return as_float(self.plan.evaluate_terminal(**environment, **point.values)["slot:terminal"])

            return Value(*value_and_slopes(value, node.coordinates, slopes))

        return over_mesh(at, mesh, 1, self.memory)

    def zero(self, arguments: Arguments) -> Value:
        """V = 0 on the mesh of a stationary model."""
        mesh = self.mesh(self.environment(arguments, 0))
        slopes = self.interpolant.needs_slopes
        levels = jnp.zeros(mesh.shape)
        return Value(levels, (levels,) * len(mesh.lines) if slopes else ())

    def bytes_of_value(self, shape: tuple[int, ...], periods: int) -> int:
        """Bytes that V and its slopes take on a mesh, over all periods, and the table of the next one's look-ups."""
        dimensions = len(self.plan.lines)
        columns = self.interpolant.cost(dimensions).columns
        kept = 1 + dimensions if self.interpolant.needs_slopes else 1
        table = columns if columns == 1 else 2 * columns  # by themselves, and side by side
        return math.prod(shape) * (kept * periods + table) * jnp.result_type(float).itemsize
