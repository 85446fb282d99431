"""A model under `Collocation`: where its nodes are, Newton's method, what V is worth, and who is where.

What may be wrong of a V that solves the equation at the nodes is counted, and no success: a constraint that binds, or
paths that leave `bounds`; an equation that alone does not say what V is (`growth`: the largest row of the inverse of
its tangent times the discount, one in truth, by the maximum principle); a V that is not resolved (`error`: what is left
between the nodes, held for ever, times `growth`); another root than that of finite differences (`moved`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import ModelError, ParameterError, listed
from bellax.model.diffusion import Boundary
from bellax.numerics import chebyshev, loops
from bellax.numerics.grids import Line
from bellax.numerics.shared import Shared
from bellax.problem.flow import Arguments
from bellax.solution.chebyshev import Chebyshev
from bellax.solution.flowing import FlowSetting, FlowSolution, Mass, check_parameters
from bellax.solution.solution import Result
from bellax.solvers.continuous.collocated import SIDES, Collocated, Drawn, Named
from bellax.solvers.continuous.finite_difference import FiniteDifference

_COARSE = {1: 200, 2: 30, 3: 12}  # nodes of the finite differences that it begins with
_SMOOTH = 8  # highest degree in which they are taken to it, whose straight lines have no derivatives
_MOST = 5000  # nodes, of which the square is kept
_CLOSE = 1e-6  # relative gap of the first-order condition that an action may leave
_FAR = 0.1  # share of V by which finite differences may be off on the coarse grid
_GROWTH = 1e4  # how much more than it is worth the equation may make of a reward
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
    change: Array


class CollocatedFlow(FlowSetting):
    """A model under `Collocation`; `specs` are counts of nodes."""

    endogenous = False

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

    def scheme(self, arguments: Arguments) -> Collocated:
        """The equation at the nodes; inside a compiled program."""
        chains = [self.flow.chain(arguments, name)[0].shape[0] for name in self.flow.chains]
        total = int(np.prod([*self.specs.values(), *chains]))
        if total > _MOST:
            raise ModelError(
                f"grid= makes {total} nodes, and a matrix of {total} x {total} numbers; Collocation takes {_MOST} "
                "nodes at most. Take fewer of each state, or FiniteDifference, whose matrix is sparse."
            )
        loaded = self._loaded(arguments)
        if len(loaded) > 1:
            raise ModelError(
                f"the shocks of {listed(loaded)} are correlated, which is not for Collocation; FiniteDifference may."
            )
        edges = {name: self.edges(name) for name in self.flow.continuous}
        return Collocated(self.flow, arguments, self.lines(arguments), edges)

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_parameters(self, arguments)
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
        rate, spreads = self.program("signs", lambda: jax.jit(self._signs))(arguments)
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
        least = lambda name: jnp.min(jax.vmap(lambda at: self.flow.spread(arguments, at, name))(made.states))  # noqa: E731
        own = [name for name in self.flow.spreads if name not in (*self.flow.risky, *self._loaded(arguments))]
        return jnp.min(made.discount), {name: least(name) for name in own}

    def _loaded(self, arguments: Arguments) -> list[str]:
        """States whose diffusion is a row of loadings, which may have any sign."""
        known = [name for name in self.flow.spreads if name not in self.flow.risky]
        points = {name: line.nodes[0] for name, line in self.lines(arguments).items()}
        points |= {name: self.flow.chain(arguments, name)[0][0] for name in self.flow.chains}
        rows = {n: jax.eval_shape(lambda at, n=n: self.flow.spread(arguments, at, n), points) for n in known}
        return [name for name, row in rows.items() if row.ndim]

    def final(self, arguments: Arguments, terminal: Any) -> None:
        raise ModelError("terminal= is the value after the last decision; in continuous time there is none.")

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        if ticket is not None:
            raise ModelError("Collocation takes a few steps and tells of no progress; leave progress= out.")
        run = self.program("solve", lambda: Shared(lambda given: self.found(self.scheme(given))))
        return self.solution(arguments, run(arguments))

    def solve_from(self, arguments: Arguments, start: Any) -> FlowSolution:
        """Solves inside a compiled program, beginning with a V that may be near; that of finite differences where it
        is not a number."""
        return self.solution(arguments, self.found(self.scheme(arguments), start.values))

    def unknown(self, arguments: Arguments) -> Chebyshev:
        """A V of which nothing is known: numbers that are none."""
        return Chebyshev(jnp.full(tuple(len(line) for line in self.nodes(arguments).values()), jnp.nan))

    def solution(self, arguments: Arguments, found: Found) -> FlowSolution:
        return FlowSolution(arguments, Chebyshev(found.value), found.code, found.stats, self)

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
            change = jnp.max(jnp.abs(value - state.value) / (1 + jnp.abs(value)))
            _, marginals, curvatures = fixed.derivatives(value)
            change = jnp.where(jnp.isnan(change), jnp.inf, change)
            return _Search(state.steps + 1, value, marginals, curvatures, change)

        def done(state: _Search) -> Array:
            lost = (state.steps > 0) & ~jnp.isfinite(state.change)
            return (state.change <= options.tolerance) | (state.steps >= options.max_steps) | lost

        none = jnp.zeros((), jnp.int32)
        last = loops.until(
            done, step, _Search(none, begin.value, begin.marginals, begin.curvatures, jnp.asarray(jnp.inf))
        )
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
        good = found.code == int(Result.successful)
        table = coarse.solution(arguments, found._replace(value=jnp.where(good, found.value, made.start()[0]))).values
        local = jax.vmap(lambda states: table.at(coarse, arguments, states))(scheme.states)
        smooth = lambda table: scheme.smoothed(table.reshape(scheme.shape), _SMOOTH)  # noqa: E731
        value = smooth(local.value)
        _, slopes, bends = scheme.derivatives(value)

        def better(own: Named, tables: Named) -> Named:
            # as large as some of what it was: what is positive stays so
            kept = {n: jnp.clip(smooth(t).reshape(-1), jnp.min(t), jnp.max(t)) for n, t in tables.items()}
            return {**own, **{name: jnp.where(good, kept[name], own[name]) for name in kept}}

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
        most = jnp.max(jnp.abs(still))
        growth = jnp.max(jnp.sum(jnp.abs(jnp.linalg.inv(matrix)) * scheme.discount[None, :], axis=1))
        away = jnp.where(begin.known, jnp.max(jnp.abs(still - begin.value)), 0.0)
        stats = {
            "steps": last.steps,
            "residual": last.change,
            "first_order_gap": scheme.first_order_gap(marginals, curvatures),
            "growth": growth,
            "error": growth * scheme.off_nodes(still) / jnp.where(most > 0, most, 1.0),
            "moved": away / jnp.where(most > 0, most, 1.0),
            "bound": begin.bound,
            **{f"tail:{name}": tail for name, tail in scheme.tails(still).items()},
            **scheme.flags(marginals, curvatures),
        }
        flags = [count > 0 for name, count in stats.items() if name.startswith(("outward", "spread"))]
        flags += [~(share <= options.accuracy) for name, share in stats.items() if name.startswith("leak")]
        wrong = jnp.any(jnp.stack(flags)) | (stats["first_order_gap"] > _CLOSE) | ~(growth <= _GROWTH)
        wrong = wrong | ~(stats["error"] <= options.accuracy) | (stats["moved"] > _FAR)
        code = jnp.where(wrong, int(Result.infeasible), int(Result.successful))
        code = jnp.where(last.change <= options.tolerance, code, int(Result.max_steps_reached))
        code = jnp.where(jnp.all(jnp.isfinite(still)), code, int(Result.nonfinite))
        return Found(value, code.astype(jnp.int32), stats)

    def explain(self, solution: FlowSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        result, stats, options = Result(int(solution.code)), solution.stats, self.options
        if result == Result.successful:
            return ""
        if result == Result.nonfinite:
            return (
                "V is no number somewhere. Likely causes: a V with a kink; bounds= so close that paths leave them, or "
                "more nodes than they bear; a reward, a drift or a closed form that is no number at some state, or at "
                f"the marginal value there.{self._held(stats)}"
            )
        wrong = self._wrong({name: float(value) for name, value in stats.items()})
        if result == Result.max_steps_reached:
            return (
                f"V is not found after {int(stats['steps'])} steps (max_steps={options.max_steps}): the last change "
                f"was {float(stats['residual']):.3g}, and tolerance={options.tolerance:g}."
                f"{f' In the last step {wrong}' if wrong else ''}{self._held(stats)}"
            )
        return wrong

    def _held(self, stats: Mapping[str, Array]) -> str:
        """What finite differences say of kinks."""
        count = int(stats["bound"])
        return f" By finite differences a constraint binds at {count} nodes, where V has a kink." if count else ""

    def _wrong(self, stats: Mapping[str, float]) -> str:
        """What is wrong, the first that is; empty where nothing is."""
        accuracy = self.options.accuracy
        for name in self.flow.continuous:
            for side in SIDES:
                drawn = isinstance(self.edges(name)[SIDES.index(side)], Drawn)
                if drawn and not stats[f"leak:{side}:{name}"] <= accuracy:
                    return (
                        f"paths leave bounds[{name!r}] at the {side} edge: what is beyond may count "
                        f"{stats[f'leak:{side}:{name}']:.2g} in V within, and accuracy={accuracy:g}. Draw that bound "
                        "further away, or those of other states closer to where the population is."
                    )
                if stats[f"outward:{side}:{name}"] > 0:
                    return (
                        f"the drift of {name!r} leads outward at its {side} edge, at "
                        f"{int(stats[f'outward:{side}:{name}'])} nodes: a constraint binds there, V has a kink, and a "
                        "polynomial has none. Solve by FiniteDifference; or, where nobody is there, draw bounds= "
                        "closer, beyond which V goes on as it is within."
                    )
                if stats[f"spread:{side}:{name}"] > 0:
                    return (
                        f"the state {name!r} diffuses at its {side} edge, and no condition holds there. Give "
                        f"boundary={{{name!r}: bx.Reflecting()}}; or bx.Natural(), where the edge is never reached."
                    )
        if not stats["growth"] <= _GROWTH:
            return (
                f"the equation alone does not say what V is: what is left of it may count {stats['growth']:.3g} times "
                "as much in V. Likely causes: a state that diffuses or drifts out of an edge without a condition; "
                "bounds= so close that paths leave them; more nodes than they bear."
            )
        if not stats["error"] <= accuracy:
            tails = ", ".join(f"{stats[f'tail:{name}']:.2g} in {name!r}" for name in self.flow.continuous)
            return (
                f"V is not resolved: by what is left of the equation between nodes it may be off by "
                f"{stats['error']:.3g} of its largest value, and accuracy={accuracy:g}; its last "
                f"coefficients are {tails} of the largest. Likely causes: too few nodes; a kink, or a layer at an "
                "edge, where no number of nodes helps, and bounds= or FiniteDifference does."
            )
        if stats["moved"] > _FAR:
            return (
                f"V is {stats['moved']:.3g} of its largest value away from that of finite differences on a coarse "
                "grid: it may be another root of the equation. Solve by FiniteDifference, and compare."
            )
        return (
            f"{sorted(self.flow.actions)} are not the best actions: they leave the first-order "
            f"condition by {stats['first_order_gap']:.3g} of its terms at some state, lead beyond bounds, or to the "
            "worst action. Check signs and powers of policy=."
        )

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
