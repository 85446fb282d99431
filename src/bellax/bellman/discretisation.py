"""How a problem is laid on nodes: its grid, the quadrature of its shocks, the interpolant of V, and the maximiser."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman import mesh as _mesh
from bellax.bellman import reached
from bellax.bellman.chunks import over_mesh
from bellax.bellman.continuation import Continuation, Value, Way, continuation, interpolated, own_ways
from bellax.bellman.decided import value_and_slopes
from bellax.bellman.joint import joint
from bellax.bellman.maximisers.follow import Follow, Source
from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.mesh import Mesh, Point, Process, realised
from bellax.bellman.objective import Objective
from bellax.bellman.options import (
    GridSolver,
    check_quadrature,
    complete_grid,
    complete_interpolant,
    complete_maximiser,
    kinked_rules,
)
from bellax.bellman.pointwise import Ending, Function, Pointwise, located, pointwise
from bellax.bellman.reached import Reached
from bellax.model.crossing import Arrival
from bellax.numerics.rules import Nodes
from bellax.problem.period import Period
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.problem.processes import parameters, sizes

Values = Any
"""V, or by regime where there are several: a `Value`, or a dict of them."""


class Discretisation:
    """The numerics of a problem. Static: it holds no array, no model and no program.

    Args:
        problem: what is solved.
        options: the solver, as it was given.
        source: where actions come from, if they are given and not optimal.
    Attributes:
        maximiser, interpolant, grid, quadrature: how, with defaults filled in.
        budget: bytes that a Bellman step may have in flight.
        memory: of these, what a plane of candidates may take.
        follows: whether actions are given, and not optimal.
        outside: what is answered outside the grid; None where nothing was said.
        others: the other regimes that may be reached, by name; none where the model has but one.
        alike: of these, by name, the first of those that differ from it by parameters alone.
        active: of itself and these, if they are not always active, whether they are in each period, the one after the
            last decision included.
    """

    def __init__(self, problem: Problem, options: GridSolver, source: Source | None = None) -> None:
        plan = problem.plan
        self.problem = problem
        self.follows = source is not None
        self.maximiser: Maximiser = (
            complete_maximiser(plan, options.maximiser) if source is None else Follow(source, frozenset(plan.controls))
        )
        self.interpolant = complete_interpolant(plan, self.maximiser, options.interpolant)
        self.grid = complete_grid(plan, options.grid, self.interpolant, problem.finite)
        check_quadrature(plan, options.quadrature)
        self._quadrature = dict(options.quadrature)
        self.budget = options.memory
        self.memory = options.memory // self.interpolant.cost(len(plan.lines)).held
        self.outside = options.outside
        self.others: dict[str, Discretisation] = {}
        self.alike: dict[str, str] = {}
        self.active: dict[str, np.ndarray] = {}

    @property
    def plan(self) -> Plan:
        """Which stages a period has."""
        return self.problem.plan

    @property
    def quadrature(self) -> dict[str, Any]:
        """Counts or rules of shocks, by name: what was given, and where V may have kinks what bears them."""
        usual = {
            name: rule
            for name, rule in kinked_rules(self.plan).items()
            if name in self.plan.shocks or name in self.plan.drawn
        }
        return {**usual, **self._quadrature}

    @cached_property
    def inside(self) -> "Discretisation":
        """The same, which reads V inside tomorrow's grid alone, quicker, and may have no number elsewhere."""
        found = copy.copy(self)
        found.interpolant = self.interpolant.inside(len(self.plan.lines))
        return found

    def mesh(self, arguments: Arguments, period: Array | int) -> Mesh:
        """The nodes of a period."""
        return self.nodes(self.problem.environment(arguments, period))

    def nodes(self, environment: dict[str, Array]) -> Mesh:
        """The nodes of a period whose environment is known."""
        return _mesh.mesh(self.plan, self.grid, environment, quick=not self.maximiser.smooth)

    def one_period(self, arguments: Arguments, value: Values, period: Any) -> tuple[Objective, Mesh]:
        """The problem of one period and today's nodes, given V on tomorrow's; without end the two are the same.

        Args:
            value: V tomorrow; by regime where there are several.
        """
        environment = self.problem.environment(arguments, period)
        mesh = self.nodes(environment)
        tomorrow = self.mesh(arguments, period + 1) if self.problem.finite else mesh
        if not self.problem.regime:
            return self.objective(environment, mesh.processes, value, tomorrow, self._later(arguments, period)), mesh
        exists = {name: jnp.asarray(active)[period + 1] for name, active in self.active.items()}
        # where a regime does not exist V is NaN, which would be in derivatives, too
        value = {
            name: jax.tree.map(lambda leaf, there=exists[name]: jnp.where(there, leaf, 0.0), own)
            if name in exists
            else own
            for name, own in value.items()
        }
        own, later = value[self.problem.regime], self._later(arguments, period)
        objective = self.objective(environment, mesh.processes, own, tomorrow, later)
        objective = replace(objective, exists=exists, regime=self.problem.regime)
        elsewhere = tuple(
            self._reached(names, arguments, value, period + 1, objective) for names in self._together(arguments, value)
        )
        return replace(objective, elsewhere=elsewhere), mesh

    def _later(self, arguments: Arguments, period: Any) -> dict[str, Array]:
        """What is known without a state in the period after."""
        return self.problem.environment(arguments, period + 1 if self.problem.finite else period)

    @property
    def ends(self) -> bool:
        """Whether the regime is one that ends: its value is a function, and needs no nodes."""
        return "slot:reward" not in self.plan.graph.slots

    def arriving(self, target: str, arguments: Arguments, period: Any, objective: Objective) -> Reached:
        """The states in which another regime is reached after `period`, exactly; what it is worth there is not said."""
        return self._reached((target,), arguments, {}, period + 1, objective)

    def _together(self, arguments: Arguments, value: Values) -> list[tuple[str, ...]]:
        """The other regimes that may be reached, those together that differ by numbers alone."""

        def shaped(leaf: Any) -> Any:
            return jnp.shape(leaf), jnp.result_type(leaf)

        found: dict[Any, list[str]] = {}
        for name in self.others:
            leaves, structure = jax.tree.flatten((arguments[name], value.get(name)))
            kind = (self.alike.get(name, name), structure, tuple(map(shaped, leaves)))
            found.setdefault(kind, []).append(name)
        return [tuple(names) for names in found.values()]

    def _reached(
        self, targets: tuple[str, ...], arguments: Arguments, value: Values, period: Any, objective: Objective
    ) -> Reached:
        """Tomorrow in other regimes that are alike."""
        first = targets[0]
        other, arrivals = self.others[first], self.plan.arrivals[first]
        found = reached.ways(self.plan, other.plan, arrivals)
        drawn, rules = self.drawn(arrivals, found, objective.period.environment)
        here = objective.continuation
        tomorrow = {**here.discrete, **{name: process.values for name, process in here.arrivals.items()}}
        tomorrow = {name: tomorrow[name] for name in self.plan.scanned}

        own = {name: process for name, process in objective.processes.items() if process.law is not None}

        def expected(arguments: Arguments, value: Value | None) -> Continuation | Pointwise:
            environment = other.problem.environment({first: arguments}, period)
            mesh = other.nodes(environment)
            rows, seen = reached.rows(found, objective.processes, drawn, mesh, exact=value is None)
            if value is not None:
                lawful, nodes = frozenset(own), {name: process.values for name, process in own.items()}
                return other.expected(value, environment, mesh, found, rows, lawful, nodes)
            ending = Ending(Period(environment, other.plan))
            return pointwise(ending, mesh, found, rows, {name: seen[name] for name in found}, frozenset(own))

        given = [(arguments[name], value.get(name)) for name in targets]
        known, together = reached.each(expected, given), None
        if len(targets) > 1 and isinstance(known, Continuation):
            together = joint(objective.period, targets, known, objective.there(targets), arrivals)
        return Reached(known, tomorrow, rules, arrivals, targets, together)

    def expected(
        self,
        value: Value,
        environment: dict[str, Array],
        mesh: Mesh,
        ways: dict[str, Way],
        rows: dict[str, Array],
        lawful: frozenset[str] = frozenset(),
        carried: Mapping[str, Array] = MappingProxyType({}),
    ) -> Continuation | Pointwise:
        """The expected value of V on a mesh, interpolated or as it is known between the nodes.

        Args:
            environment: of the period of V.
            ways, rows, lawful, carried: see `continuation`.
        """
        known = self.function(value, environment)
        if known is not None:
            # what comes from another regime is a mixture of the rows of nodes there
            return pointwise(known, mesh, ways, rows, lawful=lawful.difference(carried))
        return continuation(value, mesh, ways, rows, self.interpolant, lawful, carried)

    def function(self, value: Value, environment: dict[str, Array]) -> Function | None:
        """V as a function of states, where it is known between the nodes by itself."""
        return self.maximiser.function(Period(environment, self.plan), value)

    def stored(self, value: Value, environment: dict[str, Array], mesh: Mesh) -> Callable[[Point], Float[Array, ""]]:
        """V at states that `mesh.locate(..., remember=True)` gave, on its own mesh."""
        known = self.function(value, environment)
        if known is None:
            return lambda point: interpolated(value, mesh, self.interpolant, point)
        return lambda point: known(point.values, located(point))

    def drawn(
        self, arrivals: Mapping[str, Arrival], ways: Mapping[str, Way], environment: dict[str, Array]
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Nodes]]:
        """Of states that enter by a distribution: values and weights, of one that is the same in every state, and the
        standard nodes, of the others."""
        fixed, rules = {}, {}
        for name, arrival in arrivals.items():
            if arrival.distribution is None:
                continue
            own = sizes(self.plan, arrival.distribution, arrival.nodes, environment)
            with jax.ensure_compile_time_eval():
                rule = arrival.distribution.rule(self.quadrature.get(name), own)
            if ways[name] is Way.drawn:
                rules[name] = rule
            else:
                given = parameters(self.plan, arrival.nodes, environment)
                fixed[name] = realised(arrival.distribution, rule, given)
        return fixed, rules

    def recurring(self, arguments: Arguments) -> tuple[Callable[[Value], Objective], Mesh]:
        """The problem that recurs without end, given V, and its nodes, worked out once for many V."""
        environment = self.problem.environment(arguments, 0)
        mesh = self.nodes(environment)
        return lambda value: self.objective(environment, mesh.processes, value, mesh, environment), mesh

    def solved_period(self, arguments: Arguments, values: Values, period: Any) -> tuple[Objective, Mesh]:
        """As `one_period`, given V of all periods along a first axis; without end, V."""
        following = jax.tree.map(lambda leaf: leaf[period + 1], values) if self.problem.finite else values
        objective, mesh = self.one_period(arguments, following, period)
        own = values[self.problem.regime] if self.problem.regime else values
        today = jax.tree.map(lambda leaf: leaf[period], own) if self.problem.finite else own
        known = self.function(today, objective.period.environment)
        if known is None:
            return self.maximiser.prepared(objective, mesh, self.memory), mesh
        return replace(objective, solved=known), mesh

    def objective(
        self,
        environment: dict[str, Array],
        today: Mapping[str, Process],
        value: Value,
        tomorrow: Mesh,
        later: dict[str, Array],
    ) -> Objective:
        """The one-period problem, given V on tomorrow's mesh.

        Args:
            later: what is known without a state tomorrow.
        """
        # A process moves by today's law to the values of tomorrow; what is drawn afresh follows tomorrow's
        # distribution.
        moving = {
            name: new if new.memoryless else replace(new, transition=today[name].transition, law=today[name].law)
            for name, new in tomorrow.processes.items()
        }
        rows = {
            name: tomorrow.processes[name].transition if moving[name].memoryless else moving[name].transition
            for name in self.plan.integrated
        }
        lawful = frozenset(name for name, process in moving.items() if process.law is not None)
        following = self.expected(value, later, tomorrow, own_ways(self.plan), rows, lawful)
        period = Period(environment, self.plan)
        shocks, absolute = self._shock_nodes(environment), self.maximiser.absolute
        return Objective(period, following, moving, shocks, absolute, sided=self.sided)

    @property
    def sided(self) -> bool:
        """Whether an optimum that is searched between candidates may be at a kink of Q."""
        searched = bool(self.plan.controls) and self.maximiser.smooth and not self.maximiser.makes_pieces
        return searched and (self.plan.kinked or self.interpolant.kinked)

    def shock_nodes(self, arguments: Arguments) -> dict[str, Nodes]:
        """Standard nodes of the scanned shocks, by name."""
        return self._shock_nodes(self.problem.environment(arguments, 0))

    def _shock_nodes(self, environment: dict[str, Array]) -> dict[str, Nodes]:
        plan = self.plan
        shocks = plan.graph.regime.shocks
        found = {name: sizes(plan, shocks[name], plan.shock_nodes(name), environment) for name in plan.shocks}
        with jax.ensure_compile_time_eval():  # standard nodes are numbers, not computations of the program
            return {name: shocks[name].rule(self.quadrature.get(name), found[name]) for name in plan.shocks}

    def terminal(self, arguments: Arguments) -> Value:
        """V after the last decision, on its mesh."""
        period = self.problem.period(arguments, self.problem.clock.count)
        mesh = self.nodes(period.environment)

        def at(node: Any) -> Value:
            value = lambda coordinates: period.terminal(mesh.point(node.codes, coordinates).values)  # noqa: E731
            return Value(*value_and_slopes(value, node.coordinates, self.interpolant.needs_slopes))

        return replace(over_mesh(at, mesh, 1, self.memory), pieces=self.maximiser.ended(self.plan, mesh))

    def zero(self, arguments: Arguments) -> Value:
        """V = 0 on the mesh of a stationary model."""
        return self._zero(self.mesh(arguments, 0))

    def nothing(self, arguments: Arguments) -> Values:
        """V = 0, by regime where there are several."""
        if not self.problem.regime:
            return self.zero(arguments)
        others = {name: other.zero(arguments) for name, other in self.others.items() if not other.ends}
        return {self.problem.regime: self.zero(arguments), **others}

    def _zero(self, mesh: Mesh) -> Value:
        levels = jnp.zeros(mesh.shape)
        slopes = (levels,) * len(mesh.lines) if self.interpolant.needs_slopes else ()
        return Value(levels, slopes, self.maximiser.ended(self.plan, mesh))

    def bytes_of_value(self, shape: tuple[int, ...], periods: int) -> int:
        """Bytes that V and its slopes take on a mesh, over all periods, and the table of the next one's look-ups."""
        dimensions = len(self.plan.lines)
        columns = self.interpolant.cost(dimensions).columns
        kept = 1 + dimensions if self.interpolant.needs_slopes else 1
        table = columns if columns == 1 else 2 * columns  # by themselves, and side by side
        return math.prod(shape) * (kept * periods + table) * jnp.result_type(float).itemsize
