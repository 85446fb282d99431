"""`EulerNet`: a policy as a net, trained on first-order and envelope conditions that autodiff derives from the model.

Points are a low-discrepancy sequence in the box; after the first rounds a share of them is where simulated paths lead.
Steps are Levenberg and Marquardt's. Where V is not needed for the conditions (euler.py) it is found afterwards, by
least squares on V = E[r + b V(s')] with the policy held fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import check_count, named_options
from bellax.learning import levenberg, nets, sampling, training
from bellax.learning.levenberg import Fit, LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural import ergodic
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.euler import Euler, is_static, sizes, unit_free
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import NetSolver, check_smooth
from bellax.solvers.neural.prepared import Found, PreparedNets

_SMALL = 1e-3  # of the mean size of a condition: what counts as no size at all
_GAIN = 2.5  # see nets.initial
_STEPS = 100  # periods before a simulated state counts as visited
_EVALUATION = 60  # steps of the least squares for V


@named_options
@dataclass(frozen=True, kw_only=True)
class EulerNet(NetSolver):
    """Solves models that are differentiable in continuous states and actions by nets on their Euler equations.

    Besides what all solvers by nets take (`NetSolver`):

    Args:
        rounds: of training before the last one, each of `budget` steps at most; in all of them but the first points
            are taken anew.
        budget: see `rounds`.
        finish: steps at most of the last round.
        visited: the share of the points, after the first round, that lies where simulated paths lead.
        wider: by how much these are drawn apart.
        costates: whether V is trained together with the policy, as its slopes stand in the conditions; by default only
            where they have to. Where a bound binds, and tomorrow's states move with it, they have to, too.
    Raises:
        ModelError: for discrete actions, `stop`, and models without continuous actions.
    Source: Maliar, Maliar & Winant (2021), "Deep learning for solving dynamic economic models", Journal of Monetary
        Economics 122. Departs from it in: exact expectations, and least squares by Levenberg and Marquardt.
    """

    rounds: int = 3
    budget: int = 25
    finish: int = 150
    visited: float = 0.5
    wider: float = 1.25
    costates: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rounds", "budget", "finish"):
            check_count(getattr(self, name), f"EulerNet: {name}")

    def prepare(self, model: Any) -> "PreparedEuler":
        return self.kept(model, PreparedEuler)


class Begun(NamedTuple):
    """What stays during a training.

    Attributes:
        states, periods: points in the box, one row each.
        level, unit: of V.
    """

    states: dict[str, Array]
    periods: Array
    level: Array
    unit: Array


class Rows(NamedTuple):
    """Points of a round, and what their conditions are divided by."""

    states: dict[str, Array]
    periods: Array
    size: Array
    key: Array


class PreparedEuler(PreparedNets):
    """A model under `EulerNet`."""

    def __init__(self, model: Any, options: EulerNet) -> None:
        super().__init__(model, options)
        check_smooth(self.plan, "EulerNet", "use bx.solvers.NeuralValueIteration() or bx.solvers.ActorCritic()")
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        self.static = is_static(self.plan) if options.costates is None else not options.costates
        size = self.layout.size
        self.shapes = (Shape(size, options.hidden, self.head.size), Shape(size, options.hidden))
        weights = self.shapes[0].weights + (0 if self.static else self.shapes[1].weights)
        equations = self.head.size if self.static else self.head.size + 1 + len(self.plan.lines)
        self.count = options.points or max(256, 4 * weights // equations)

    # -- parts

    def inputs(self, arguments: Arguments) -> Inputs:
        return inputs(self.layout, arguments, self.options.box)

    def euler(self, arguments: Arguments) -> Euler:
        return Euler(self.problem, arguments, self.head, self.options.quadrature, self.options.degree)

    def outputs(self, seen: Inputs, weights: Array) -> Any:
        """Outputs of the policy net, as euler.py takes them."""
        layers = nets.layers(self.shapes[0], weights)
        return lambda number, states: nets.forward(layers, seen.of(number, states))

    def worth(self, seen: Inputs, weights: Array, begun: Begun) -> Any:
        """V, as euler.py takes it."""
        layers = nets.layers(self.shapes[1], weights)
        return lambda number, states: begun.level + begun.unit * nets.forward(layers, seen.of(number, states))[0]

    def split(self, weights: Array) -> tuple[Array, Array]:
        """Weights of the policy, and of V where that is trained with it."""
        return weights[: self.shapes[0].weights], weights[self.shapes[0].weights :]

    def _points(self, seen: Inputs, seed: int, count: int) -> tuple[dict[str, Array], Array]:
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return jax.vmap(seen.state)(shares)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Fit]:
        seen = self.inputs(arguments)
        states, periods = self._points(seen, self.options.seed, self.count)
        actor = nets.flat(self.shapes[0], self.options.seed, _GAIN)
        level, unit = self._measure(arguments, seen, actor, states, periods)
        begun = Begun(states, periods, level, unit)
        weights = (
            actor if self.static else jnp.concatenate([actor, nets.flat(self.shapes[1], self.options.seed + 1, _GAIN)])
        )
        method = self.method(arguments, begun)
        key = jax.random.key_data(jax.random.key(self.options.seed))
        rows = Rows(states, periods, jnp.ones((self.count, self.head.size + len(self.plan.lines) + 1)), key)
        return begun, method.init(weights, method.sized(weights, rows))

    def _measure(self, arguments: Arguments, seen: Inputs, actor: Array, states: Any, periods: Any) -> Any:
        """A level and a unit for V: of what is paid at the points, for ever."""
        euler, outputs = self.euler(arguments), self.outputs(seen, actor)

        def paid(states: dict[str, Array], number: Array) -> tuple[Array, Array]:
            acted = euler.acted(number, states, outputs(number, states))
            found = euler.averages(number).branches(states, acted.actions)
            return jnp.sum(found.weights * found.outcome.reward), jnp.sum(found.weights * found.outcome.discount)

        reward, discount = jax.vmap(paid)(states, periods)
        left = 1 / jnp.maximum(
            1 - jnp.mean(discount), 1 / max(self.problem.clock.count, 1) if self.problem.finite else 1e-3
        )
        spread = jnp.std(reward) + 1e-3 * jnp.abs(jnp.mean(reward)) + 1e-12
        return jnp.mean(reward) * left, spread * jnp.sqrt(left)

    def method(self, arguments: Arguments, begun: Begun) -> "Training":
        return Training(self, arguments, begun)

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Fit, moves: bool = True) -> Found:
        weights, rows = state.weights, lax.stop_gradient(state.frozen)
        if moves:
            rows = Training(self, lax.stop_gradient(arguments), begun).sized(weights, rows)
            weights = levenberg.moved(Training(self, arguments, begun).groups(rows, jnp.asarray(1)), weights)
        actor, critic = self.split(weights)
        if self.static:
            critic = self._evaluated(arguments, begun, actor, rows, moves)
        seen = self.inputs(arguments)
        behaviour = NetBehaviour(actor, critic, begun.level, begun.unit, seen, self.head, self.shapes)
        return Found(behaviour, *self._judged(lax.stop_gradient(arguments), begun, lax.stop_gradient(behaviour), state))

    def _evaluated(self, arguments: Arguments, begun: Begun, actor: Array, rows: Rows, moves: bool) -> Array:
        """V of the policy, by least squares on V = E[r + b V(s')]."""
        still = Evaluation(self, lax.stop_gradient(arguments), begun, lax.stop_gradient(actor), rows)
        start = still.method.init(nets.flat(self.shapes[1], self.options.seed + 1, _GAIN), None)
        last = lax.stop_gradient(training.run(still.method, start))
        if not moves:
            return last.weights
        return levenberg.moved(
            Evaluation(self, arguments, begun, actor, rows).groups(None, jnp.asarray(0)), last.weights
        )

    def _judged(self, arguments: Arguments, begun: Begun, found: NetBehaviour, state: Fit) -> tuple[Array, Any]:
        """How the training ended, by conditions at other points."""
        seen = self.inputs(arguments)
        method = Training(self, arguments, begun)
        weights = found.actor if self.static else jnp.concatenate([found.actor, found.critic])
        points = self._points(seen, self.options.seed + 1000, self.count)
        left = jax.vmap(lambda s, n: method.conditions(weights, s, n))(*points)
        size = jnp.abs(left)
        root = jnp.sqrt(jnp.mean(size**2))
        stats = {"steps": state.total, "condition_mean": jnp.mean(size), "condition_max": jnp.max(size)}
        code = jnp.where(root <= self.options.tolerance, int(Result.successful), int(Result.max_steps_reached))
        code = jnp.where(jnp.isfinite(root), code, int(Result.nonfinite))
        return code.astype(jnp.int32), stats

    def explain(self, solution: GridlessSolution) -> str:
        result = Result(int(solution.code))
        if result == Result.successful:
            return ""
        if result == Result.nonfinite:
            return (
                "the conditions are no number at some points of the box. Likely causes: a law or a reward that is none "
                "there (a negative number under a logarithm or a root); bounds that cross; a box= beyond where the "
                "model has a meaning."
            )
        mean, most = (float(solution.stats[f"condition_{what}"]) for what in ("mean", "max"))
        return (
            f"EulerNet: at other points than those of the training the conditions are off by {mean:.3g} on average and "
            f"{most:.3g} at most, and tolerance={self.options.tolerance:g}. Likely causes: a bound that binds "
            "(shares={'action': bx.shares.Clipped()}), a box= from which paths leave, nets that are too small "
            "(hidden=) or too few steps (rounds=, finish=)."
        )


class Training(LevenbergMarquardt):
    """The least squares of the conditions; made inside a compiled program."""

    def __init__(self, prepared: PreparedEuler, arguments: Arguments, begun: Begun) -> None:
        options = prepared.options
        super().__init__(self.groups, self.refresh, (options.budget,) * options.rounds + (options.finish,))
        self.prepared, self.arguments, self.begun = prepared, arguments, begun
        self.seen, self.euler = prepared.inputs(arguments), prepared.euler(arguments)

    def groups(self, frozen: Rows, number: Array) -> Any:
        one = lambda weights, row: self.residuals(weights, *row)  # noqa: E731
        return [(one, (frozen.states, frozen.periods, frozen.size))]

    def residuals(self, weights: Array, states: dict[str, Array], number: Array, size: Array) -> Array:
        """What is left of the conditions at one point, shape (k,)."""
        prepared = self.prepared
        actor, critic = prepared.split(weights)
        outputs, count = prepared.outputs(self.seen, actor), prepared.head.size
        if prepared.static:
            return unit_free(self.euler.first_order(number, states, outputs), None)
        worth = prepared.worth(self.seen, critic, self.begun)
        terms, left, right = self.euler.all(number, states, outputs, worth)
        return jnp.concatenate([unit_free(terms, size[:count]), (left - right) / size[count:]])

    def conditions(self, weights: Array, states: dict[str, Array], number: Array) -> Array:
        """The conditions of the actions at one point, without units."""
        prepared = self.prepared
        actor, critic = prepared.split(weights)
        outputs = prepared.outputs(self.seen, actor)
        if prepared.static:
            return unit_free(self.euler.first_order(number, states, outputs), None)
        terms, _, _ = self.euler.all(number, states, outputs, prepared.worth(self.seen, critic, self.begun))
        return unit_free(terms, 0.5 * sizes(terms) + 1e-12)

    def sized(self, weights: Array, rows: Rows) -> Rows:
        """Points with what their conditions are divided by, at these weights."""
        prepared = self.prepared
        if prepared.static:
            return rows
        actor, critic = prepared.split(weights)
        outputs, worth = prepared.outputs(self.seen, actor), prepared.worth(self.seen, critic, self.begun)

        def one(states: dict[str, Array], number: Array) -> Array:
            terms, left, right = self.euler.all(number, states, outputs, worth)
            slopes = jnp.abs(left[1:]) + jnp.abs(right[1:])
            return jnp.concatenate([0.5 * sizes(terms), self.begun.unit[None], slopes])

        found = jax.vmap(one)(rows.states, rows.periods)
        found = jnp.where(jnp.isfinite(found), found, 1.0)
        return rows._replace(size=lax.stop_gradient(found + _SMALL * jnp.mean(found, axis=0) + 1e-12))

    def refresh(self, weights: Array, frozen: Rows) -> Rows:
        """Points of the next round: some of them where paths lead."""
        prepared, options = self.prepared, self.prepared.options
        key = jax.random.fold_in(jax.random.wrap_key_data(frozen.key), 1)
        rows = frozen._replace(key=jax.random.key_data(key))
        share = int(options.visited * prepared.count)
        if share and not prepared.problem.finite:
            outputs = prepared.outputs(self.seen, prepared.split(weights)[0])
            rule = lambda number, states: self.euler.acted(number, states, outputs(number, states)).actions  # noqa: E731
            start = jax.tree.map(lambda leaf: leaf[:share], self.begun.states)
            states, periods = ergodic.visited(
                prepared.problem, self.arguments, self.seen, rule, start, key, _STEPS, options.wider
            )
            joined = lambda new, old: jnp.concatenate([new, old[share:]])  # noqa: E731
            rows = rows._replace(
                states=jax.tree.map(joined, states, self.begun.states), periods=joined(periods, self.begun.periods)
            )
        return self.sized(weights, rows)


class Looked(NamedTuple):
    """A point of a policy evaluation: what nets see there and tomorrow, and what is paid.

    Attributes:
        here, later: inputs, shape (i,) and (q, i).
        reward: expected.
        weights: of tomorrow's states, discounted, shape (q,).
        last: of these, what the model says V is after the last decision.
    """

    here: Array
    later: Array
    reward: Array
    weights: Array
    last: Array


class Evaluation:
    """Least squares of V under a policy; made inside a compiled program."""

    def __init__(self, prepared: PreparedEuler, arguments: Arguments, begun: Begun, actor: Array, rows: Rows) -> None:
        self.prepared, self.begun = prepared, begun
        seen, euler = prepared.inputs(arguments), prepared.euler(arguments)
        outputs, finite = prepared.outputs(seen, actor), prepared.problem.finite

        def look(states: Mapping[str, Array], number: Array) -> Looked:
            acted = euler.acted(number, states, outputs(number, states))
            found, following = euler.averages(number).branches(states, acted.actions), euler.following(number)
            later = jax.vmap(lambda states: seen.of(following, states))(found.following)
            weights, last = found.weights * found.outcome.discount, jnp.zeros(())
            if finite:
                period, over = prepared.problem.period(arguments, following), following >= prepared.problem.clock.count
                last = jnp.where(over, jnp.sum(weights * jax.vmap(period.terminal)(found.following)), 0.0)
                weights = jnp.where(over, 0.0, weights)
            reward = jnp.sum(found.weights * found.outcome.reward)
            return Looked(seen.of(number, states), later, reward, weights, last)

        self.rows = jax.vmap(look)(rows.states, rows.periods)
        self.method = LevenbergMarquardt(self.groups, lambda weights, frozen: frozen, (_EVALUATION,))

    def groups(self, frozen: None, number: Array) -> Any:
        return [(self.residual, self.rows)]

    def residual(self, weights: Array, row: Looked) -> Array:
        """What is left of the equation at one point, in units of V."""
        layers, begun = nets.layers(self.prepared.shapes[1], weights), self.begun
        of = lambda u: begun.level + begun.unit * nets.forward(layers, u)[0]  # noqa: E731
        later = jnp.sum(row.weights * jax.vmap(of)(row.later))
        return (of(row.here) - row.reward - row.last - later) / begun.unit
