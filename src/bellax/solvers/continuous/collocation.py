"""`Collocation`: the Hamilton-Jacobi-Bellman equation of a smooth model, with V a polynomial.

V solves the equation at Chebyshev's nodes (collocated.py), by Newton's method from a V of finite differences on a
coarse grid, which knows the root. Where V is analytic the error falls geometrically with the nodes; where V has a kink
it does not, and what is left of the equation between the nodes says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import ModelError, ParameterError, check_count, check_mapping, check_names, check_positive, named_options
from bellax.model import slots
from bellax.model.diffusion import Boundary, DiffusionModel, Natural
from bellax.model.spaces import Continuous
from bellax.numerics import chebyshev, grids, loops
from bellax.numerics.grids import Line
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.problem.flow import Arguments
from bellax.solution.chebyshev import Chebyshev
from bellax.solution.flowing import FlowSetting, FlowSolution, Mass, check_parameters
from bellax.solution.solution import Result
from bellax.solvers.continuous.collocated import SIDES, Collocated, Named
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.solver import Solver

_NODES = {1: 40, 2: 20, 3: 10}
_COARSE = {1: 200, 2: 30, 3: 12}  # nodes of the finite differences that it begins with
_MOST = 5000  # nodes, of which the square is kept
_CLOSE = 1e-6  # relative gap of the first-order condition that a closed form may leave
_FAR = 0.1  # share of V by which finite differences may be off on the coarse grid
_SLOW = 1e-8  # of the discount: the rate at which a population is drawn to where it began
_ROUNDS = 3
_GROWTH = 1e4  # how much more than it is worth the equation may make of a reward


@named_options
@dataclass(frozen=True, kw_only=True)
class Collocation(Solver):
    """Solves a `DiffusionModel` whose V is smooth, by polynomials.

    Args:
        grid: nodes by continuous state; by default 40 of one state, 20 each of two, 10 each of three.
        bounds: by continuous state, (lower, upper) inside its own bounds, None for its own: V is found there alone.
            Beyond, V goes on as it is within.
        tolerance: largest change of V, divided by 1 + abs(V), in the last step.
        max_steps: steps at most.
        accuracy: largest error of V, as a share of its largest value, by what is left of the equation between nodes.
    Raises:
        ModelError: for a model that it does not solve, which says what.
    Assumes: V is smooth, which is checked: constraints that bind and kinks are refused; use `FiniteDifference`.
    Source: Trefethen (2000), "Spectral methods in MATLAB"; Judd (1998), chapter 11.
    """

    grid: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    tolerance: float = 1e-9
    max_steps: int = 50
    accuracy: float = 1e-6

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Collocation: grid", "{'wealth': 40}")
        check_mapping(self.bounds, "Collocation: bounds", "{'wealth': (0.5, None)}")
        check_positive(self.tolerance, "Collocation: tolerance")
        check_positive(self.accuracy, "Collocation: accuracy")
        check_count(self.max_steps, "Collocation: max_steps")

    def prepare(self, model: Any) -> "CollocatedFlow":
        check_served(model)
        given = (tuple(sorted(self.grid.items())), tuple(sorted((k, repr(v)) for k, v in self.bounds.items())))
        name = ("prepared", "Collocation", self.tolerance, self.accuracy, self.max_steps, *given)
        if name not in model.programs:
            model.programs[name] = CollocatedFlow(model, self, self._counts(model))
        return model.programs[name]

    def _counts(self, model: DiffusionModel) -> dict[str, int]:
        continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
        check_names(self.grid, continuous, "grid: continuous state")
        check_names(self.bounds, continuous, "bounds: continuous state")
        for name, pair in self.bounds.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ModelError(f"bounds[{name!r}] is {pair!r}; give a pair, (lower, upper), None for its own bound.")
        usual = _NODES.get(len(continuous), 5)
        found = {name: self.grid.get(name, usual) for name in continuous}
        for name, count in found.items():
            check_count(count, f"Collocation: grid[{name!r}], a number of Chebyshev's nodes,", 4)
        return found


def check_served(model: Any) -> None:
    """Raises ModelError for what this version does not solve."""
    if not isinstance(model, DiffusionModel):
        raise ModelError(
            f"Collocation solves a bx.DiffusionModel, not a {type(model).__name__}; for a bx.Model there are "
            "bx.solvers.BackwardInduction, ValueIteration and PolicyIteration."
        )
    graph = model.graphs[""]
    continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
    free = [name for name in model.actions if name not in model.policy]
    spread = [name for name in model.diffusion if graph.leaves(f"diffusion:{name}", "action")]
    vectors = [name for name in continuous if slots.view(model.states[name]).shape != ()]
    wrong = [
        (not continuous, "a model needs a continuous state; of chains alone V is a linear system."),
        (len(continuous) > 3, f"it has {len(continuous)} continuous states, and a tensor of nodes serves three."),
        (bool(vectors), f"state {vectors[:1]} is a vector; give each of its numbers a name."),
        (math.isfinite(model.horizon), "it solves an infinite horizon."),
        (model.stop is not None, "it has `stop`, where V has a kink."),
        (bool(free), f"the action {free[:1]} has no closed form: give policy=."),
        (bool(spread), f"the diffusion of {spread} moves with an action."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"Collocation does not solve this model: {words}")


class Found(NamedTuple):
    """What a solve gives."""

    value: Array
    code: Array
    stats: dict[str, Array]


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
        lower, upper = (o if g is None else Natural() for o, g in zip(self.sides(name), given, strict=True))
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
        edges = {name: self.edges(name) for name in self.flow.continuous}
        return Collocated(self.flow, arguments, self.lines(arguments), edges)

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_parameters(self, arguments)
        for name, (lower, upper) in self.box(arguments).items():
            own = self.flow.bounds(arguments, name)
            for side, bound, given in zip(SIDES, (lower, upper), self.options.bounds.get(name, (None,) * 2), strict=True):
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
        spread = lambda name: jax.vmap(  # noqa: E731
            lambda states: self.flow.spread(arguments, states, name)
        )(made.states)
        return jnp.min(made.discount), {name: jnp.min(spread(name)) for name in self.flow.spreads}

    def final(self, arguments: Arguments, terminal: Any) -> None:
        raise ModelError("terminal= is the value after the last decision; in continuous time there is none.")

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> FlowSolution:
        """Solves; `final` and `ticket` are of discrete time."""
        if ticket is not None:
            raise ModelError("Collocation takes a few steps and tells of no progress; leave progress= out.")
        run = self.program("solve", lambda: Shared(lambda given: self.found(self.scheme(given))))
        return self.solution(arguments, run(arguments))

    def solution(self, arguments: Arguments, found: Found) -> FlowSolution:
        return FlowSolution(arguments, Chebyshev(found.value), found.code, found.stats, self)

    # -- inside a compiled program

    def found(self, scheme: Collocated) -> Found:
        """V, inside a compiled program."""
        options: Any = self.options
        fixed = self.scheme(lax.stop_gradient(scheme.arguments))
        first, marginals, curvatures, known = self._start(fixed)

        def step(state: _Search) -> _Search:
            tangent = fixed.tangent(state.marginals, state.curvatures)
            matrix, right = fixed.system(tangent, state.marginals, state.curvatures)
            value = jnp.linalg.solve(matrix, right).reshape(fixed.shape)
            change = jnp.max(jnp.abs(value - state.value) / (1 + jnp.abs(value)))
            _, marginals, curvatures = fixed.derivatives(value)
            change = jnp.where(jnp.isnan(change), jnp.inf, change)
            return _Search(state.steps + 1, value, marginals, curvatures, change)

        done = lambda state: (state.change <= options.tolerance) | (state.steps >= options.max_steps)  # noqa: E731
        begin = _Search(jnp.zeros((), jnp.int32), first, marginals, curvatures, jnp.asarray(jnp.inf))
        last = loops.until(done, step, begin)
        value = _settled(scheme, last.value)
        return self._finished(fixed, last, value, jnp.where(known, first, jnp.nan))

    def _start(self, scheme: Collocated) -> tuple[Array, Named, Named, Array]:
        """V, marginal values and curvatures of finite differences at the nodes, and whether these were successful."""
        arguments = scheme.arguments
        coarse = self.coarse
        found = coarse.found(coarse.scheme(arguments))
        table = coarse.solution(arguments, found).values
        local = jax.vmap(lambda states: table.at(coarse, arguments, states))(scheme.states)
        value = local.value.reshape(scheme.shape)
        _, marginals, curvatures = scheme.derivatives(value)
        known = found.code == int(Result.successful)
        return value, {**marginals, **local.marginals}, {**curvatures, **local.curvatures}, known

    @property
    def coarse(self) -> Any:
        """The same model by finite differences."""
        count = _COARSE[len(self.flow.continuous)]
        return FiniteDifference(grid=dict.fromkeys(self.flow.continuous, count)).prepare(self.model)

    def _finished(self, scheme: Collocated, last: _Search, value: Array, first: Array) -> Found:
        """V, what is to be said of it, and how it ended."""
        options: Any = self.options
        still = lax.stop_gradient(value)
        _, marginals, curvatures = scheme.derivatives(still)
        matrix, _ = scheme.system(scheme.tangent(marginals, curvatures), marginals, curvatures)
        most = jnp.max(jnp.abs(still))
        growth = jnp.max(jnp.sum(jnp.abs(jnp.linalg.inv(matrix)) * scheme.discount, axis=1))
        stats = {
            "steps": last.steps,
            "residual": last.change,
            "first_order_gap": scheme.first_order_gap(marginals),
            "growth": growth,
            "error": growth * scheme.off_nodes(still) / jnp.where(most > 0, most, 1.0),
            "moved": jnp.max(jnp.abs(still - first)) / jnp.where(most > 0, most, 1.0),
            **{f"tail:{name}": tail for name, tail in scheme.tails(still).items()},
            **scheme.flags(marginals, curvatures),
        }
        flags = [count > 0 for name, count in stats.items() if name.startswith(("outward", "spread"))]
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
                "V is no number somewhere. Likely causes: a reward, a drift or a closed form that is no number at some "
                "state, or at the marginal value there; finite differences, where it begins, that found no V."
            )
        wrong = self._wrong({name: float(value) for name, value in stats.items()})
        if result == Result.max_steps_reached:
            return (
                f"V is not found after {int(stats['steps'])} steps (max_steps={options.max_steps}): the last change "
                f"was {float(stats['residual']):.3g}, and tolerance={options.tolerance:g}."
                f"{f' In the last step {wrong}' if wrong else ''}"
            )
        return wrong

    def _wrong(self, stats: Mapping[str, float]) -> str:
        """What is wrong, the first that is; empty where nothing is."""
        for name in self.flow.continuous:
            for side in SIDES:
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
        if not stats["error"] <= self.options.accuracy:
            tails = ", ".join(f"{stats[f'tail:{name}']:.2g} in {name!r}" for name in self.flow.continuous)
            return (
                f"V is not resolved: by what is left of the equation between nodes it may be off by "
                f"{stats['error']:.3g} of its largest value, and accuracy={self.options.accuracy:g}; its last "
                f"coefficients are {tails} of the largest. Likely causes: too few nodes; a kink, or a layer at an "
                "edge, where no number of nodes helps, and bounds= or FiniteDifference does."
            )
        if stats["moved"] > _FAR:
            return (
                f"V is {stats['moved']:.3g} of its largest value away from that of finite differences on a coarse "
                "grid: it may be another root of the equation. Solve by FiniteDifference, and compare."
            )
        return (
            f"the closed forms of {sorted(self.flow.policy)} are not the best actions: they leave the first-order "
            f"condition by {stats['first_order_gap']:.3g} of its terms at some state, lead beyond bounds, or to the "
            "worst action. Check signs and powers of policy=."
        )

    def mass(self, solution: FlowSolution) -> Mass:
        """The mean of every node's cardinal function, inside a compiled program: it may be negative."""
        scheme, values = self.scheme(solution.arguments), solution.values
        assert isinstance(values, Chebyshev)
        _, marginals, curvatures = scheme.derivatives(values.values)
        generator = scheme.generator(marginals, curvatures)
        mass = _null(generator)
        apart = _apart(lax.stop_gradient(generator), _SLOW * jnp.min(scheme.discount))
        nobody = sum(solution.stats[name] for name in solution.stats if name.startswith("still"))
        apart = jnp.where((nobody > 0) | jnp.any(scheme.absorbed) | ~jnp.isfinite(apart), jnp.inf, apart)
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
        mass = mass / jnp.sum(mass, axis=0)
    return jnp.sum(jnp.abs(mass[:, 0] - mass[:, 1]))
