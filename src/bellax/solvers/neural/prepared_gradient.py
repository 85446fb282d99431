"""A model under `PolicyGradient`."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.learning import levenberg, nets, sampling, training
from bellax.learning.levenberg import Groups, LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.learning.stages import Stages
from bellax.problem.period import Period, by_action
from bellax.problem.problem import Arguments
from bellax.solution.gridless import Behaviour, GridlessSolution, certain
from bellax.solution.policy import Chosen
from bellax.solution.solution import Result
from bellax.solvers.neural import ergodic
from bellax.solvers.neural.ascent import Ascent, Climb, Plans
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Evaluation, Scale
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import check_smooth
from bellax.solvers.neural.paths import Act, Chances, First, Paths, Walk, Worth
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.starting import Starts

_EVALUATION = 60  # steps of the least squares for V
_STEPS = 100  # periods before a simulated state counts as visited


class StagedBehaviour(Behaviour):
    """Continuous actions by one net, V by another, whose last layers may be of each period their own.

    Attributes:
        actor, critic: weights, one vector each.
        scale: of V.
        inputs: how nets see states.
        head: how outputs become actions.
        nets: the policy's, and that of V.
    """

    actor: Float[Array, "w"]
    critic: Float[Array, "v"]
    scale: Scale
    inputs: Inputs
    head: Head = eqx.field(static=True)
    nets: tuple[Stages, Stages] = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True

    def chosen(self, period: Period, number: Array | int, states: Any) -> Chosen:
        u = self.inputs.of(number, states)
        acted = self.head.act(period, states, nets.forward(self.nets[0].at(self.actor, number), u))
        value = self.scale.level + self.scale.unit * nets.forward(self.nets[1].at(self.critic, number), u)[0]
        known = self.inputs.layout.sound(states)
        return certain(period.plan, jnp.where(known, value, jnp.nan), acted.actions)


class Begun(NamedTuple):
    """What stays during a training.

    Attributes:
        base: numbers between zero and one, of the starts and the draws of paths, one row each.
        scale: of V, and of the return.
    """

    base: Array
    scale: Scale


class PreparedGradient(PreparedNets):
    """A model under `PolicyGradient`."""

    def __init__(self, model: Any, options: Any) -> None:
        super().__init__(model, options)
        others = "use bx.solvers.ActorCritic() or bx.solvers.NeuralValueIteration()"
        check_smooth(self.plan, "PolicyGradient", others)
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        finite = self.problem.finite
        self.length = self.problem.clock.count if finite else options.length
        size = self.layout.size
        periods = self.length if finite and options.by_period else 1
        hidden = options.hidden if options.critic is None else options.critic
        self.policy = Stages(Shape(size, options.hidden, self.head.size), periods)
        self.value = Stages(Shape(size, hidden), periods)
        self.starts = Starts(self.layout, options.start)
        visited = 0.5 if options.visited is None else options.visited
        self.visited = 0 if finite else int(visited * options.paths)
        rounds = (1 if finite else 3) if options.rounds is None else options.rounds
        finishes = (1 if finite else 3) if options.finishes is None else options.finishes
        self.plans = Plans(rounds, options.budget, finishes, options.finish)
        self.count = options.points or max(256, 2 * self.value.count)

    # -- parts

    def inputs(self, arguments: Arguments) -> Inputs:
        return inputs(self.layout, arguments, self.options.box)

    def paths(self, arguments: Arguments) -> Paths:
        return Paths(self.problem, arguments, self.length)

    def act(self, arguments: Arguments, seen: Inputs, weights: Array) -> Act:
        """What the policy does, moved by a nudge."""

        def act(number: Array, states: Any, nudge: Array) -> dict[str, Array]:
            outputs = nets.forward(self.policy.at(weights, number), seen.of(number, states))
            found = self.head.act(self.problem.period(arguments, number), states, outputs).actions
            moves = by_action(self.plan, nudge)
            return {name: found[name] + moves[name] for name in moves}

        return act

    def rule(self, arguments: Arguments, seen: Inputs, weights: Array) -> ergodic.Rule:
        """What the policy does."""
        act = self.act(arguments, seen, weights)
        return lambda number, states: act(number, states, jnp.zeros(self.head.size))

    def worth(self, arguments: Arguments, seen: Inputs, critic: Array, scale: Scale) -> Worth:
        """What a state after the last period is worth."""
        if self.problem.finite:
            period = self.problem.period(arguments, self.length)
            return period.terminal
        layers = self.value.at(critic, 0)
        return lambda states: scale.level + scale.unit * nets.forward(layers, seen.of(0, states))[0]

    def drawn(self, seen: Inputs, shares: Array, key: Array, visited: Any) -> tuple[First, Chances]:
        """Where paths begin, and their chances."""
        columns = self.starts.columns
        first = self.starts.at(seen, shares[:, :columns])
        if self.visited:
            states = jax.tree.map(lambda new, own: jnp.concatenate([new, own[self.visited :]]), visited, first.states)
            first = First(states, first.periods)
        each = shares[:, columns:].reshape(shares.shape[0], self.length, -1)
        return first, Chances(each, key)

    def walked(self, arguments: Arguments, begun: Begun, weights: Array, state: Climb, shares: Array, key: Array) -> Walk:
        """Paths under weights."""
        seen = self.inputs(arguments)
        first, chances = self.drawn(seen, shares, key, state.visited)
        worth = self.worth(arguments, seen, state.critic, begun.scale)
        return self.paths(arguments).walk(self.act(arguments, seen, weights), worth, first, chances)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Climb]:
        options, seen = self.options, self.inputs(arguments)
        columns = self.starts.columns + self.length * self.paths(arguments).each
        with jax.ensure_compile_time_eval():
            base = jnp.asarray(options.draws.base(options.paths, columns, options.seed))
        key = jax.random.key_data(jax.random.key(options.seed))
        weights = self.policy.flat(options.seed)
        critic = jnp.zeros(0) if self.problem.finite else self.value.flat(options.seed + 1)
        shares = options.draws.paired(base)
        first = self.starts.at(seen, shares[:, : self.starts.columns])
        visited = jax.tree.map(lambda leaf: leaf[: self.visited], first.states)
        begun = Begun(base, Scale(jnp.zeros(()), jnp.zeros(())))
        state = self.method(arguments, begun).init(weights, critic, visited, key)
        scale = self._measured(self.walked(arguments, begun, weights, state, shares, jax.random.wrap_key_data(key)))
        begun = begun._replace(scale=scale)
        if not self.problem.finite:
            state = state._replace(critic=self._evaluated(arguments, begun, state, critic))
        return begun, state

    def _measured(self, walk: Walk) -> Scale:
        """A level and a unit for V and for the return."""
        more = 1.0 if self.problem.finite else 1 / jnp.maximum(1 - jnp.mean(walk.left), 1e-3)
        level, spread = jnp.mean(walk.total) * more, jnp.std(walk.total) * more
        return Scale(level, spread + 1e-3 * jnp.abs(level) + 1e-12)

    def method(self, arguments: Arguments, begun: Begun) -> Ascent:
        options, draws = self.options, self.options.draws

        def slope(weights: Array, state: Climb) -> tuple[Array, Array]:
            shares, key = self.shares(begun, state, ascent.fresh(state) & draws.fresh)
            return jax.value_and_grad(lambda w: self.loss(arguments, begun, w, state, shares, key))(weights)

        ascent = Ascent(self.plans, options.rate, slope, lambda state: self.renewed(arguments, begun, state))
        return ascent

    def shares(self, begun: Begun, state: Climb, fresh: Array) -> tuple[Array, Array]:
        """The numbers that make the paths of a step, and its key."""
        draws, key = self.options.draws, jax.random.wrap_key_data(state.key)
        own = jax.random.fold_in(key, state.total)
        shares = jnp.where(fresh, draws.of_step(begun.base, own), draws.paired(begun.base))
        return shares, jax.random.wrap_key_data(
            jnp.where(fresh, jax.random.key_data(own), jax.random.key_data(jax.random.fold_in(key, 2**31 - 1)))
        )

    def loss(
        self, arguments: Arguments, begun: Begun, weights: Array, state: Climb, shares: Array, key: Array
    ) -> Array:
        """Minus the mean return, in its units."""
        total = self.walked(arguments, begun, weights, state, shares, key).total
        return -(jnp.mean(total) - begun.scale.level) / begun.scale.unit

    def renewed(self, arguments: Arguments, begun: Begun, state: Climb) -> Climb:
        """The state of a next round: paths begin where those before led, and V is that of the policy now."""
        if self.problem.finite:
            return state
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 2**31 + 0)
        moved = state._replace(key=jax.random.key_data(key))
        if self.visited:
            seen = self.inputs(arguments)
            rule = self.rule(arguments, seen, state.weights)
            visited, _ = ergodic.visited(
                self.problem, arguments, seen, rule, state.visited, key, _STEPS, 1.25
            )
            moved = moved._replace(visited=visited)
        return moved._replace(critic=self._evaluated(arguments, begun, moved, moved.critic))

    # -- V

    def points(self, arguments: Arguments, begun: Begun, state: Climb, seed: int) -> tuple[Any, Array]:
        """States where V is found, and their periods: along paths, and half of them anywhere where paths may begin
        anywhere."""
        seen = self.inputs(arguments)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), seed)
        shares = self.options.draws.of_step(begun.base, key)
        walk = self.walked(arguments, begun, state.weights, state, shares, key)
        every = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), walk.states)
        count = self.count // 2 if self.starts.everywhere else self.count
        have = self.length * self.options.paths
        places = jnp.asarray((jnp.arange(count) * have) // count, jnp.int32) if count < have else jnp.arange(have)
        # paths lie side by side in every period: another stride takes others of them
        places = (places + (places // self.options.paths) * 7) % have
        along = jax.tree.map(lambda leaf: leaf[places], every)
        periods = (places // self.options.paths).astype(jnp.int32) if self.problem.finite else 0 * places.astype(jnp.int32)
        if not self.starts.everywhere:
            return along, periods
        with jax.ensure_compile_time_eval():
            fill = jnp.asarray(sampling.points(self.count - count, self.layout.columns, self.options.seed + seed))
        states, own = jax.vmap(seen.state)(fill)
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), along, states)
        return joined, jnp.concatenate([periods, own.astype(jnp.int32)])

    def equations(self, arguments: Arguments, begun: Begun, weights: Array, points: Any) -> Groups:
        """The residuals of V under the policy."""
        seen = self.inputs(arguments)
        euler = Euler(self.problem, arguments, self.head, self.options.quadrature, self.options.degree)
        evaluation = Evaluation(euler, seen, self.value.shape, begun.scale)
        rule = self.rule(arguments, seen, weights)
        look = lambda states, number: evaluation.look(states, number, rule(number, states))  # noqa: E731
        scale, following = begun.scale, euler.following

        def residual(critic: Array, row: Any) -> Array:
            looked, number = row
            of = lambda number, u: scale.level + scale.unit * nets.forward(self.value.at(critic, number), u)[0]  # noqa: E731
            after = following(number)
            later = jnp.sum(looked.weights * jax.vmap(lambda u: of(after, u))(looked.later))
            return (of(number, looked.here) - looked.reward - looked.last - later) / scale.unit

        return [(residual, (jax.vmap(look)(*points), points[1]))]

    def _evaluated(self, arguments: Arguments, begun: Begun, state: Climb, critic: Array) -> Array:
        """V of the policy, by least squares."""
        groups = self.equations(arguments, begun, state.weights, self.points(arguments, begun, state, 1))
        keep = lambda weights, frozen: frozen  # noqa: E731
        method = LevenbergMarquardt(lambda frozen, number: groups, keep, (_EVALUATION,))
        return training.run(method, method.init(critic, None)).weights

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Climb) -> Found:
        start = self.value.flat(self.options.seed + 1) if self.problem.finite else state.critic
        critic = self._evaluated(arguments, begun, state, start)
        seen = self.inputs(arguments)
        behaviour = StagedBehaviour(state.weights, critic, begun.scale, seen, self.head, (self.policy, self.value))
        points = self.points(arguments, begun, state, 2)
        left = levenberg.residuals(self.equations(arguments, begun, state.weights, points), critic)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 3)
        shares = self.options.draws.of_step(begun.base, key)
        walk = self.walked(arguments, begun, state.weights, state, shares, key)
        stats = {
            "steps": state.total,
            "mean_return": jnp.mean(walk.total),
            "loss": state.loss,
            "gain": state.gain,
            "residual": jnp.sqrt(jnp.mean(left**2)),
            "left": jnp.mean(walk.left),
        }
        code = jnp.where(state.fault > 0, int(Result.nonfinite), int(Result.successful))
        return Found(behaviour, code.astype(jnp.int32), stats)

    def explain(self, solution: GridlessSolution) -> str:
        return ""
