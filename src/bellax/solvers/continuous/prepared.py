"""A model under `FiniteDifference`: V by Newton's method on tangents, with an end or without, stopped or not.

Where stopping or an edge ends the problem, V is what that pays, and the node takes no part. A node stops where that is
worth more than V of going on from there, the payoff of its neighbours' V: Howard's method with one more action.
With an end, V of every moment is that of an implicit step from the next one.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import ModelError, ParameterError
from bellax.model.spaces import Continuous
from bellax.numerics import grids, loops, sparse
from bellax.numerics.once import once
from bellax.numerics.programs import quickly_at_first
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Mass, Table
from bellax.solvers.continuous import complaints
from bellax.solvers.continuous.checked import CheckedFlow
from bellax.solvers.continuous.scheme import Scheme
from bellax.solvers.continuous.selection import Selected
from bellax.solvers.continuous.settled import Settled, settled, unsettled
from bellax.solvers.continuous.stopping import Arms, ahead, armed, widened
from bellax.solvers.continuous.tangent import Tangent

_WHAT = "V of a model in continuous time"  # for messages
_SPANNED = 1e-6  # of the way between bounds: how near given nodes begin and end to them
_WILD = 0.1  # relative change of V beyond which a step is careful


class Found(NamedTuple):
    """What a solve gives.

    Attributes:
        ahead: by how much going on is worth more than stopping; empty where nobody may stop.
    """

    value: Array
    marginals: dict[str, Array]
    curvatures: dict[str, Array]
    ahead: Array
    code: Array
    stats: dict[str, Array]


class _Search(NamedTuple):
    steps: Array
    value: Array
    selected: dict[str, Selected]
    stopping: Array
    moves: Settled


class Later(NamedTuple):
    """What a moment of a finite horizon knows of the next one: V, and the time between them."""

    value: Array
    step: Array


class PreparedFlow(CheckedFlow):
    """A model under `FiniteDifference`."""

    @property
    def order(self) -> float:
        # an implicit step of time is of the first order, and halves with the distance of nodes
        return 1.0 if self.flow.timed else 2.0

    def coarser(self) -> "PreparedFlow":
        grid = {name: grids.halved(spec) for name, spec in self.specs.items()}
        if not self.flow.timed:
            return replace(self.options, grid=grid).prepare(self.model)
        if self.options.steps < 2:
            raise ModelError("there is one step in time, and no half of it; give steps=.")
        return replace(self.options, grid=grid, steps=self.options.steps // 2).prepare(self.model)

    def wider(
        self, arguments: Arguments, edges: Collection[tuple[str, int]], share: float
    ) -> tuple["PreparedFlow", Arguments]:
        states, grid = dict(self.model.states), dict(self.specs)
        bounds: list[float] = []
        for name, line in self.lines(arguments).items():
            nodes = np.asarray(line.coordinates)
            for which in (0, -1):
                nodes = grids.beyond(nodes, which, share) if (name, which) in edges else nodes
            if len(nodes) > line.count:
                own, space = np.asarray(line.scale.inverse(jnp.asarray(nodes))), states[name]
                assert isinstance(space, Continuous)
                states[name] = replace(space, lower=float(own[0]), upper=float(own[-1]))
                grid[name] = grids.Given(own, line.scale)
                bounds += [float(own[0]), float(own[-1])]
        key = ("wider", *sorted(edges), *bounds)
        return self.restated(states, replace(self.options, grid=grid), key, arguments)

    def check_box(self, arguments: Arguments) -> None:
        for name, side, node, bound, fits in self._spanned(arguments):
            if not bool(fits):
                raise ParameterError(
                    f"grid[{name!r}] ends at {node:g}, and the {side} bound of that state is {float(bound):g}: "
                    "what holds at an edge holds at the bound. Give nodes up to there, or move the bound."
                )

    def in_box(self, arguments: Arguments) -> Array:
        return jnp.all(jnp.stack([jnp.ones((), bool), *(fits for *_, fits in self._spanned(arguments))]))

    def _spanned(self, arguments: Arguments) -> Iterable[tuple[str, str, float, Array, Array]]:
        """Of nodes that were given, by state and side: the last one, the bound, and whether they are one."""
        for name in self.flow.continuous:
            spec, bounds = self.specs[name], self.flow.bounds(arguments, name)
            if not isinstance(spec, grids.Given):
                continue
            for node, bound, side in zip((spec.nodes[0], spec.nodes[-1]), bounds, ("lower", "upper"), strict=True):
                yield name, side, node, bound, jnp.abs(node - bound) <= _SPANNED * (bounds[1] - bounds[0])

    def structure(self, arguments: Arguments) -> Table:
        def none(arguments: Arguments) -> Table:
            shape = tuple(line.shape[0] for line in self.nodes(arguments).values())
            whole = (len(self.moments()), *shape) if self.flow.timed else shape
            ahead = whole if self.flow.stops else (*whole[: len(whole) - len(shape)], 0)
            of = lambda names: {name: jnp.zeros(whole) for name in names}  # noqa: E731
            return Table(jnp.zeros(whole), of(self.flow.continuous), of(self.flow.risky), jnp.zeros(ahead))

        return jax.eval_shape(none, arguments)

    def scheme(self, arguments: Arguments, moment: Array | None = None) -> Scheme:
        """The equation on nodes; inside a compiled program."""
        sides = {name: self.sides(name) for name in self.flow.continuous}
        arguments = once(arguments, _WHAT)
        return Scheme(self.flow, arguments, self.lines(arguments), sides, moment)

    def mass(self, solution: FlowSolution, check: bool = True) -> Mass:
        """The stationary mass, inside a compiled program."""
        scheme, table = self.scheme(solution.arguments), solution.values
        assert isinstance(table, Table)
        generator = scheme.carried(table.marginals, table.curvatures)
        # of no symmetry that a model might have, too
        begun = np.random.default_rng(0).uniform(size=(2, *scheme.shape))
        mass = sparse.stationary(generator, jnp.ones(scheme.shape))
        apart = jnp.zeros(())
        if check:
            # together, so that one matrix is solved for both
            others = jax.vmap(lambda start: sparse.settled(generator, start))(jnp.asarray(begun, mass.dtype))
            apart = jnp.sum(jnp.abs(others[0] - others[1]))
        return Mass(
            once(mass, "a stationary density"), scheme.held(generator), jnp.where(jnp.isnan(apart), jnp.inf, apart)
        )

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        self.check_ticket(ticket)
        run = self.program("solve", lambda: quickly_at_first(self._solved, True))
        return self.solution(arguments, run(arguments), well)

    def solve_from(self, arguments: Arguments, start: Any) -> FlowSolution:
        """Solves, beginning with a `Table` that may be near; inside a compiled program."""
        if self.flow.timed:
            return self.solution(arguments, self._backward(arguments))
        return self.solution(arguments, self.found(self.scheme(arguments), start))

    def solution(self, arguments: Arguments, found: Found, unchecked: bool = False) -> FlowSolution:
        table = Table(found.value, found.marginals, found.curvatures, found.ahead)
        return FlowSolution(arguments, table, self.checked(arguments, found.code, unchecked), found.stats, self)

    def unfinished(self, solution: FlowSolution) -> float:
        return float(solution.stats.get("residual", 0.0))

    def explain(self, solution: FlowSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return complaints.explain(self, solution)

    def _solved(self, arguments: Arguments) -> Found:
        return self._backward(arguments) if self.flow.timed else self.found(self.scheme(arguments))

    def _backward(self, arguments: Arguments) -> Found:
        """V of every moment of a finite horizon, the first one first."""
        moments = self.moments()
        last = self.scheme(arguments, moments[-1])
        value = jnp.zeros(last.shape)
        if self.model.terminal is not None:
            value = last.at_nodes(lambda states: self.flow.terminal(last.arguments, states))
        if self.flow.stops:
            value = jnp.maximum(value, last.payoff)
        mask, worth = last.absorbed
        value = jnp.where(mask, worth, value)

        def step(next_value: Array, place: Array) -> tuple[Array, Found]:
            made = self.scheme(arguments, moments[place])
            found = self.found(made, None, Later(next_value, moments[place + 1] - moments[place]))
            return found.value, found

        _, found = loops.backward(step, value, len(moments) - 1)
        ended = jax.tree.map(lambda leaf: leaf[-1:], found)
        whole = jax.tree.map(lambda own, end: jnp.concatenate([own, end]), found, ended)
        stats = {name: jnp.max(line) for name, line in found.stats.items()}
        for name in ("first_order_gap", "missed"):  # where it is largest, of the moment at which it is
            stats[f"{name}_at"] = found.stats[f"{name}_at"][jnp.argmax(found.stats[name])]
        values = jnp.concatenate([found.value, value[None]])
        return whole._replace(value=values, code=jnp.max(found.code), stats=stats)

    def found(self, scheme: Scheme, start: Table | None = None, later: Later | None = None) -> Found:
        """V, inside a compiled program.

        Args:
            start: to begin with, where it is a number everywhere.
            later: what V is some time later, of which this is an implicit step back; without it V does not move.
        """
        options: Any = self.options
        fixed, next_one = scheme.stopped, lax.stop_gradient(later)
        first, near = fixed.start()
        if next_one is not None:
            first = next_one.value
        mask, worth = fixed.absorbed

        def step(state: _Search) -> _Search:
            early = state.moves.change > _WILD
            last = {name: one.marginal for name, one in state.selected.items()}
            selected = fixed.select(state.value, last, early, near, early)
            tangent = fixed.tangent(state.value, selected, early, early)
            ended = self._ended(fixed, tangent, state.value, state.stopping, next_one)
            stopping, narrowed = self._stopping(fixed, ended, state.value, next_one, state.steps)
            value = self._linear(fixed, ended, stopping, next_one)
            # where more nodes would rather stop than this step lets, it is not the last one, and no careful one is
            least = jnp.maximum(jnp.where(narrowed, 2 * options.tolerance, 0.0), jnp.where(early, _WILD, 0.0))
            moves = settled(state.moves, state.value, value, options.tolerance, least)
            return _Search(state.steps + 1, value, selected, stopping, moves)

        done = lambda state: state.moves.over | (state.steps >= options.max_steps)  # noqa: E731
        none = {name: Selected(p, jnp.zeros(p.shape, jnp.int32), jnp.ones(p.shape, bool)) for name, p in near.items()}
        change = jnp.asarray(jnp.inf if later is None else _WILD)
        begin = _Search(jnp.zeros((), jnp.int32), jnp.where(mask, worth, first), none, mask, unsettled(change))
        if start is not None:
            known = lax.stop_gradient(start)
            good = jnp.all(jnp.isfinite(known.values))
            put = {n: one._replace(marginal=known.marginals[n]) for n, one in none.items()}
            moves = unsettled(jnp.asarray(0.5 * _WILD))
            near_one = begin._replace(value=jnp.where(mask, worth, known.values), selected=put, moves=moves)
            begin = jax.tree.map(lambda there, here: jnp.where(good, there, here), near_one, begin)
        return self._finished(scheme, loops.until(done, step, begin), later)

    def _ended(self, scheme: Scheme, tangent: Tangent, value: Array, stopping: Array, later: Later | None) -> Arms:
        """The tangent, with what ends between nodes."""
        if not self.flow.stops:
            return Arms({}, tangent, jnp.zeros(()))
        rate, extra = _implicit(scheme, later)
        return armed(scheme, tangent, value, stopping, rate, extra)

    def _stopping(
        self, scheme: Scheme, arms: Arms, value: Array, later: Later | None, step: Array
    ) -> tuple[Array, Array]:
        """Which nodes end the problem: those at an absorbing edge, and those that had better stop; and whether others
        had, too, which an early step lets go on."""
        mask = scheme.absorbed[0]
        if not self.flow.stops:
            return mask, jnp.asarray(False)
        better = _going_on(scheme, arms, value, later) < scheme.payoff
        found = mask | widened(scheme, better, step)
        return found, jnp.any(better & ~found)

    def _linear(self, scheme: Scheme, arms: Arms, stopping: Array, later: Later | None) -> Array:
        """V of a tangent."""
        generator, reward = arms.tangent.whole(arms.apart(scheme))
        rate, extra = _implicit(scheme, later)
        rate, reward = rate + arms.leak, reward + extra
        mask, worth = scheme.absorbed
        if not self.flow.stops and not scheme.absorbs:
            return sparse.solve(generator, rate, reward)
        ended = jnp.where(mask, worth, scheme.payoff) if self.flow.stops else worth
        among = generator.among(~stopping)
        return sparse.solve(among, jnp.where(stopping, 1.0, rate), jnp.where(stopping, ended, reward))

    def _finished(self, scheme: Scheme, last: _Search, later: Later | None) -> Found:
        """With derivatives: V of the last tangent, whose rates do not move, and marginal values of that V."""
        arms = self._ended(scheme, scheme.tangent(last.value, last.selected), last.value, last.stopping, later)
        still = arms.tangent._replace(generator=lax.stop_gradient(arms.tangent.generator))
        value = self._linear(scheme, arms._replace(tangent=still), last.stopping, later)
        moved = last.selected
        if not self.flow.adjoint:
            moved = scheme.select(value, {name: one.marginal for name, one in moved.items()}, True)
            moved = {n: one._replace(found=one.found & last.selected[n].found) for n, one in moved.items()}
        carried = scheme.tangent(value, moved, True)
        among = ~last.stopping
        flags = scheme.flags(carried, lax.stop_gradient(value), among)
        sane = jnp.all(jnp.isfinite(value)) & jnp.all(jnp.isfinite(jnp.where(among, carried.reward, 0.0)))
        converged = last.moves.over
        best = scheme.optimality(*lax.stop_gradient((carried.marginals, carried.curvatures)))
        gaps, missed = (jnp.where(among, own, 0.0) for own in (best.gap, best.share()))
        least = jnp.maximum(-carried.least, 0.0)
        wrong = jnp.any(jnp.stack(list(flags.values())) > 0) | (jnp.max(gaps) > complaints.CLOSE)
        wrong = wrong | (jnp.max(missed) > complaints.CLOSE) | (least > complaints.CLOSE)
        code = jnp.where(wrong, int(Result.infeasible), int(Result.successful))
        code = jnp.where(converged, code, int(Result.max_steps_reached))
        code = jnp.where(sane, code, int(Result.nonfinite))
        stats = {"steps": last.steps, "residual": last.moves.change, "excess_correlation": least, **flags}
        stats |= {"first_order_gap": jnp.max(gaps), "first_order_gap_at": jnp.argmax(gaps)}
        stats |= {"missed": jnp.max(missed), "missed_at": jnp.argmax(missed)}
        going_on = jnp.zeros(0)
        if self.flow.stops:
            arms = self._ended(scheme, carried, value, last.stopping, later)
            going_on = ahead(_going_on(scheme, arms, value, later), scheme, arms, last.stopping)
        tables = once((value, carried.marginals, carried.curvatures, going_on), _WHAT)
        value, marginals, curvatures, going_on = tables
        return Found(value, marginals, curvatures, going_on, code.astype(jnp.int32), stats)


def _implicit(scheme: Scheme, later: Later | None) -> tuple[Array, Array]:
    """The discount, and a reward, with what an implicit step of time adds."""
    if later is None:
        return scheme.discount, jnp.zeros(())
    return scheme.discount + 1 / later.step, later.value / later.step


def _going_on(scheme: Scheme, arms: Arms, value: Array, later: Later | None) -> Array:
    """What going on is worth, if V of the neighbours is this."""
    rate, extra = _implicit(scheme, later)
    generator = arms.tangent.generator
    leaving = generator.leaving
    return (arms.tangent.reward + extra + generator.apply(value) + leaving * value) / (rate + arms.leak + leaving)
