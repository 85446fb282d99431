"""`operators`: the operators of the theory, to be iterated by hand.

(T V)(s) = max over a of E[ r(s, a) + b V(s') ],    greedy(V)(s) = the a that attains it,    evaluate(policy) = V_policy

V = ops.zero()
for _ in range(300):
    V = ops.T(V)                      # value iteration
V = ops.evaluate(ops.greedy(V))       # a step of Howard's
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import Node, over_mesh
from bellax.bellman.continuation import Value, interpolated
from bellax.bellman.decided import value_and_slopes
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.frozen import Frozen, follow, improve
from bellax.bellman.setting import Setting
from bellax.bellman.sweep import TALLY
from bellax.bellman.workload import mesh_shape
from bellax.errors import ModelError, SolveError, check_names, listed, named_arguments
from bellax.model import shapes
from bellax.model.graph import CLOCK, Graph, Slot
from bellax.model.model import Model
from bellax.model.quantity import quantity
from bellax.numerics.interpolate import along, secant_slopes
from bellax.numerics.programs import all_concrete, concrete, quickly_at_first
from bellax.numerics.scalar import put
from bellax.problem.period import as_float
from bellax.problem.problem import Arguments
from bellax.problem.reading import check_period, flattened
from bellax.solution.record import mesh_nodes, moving_axes
from bellax.solution.solution import Solution
from bellax.solve import check_bellman, prepare, usual_solver
from bellax.solvers.common import check_solvable, tallied
from bellax.solvers.policy_iteration import value_of


class Representation(eqx.Module):
    """A function of states, kept at the nodes of one period's grid.

    Attributes:
        value: levels and slopes at the nodes.
        period: whose grid it is on; 0 with an infinite horizon.
    """

    value: Value
    arguments: Arguments
    period: int = eqx.field(static=True)
    setting: Setting = eqx.field(static=True)

    @property
    def levels(self) -> Array:
        """At the nodes, one axis for each of `nodes`."""
        return self.value.levels

    @property
    def slopes(self) -> tuple[Array, ...]:
        """Derivatives along the continuous states, in the coordinates of their scales; none of `Linear`."""
        return self.value.slopes

    @property
    def nodes(self) -> dict[str, np.ndarray]:
        """The nodes along each axis, in the units of the state."""
        found = mesh_nodes(self.setting, self.arguments)
        moving = moving_axes(self.setting.problem, self.arguments)
        return {name: array[self.period] if name in moving else array for name, array in found.items()}

    def at(self, **states: Any) -> Array:
        """The interpolant at any states, arrays that broadcast."""
        setting, numerics, period = self.setting, self.setting.numerics, self.period
        arrays, shape = flattened(setting.problem, states)

        def ask(arguments: Arguments, value: Value, arrays: dict[str, Array]) -> Array:
            mesh = numerics.mesh(arguments, period)
            find = lambda own: interpolated(value, mesh, numerics.interpolant, mesh.locate(own, remember=True))  # noqa: E731
            return jax.vmap(find)(arrays)

        compiled = setting.program(("represented", period), lambda: jax.jit(ask))
        return compiled(self.arguments, self.value, arrays).reshape(shape)

    def __call__(self, **states: Any) -> Array:
        """As `at`."""
        return self.at(**states)


class Greedy(eqx.Module):
    """The policy that is best where V is tomorrow's value: what `operators.greedy` returns.

    Attributes:
        following: V.
        improved: T V.
        frozen: decisions at the nodes.
        inside: whether no next state leaves the grid.
    """

    following: Representation
    improved: Representation
    frozen: Frozen
    inside: Array

    def policy(self, **states: Any) -> dict[str, Array]:
        """The actions at any states, by name: the maximum is taken there, too."""
        setting, period = self.improved.setting, self.improved.period
        value, finite = self.following.value, setting.problem.finite
        if finite:
            value = jax.tree.map(lambda leaf: jnp.stack([leaf] * (setting.problem.clock.count + 1)), value)
        arguments, code = self.improved.arguments, put(0, np.int32)
        solution = Solution(arguments=arguments, values=value, code=code, stats={}, setting=setting)
        return solution.policy(period, **states) if finite else solution.policy(**states)


class Operators:
    """T, greedy and evaluate of one model for given parameters; see `operators`."""

    def __init__(self, setting: Setting, arguments: Arguments) -> None:
        self.setting = setting
        self.numerics = setting.numerics
        self.arguments = arguments

    # -- functions of states --------------------------------------------------------------------------------------

    def zero(self, period: int | None = None) -> Representation:
        """V = 0."""
        return self.represent(np.zeros(mesh_shape(self.numerics, self.arguments)), period)

    def terminal(self) -> Representation:
        """V after the last decision of a finite horizon."""
        clock = self.setting.problem.clock
        if not clock.finite:
            raise ModelError("the horizon is infinite, so there is no value after the last decision; start at zero().")
        compiled = self.setting.program("last", lambda: jax.jit(self.numerics.terminal))
        return self._on(compiled(self.arguments), clock.count)

    def represent(self, given: Any, period: int | None = None) -> Representation:
        """A function of states, parameters and functions of the model, or an array at the nodes, as a representation.

        Args:
            given: the function, or the levels, in the shape of `zero().levels`; slopes of an array are those of
                parabolas through its neighbours.
            period: on whose grid; absent for an infinite horizon.
        Raises:
            ModelError: if the function names an action, a shock or what the model does not have, or gives no single
                number; if the array has another shape.
        """
        number = self._period(period, last=True)
        if callable(given):
            graph = self._stated(given)
            made = jax.jit(partial(_represented, self.numerics, graph, number))(self.arguments)
            return self._on(made, number)
        levels, shape = _levels(given), mesh_shape(self.numerics, self.arguments)
        if levels.shape != shape:
            raise ModelError(f"represent: the array has shape {levels.shape}, and the grid {shape}.")
        build = lambda: jax.jit(partial(_with_slopes, self.numerics))  # noqa: E731
        made = self.setting.program("levels", build)(self.arguments, levels, np.int32(number))
        return self._on(made, number)

    # -- operators ------------------------------------------------------------------------------------------------

    def T(self, V: Representation, period: int | None = None) -> Representation:
        """A Bellman step: the largest E[r + b V(s')] at every node of `period`."""
        return self.greedy(V, period).improved

    def greedy(self, V: Representation, period: int | None = None) -> Greedy:
        """The policy that attains T V.

        Raises:
            ModelError: if V is of another model or solver, or not of the period after; if there is no such period.
            SolveError: if no action is feasible at a node.
        """
        number = self._period(period, last=False)
        self._check(V, "V")
        if self.setting.problem.finite and V.period != number + 1:
            raise ModelError(f"V is on the grid of period {V.period}; in period {number} it is that of {number + 1}.")
        build = lambda: quickly_at_first(partial(_improved, self.numerics), True)  # noqa: E731
        value, frozen, tally = self.setting.program("improve", build)(self.arguments, V.value, np.int32(number))
        if concrete(tally) and (tally[1] > 0 or tally[2] > 0):
            what = "no action is feasible" if tally[1] > 0 else "T V is not a number"
            count = int(max(float(tally[1]), float(tally[2])))
            raise SolveError(f"{what} at {count} of {value.levels.size} nodes. bx.solve says where, and why.")
        return Greedy(V, self._on(value, number), frozen, jnp.sum(tally[len(TALLY) :]) == 0)

    def evaluate(self, policy: Greedy | Sequence[Greedy]) -> Any:
        """The value of following a policy for ever; with a finite horizon, of one policy a period, to the end.

        Returns:
            A `Representation`; with a finite horizon a list, one a period and that of `terminal()`.
        Raises:
            ModelError: if it is a policy of another model or solver. Functions of states are `bx.evaluate`'s.
            SolveError: if following it for ever is worth nothing finite, or leads away where V is not known.
        """
        if self.setting.problem.finite:
            return self._to_the_end(policy)
        self._check_greedy(policy)
        assert isinstance(policy, Greedy)
        build = lambda: quickly_at_first(partial(value_of, self.numerics), True)  # noqa: E731
        compiled = self.setting.program("value of", build)
        value, sound = compiled(self.arguments, policy.frozen, policy.improved.value, policy.inside)
        if concrete(sound) and not sound:
            raise SolveError(
                "following this policy for ever has no value that could be found. Likely causes: it leads off the grid "
                "faster than rewards are discounted, or where V is minus infinity. Take another step of T first."
            )
        value = jax.tree.map(lambda leaf: jnp.where(sound, leaf, jnp.nan), value)
        return self._on(value, 0)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _to_the_end(self, policies: Any) -> list[Representation]:
        count = self.setting.problem.clock.count
        if not isinstance(policies, list | tuple) or len(policies) != count:
            raise ModelError(f"evaluate: the horizon is finite; give a list of {count} policies, one a period.")
        build = lambda: quickly_at_first(partial(_followed, self.numerics), True)  # noqa: E731
        compiled = self.setting.program("follow", build)
        values = [self.terminal()]
        for period in range(count - 1, -1, -1):
            self._check_greedy(policies[period])
            if policies[period].improved.period != period:
                raise ModelError(f"evaluate: policy {period} is that of period {policies[period].improved.period}.")
            found = compiled(self.arguments, policies[period].frozen, values[0].value, np.int32(period))
            values.insert(0, self._on(found, period))
        return values

    def _stated(self, function: Callable[..., Any]) -> Graph:
        """The graph of the model with a function of states as one more node, bound like any slot."""
        own, label = self.setting.plan.graph, "represent: the function"
        slot = Slot(_REPRESENTED, "represented", quantity(function, label), ())
        graph = Graph([*own.slots.values(), slot], own.kinds, own.seen, own.regime, own.where, own.clock)
        known = [*self.setting.plan.states, *self.arguments, *(name for name in own.nodes if ":" not in name)]
        needed = [name for name in slot.quantity.names if name not in own.nodes]
        check_names(needed, [*known, *CLOCK], f"{label} names what the model does not have:")
        if not self.setting.problem.finite and set(CLOCK) & graph.reach(_REPRESENTED):
            raise ModelError(f"{label} names the period or the age, and the horizon is infinite.")
        shapes.check(graph, self.arguments)
        return graph

    def _on(self, value: Value, period: int) -> Representation:
        return Representation(value, self.arguments, period, self.setting)

    def _check(self, given: Any, what: str) -> None:
        if not isinstance(given, Representation):
            raise ModelError(f"{what} is a {type(given).__name__}; make it by zero(), terminal() or represent(...).")
        if given.setting is not self.setting:
            raise ModelError(f"{what} belongs to another model or solver, and is on another grid. Represent it here.")

    def _check_greedy(self, policy: Any) -> None:
        if not isinstance(policy, Greedy):
            raise ModelError(
                f"evaluate takes what greedy(V) returns, not a {type(policy).__name__}; for functions of states and "
                "for solutions there is bx.evaluate(model, params, rule)."
            )
        self._check(policy.improved, "the policy")

    def _period(self, period: int | None, last: bool) -> int:
        return check_period(self.setting.problem.clock, period, None, last)


@named_arguments
def operators(model: Model, params: Mapping[str, Any], solver: Any = None) -> Operators:
    """The operators of the theory on a solver's grid: `T`, `greedy` and `evaluate`, to be iterated by hand.

    They act on representations: `zero()`, `terminal()`, `represent(function or array)`. Each is compiled once, for all
    periods and parameters.

    Args:
        model, params, solver: as in `solve`.
    Raises:
        ModelError: for an endogenous grid, whose V is none at nodes.
    """
    check_solvable(model)
    if model.regimes is not None:
        raise ModelError(
            f"operators takes a model of one regime, and this one has {listed(model.graphs)}. bx.solve(model, params, "
            "horizon=n) is n steps of T over all of them, and bx.evaluate(model, params, rule) the value of a rule."
        )
    prepared = prepare(model, usual_solver(model)[0] if solver is None else check_bellman(solver))
    if prepared.numerics.maximiser.makes_pieces:
        raise ModelError(
            f"operators act on values at nodes, and {type(prepared.numerics.maximiser).__name__} knows V between them. "
            "Use a solver with maximiser=bx.maximise.Newton()."
        )
    arguments = prepared.arguments(params)
    if all_concrete(arguments):
        prepared.check(arguments)
    return Operators(prepared, arguments)


_REPRESENTED = "slot:represented"
"""The node of a function of states that becomes a representation."""


def _levels(given: Any) -> Any:
    """The levels that were given, as an array of floats."""
    if not concrete(given):
        return jnp.asarray(given, float)
    try:
        return np.asarray(given, float)
    except (TypeError, ValueError):
        raise ModelError(f"represent: {given!r} is neither a function of states nor an array of numbers.") from None


def _represented(numerics: Discretisation, graph: Graph, period: int, arguments: Arguments) -> Value:
    environment = numerics.problem.environment(arguments, period)
    mesh = numerics.nodes(environment)

    def at(node: Node) -> Value:
        def value(coordinates: Array) -> Array:
            point = mesh.point(node.codes, coordinates)
            return as_float(graph.compose([_REPRESENTED])(**environment, **point.values)[_REPRESENTED])

        return Value(*value_and_slopes(value, node.coordinates, numerics.interpolant.needs_slopes))

    return over_mesh(at, mesh, 1, numerics.memory)


def _with_slopes(numerics: Discretisation, arguments: Arguments, levels: Array, period: Array) -> Value:
    mesh = numerics.mesh(arguments, period)
    count = len(mesh.lines) if numerics.interpolant.needs_slopes else 0
    slopes = [
        along(k - len(mesh.lines), secant_slopes, levels, coordinates=mesh.lines[k].coordinates) for k in range(count)
    ]
    return Value(levels, tuple(jnp.where(jnp.isfinite(slope), slope, 0.0) for slope in slopes))


def _improved(
    numerics: Discretisation, arguments: Arguments, value: Value, period: Array
) -> tuple[Value, Frozen, Array]:
    objective, mesh = numerics.one_period(arguments, value, period)
    found, frozen = improve(numerics.maximiser, objective, mesh, numerics.memory)
    return found.value, frozen, tallied(found)


def _followed(numerics: Discretisation, arguments: Arguments, frozen: Frozen, value: Value, period: Array) -> Value:
    objective, mesh = numerics.one_period(arguments, value, period)
    return follow(frozen, objective, mesh, numerics.memory)
