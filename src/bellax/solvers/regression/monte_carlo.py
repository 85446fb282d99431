"""`RegressionMonteCarlo`: finite horizons by value iteration, regressed on simulated states.

    Q_t(s, a) = E[r + discount V_{t+1}(s') | s, a],    V_t(s) = max(payoff(s), max_a Q_t(s, a))

From the last period backwards, Q at simulated states is the mean over drawn successors, and is regressed on what
basis.py says. Successors come in antithetic pairs, of every combination of categories that may be drawn, mixed by
their probabilities. What is regressed is smooth where V has its kinks.

Sources: Tsitsiklis & Van Roy (2001), "Regression methods for pricing complex American-style options", IEEE Transactions
on Neural Networks 12; Longstaff & Schwartz (2001), Review of Financial Studies 14. Departs from the latter in that V,
and not what a path earns, is carried backwards.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.checks import check_arguments, sound
from bellax.bellman.chunks import over_batch
from bellax.bellman.options import key
from bellax.errors import ModelError, check_count, check_mapping, listed, named_options
from bellax.model.model import Model
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics import loops
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.problem.draws import Laws, Realised
from bellax.problem.exogenous import moved
from bellax.problem.kinds import Kinds
from bellax.problem.period import Period
from bellax.problem.problem import Arguments
from bellax.problem.starts import starting_states
from bellax.solution.gridless import GridlessSetting, GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.common import check_solvable
from bellax.solvers.progress import report
from bellax.solvers.regression.basis import Basis
from bellax.solvers.regression.behaviour import Regressed, at_category, count
from bellax.solvers.regression.sample import sample
from bellax.solvers.solver import Solver

_ENOUGH = 5.0  # successors of a period that a category has, in the mean
_NEVER = 1e-15  # a probability that is as good as none
_CUT = 1e-10  # of the largest singular value: directions below it say nothing


@named_options
@dataclass(frozen=True, kw_only=True)
class RegressionMonteCarlo(Solver):
    """Solves stopping problems, and others of discrete actions, of a finite horizon and of many states.

    Actions move discrete states only; the others are exogenous. There is no error bound in a solve: `bx.certify` gives
    a bracket of the optimal value.

    Args:
        degree: of the polynomials.
        exchangeable: names of vector states whose numbers may change places without changing anything, such as the
            prices of alike assets: polynomials are in their order.
        features: by name a function of states, functions of the model and parameters that is regressed on, too.
        samples: states in every period.
        successors: drawn of each, for each action; an even number, half of them antithetic. Categories that may be
            drawn, if there are few, are not: each has its share of the successors, at least eight, and its probability.
        start: states around which paths begin, by name, a number or one a path, as in `bx.simulate`; by default the
            middle of the bounds. A discrete state has none: every category is visited. Beyond the states that paths
            reach in a period the answer is NaN.
        seed: of all that is drawn.
        memory: bytes that may be in flight.
    Source: Tsitsiklis & Van Roy (2001), Longstaff & Schwartz (2001).
    """

    degree: int = 4
    exchangeable: tuple[str, ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 2**14
    successors: int = 16
    start: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    memory: int = 2**27

    def __post_init__(self) -> None:
        what = "RegressionMonteCarlo"
        for name, least in (("degree", 1), ("samples", 8), ("successors", 2), ("seed", 0), ("memory", 1)):
            check_count(getattr(self, name), f"{what}: {name}", least)
        if self.successors % 2:
            raise ModelError(f"{what}: successors is {self.successors}; give an even number, half are antithetic.")
        if not isinstance(self.exchangeable, tuple | list) or not all(isinstance(n, str) for n in self.exchangeable):
            raise ModelError(f"{what}: exchangeable is {self.exchangeable!r}; give names of states, ('prices',).")
        check_mapping(self.features, f"{what}: features", "{'basket': lambda prices: prices.mean()}")
        check_mapping(self.start, f"{what}: start", "{'prices': 100.0}")

    def prepare(self, model: Any) -> "PreparedRegression":
        check_solvable(model)
        if model.regimes is not None:
            raise ModelError(
                f"RegressionMonteCarlo solves models of one regime, and this one has {listed(model.graphs)}. Use "
                "bx.solvers.BackwardInduction."
            )
        name = ("prepared", key(self))
        if name not in model.programs:
            # where paths begin is an argument: one program serves all starts
            plain = ("RegressionMonteCarlo", key(replace(self, start={})))
            if plain not in model.programs:
                model.programs[plain] = PreparedRegression(model, self)
            model.programs[name] = model.programs[plain].beginning_at(self)
        return model.programs[name]


class PreparedRegression(GridlessSetting):
    """A model under `RegressionMonteCarlo`."""

    def __init__(self, model: Model, options: RegressionMonteCarlo) -> None:
        super().__init__(model, options)
        self._check_structure()
        self.basis = Basis(self.plan, options.degree, tuple(options.exchangeable), options.features)
        if self.basis.size > options.samples // 4:
            raise ModelError(
                f"RegressionMonteCarlo: degree={options.degree} in {self.basis.dimensions} numbers makes "
                f"{self.basis.size} regressors, and samples={options.samples} should be at least four times as many. "
                "Give a lower degree, features= of your own, or more samples."
            )

    def beginning_at(self, options: RegressionMonteCarlo) -> "PreparedRegression":
        """This model under a solver that differs by `start` alone, with programs in common."""
        own = copy.copy(self)
        own.options = options
        return own

    def _check_structure(self) -> None:
        plan = self.plan
        if not self.problem.finite:
            raise ModelError(
                "RegressionMonteCarlo starts from the last period, and the horizon is infinite. Give the model a "
                "horizon, or solve with horizon=T."
            )
        if plan.controls:
            raise ModelError(
                f"RegressionMonteCarlo compares the values of discrete actions, and {next(iter(plan.controls))!r} is "
                "continuous. Use bx.solvers.BackwardInduction on a grid."
            )
        for name, why in moved(plan).items():
            if name not in plan.discrete:
                raise ModelError(
                    f"RegressionMonteCarlo simulates states before anything is decided, and the law of {name!r} needs "
                    f"{why!r}. Actions may move discrete states only. Use bx.solvers.BackwardInduction on a grid."
                )
        if plan.constraints or plan.taste_shocks is not None:
            what = "constraints" if plan.constraints else "taste shocks"
            raise ModelError(f"RegressionMonteCarlo knows no {what}. Use bx.solvers.BackwardInduction on a grid.")
        for name, space in plan.states.items():
            if isinstance(space, Discrete | MarkovChain) and space.values is None:
                raise ModelError(
                    f"RegressionMonteCarlo: a parameter gives the categories of {name!r}; write them in the model."
                )

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError or ModelError for numbers that make no model."""
        check_arguments(self, arguments)
        self.check_begins(arguments)

    def solve(
        self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False
    ) -> GridlessSolution:
        """Solves; see `RegressionMonteCarlo`."""
        given = self.begins()
        told = ticket is not None
        run = self.program(("solve", told), lambda: Shared(self._program(told)))
        known = all_concrete(arguments) and not well
        sane = np.asarray(True) if known else self.program("sound", lambda: jax.jit(self._sound))(arguments)
        values, code, stats = run(arguments, given, np.asarray(0) if ticket is None else ticket, sane)
        return GridlessSolution(arguments=arguments, values=values, code=code, stats=stats, setting=self)

    def _sound(self, arguments: Arguments) -> Array:
        return sound(self.numerics, arguments)

    def begins(self) -> dict[str, Any]:
        """Where paths begin, by state that was given, one row each."""
        plan, given = self.plan, self.options.start
        wrong = [name for name in given if name in plan.discrete]
        if wrong:
            raise ModelError(f"RegressionMonteCarlo: start has {wrong[0]!r}, of which every category is visited.")
        whole = {name: self._anything(name) for name in plan.states if name not in plan.processes} | dict(given)
        found = starting_states(self.problem, whole, None if given else 1).states
        return {name: np.asarray(found[name]) for name in given}

    def _anything(self, name: str) -> Any:
        space = self.plan.states[name]
        return space.values[0] if isinstance(space, Discrete) else np.zeros(space.shape)

    def _program(self, told: bool) -> Callable[..., Any]:
        options, plan, last = self.options, self.plan, self.problem.clock.count

        def run(arguments: Arguments, given: dict[str, Array], ticket: Array, sane: Array) -> Any:
            root = jax.random.key(options.seed)
            states = sample(self.numerics, arguments, given, options.samples, jax.random.fold_in(root, 0))
            numbers = jnp.arange(last, dtype=jnp.int32)
            seen = lambda t, own: self.basis.measure(self.problem.period(arguments, t), own)  # noqa: E731
            measure = jax.vmap(seen)(numbers, states)
            shape = (last, *count(plan))
            empty = jnp.zeros((*shape, self.basis.size))
            start = Regressed(empty, jnp.zeros(shape), jnp.zeros(shape), measure, self.basis)

            def step(behaviour: Regressed, number: Array) -> tuple[Regressed, tuple[Array, Array]]:
                here = jax.tree.map(lambda leaf: leaf[number], states)
                found = self._regressed(arguments, behaviour, number, here, jax.random.fold_in(root, 1 + number))
                if told:
                    report(ticket)(last - number, found[3])
                return _with(behaviour, number, *found[:3]), (found[3], self._rare(arguments, number, here, root))

            behaviour, (left, rare) = loops.backward(step, start, last)
            fine = sane & jnp.all(jnp.isfinite(behaviour.coefficients)) & jnp.all(jnp.isfinite(left))
            good = jnp.where(jnp.any(rare), int(Result.biased), int(Result.successful))
            code = jnp.where(fine, good, int(Result.nonfinite)).astype(jnp.int32)
            stats = {"regressors": jnp.asarray(self.basis.size), "unexplained": jnp.max(left)}
            return behaviour, code, stats

        return run

    def _regressed(
        self, arguments: Arguments, after: Regressed, number: Array, states: dict[str, Array], key: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Coefficients, least and most of Q in a period, and the largest share of its variance that is unexplained."""
        options, plan, basis = self.options, self.plan, self.basis
        today = self.problem.period(arguments, number)
        measure = jax.tree.map(lambda leaf: leaf[number], after.measure)
        keys = jax.random.split(key, options.samples)
        kinds, ways = count(plan)
        random = Kinds(Laws(self.problem, arguments, number))
        drawn = random.combinations * 2 * random.pairs(options.successors // 2)
        each = kinds * ways * drawn * (8 + 4 * basis.dimensions + (basis.size if kinds > 1 else 0))
        mean = lambda row: self._mean(arguments, after, number, *row)  # noqa: E731
        q = over_batch(mean, (states, keys), each, options.memory)
        regressors = jax.vmap(lambda own: basis.at(measure, basis.seen(today, own)))(states)
        flat = q.reshape(options.samples, kinds * ways)
        found = least_squares(regressors, flat)
        rest = jnp.var(flat - regressors @ found, axis=0)
        share = jnp.max(rest / jnp.maximum(jnp.var(flat, axis=0), 1e-300))
        back = found.T.reshape(kinds, ways, basis.size)
        return back, jnp.min(q, axis=0), jnp.max(q, axis=0), share

    def _mean(
        self, arguments: Arguments, after: Regressed, number: Array, states: dict[str, Array], key: Array
    ) -> Float[Array, "c k"]:
        """Mean of r + discount V over drawn successors of one state, by category and combination of actions."""
        plan, last = self.plan, self.problem.clock.count
        kinds, ways = count(plan)
        tomorrow = self.problem.period(arguments, number + 1)
        random = Kinds(Laws(self.problem, arguments, number))
        pairs = random.pairs(self.options.successors // 2)

        def worth(found: Realised) -> Array:
            return found.reward + found.discount * value_after(after, tomorrow, number + 1, last, found.following)

        def average(kind: Array, way: Array) -> Array:
            return random.mean(states | at_category(plan, kind), random.laws.today.choices(way), worth, key, pairs)

        places = [jnp.arange(many, dtype=jnp.int32) for many in (kinds, ways)]
        return jax.vmap(jax.vmap(average, (None, 0)), (0, None))(*places)

    def _rare(self, arguments: Arguments, number: Array, states: dict[str, Array], key: Array) -> Array:
        """Whether something that is drawn, and not gone through, has kinds that successors hardly ever are."""
        random = Kinds(Laws(self.problem, arguments, number))
        drawn = [leaf for leaf in random.counts if leaf not in random.listed]
        if not drawn:
            return jnp.zeros((), bool)
        keys = jax.random.split(key, self.options.samples)

        def of_way(way: Array) -> Array:
            ask = lambda own, key: random.drawn(own, random.laws.today.choices(way), key)  # noqa: E731
            found = jax.vmap(ask)(states, keys)
            counts = {leaf: self.options.successors * jnp.sum(found[leaf], axis=0) for leaf in drawn}
            rare = [(jnp.max(found[n], axis=0) > _NEVER) & (counts[n] < _ENOUGH) for n in drawn]
            return jnp.any(jnp.concatenate(rare))

        return jnp.any(jax.lax.map(of_way, jnp.arange(count(self.plan)[1], dtype=jnp.int32)))

    def explain(self, solution: GridlessSolution) -> str:
        """Why a solve failed; empty where it did not."""
        if int(solution.code) == int(Result.successful):
            return ""
        if int(solution.code) == int(Result.biased):
            return (
                "What is random has too many combinations of categories to go through all, and some category is so "
                "rare that hardly any successor has it, so that a mean does not know of it. Give more samples= or "
                "successors=, or a model with fewer categories. `throw=False` returns what there is."
            )
        return (
            "Q is not finite in some period, so that it cannot be regressed. Likely causes: a reward, a payoff or a "
            "terminal value that is infinite or not a number at states that paths reach (see start=), or a law that "
            "leads out of its scale. `throw=False` returns what there is."
        )

    def structure(self, arguments: Arguments) -> Regressed:
        """What a solve makes, with the shapes of its arrays in their place."""
        run = self._program(False)
        found = jax.eval_shape(run, arguments, self.begins(), np.asarray(0), np.asarray(True))[0]
        return found


def value_after(behaviour: Regressed, period: Period, number: Array, last: int, states: dict[str, Array]) -> Array:
    """V in a period, which may be the one after the last decision."""
    ended = period.terminal(states)
    return jnp.where(number >= last, ended, behaviour.chosen(period, number, states).value)


def least_squares(regressors: Float[Array, "n f"], values: Float[Array, "n m"]) -> Float[Array, "f m"]:
    """The coefficients of the smallest sum of squares; those of directions that hardly vary are zero."""
    size = jnp.maximum(jnp.sqrt(jnp.mean(regressors**2, axis=0)), 1e-300)
    q, r = jnp.linalg.qr(regressors / size[None])
    u, s, vt = jnp.linalg.svd(r)
    inverse = jnp.where(s > _CUT * s[0], 1 / jnp.where(s > 0, s, 1.0), 0.0)
    return (vt.T @ (inverse[:, None] * (u.T @ (q.T @ values)))) / size[:, None]


def _with(behaviour: Regressed, number: Array, coefficients: Array, least: Array, most: Array) -> Regressed:
    """The behaviour with what was found of a period."""
    return Regressed(
        behaviour.coefficients.at[number].set(coefficients),
        behaviour.least.at[number].set(least),
        behaviour.most.at[number].set(most),
        behaviour.measure,
        behaviour.basis,
    )
