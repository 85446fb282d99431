"""`EulerNet`: a policy as a net, trained on first-order and envelope conditions that autodiff derives from the model.

Points are a low-discrepancy sequence in the box; after the first rounds a share of them is where simulated paths lead.
Steps are Levenberg and Marquardt's. Where V is not needed for the conditions (euler.py) it is found afterwards, by
least squares on V = E[r + b V(s')] with the policy held fixed.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.learning import levenberg, nets, sampling, training
from bellax.learning.levenberg import Fit, Groups, LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.clustered import clustered
from bellax.solvers.neural.doubts import TENTH, complaint, everywhere, rising, value_error
from bellax.solvers.neural.ergodic import Visited, visited
from bellax.solvers.neural.euler import Euler, Terms, is_static, sizes, unit_free
from bellax.solvers.neural.evaluation import Evaluation, Rule, Scale, measure
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import NetSolver, check_smooth, check_unconstrained
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.prepared import Found, PreparedNets

_SMALL = 1e-3  # of the mean size of a condition: what counts as no size at all
_GAIN = 2.5  # see nets.initial
_FAINT = 0.1  # of the mean size: what a condition is judged by where its terms are nothing
_LEAVING = 0.02  # share of visited states that may lie beyond the box
_STEPS = 100  # periods before a simulated state counts as visited
_FEW, _POOL = 8, 8  # one point in so many is where a bound begins to bind, of a pool so many times as large
_MARGIN = 0.1  # see unit_free
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
            where they have to. Else V is found afterwards, and is NaN where its own equation does not hold to
            `tolerance`, in units of its spread.
    Raises:
        ModelError: for discrete actions, `stop`, constraints, models without continuous actions, and `costates=False`
            where conditions need V.
    Assumes: one hill. A policy where Q is least is refused, but whether another hill is higher `bx.certify` says, or
        `NeuralValueIteration`, which tries shares all over the way between bounds.
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
        if not 0 <= self.visited <= 1:
            raise ModelError(f"EulerNet: visited is {self.visited!r}; it is a share of the points, between 0 and 1.")
        check_positive(self.wider, "EulerNet: wider", "1.25")

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
    """Points of a round, what their conditions are divided by, and weights before a step."""

    states: dict[str, Array]
    periods: Array
    size: Array
    key: Array
    before: Array


class PreparedEuler(PreparedNets):
    """A model under `EulerNet`."""

    warms = True

    def __init__(self, model: Any, options: EulerNet) -> None:
        super().__init__(model, options)
        check_smooth(self.plan, "EulerNet", "use bx.solvers.NeuralValueIteration() or bx.solvers.ActorCritic()")
        check_unconstrained(self.plan, "EulerNet")
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        if options.costates is False and not is_static(self.plan):
            raise ModelError(
                "EulerNet: costates=False, and the conditions of this model need the slopes of V: tomorrow sees a "
                "state that actions move by itself, an action is not paid for today, or chances or the discount move "
                "with what is decided. Leave costates= out."
            )
        self.static = is_static(self.plan) and not options.costates
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

    def points(self, seen: Inputs, seed: int, count: int) -> tuple[dict[str, Array], Array]:
        """States and periods all over the box."""
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return jax.vmap(seen.state)(shares)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Fit]:
        seen = self.inputs(arguments)
        states, periods = self.points(seen, self.options.seed, self.count)
        actor = nets.flat(self.shapes[0], self.options.seed, _GAIN)
        actor = self.from_prior(arguments, prior, self.head, self.shapes[0], actor)
        euler = self.euler(arguments)
        (level, unit), _ = measure(euler, self._rule(euler, seen, actor), states, periods)
        begun = Begun(states, periods, level, unit)
        weights = actor
        if not self.static:
            critic = nets.flat(self.shapes[1], self.options.seed + 1, _GAIN)
            critic = self.worth_of_prior(arguments, prior, level, unit, self.shapes[1], critic)
            weights = jnp.concatenate([actor, critic])
        method = self.method(arguments, begun)
        key = jax.random.key_data(jax.random.key(self.options.seed))
        rows = Rows(states, periods, jnp.ones((self.count, self.head.size + len(self.plan.lines) + 1)), key, weights)
        return begun, method.init(weights, method.sized(weights, rows))

    def method(self, arguments: Arguments, begun: Begun) -> "Training":
        return Training(self, arguments, begun)

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Fit, moves: bool = True) -> Found:
        weights, rows = state.weights, lax.stop_gradient(state.frozen)
        if moves:
            rows = Training(self, lax.stop_gradient(arguments), begun).sized(weights, rows)
            method = Training(self, arguments, begun)
            weights = levenberg.moved(method.groups(rows, jnp.asarray(len(method.budgets) - 1)), weights)
        actor, critic = self.split(weights)
        if self.static:
            begun = self._rescaled(lax.stop_gradient(arguments), begun, lax.stop_gradient(actor))
            critic = self._evaluated(arguments, begun, actor, rows, moves)
        seen = self.inputs(arguments)
        behaviour = NetBehaviour(actor, critic, begun.level, begun.unit, seen, self.head, self.shapes)
        code, stats = self._judged(lax.stop_gradient(arguments), begun, lax.stop_gradient(behaviour), state)
        # the policy does not hang on it: a V that is wrong is none
        level = jnp.where(stats["value_error"] <= self.options.tolerance, begun.level, jnp.nan)
        return Found(replace(behaviour, level=level) if self.static else behaviour, code, stats)

    def _evaluated(self, arguments: Arguments, begun: Begun, actor: Array, rows: Rows, moves: bool) -> Array:
        """V of the policy, by least squares on V = E[r + b V(s')]."""
        still = self._equations(lax.stop_gradient(arguments), begun, lax.stop_gradient(actor), rows)
        keep = lambda weights, frozen: frozen  # noqa: E731
        method = LevenbergMarquardt(lambda frozen, number: still, keep, (_EVALUATION,))
        start = method.init(nets.flat(self.shapes[1], self.options.seed + 1, _GAIN), None)
        last = lax.stop_gradient(training.run(method, start))
        return levenberg.moved(self._equations(arguments, begun, actor, rows), last.weights) if moves else last.weights

    def _rescaled(self, arguments: Arguments, begun: Begun, actor: Array) -> Begun:
        """With the level and the unit of what the policy is paid: what it began with may be paid no number."""
        seen, euler = self.inputs(arguments), self.euler(arguments)
        (level, unit), _ = measure(euler, self._rule(euler, seen, actor), begun.states, begun.periods)
        return begun._replace(level=level, unit=unit)

    def _equations(self, arguments: Arguments, begun: Begun, actor: Array, rows: Rows) -> Groups:
        """The residuals of V under the policy."""
        seen, euler = self.inputs(arguments), self.euler(arguments)
        evaluation = Evaluation(euler, seen, self.shapes[1], Scale(begun.level, begun.unit))
        rule = self._rule(euler, seen, actor)
        look = lambda states, number: evaluation.look(states, number, rule(number, states))  # noqa: E731
        return [(evaluation.residual, jax.vmap(look)(rows.states, rows.periods))]

    def _rule(self, euler: Euler, seen: Inputs, actor: Array) -> Rule:
        outputs = self.outputs(seen, actor)
        return lambda number, states: euler.acted(number, states, outputs(number, states)).actions

    def _judged(self, arguments: Arguments, begun: Begun, found: NetBehaviour, state: Fit) -> tuple[Array, Any]:
        """How the training ended, by conditions at other points."""
        seen = self.inputs(arguments)
        method = Training(self, arguments, begun)
        weights = found.actor if self.static else jnp.concatenate([found.actor, found.critic])
        where = self.points(seen, self.options.seed + 1000, self.count)
        least = method.least(weights, where)
        left = lambda points: jnp.abs(jax.vmap(lambda s, n: method.conditions(weights, s, n, least))(*points))  # noqa: E731
        stats, roots = {"steps": state.total}, [jnp.zeros(())]
        size = left(where)
        stats |= {"condition_mean": jnp.mean(size), "condition_max": jnp.max(size)}
        if self.options.visited < 1 or self.problem.finite:
            roots.append(jnp.sqrt(jnp.mean(size**2)))
        if not self.problem.finite:
            paths = method.visited(weights, where, jax.random.key(self.options.seed + 1000), 1.0)
            size, far = left(paths.points), jnp.mean(paths.left)
            stats |= {"path_mean": jnp.mean(size), "path_max": jnp.max(size), "path_leaving": far}
            roots += [jnp.sqrt(jnp.mean(size**2)), jnp.where(far <= _LEAVING, 0.0, jnp.inf)]
            where = paths.points
        asked = everywhere(found, self.count, self.options.seed + 1000)
        rows = Rows(*asked, *(jnp.zeros(0),) * 3)
        stats["value_error"] = value_error(found, self._equations(arguments, begun, found.actor, rows), asked)
        stats["convex"] = self._convex(arguments, begun, found, where)
        root = jnp.max(jnp.stack(roots))
        code = jnp.where(root <= self.options.tolerance, int(Result.successful), int(Result.max_steps_reached))
        low = (code == int(Result.successful)) & (stats["convex"] > _LEAVING)
        code = jnp.where(low, int(Result.not_concave), code)
        code = jnp.where(root == jnp.inf, int(Result.escaped), code)
        code = jnp.where(jnp.isnan(root), int(Result.nonfinite), code)
        return code.astype(jnp.int32), stats

    def _convex(self, arguments: Arguments, begun: Begun, found: NetBehaviour, points: Any) -> Array:
        """The share of points at which Q rises to both sides of an action: there conditions hold where Q is least."""
        if self.static:  # V is not in the conditions, and worse than they are
            return rising(self.euler(arguments), found, points, self.options.tolerance)
        bellman = Bellman(self.euler(arguments), found.inputs, self.shapes, Scale(begun.level, begun.unit))

        def rises(states: Any, number: Array) -> Array:
            x = found.outputs(number, states)
            bends, _, reach = bellman.curvature(number, states, (), x, found.critic)
            inside = bellman.conditions.acted(number, states, x).beyond == 0
            step = TENTH * jnp.where(jnp.isfinite(reach), reach, 1.0)
            return jnp.max(jnp.where(inside, 0.5 * bends * step**2, 0.0))

        value = jax.vmap(lambda states, number: found.worth(number, states))(*points)
        unit = jnp.std(value) + 0.01 * jnp.sqrt(jnp.mean(value**2)) + 1e-12
        gained = jax.vmap(rises)(*points)
        return jnp.mean((gained > TENTH * self.options.tolerance * unit).astype(value.dtype))

    def explain(self, solution: GridlessSolution) -> str:
        told = {name: float(value) for name, value in solution.stats.items()}
        return complaint(Result(int(solution.code)), told, self.options.tolerance)


class Training(LevenbergMarquardt):
    """The least squares of the conditions; made inside a compiled program."""

    def __init__(self, prepared: PreparedEuler, arguments: Arguments, begun: Begun) -> None:
        options = prepared.options
        super().__init__(self.groups, self.refresh, (options.budget,) * options.rounds + (options.finish,), True)
        self.prepared, self.arguments, self.begun = prepared, arguments, begun
        self.seen, self.euler = prepared.inputs(arguments), prepared.euler(arguments)

    def groups(self, frozen: Rows, number: Array) -> Any:
        one = lambda weights, row: self.residuals(weights, *row, before=frozen.before, turn=number)  # noqa: E731
        return [(one, (frozen.states, frozen.periods, frozen.size))]

    def step(self, fit: Fit) -> Fit:
        return super().step(fit._replace(frozen=fit.frozen._replace(before=fit.weights)))

    def residuals(
        self, weights: Array, states: dict[str, Array], number: Array, size: Array, before: Array, turn: Array
    ) -> Array:
        """What is left of the conditions at one point, shape (k,).

        Args:
            before: weights before the step. In the first round they are what follows from tomorrow on, which leads to
                the branch on which iterations in time converge.
            turn: which round. In those before the last outputs know multipliers, too, whose slopes lead actions away
                from bounds at which they should not be.
        """
        prepared = self.prepared
        actor, critic = prepared.split(weights)
        outputs, count = prepared.outputs(self.seen, actor), prepared.head.size
        if prepared.static:
            later = jnp.where(turn == 0, prepared.split(before)[0], actor)
            terms = self.euler.first_order(number, states, outputs, prepared.outputs(self.seen, later))
            last = turn >= len(self.budgets) - 1
            return jnp.where(last, unit_free(terms, None, _MARGIN), unit_free(terms._replace(idle=None), None))
        worth = prepared.worth(self.seen, critic, self.begun)
        terms, left, right = self.euler.all(number, states, outputs, worth)
        return jnp.concatenate([unit_free(terms, size[:count]), (left - right) / size[count:]])

    def least(self, weights: Array, points: tuple[dict[str, Array], Array]) -> Array:
        """By what conditions are divided at the least: where all of their terms are nothing, they say nothing."""
        found = jax.vmap(lambda states, number: sizes(self._terms(weights, states, number)))(*points)
        return _FAINT * jnp.mean(jnp.where(jnp.isfinite(found), found, 0.0), axis=0) + 1e-12

    def conditions(self, weights: Array, states: dict[str, Array], number: Array, least: Array) -> Array:
        """The conditions of the actions at one point, without units.

        Args:
            least: see `least`.
        """
        terms = self._terms(weights, states, number)
        return unit_free(terms, None if self.prepared.static else 0.5 * sizes(terms) + least)

    def _terms(self, weights: Array, states: dict[str, Array], number: Array) -> Terms:
        prepared = self.prepared
        actor, critic = prepared.split(weights)
        outputs = prepared.outputs(self.seen, actor)
        if prepared.static:
            return self.euler.first_order(number, states, outputs)
        return self.euler.all(number, states, outputs, prepared.worth(self.seen, critic, self.begun))[0]

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
        return rows._replace(size=lax.stop_gradient(found + _SMALL * jnp.mean(found, axis=0, keepdims=True) + 1e-12))

    def refresh(self, weights: Array, frozen: Rows) -> Rows:
        """Points of the next round: some of them where paths lead."""
        prepared, options = self.prepared, self.prepared.options
        key = jax.random.fold_in(jax.random.wrap_key_data(frozen.key), 1)
        rows = frozen._replace(key=jax.random.key_data(key))
        share = int(options.visited * prepared.count)
        if share and not prepared.problem.finite:
            start = jax.tree.map(lambda leaf: leaf[:share], (self.begun.states, self.begun.periods))
            states, periods = self.visited(weights, start, key, options.wider).points
            joined = lambda new, old: jnp.concatenate([new, old[share:]])  # noqa: E731
            rows = rows._replace(
                states=jax.tree.map(joined, states, self.begun.states), periods=joined(periods, self.begun.periods)
            )
        return self.sized(weights, self._clustered(weights, rows) if prepared.head.binds else rows)

    def _clustered(self, weights: Array, rows: Rows) -> Rows:
        """With the last of the points where bounds begin to bind."""
        prepared = self.prepared
        outputs = prepared.outputs(self.seen, prepared.split(weights)[0])
        pool = Points(*prepared.points(self.seen, prepared.options.seed + 1, _POOL * prepared.count))
        acted = lambda states, number: self.euler.acted(number, states, outputs(number, states))  # noqa: E731
        points = clustered(acted, pool, prepared.count // _FEW, Points(rows.states, rows.periods))
        return rows._replace(states=points.states, periods=points.periods)

    def visited(self, weights: Array, start: tuple[dict[str, Array], Array], key: Array, wider: float) -> Visited:
        """Where paths lead from some points."""
        prepared = self.prepared
        outputs = prepared.outputs(self.seen, prepared.split(weights)[0])
        rule = lambda number, states: self.euler.acted(number, states, outputs(number, states)).actions  # noqa: E731
        return visited(prepared.problem, self.arguments, self.seen, rule, start[0], key, _STEPS, wider)
