"""`FiniteDifference`: the Hamilton-Jacobi-Bellman equation on nodes, by a monotone scheme and Newton's method.

V solves discount V = reward + A V, where rewards and rates are tangent to the equation at the last V (scheme.py): a
sparse linear system, and next a new tangent. Where actions maximise that is Howard's policy iteration.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import (
    ModelError,
    ParameterError,
    check_count,
    check_mapping,
    check_names,
    check_positive,
    named_options,
)
from bellax.model import slots
from bellax.model.diffusion import Absorbing, DiffusionModel, StateConstraint
from bellax.model.spaces import Continuous
from bellax.numerics import grids, loops, sparse
from bellax.numerics.shared import Shared
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting, FlowSolution, Mass, Table, Unstated, check_parameters
from bellax.solution.solution import Result
from bellax.solvers.continuous.scheme import Scheme
from bellax.solvers.continuous.selection import Selected
from bellax.solvers.solver import Solver

_NODES = {1: 500, 2: 100, 3: 30}
_WILD = 0.1  # relative change of V beyond which a step is careful
_CLOSE = 1e-6  # relative gap of the first-order condition that a closed form may leave


@named_options
@dataclass(frozen=True, kw_only=True)
class FiniteDifference(Solver):
    """Solves a `DiffusionModel` on nodes.

    Differences are taken in the coordinates of the states' scales: central where that is monotone, and upwind
    elsewhere, so that V is the value of a chain on the nodes whose drift is exact and whose variance is as small as it
    can be.

    Args:
        grid: by continuous state, a number of nodes or one of `bx.grids`; by default 500 of one state, 100 each of
            two, 30 each of three.
        tolerance: largest change of V, divided by 1 + abs(V), in the last step.
        max_steps: steps at most.
    Raises:
        ModelError: for a model that it does not solve, which says what.
    Source: Achdou, Han, Lasry, Lions & Moll (2022); Howard (1960).
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        check_mapping(self.grid, "FiniteDifference: grid", "{'wealth': 500}")
        check_positive(self.tolerance, "FiniteDifference: tolerance")
        check_count(self.max_steps, "FiniteDifference: max_steps")

    def prepare(self, model: Any) -> "PreparedFlow":
        check_served(model)
        name = ("prepared", self.tolerance, self.max_steps, tuple(sorted((k, repr(v)) for k, v in self.grid.items())))
        if name not in model.programs:
            model.programs[name] = PreparedFlow(model, self, self._specs(model))
        return model.programs[name]

    def _specs(self, model: DiffusionModel) -> dict[str, Any]:
        continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
        for name in self.grid:
            if name in model.states and name not in continuous:
                raise ModelError(
                    f"grid: state {name!r} is a chain and has exactly its categories; remove it from grid=."
                )
        check_names(self.grid, continuous, "grid: state")
        usual = _NODES.get(len(continuous), 20)
        return {name: grids.as_spec(self.grid.get(name, usual), f"state {name!r}", 3) for name in continuous}


def check_served(model: Any) -> None:
    """Raises ModelError for what this version does not solve in continuous time."""
    if not isinstance(model, DiffusionModel):
        raise ModelError(
            f"FiniteDifference solves a bx.DiffusionModel, not a {type(model).__name__}; for a bx.Model there are "
            "bx.solvers.BackwardInduction, ValueIteration and PolicyIteration."
        )
    graph = model.graphs[""]
    continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
    driven = [name for name in continuous if graph.leaves(f"drift:{name}", "action", "marginal")]
    free = [name for name in model.actions if name not in model.policy]
    spread = [name for name in model.diffusion if graph.leaves(f"diffusion:{name}", "action")]
    sides = {name: given if isinstance(given, tuple) else (given,) for name, given in model.boundary.items()}
    absorbing = [name for name, given in sides.items() if any(isinstance(side, Absorbing) for side in given)]
    vectors = [name for name in continuous if slots.view(model.states[name]).shape != ()]
    first = lambda names: next(iter(names), "")  # noqa: E731
    wrong = [
        (len(continuous) == 0, "a model needs a continuous state; of chains alone V is a linear system."),
        (bool(vectors), f"state {first(vectors)!r} is a vector; give each of its numbers a name."),
        (math.isfinite(model.horizon), "it solves an infinite horizon."),
        (model.stop is not None, "it has no `stop`."),
        (bool(absorbing), f"the boundary of {absorbing} is Absorbing."),
        (bool(free), f"the action {first(free)!r} has no closed form: give policy={{{first(free)!r}: ...}}."),
        (bool(spread), f"the diffusion of {spread} moves with an action."),
        (len(driven) > 1, f"actions move more than one state: {driven}."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"FiniteDifference does not solve this model in this version: {words}")


class Found(NamedTuple):
    """What a solve gives."""

    value: Array
    marginals: dict[str, Array]
    code: Array
    stats: dict[str, Array]


class Later(NamedTuple):
    """V some time later, and the inverse of that time."""

    value: Array
    rate: Array


class _Search(NamedTuple):
    steps: Array
    value: Array
    selected: dict[str, Selected]
    change: Array


class PreparedFlow(FlowSetting):
    """A model under `FiniteDifference`."""

    endogenous = False

    def scheme(self, arguments: Arguments) -> Scheme:
        """The equation on nodes; inside a compiled program."""
        sides = {name: self.sides(name) for name in self.flow.continuous}
        return Scheme(self.flow, arguments, self.lines(arguments), sides)

    def mass(self, solution: FlowSolution, check: bool = True) -> Mass:
        """The stationary mass, inside a compiled program."""
        scheme, table = self.scheme(solution.arguments), solution.values
        assert isinstance(table, Table)
        generator = scheme.carried(table.marginals)
        ramp = jnp.linspace(0.0, 1.0, scheme.pattern.count).reshape(scheme.shape)
        mass = sparse.stationary(generator, jnp.ones(scheme.shape))
        apart = jnp.zeros(())
        if check:
            still = lax.stop_gradient(generator)
            others = [sparse.stationary(still, start) for start in (ramp, 1 - ramp)]
            apart = jnp.sum(jnp.abs(others[0] - others[1]))
        return Mass(mass, scheme.held(generator), jnp.where(jnp.isnan(apart), jnp.inf, apart))

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_parameters(self, arguments)
        run = self.program("signs", lambda: jax.jit(self._signs))
        rate, spreads = run(arguments)
        if not float(rate) > 0:
            raise ParameterError(
                f"the discount is {float(rate):g} at some state; in continuous time it is a rate, and with an infinite "
                "horizon above zero everywhere."
            )
        for name, least in spreads.items():
            if not float(least) >= 0:
                raise ParameterError(
                    f"the diffusion of {name!r} is {float(least):g} at some state; it is a standard deviation."
                )

    def _signs(self, arguments: Arguments) -> tuple[Array, dict[str, Array]]:
        made = self.scheme(arguments)
        spread = lambda name: jax.vmap(  # noqa: E731
            lambda states: self.flow.spread(arguments, states, name)
        )(made.states)
        return jnp.min(made.discount), {name: jnp.min(spread(name)) for name in self.flow.spreads}

    def final(self, arguments: Arguments, terminal: Any) -> None:
        raise ModelError("terminal= is the value after the last decision; in continuous time there is none.")

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        if ticket is not None:
            raise ModelError("FiniteDifference takes a few steps and tells of no progress; leave progress= out.")
        run = self.program("solve", lambda: Shared(lambda given: self.found(self.scheme(given))))
        found = run(arguments)
        return self.solution(arguments, found)

    def solve_from(self, arguments: Arguments, start: Any) -> FlowSolution:
        """Solves, beginning with a `Table` that may be near; inside a compiled program."""
        return self.solution(arguments, self.found(self.scheme(arguments), start))

    def unknown(self, arguments: Arguments) -> Table:
        shape = tuple(nodes.shape[0] for nodes in self.nodes(arguments).values())
        none = jnp.full(shape, jnp.nan)
        return Table(none, dict.fromkeys(self.flow.continuous, none))

    def solution(self, arguments: Arguments, found: Found) -> FlowSolution:
        return FlowSolution(arguments, Table(found.value, found.marginals), found.code, found.stats, self)

    def found(self, scheme: Scheme, start: Table | None = None, later: Later | None = None) -> Found:
        """V, inside a compiled program.

        Args:
            start: to begin with, where it is a number everywhere.
            later: what V is some time later, of which this is an implicit step back; without it V does not move.
        """
        options: Any = self.options
        fixed = scheme.stopped
        rate, paid = _stepping(fixed, lax.stop_gradient(later))
        first, near = fixed.start()

        def step(state: _Search) -> _Search:
            early = state.change > _WILD
            last = {name: one.marginal for name, one in state.selected.items()}
            selected = fixed.select(state.value, last, early, near, early)
            tangent = fixed.tangent(state.value, selected, early)
            value = sparse.solve(tangent.generator, rate, tangent.reward + paid)
            change = jnp.max(jnp.abs(value - state.value) / (1 + jnp.abs(value)))
            change = jnp.where(early, jnp.maximum(change, _WILD), change)  # a careful step is not the last one
            return _Search(state.steps + 1, value, selected, jnp.where(jnp.isnan(change), jnp.inf, change))

        done = lambda state: (state.change <= options.tolerance) | (state.steps >= options.max_steps)  # noqa: E731
        none = {name: Selected(p, jnp.zeros(p.shape, jnp.int32), jnp.ones(p.shape, bool)) for name, p in near.items()}
        begin = _Search(jnp.zeros((), jnp.int32), first, none, jnp.asarray(jnp.inf))
        if start is not None:
            known = lax.stop_gradient(start)
            good = jnp.all(jnp.isfinite(known.values))
            put = {n: one._replace(marginal=known.marginals[n]) for n, one in none.items()}
            near_one = _Search(begin.steps, known.values, put, jnp.asarray(0.5 * _WILD))
            begin = jax.tree.map(lambda there, here: jnp.where(good, there, here), near_one, begin)
        return self._finished(scheme, loops.until(done, step, begin), later)

    def _finished(self, scheme: Scheme, last: _Search, later: Later | None) -> Found:
        """With derivatives: V of the last tangent, whose rates do not move, and marginal values of that V."""
        options: Any = self.options
        tangent = scheme.tangent(last.value, last.selected)
        still = lax.stop_gradient(tangent.generator)
        rate, paid = _stepping(scheme, later)
        value = sparse.solve(still, rate, tangent.reward + paid)
        moved = last.selected
        if not self.flow.adjoint:
            moved = scheme.select(value, {name: one.marginal for name, one in moved.items()}, True)
            moved = {n: one._replace(found=one.found & last.selected[n].found) for n, one in moved.items()}
        carried = scheme.tangent(value, moved, True)
        flags = scheme.flags(carried)
        sane = jnp.all(jnp.isfinite(value)) & jnp.all(jnp.isfinite(carried.reward))
        converged = last.change <= options.tolerance
        gap = scheme.first_order_gap(lax.stop_gradient(carried.marginals))
        wrong = jnp.any(jnp.stack(list(flags.values())) > 0) | (gap > _CLOSE)
        code = jnp.where(wrong, int(Result.infeasible), int(Result.successful))
        code = jnp.where(converged, code, int(Result.max_steps_reached))
        code = jnp.where(sane, code, int(Result.nonfinite))
        stats = {"steps": last.steps, "residual": last.change, "first_order_gap": gap, **flags}
        return Found(value, carried.marginals, code.astype(jnp.int32), stats)

    def explain(self, solution: FlowSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        result, stats, options = Result(int(solution.code)), solution.stats, self.options
        if result == Result.nonfinite:
            return (
                "V is no number somewhere. Likely causes: a reward, a drift or a closed form that is no number at some "
                "state, or at the marginal value there; a policy that earns without bound."
            )
        wrong = self._wrong(stats)
        if result == Result.max_steps_reached:
            return (
                f"V is not found after {int(stats['steps'])} steps (max_steps={options.max_steps}): the last change "
                f"was {float(stats['residual']):.3g}, and tolerance={options.tolerance:g}."
                f"{f' In the last step {wrong}' if wrong else ''}"
            )
        if wrong:
            return wrong
        gap = float(stats["first_order_gap"])
        if gap == math.inf:
            return (
                f"the closed forms of {sorted(self.flow.policy)} lead beyond the bounds of an action at some state, "
                "or to the worst action and not the best. Write bounds into policy=, and check its signs."
            )
        if gap > _CLOSE:
            return (
                f"the closed forms of {sorted(self.flow.policy)} leave the first-order condition by {gap:.3g} of its "
                "terms at some state, marginal values held fixed. Check signs and powers of policy=."
            )
        return ""

    def _wrong(self, stats: Mapping[str, Array]) -> str:
        """What is wrong at nodes, the first that is; empty where nothing is."""
        for name in self.flow.continuous:
            for side in ("lower", "upper"):
                if float(stats[f"outward:{side}:{name}"]) > 0:
                    return self._outward(name, side)
                if float(stats[f"spread:{side}:{name}"]) > 0:
                    return self._spread(name, side)
            if float(stats[f"lost:{name}"]) > 0:
                return (
                    f"nothing stands for the derivative of V in {name!r} at {int(stats[f'lost:{name}'])} nodes: V asks "
                    "for control without end there, or the closed forms are no numbers at any marginal value. Likely "
                    f"causes: a V that falls in {name!r}, where a closed form takes it to rise; no bound of an action."
                )
        return ""

    def _spread(self, name: str, side: str) -> str:
        what = (
            "no condition holds there"
            if isinstance(self.sides(name)[0 if side == "lower" else 1], Unstated)
            else ("no control of the drift keeps it inside")
        )
        return (
            f"the state {name!r} diffuses at its {side} edge, and {what}. Give "
            f"boundary={{{name!r}: bx.Reflecting()}}; or bx.Natural(), where the edge is never reached."
        )

    def _outward(self, name: str, side: str) -> str:
        which = 0 if side == "lower" else 1
        if isinstance(self.sides(name)[which], StateConstraint):
            return (
                f"the state {name!r} cannot be kept at its {side} edge: whatever is done, the drift leads outward "
                "there. Move the bound, or give boundary=bx.Reflecting()."
            )
        return (
            f"the drift of {name!r} leads outward at its {side} edge, and no condition holds there. Give "
            f"boundary={{{name!r}: bx.StateConstraint()}}, Reflecting(); or move the bound."
        )


def _stepping(scheme: Scheme, later: Later | None) -> tuple[Array, Array]:
    """The rate of V, and the reward for where it is some time later."""
    if later is None:
        return scheme.discount, jnp.zeros(scheme.shape)
    return scheme.discount + later.rate, later.rate * later.value
