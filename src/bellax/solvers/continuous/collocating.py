"""A model under `Collocation`: where its nodes are, Newton's method, what V is worth, and who is where.

What may be wrong of a V that solves the equation at the nodes is counted, and no success: a constraint that binds, or
paths that leave `bounds`; an equation that alone does not say what V is (`growth`: the largest row of the inverse of
its tangent times the discount, one in truth, by the maximum principle); a V that is not resolved (`error`: what is left
between the nodes, held for ever, times `growth`); another root than that of finite differences (`moved`: not a number
where there was nothing to compare with, since they failed, or a search began with a V that was near).
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import ModelError, ParameterError
from bellax.model.diffusion import Boundary
from bellax.numerics import chebyshev, loops
from bellax.numerics.grids import Line
from bellax.numerics.shared import Shared
from bellax.problem.flow import Arguments
from bellax.solution.chebyshev import Chebyshev
from bellax.solution.flowing import Drawn, FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Mass
from bellax.solvers.continuous import doubts
from bellax.solvers.continuous.checked import CheckedFlow
from bellax.solvers.continuous.collocated import SIDES, Collocated, Named
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.continuous.settled import Settled, settled, span, unsettled

_COARSE = {1: 200, 2: 30, 3: 12}  # nodes of the finite differences that it begins with
_SMOOTH = 8  # highest degree in which they are taken to it, whose straight lines have no derivatives
_FEWEST = 4  # nodes of a coarser grid
_COARSELY = 0.1  # its accuracy
_MOST = 5000  # nodes, of which the square is kept
_SLOW = 1e-8  # of the discount: the rate at which a population is drawn to where it began
_ROUNDS = 3


class Found(NamedTuple):
    """What a solve gives."""

    value: Array
    code: Array
    stats: dict[str, Array]


class _Begin(NamedTuple):
    """What a search begins with.

    Attributes:
        known: whether V is that of finite differences which were successful.
        bound: how many of their nodes a constraint holds.
    """

    value: Array
    marginals: Named
    curvatures: Named
    known: Array
    bound: Array


class _Search(NamedTuple):
    steps: Array
    value: Array
    marginals: Named
    curvatures: Named
    moves: Settled


class CollocatedFlow(CheckedFlow):
    """A model under `Collocation`; `specs` are counts of nodes."""

    order = 16.0
    """Errors fall faster than any power; so much of it is believed."""

    def lines(self, arguments: Arguments) -> dict[str, Line]:
        """Chebyshev's nodes of every continuous state."""
        found = {}
        for name, (lower, upper) in self.box(arguments).items():
            space: Any = self.flow.spaces[name]
            first, last = space.scale.forward(lower), space.scale.forward(upper)
            share = 0.5 * (1 + chebyshev.nodes(self.specs[name]))
            found[name] = Line(
                space.scale, self.specs[name], first, last - first, first + (last - first) * jnp.asarray(share)
            )
        return found

    def box(self, arguments: Arguments) -> dict[str, tuple[Array, Array]]:
        """Where V is found."""
        found = {}
        for name in self.flow.continuous:
            own, given = self.flow.bounds(arguments, name), self.options.bounds.get(name, (None, None))
            lower, upper = (o if g is None else jnp.asarray(g, o.dtype) for o, g in zip(own, given, strict=True))
            found[name] = lower, upper
        return found

    def edges(self, name: str) -> tuple[Boundary, Boundary]:
        """What holds at the edges: beyond those that `bounds` draws V goes on as it is."""
        given = self.options.bounds.get(name, (None, None))
        lower, upper = (o if g is None else Drawn() for o, g in zip(self.sides(name), given, strict=True))
        return lower, upper

    def coarser(self) -> "CollocatedFlow":
        grid = {name: max(_FEWEST, (count - 1) // 2 + 1) for name, count in self.specs.items()}
        if grid == self.specs:
            raise ModelError(f"Collocation has {_FEWEST} nodes of every state, and no coarser version of itself.")
        # what fewer nodes do not resolve is what they are asked for
        options: Any = replace(self.options, grid=grid, accuracy=max(self.options.accuracy, _COARSELY))
        return options.prepare(self.model)

    def wider(
        self, arguments: Arguments, edges: Collection[tuple[str, int]], share: float
    ) -> tuple["CollocatedFlow", Arguments]:
        """As many nodes more as there is more to resolve; none is where one was."""
        states, grid, bounds = dict(self.model.states), dict(self.specs), dict(self.options.bounds)
        key: list[Any] = ["wider", *sorted(edges)]
        for name, line in self.lines(arguments).items():
            there = [share if (name, which) in edges else 0.0 for which in (0, -1)]
            ends, own = np.asarray(line.coordinates)[[0, -1]], self.flow.bounds(arguments, name)
            moved = ends + (ends[1] - ends[0]) * np.array([-there[0], there[1]])
            drawn: list[float | None] = [None, None]
            kept = [float(bound) for bound in own]
            for which, at in enumerate(np.asarray(line.scale.inverse(jnp.asarray(moved)))):
                if not isinstance(self.edges(name)[which], Drawn):
                    kept[which] = float(at) if there[which] else kept[which]
                elif float(own[0]) < at < float(own[1]):
                    drawn[which] = float(at)
            space: Any = states[name]
            states[name], bounds[name] = replace(space, lower=kept[0], upper=kept[1]), (drawn[0], drawn[1])
            grid[name] = math.ceil(grid[name] * (1 + sum(there)))
            key += kept
        options: Any = replace(self.options, grid=grid, bounds=bounds)
        return self.restated(states, options, tuple(key), arguments)

    def scheme(self, arguments: Arguments) -> Collocated:
        """The equation at the nodes; inside a compiled program."""
        chains = [self.flow.chain(arguments, name)[0].shape[0] for name in self.flow.chains]
        total = int(np.prod([*self.specs.values(), *chains]))
        if total > _MOST:
            raise ModelError(
                f"grid= makes {total} nodes, and a matrix of {total} x {total} numbers; Collocation takes {_MOST} "
                "nodes at most. Take fewer of each state, or FiniteDifference, whose matrix is sparse."
            )
        edges = {name: self.edges(name) for name in self.flow.continuous}
        return Collocated(self.flow, arguments, self.lines(arguments), edges)

    def check_box(self, arguments: Arguments) -> None:
        for name, (lower, upper) in self.box(arguments).items():
            own = self.flow.bounds(arguments, name)
            for side, bound, given in zip(
                SIDES, (lower, upper), self.options.bounds.get(name, (None,) * 2), strict=True
            ):
                if given is not None and not float(own[0]) < float(bound) < float(own[1]):
                    raise ParameterError(
                        f"bounds[{name!r}]: the {side} bound {float(bound):g} is not inside those of the state, "
                        f"{float(own[0]):g} and {float(own[1]):g}; give None for its own."
                    )
            if not float(lower) < float(upper):
                raise ParameterError(f"bounds[{name!r}] are {float(lower):g} and {float(upper):g}; they cross.")

    def in_box(self, arguments: Arguments) -> Array:
        fits = [jnp.ones((), bool)]
        for name, (lower, upper) in self.box(arguments).items():
            given, own = self.options.bounds.get(name, (None, None)), self.flow.bounds(arguments, name)
            fits += [
                (own[0] < end) & (end < own[1])
                for end, asked in zip((lower, upper), given, strict=True)
                if asked is not None
            ]
            fits.append(lower < upper)
        return jnp.all(jnp.stack([jnp.asarray(fit) for fit in fits]))

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        self.check_ticket(ticket)
        run = self.program("solve", lambda: Shared(lambda given: self.found(self.scheme(given))))
        return self.solution(arguments, run(arguments), well)

    def solve_from(self, arguments: Arguments, start: Any) -> FlowSolution:
        """Solves inside a compiled program, beginning with a V that may be near; that of finite differences where it
        is not a number."""
        return self.solution(arguments, self.found(self.scheme(arguments), start.values))

    def unknown(self, arguments: Arguments) -> Chebyshev:
        """A V of which nothing is known: numbers that are none."""
        return Chebyshev(jnp.full(tuple(len(line) for line in self.nodes(arguments).values()), jnp.nan))

    def solution(self, arguments: Arguments, found: Found, unchecked: bool = False) -> FlowSolution:
        code = self.checked(arguments, found.code, unchecked)
        return FlowSolution(arguments, Chebyshev(found.value), code, found.stats, self)

    # -- inside a compiled program

    def found(self, scheme: Collocated, start: Array | None = None) -> Found:
        """V, inside a compiled program.

        Args:
            start: V to begin with, where it is a number.
        """
        options: Any = self.options
        fixed = self.scheme(lax.stop_gradient(scheme.arguments))
        begin = self._start(fixed) if start is None else self._begun(fixed, lax.stop_gradient(start))

        def step(state: _Search) -> _Search:
            tangent = fixed.tangent(state.marginals, state.curvatures)
            matrix, right = fixed.system(tangent, state.marginals, state.curvatures)
            value = jnp.linalg.solve(matrix, right).reshape(fixed.shape)
            _, marginals, curvatures = fixed.derivatives(value)
            moves = settled(state.moves, state.value, value, options.tolerance)
            return _Search(state.steps + 1, value, marginals, curvatures, moves)

        def done(state: _Search) -> Array:
            lost = (state.steps > 0) & ~jnp.isfinite(state.moves.change)
            return state.moves.over | (state.steps >= options.max_steps) | lost

        none = jnp.zeros((), jnp.int32)
        moves = unsettled(jnp.asarray(jnp.inf))
        last = loops.until(done, step, _Search(none, begin.value, begin.marginals, begin.curvatures, moves))
        return self._finished(fixed, last, _settled(scheme, last.value), begin)

    def _begun(self, scheme: Collocated, value: Array) -> _Begin:
        """With a V, or with finite differences where it is no number."""
        good = jnp.all(jnp.isfinite(value))
        near = lambda: _Begin(value, *scheme.derivatives(value)[1:], jnp.asarray(False), jnp.zeros((), jnp.int32))  # noqa: E731
        return lax.cond(good, near, lambda: self._start(scheme))

    def _start(self, scheme: Collocated) -> _Begin:
        """With finite differences; where these fail, with V of staying where one is for ever."""
        arguments, coarse = scheme.arguments, self.coarse
        made = coarse.scheme(arguments)
        found = coarse.found(made)
        good = _sound(found)
        table = coarse.solution(arguments, found._replace(value=jnp.where(good, found.value, made.start()[0]))).values
        local = jax.vmap(lambda states: table.at(coarse, arguments, states))(scheme.states)
        smooth = lambda table: scheme.smoothed(table.reshape(scheme.shape), _SMOOTH)  # noqa: E731
        value = smooth(local.value)
        _, slopes, bends = scheme.derivatives(value)

        # its policy is what the first step takes, and where one may stand still that of straight lines is good enough
        better = lambda own, tables: {**own, **{n: jnp.where(good, t, own[n]) for n, t in tables.items()}}  # noqa: E731
        held = made.held(made.carried(found.marginals, found.curvatures))
        bound = jnp.where(good, jnp.sum(held), 0).astype(jnp.int32)
        return _Begin(value, better(slopes, local.marginals), better(bends, local.curvatures), good, bound)

    @property
    def coarse(self) -> Any:
        """The same model by finite differences."""
        count = _COARSE[len(self.flow.continuous)]
        return FiniteDifference(grid=dict.fromkeys(self.flow.continuous, count)).prepare(self.model)

    def _finished(self, scheme: Collocated, last: _Search, value: Array, begin: _Begin) -> Found:
        """V, what is to be said of it, and how it ended."""
        options: Any = self.options
        still = lax.stop_gradient(value)
        _, marginals, curvatures = scheme.derivatives(still)
        matrix, _ = scheme.system(scheme.tangent(marginals, curvatures), marginals, curvatures)
        most, best = span(still), scheme.optimality(marginals, curvatures)
        growth = jnp.max(jnp.sum(jnp.abs(jnp.linalg.inv(matrix)) * scheme.discount[None, :], axis=1))
        away = jnp.where(begin.known, jnp.max(jnp.abs(still - begin.value)), jnp.nan)
        stats = {
            "steps": last.steps,
            "residual": last.moves.change,
            "first_order_gap": jnp.max(best.gap),
            "missed": jnp.max(best.share()),
            "growth": growth,
            "error": growth * scheme.off_nodes(still) / jnp.where(most > 0, most, 1.0),
            "moved": away / jnp.where(most > 0, most, 1.0),
            "bound": begin.bound,
            **{f"tail:{name}": tail for name, tail in scheme.tails(still).items()},
            **scheme.flags(marginals, curvatures),
        }
        flags = [count > 0 for name, count in stats.items() if name.startswith(("outward", "spread"))]
        flags += [~(share <= options.accuracy) for name, share in stats.items() if name.startswith("leak")]
        wrong = jnp.any(jnp.stack(flags)) | (stats["first_order_gap"] > doubts.CLOSE) | ~(growth <= doubts.GROWTH)
        wrong = wrong | (stats["missed"] > doubts.CLOSE)
        wrong = wrong | ~(stats["error"] <= options.accuracy)
        wrong = wrong | (stats["moved"] > doubts.FAR)  # which a number that is none is not
        code = jnp.where(wrong, int(Result.infeasible), int(Result.successful))
        code = jnp.where(last.moves.over, code, int(Result.max_steps_reached))
        code = jnp.where(jnp.all(jnp.isfinite(still)), code, int(Result.nonfinite))
        return Found(value, code.astype(jnp.int32), stats)

    def explain(self, solution: FlowSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return doubts.explain(self, solution)

    def sizes(self, solution: FlowSolution) -> Named:
        """Clenshaw and Curtis's weights, in units of the states."""
        found = {}
        for name, line in self.lines(solution.arguments).items():
            half = 0.5 * (line.coordinates[-1] - line.coordinates[0])
            unit = jax.vmap(lambda y, line=line: jax.jvp(line.scale.inverse, (y,), (jnp.ones_like(y),))[1])
            found[name] = half * jnp.asarray(chebyshev.weights(line.count)) * unit(line.coordinates)
        return found

    def unsettled(self, solution: FlowSolution) -> str:
        still = [name for name, count in solution.stats.items() if name.startswith("still:") and int(count) > 0]
        if not still:
            return ""
        _, side, name = still[0].split(":", 2)
        return (
            f"nothing moves {name!r} away from its {side} edge at some state, where there may be an atom, and a "
            "polynomial has none. Solve by FiniteDifference, which reports atoms."
        )

    def mass(self, solution: FlowSolution, check: bool = True) -> Mass:
        """The mean of every node's cardinal function, inside a compiled program: it may be negative.

        Args:
            check: whether it is looked whether where it ends depends on where it begins.
        """
        self.check_dense()
        scheme, values = self.scheme(solution.arguments), solution.values
        assert isinstance(values, Chebyshev)
        _, marginals, curvatures = scheme.derivatives(values.values)
        generator = scheme.generator(marginals, curvatures)
        mass = _null(generator)
        rate = _SLOW * jnp.min(scheme.discount)
        apart = _apart(lax.stop_gradient(generator), rate) if check else jnp.zeros(())
        nobody = sum(solution.stats[name] for name in solution.stats if name.startswith("still"))
        apart = jnp.where((nobody > 0) | ~jnp.isfinite(apart), jnp.inf, apart)
        return Mass(mass.reshape(scheme.shape), jnp.zeros(scheme.shape, bool), apart)


def _sound(found: Any) -> Array:
    """Whether finite differences succeeded, or only lack a monotone scheme, of which a start has no need."""
    stats = found.stats
    wrong = [count > 0 for name, count in stats.items() if name.startswith(("outward", "spread", "lost"))]
    only = (stats["excess_correlation"] > 0) & ~jnp.any(jnp.stack(wrong)) & (stats["first_order_gap"] <= doubts.CLOSE)
    lacking = (found.code == int(Result.infeasible)) & only
    return (found.code == int(Result.successful)) | lacking


def _settled(scheme: Collocated, value: Array) -> Array:
    """V with its derivatives in parameters, those of the implicit function theorem."""
    still = lax.stop_gradient(value)

    def solved(linear: Any, right: Array) -> Array:
        size = right.size
        columns = jax.vmap(linear)(jnp.eye(size, dtype=right.dtype).reshape(size, *right.shape))
        return jnp.linalg.solve(columns.reshape(size, size).T, right.reshape(size)).reshape(right.shape)

    return lax.custom_root(scheme.residual, still, lambda _, start: start, solved)


def _null(generator: Array) -> Array:
    """The functional m with m' A = 0 and m' 1 = 1: the mean of f is m' f, where A g = f - mean has a solution g."""
    size = generator.shape[0]
    ones = jnp.ones(size)
    bordered = jnp.block([[generator.T, ones[:, None]], [ones[None, :], jnp.zeros((1, 1))]])
    return jnp.linalg.solve(bordered, jnp.zeros(size + 1).at[size].set(1.0))[:size]


def _apart(generator: Array, rate: Array) -> Array:
    """How far apart populations end that began at different places."""
    size = generator.shape[0]
    ramp = jnp.linspace(0.0, 1.0, size)
    factors = jax.scipy.linalg.lu_factor(rate * jnp.eye(size) - generator)
    mass = jnp.stack([ramp, 1 - ramp], axis=1) / (size / 2)
    for _ in range(_ROUNDS):
        mass = rate * jax.scipy.linalg.lu_solve(factors, mass, trans=1)
        mass = mass / jnp.sum(mass, axis=0, keepdims=True)
    return jnp.sum(jnp.abs(mass[:, 0] - mass[:, 1]))
