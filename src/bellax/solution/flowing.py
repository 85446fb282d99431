"""Value and policy of a model in continuous time, everywhere.

V is a `Representation`, which a solver makes: it says V, its slopes and its bends at any point, and nobody above asks
which one it is. The policy is what the model's closed forms, or first-order conditions, make of them.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, check_names, listed, named_options, nearest
from bellax.model.diffusion import Absorbing, Boundary, DiffusionModel, Natural
from bellax.model.parameters import convert
from bellax.model.quantity import Quantity
from bellax.numerics import archive, grids, scales
from bellax.numerics.grids import Line
from bellax.numerics.programs import concrete
from bellax.problem.best import Candidates
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float
from bellax.problem.reading import as_seen
from bellax.solution.flow_record import record_flow
from bellax.solution.result import Result, check_single
from bellax.solution.table import Mass, Representation


@named_options
@dataclass(frozen=True)
class Unstated(Natural):
    """No condition was stated: the edge is one that is never reached, which is checked."""


@named_options
@dataclass(frozen=True)
class Drawn(Natural):
    """An edge that the solver draws: the model goes on beyond it."""


class FlowSetting:
    """What a solution in continuous time is of: the model, how it is solved, and the programs that were compiled.

    Args:
        specs: of the grid of every continuous state.
        scan: candidates of actions without closed forms, where the Hamiltonian may not be concave.
    """

    def __init__(
        self, model: DiffusionModel, options: Any, specs: Mapping[str, Any], scan: Candidates | None = None
    ) -> None:
        self.model, self.options, self.specs = model, options, dict(specs)
        self.flow = Flow(model, scan)
        self.programs: dict[Any, Any] = {}

    @property
    def graph(self) -> Any:
        return self.flow.graph

    @property
    def order(self) -> float:
        """Of convergence in the distance of nodes, the highest that a certificate believes."""
        return 4.0

    def coarser(self) -> "FlowSetting":
        """The same model under half as many intervals along every state, and in time.

        Raises:
            ModelError: where there is no such thing.
        """
        raise ModelError(f"{type(self.options).__name__} has no coarser version of itself.")

    def wider(
        self, arguments: Arguments, edges: Collection[tuple[str, int]], share: float
    ) -> tuple["FlowSetting", Arguments]:
        """The same model in a box that goes on beyond some edges, nodes inside being the same; and its arguments.

        Args:
            edges: names of states, with 0 for the lower edge and -1 for the upper one.
            share: by how much of its length, in the coordinate.
        Raises:
            ModelError: where there is no such thing.
        """
        raise ModelError(f"{type(self.options).__name__} does not solve in a wider box.")

    def program(self, name: Any, build: Callable[[], Any]) -> Any:
        """The compiled program of that name, built once."""
        if name not in self.programs:
            self.programs[name] = build()
        return self.programs[name]

    def arguments(self, params: Mapping[str, Any]) -> Arguments:
        """What the compiled programs take: checked parameters and the literals of the model."""
        return {**self.literals, **self.model.parameters(params)}

    @cached_property
    def literals(self) -> Arguments:
        with jax.ensure_compile_time_eval():
            return {name: convert(self.model, name, value) for name, value in self.graph.literals().items()}

    def lines(self, arguments: Arguments) -> dict[str, Line]:
        """The nodes of every continuous state."""
        found = {}
        for name in self.flow.continuous:
            lower, upper = self.flow.bounds(arguments, name)
            space: Any = self.flow.spaces[name]
            found[name] = grids.line(self.specs[name], lower, upper, space.scale).spanning(lower, upper)
        return found

    def nodes(self, arguments: Arguments) -> dict[str, Array]:
        """Nodes of every state, of which the tensor is where densities are."""
        lines, flow = self.lines(arguments), self.flow
        return {n: flow.chain(arguments, n)[0] if n in flow.chains else lines[n].nodes for n in flow.spaces}

    def structure(self, arguments: Arguments) -> Representation:
        """The representation that a solve makes, with the shapes of its arrays in their place."""
        return jax.eval_shape(self.solve, arguments).values

    def solve_from(self, arguments: Arguments, start: Representation) -> "FlowSolution":
        """Solves inside a compiled program, beginning with a V that may be near, where the solver can.

        Args:
            start: V of other arguments; not a number where nothing is known.
        """
        return self.solve(arguments)

    def unknown(self, arguments: Arguments) -> Representation:
        """A V of which nothing is known: numbers that are none."""
        like = self.structure(arguments)
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), like)

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""

    def final(self, arguments: Arguments, terminal: Any) -> None:
        """Raises ModelError: nothing is after the last decision."""
        raise ModelError("terminal= is the value after the last decision; in continuous time there is none.")

    def explain(self, solution: "FlowSolution") -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return ""

    def solve(self, arguments: Arguments, final: Any = None, ticket: Any = None, well: bool = False) -> "FlowSolution":
        """Solves; `final` and `ticket` are of discrete time."""
        raise ModelError(f"{type(self.options).__name__} does not solve: what it is of was found elsewhere.")

    def nodes_of(self, solution: "FlowSolution") -> dict[str, Array]:
        """The nodes of a solution: those of `nodes`, where they do not depend on what was found."""
        return self.nodes(solution.arguments)

    def mean(self, solution: "FlowSolution", mass: Array, what: Quantity) -> Array:
        """The mean of a quantity over the stationary mass at the nodes, inside a compiled program."""
        nodes = self.nodes_of(solution)
        laid = jnp.meshgrid(*nodes.values(), indexing="ij")
        states = {name: value.reshape(-1) for name, value in zip(nodes, laid, strict=True)}
        return jnp.sum(mass * jax.vmap(quantity_at(solution, what))(states).reshape(mass.shape))

    def mass(self, solution: "FlowSolution", check: bool = True) -> Mass:
        """Where the population is, inside a compiled program.

        Args:
            check: whether it is looked whether where it ends depends on where it begins.
        Raises:
            ModelError: from solvers that do not say.
        """
        raise ModelError(f"{type(self.options).__name__} makes no density; solve by bx.solvers.FiniteDifference().")

    def sizes(self, solution: "FlowSolution") -> dict[str, Array]:
        """The length that every node of a continuous state stands for, in its units."""
        found, nodes = {}, self.nodes_of(solution)
        for name in self.flow.continuous:
            step, none = jnp.diff(nodes[name]), jnp.zeros(1)
            found[name] = 0.5 * (jnp.concatenate([step, none]) + jnp.concatenate([none, step]))
        return found

    def unfinished(self, solution: "FlowSolution") -> float:
        """How far V still moved when the solve ended, relative to how far it is apart; zero where that says nothing."""
        return 0.0

    def unsettled(self, solution: "FlowSolution") -> str:
        """Why there is no density of a solution; empty where there is one."""
        return ""

    def moments(self) -> Array:
        """The moments of a finite horizon at which V is known, the first one zero."""
        return jnp.linspace(0.0, float(self.model.horizon), self.options.steps + 1)

    def timeline(self) -> Line:
        """The moments as a line."""
        moments = self.moments()
        return Line(scales.linear, len(moments), moments[0], moments[1] - moments[0])

    def check_dense(self) -> None:
        """Raises ModelError for a model whose population has no density that does not move."""
        ends = [name for name in self.flow.continuous if any(isinstance(s, Absorbing) for s in self.sides(name))]
        wrong = [
            (bool(ends), f"mass leaves it at the absorbing edge of {listed(ends)}"),
            (self.flow.stops, "agents stop, and leave it"),
            (self.flow.timed, "it ends"),
        ]
        for is_wrong, words in wrong:
            if is_wrong:
                raise ModelError(f"this model has no stationary density: {words}.")

    def sides(self, name: str) -> tuple[Boundary, Boundary]:
        """What holds at the lower and at the upper edge of a state."""
        given = self.model.boundary.get(name, Unstated())
        return given if isinstance(given, tuple) else (given, given)

    def edges(self, name: str) -> tuple[Boundary, Boundary]:
        """What holds at the edges of where V is known: those of the state, unless the solver draws others."""
        return self.sides(name)

    def edges_of(self, solution: "FlowSolution") -> dict[str, tuple[Boundary, Boundary]]:
        """As `edges`, of every continuous state, where numbers say which of them the solver has drawn."""
        return {name: self.edges(name) for name in self.flow.continuous}

    def box(self, arguments: Arguments) -> dict[str, tuple[Array, Array]]:
        """Where V is known, by continuous state: between its bounds, unless the solver draws others."""
        return {name: self.flow.bounds(arguments, name) for name in self.flow.continuous}

    def read(self, states: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Queried states, and the time of a finite horizon, as arrays of one batch axis; and the shape that they
        broadcast to."""
        given = {name: value for name, value in states.items() if name != "time"}
        check_names(given, self.flow.spaces, "state")
        missing = [name for name in self.flow.spaces if name not in states]
        if missing:
            raise ModelError(f"the query lacks the states {listed(missing)}; give every state by name.")
        if self.flow.timed != ("time" in states):
            words = "lacks time=, as the horizon is finite" if self.flow.timed else "has time=, and the horizon no end"
            raise ModelError(f"the query {words}.")
        seen = self.graph.seen
        arrays = {n: as_seen(s, states[n], seen[n].dtype, f"state {n!r}") for n, s in self.flow.spaces.items()}
        if self.flow.timed:
            arrays["time"] = _as_time(states["time"], float(self.model.horizon))
        try:
            shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        except ValueError as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ModelError(f"the queried states have shapes {shapes}, which do not broadcast.") from error
        wide = {n: (np if concrete(a) else jnp).broadcast_to(a, shape).reshape(-1) for n, a in arrays.items()}
        return wide, shape


def _as_time(given: Any, horizon: float) -> Any:
    """The time of a query."""
    array = given if isinstance(given, jax.core.Tracer) else np.asarray(given)
    if not jnp.issubdtype(array.dtype, jnp.number):
        raise ModelError(f"time is {given!r}; it is a number between 0 and {horizon:g}.")
    if concrete(array) and not np.all((array >= 0) & (array <= horizon)):
        raise ModelError(
            f"time is {float(np.min(array)):g} to {float(np.max(array)):g}; it is between 0 and {horizon:g}."
        )
    return array.astype(jnp.result_type(float))


class FlowSolution(eqx.Module):
    """Value and policy of a model in continuous time, and how they were found.

    Attributes:
        arguments: parameters and literals that were solved for.
        values: V.
        code: how the solve ended; see `result`.
        stats: numbers about the solve, by name.
        setting: the model and its numerics.
    """

    arguments: Arguments
    values: Representation
    code: Array
    stats: dict[str, Array]
    setting: FlowSetting = eqx.field(static=True)

    @property
    def model(self) -> DiffusionModel:
        """The model that was solved."""
        return self.setting.model

    @property
    def params(self) -> Arguments:
        """The parameters that were solved for."""
        return {name: value for name, value in self.arguments.items() if name not in self.setting.literals}

    @property
    def result(self) -> Result | Array:
        """How the solve ended; under a transformation the code of it."""
        return self.code if isinstance(self.code, jax.core.Tracer) or self.code.ndim else Result(int(self.code))

    def leaving(self) -> str:
        """Nothing: no state leaves its domain."""
        return ""

    def __str__(self) -> str:
        result = self.result.name if isinstance(self.result, Result) else "traced"
        nodes = ", ".join(f"{name} {len(line)}" for name, line in self.nodes().items())
        return f"Solution by {type(self.setting.options).__name__} (continuous time): {result}. Nodes: {nodes}."

    def nodes(self) -> dict[str, Array]:
        """The nodes of every state."""
        return self.setting.nodes_of(self)

    def value(self, **states: Any) -> Array:
        """V at any states; not a number outside the domain.

        Args:
            **states: every state by name, arrays that broadcast; with a finite horizon `time`, too.
        Returns:
            The broadcast shape, in units of the reward.
        """
        return self._asked("value", states)

    def policy(self, **states: Any) -> dict[str, Array]:
        """The actions at any states, by name: the closed forms at the marginal values there."""
        return self._asked("policy", states)

    def flows(self, **states: Any) -> dict[str, Array]:
        """The flow of reward, and the drift of every continuous state, by name."""
        return self._asked("flows", states)

    def tabulate(self) -> "FlowSolution":
        """Raises ModelError: V is on nodes already, and nothing is maximised over grids again."""
        raise ModelError(
            "tabulate() is of discrete time, where a policy re-maximises; in continuous time V is kept on nodes, and "
            "actions answer its slope. Ask the solution itself: solution.policy(...), bx.simulate(solution, ...)."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the solution to a NetCDF file, whole or not at all; `bx.load(path, model)` reads it back.

        Raises:
            ModelError: of a batch of solutions, or under a transformation of jax.
            SolveError: if the file cannot be written.
        """
        self.check_one()
        archive.write(path, record_flow(self))

    def check_one(self) -> None:
        """Raises ModelError for a batch of solutions."""
        check_single(self.code)

    def _asked(self, what: str, states: Mapping[str, Any]) -> Any:
        self.check_one()
        arrays, shape = self.setting.read(states)
        run = self.setting.program(("asked", what), lambda: jax.jit(_pointwise(self.setting, what)))
        found = run(self.arguments, self.values, arrays)
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)


def _pointwise(setting: FlowSetting, what: str) -> Callable[..., Any]:
    """Answers at all points."""
    flow = setting.flow

    def answers(arguments: Arguments, table: Representation, states: Any) -> Any:
        def at(point: dict[str, Array]) -> Any:
            local = table.at(setting, arguments, point)
            if what == "value":
                return local.value
            found = flow.flowing(arguments, point, local.marginals, local.curvatures)
            answer = found.actions if what == "policy" else {"reward": found.reward, **found.drift}
            if what == "policy" and flow.stops:
                answer = {**answer, "stop": table.stops(setting, arguments, point).astype(local.value.dtype)}
            return {name: jnp.where(jnp.isnan(local.value), jnp.nan, as_float(own)) for name, own in answer.items()}

        return jax.vmap(at)(states)

    return answers


def quantity_at(solution: FlowSolution, what: Quantity) -> Callable[[Mapping[str, Array]], Array]:
    """A quantity at a state, pointwise: of states, actions, marginal values, and functions of the model."""
    setting, flow = solution.setting, solution.setting.flow

    def at(states: Mapping[str, Array]) -> Array:
        local = solution.values.at(setting, solution.arguments, states)
        actions = flow.flowing(solution.arguments, states, local.marginals, local.curvatures).actions
        own = {f"marginal_{name}": value for name, value in local.marginals.items()}
        known = {**solution.arguments, **states, **actions, **own}
        needed = [name for name in what.names if name not in known]
        unknown = [name for name in needed if name not in flow.graph.nodes]
        if unknown:
            hint = nearest(unknown[0], sorted(name for name in {*known, *flow.graph.nodes} if ":" not in name))
            raise ModelError(f"{what.label} names {unknown[0]!r}, which the model does not have.{hint}")
        known = {**known, **flow.graph.compose(needed)(**known)}
        if not what.function:
            return as_float(what.literal)
        found = as_float(what.node()(**{name: known[name] for name in what.names}))
        if found.shape != ():
            raise ModelError(f"{what.label} has shape {found.shape} at a state; give one number.")
        return found

    return at
