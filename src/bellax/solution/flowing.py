"""Value and policy of a model in continuous time, everywhere.

V is a `Representation`, which a solver makes: it says V, its slopes and its bends at any point, and nobody above asks
which one it is. The policy is what the model's closed forms, or first-order conditions, make of them.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, ParameterError, check_names, listed, named_options
from bellax.model.diffusion import Boundary, DiffusionModel, Natural
from bellax.model.parameters import convert
from bellax.model.quantity import Quantity
from bellax.numerics import grids
from bellax.numerics.grids import Line
from bellax.numerics.linear import multilinear
from bellax.numerics.programs import all_concrete, concrete
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float
from bellax.problem.reading import as_seen
from bellax.solution.solution import Result


@named_options
@dataclass(frozen=True)
class Unstated(Natural):
    """No condition was stated: the edge is one that is never reached, which is checked."""


class FlowSetting:
    """What a solution in continuous time is of: the model, how it is solved, and the programs that were compiled.

    Args:
        specs: of the grid of every continuous state.
    """

    def __init__(self, model: DiffusionModel, options: Any, specs: Mapping[str, Any]) -> None:
        self.model, self.options, self.specs = model, options, dict(specs)
        self.flow = Flow(model)
        self.programs: dict[Any, Any] = {}

    @property
    def graph(self) -> Any:
        return self.flow.graph

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
            found[name] = grids.line(self.specs[name], lower, upper, space.scale)
        return found

    def nodes(self, arguments: Arguments) -> dict[str, Array]:
        """Nodes of every state, of which the tensor is where densities are."""
        lines, flow = self.lines(arguments), self.flow
        return {n: flow.chain(arguments, n)[0] if n in flow.chains else lines[n].nodes for n in flow.spaces}

    def nodes_of(self, solution: "FlowSolution") -> dict[str, Array]:
        """The nodes of a solution: those of `nodes`, where they do not depend on what was found."""
        return self.nodes(solution.arguments)

    def mean(self, solution: "FlowSolution", mass: Array, what: Quantity) -> Array:
        """The mean of a quantity over the stationary mass at the nodes, inside a compiled program."""
        nodes = self.nodes_of(solution)
        laid = jnp.meshgrid(*nodes.values(), indexing="ij")
        states = {name: value.reshape(-1) for name, value in zip(nodes, laid, strict=True)}
        return jnp.sum(mass * jax.vmap(quantity_at(solution, what))(states).reshape(mass.shape))

    def mass(self, solution: "FlowSolution") -> "Mass":
        """Where the population is, inside a compiled program.

        Raises:
            ModelError: from solvers that do not say.
        """
        raise ModelError(f"{type(self.options).__name__} makes no density; solve by bx.solvers.FiniteDifference().")

    def sides(self, name: str) -> tuple[Boundary, Boundary]:
        """What holds at the lower and at the upper edge of a state."""
        given = self.model.boundary.get(name, Unstated())
        return given if isinstance(given, tuple) else (given, given)

    def read(self, states: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Queried states as arrays of one batch axis, and the shape that they broadcast to."""
        check_names(states, self.flow.spaces, "state")
        missing = [name for name in self.flow.spaces if name not in states]
        if missing:
            raise ModelError(f"the query lacks the states {listed(missing)}; give every state by name.")
        seen = self.graph.seen
        arrays = {n: as_seen(s, states[n], seen[n].dtype, f"state {n!r}") for n, s in self.flow.spaces.items()}
        try:
            shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        except ValueError as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ModelError(f"the queried states have shapes {shapes}, which do not broadcast.") from error
        wide = {n: (np if concrete(a) else jnp).broadcast_to(a, shape).reshape(-1) for n, a in arrays.items()}
        return wide, shape


class Local(NamedTuple):
    """What is known of V at a point.

    Attributes:
        value: V; not a number outside the domain.
        marginals: V_s of every continuous state, by name.
        curvatures: V_ss of the states whose diffusion an action moves, by name.
    """

    value: Array
    marginals: dict[str, Array]
    curvatures: dict[str, Array]


class Representation(eqx.Module):
    """V between nodes, or without any."""

    @abc.abstractmethod
    def at(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        """What is known at a point: states by name, numbers, chains by what functions see."""


class Mass(NamedTuple):
    """Where a population is that follows a policy.

    Attributes:
        mass: at every node of `FlowSetting.nodes`, an axis for each state in their order; sums to one.
        held: whether a node holds mass as an atom.
        apart: how far apart densities are that began at different places; zero where there is one alone.
    """

    mass: Array
    held: Array
    apart: Array


class Table(Representation):
    """Tables at nodes, between which all are straight lines in the coordinates of the scales.

    Attributes:
        values: V at the nodes, an axis for each state in their order.
        marginals: of every continuous state the derivative of V that the policy answers, at the nodes.
        curvatures: the second one, of states whose diffusion an action moves.
    """

    values: Array
    marginals: dict[str, Array]
    curvatures: dict[str, Array] = eqx.field(default_factory=dict)

    def at(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        flow, lines = setting.flow, setting.lines(arguments)
        base, cells, steps, inside = jnp.zeros((), jnp.int32), [], [], jnp.asarray(True)
        sizes, stride = dict(zip(flow.spaces, self.values.shape, strict=True)), self.values.size
        for name in flow.spaces:
            stride //= sizes[name]
            if name in flow.chains:
                values = flow.chain(arguments, name)[0]
                base = base + jnp.argmin(jnp.abs(values - point[name])).astype(jnp.int32) * stride
                continue
            cells.append(lines[name].locate(point[name]))
            steps.append(stride)
            slack, nodes = rounding() * (1 + jnp.abs(point[name])), lines[name].nodes
            inside = inside & (point[name] >= nodes[0] - slack) & (point[name] <= nodes[-1] + slack)
        look = lambda table: multilinear(table.reshape(-1), base, cells, steps, "linear")  # noqa: E731
        value = jnp.where(inside, look(self.values), jnp.nan)
        return Local(value, *({n: look(t) for n, t in tables.items()} for tables in (self.marginals, self.curvatures)))


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
            **states: every state by name, arrays that broadcast.
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

    def save(self, path: Any) -> None:
        """Not in this version: a file holds solutions of discrete time."""
        raise ModelError(
            "a solution in continuous time has no file in this version; save its numbers: solution.nodes() and "
            "solution.values are arrays."
        )

    def _asked(self, what: str, states: Mapping[str, Any]) -> Any:
        if self.code.ndim:
            raise ModelError(
                f"this is a batch of solutions, shape {self.code.shape}, as jax.vmap returns. Ask them together: "
                "jax.vmap(lambda solution: solution.value(...))(solutions)."
            )
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
            return {name: jnp.where(jnp.isnan(local.value), jnp.nan, value) for name, value in answer.items()}

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
            raise ModelError(f"{what.label} names {unknown[0]!r}, which the model does not have.")
        known = {**known, **flow.graph.compose(needed)(**known)}
        if not what.function:
            return as_float(what.literal)
        return as_float(what.node()(**{name: known[name] for name in what.names}))

    return at


def check_parameters(setting: FlowSetting, arguments: Arguments) -> None:
    """Raises ParameterError where bounds of a state cross; nothing is known of tracers."""
    for name in setting.flow.continuous:
        lower, upper = setting.flow.bounds(arguments, name)
        if all_concrete((lower, upper)) and not float(lower) < float(upper):
            raise ParameterError(
                f"state {name!r} has bounds {float(lower):g} and {float(upper):g}; the lower one must be below."
            )
