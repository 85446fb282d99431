"""A model under `PolicyGradient`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.errors import ModelError
from bellax.learning import levenberg, nets, sampling
from bellax.learning.nets import Shape
from bellax.learning.stages import Stages
from bellax.problem.period import by_action
from bellax.problem.problem import Arguments
from bellax.problem.steered import chances, numbers, undriven
from bellax.solution.gridless import GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.neural import ergodic, keys, verdict
from bellax.solvers.neural.ascent import Ascent, Climb, Plans
from bellax.solvers.neural.curvature import solved
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Scale
from bellax.solvers.neural.floors import unless_nothing
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.options import check_smooth
from bellax.solvers.neural.other_hills import better
from bellax.solvers.neural.paths import Act, Chances, First, Paths, Walk, Worth, quantities
from bellax.solvers.neural.pathwise import check_pathwise
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.staged import StagedBehaviour
from bellax.solvers.neural.starting import Starts
from bellax.solvers.neural.valuation import Valuation, off, shifts

_DAMPING = 1e-8  # added to the curvature of the loss, where weights move with parameters
_STEPS, _WIDER = 100, 1.25  # periods before a simulated state counts as visited; by how much these are drawn apart


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

    hasty = False
    warms = True

    def __init__(self, model: Any, options: Any) -> None:
        super().__init__(model, options)
        others = "use bx.solvers.ActorCritic() or bx.solvers.NeuralValueIteration()"
        check_smooth(self.plan, "PolicyGradient", others)
        check_pathwise(self.plan, "PolicyGradient", others)
        self.head = Head(self.plan, check_shares(self.plan, options.shares))
        finite = self.problem.finite
        self.length = self.problem.clock.count if finite else options.length
        size = self.layout.size
        periods = self.length if finite and options.by_period else 1
        hidden = options.hidden if options.critic is None else options.critic
        self.policy = Stages(Shape(size, options.hidden, self.head.size), periods)
        self.value = Stages(Shape(size, hidden), periods)
        self.starts = Starts(self.layout, options.start)
        if finite and options.visited:
            raise ModelError(
                f"PolicyGradient: visited is {options.visited}, and the horizon has an end: paths begin at the start, "
                "or anywhere; leave it out."
            )
        share = 0.5 if options.visited is None else options.visited
        self.visited = 0 if finite else int(share * options.paths)
        rounds = (1 if finite else 3) if options.rounds is None else options.rounds
        finishes = (1 if finite else 3) if options.finishes is None else options.finishes
        self.plans = Plans(rounds, options.budget, finishes, options.finish)
        self.count = options.points or max(512, 2 * self.value.weights)

    # -- parts

    def begins(self) -> dict[str, Any]:
        return self.starts.begins

    def inputs(self, arguments: Arguments) -> Inputs:
        return inputs(self.layout, arguments, self.options.box)

    @property
    def each(self) -> int:
        """How many numbers between zero and one a path draws in a period."""
        return sum(numbers(self.plan).values())

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
        each = shares[:, columns:].reshape(shares.shape[0], self.length, self.each)
        return first, Chances(each, key)

    def walked(
        self,
        arguments: Arguments,
        begun: Begun,
        weights: Array,
        state: Climb,
        shares: Array,
        key: Array,
        nudges: Array | None = None,
    ) -> Walk:
        """Paths under weights."""
        seen = self.inputs(arguments)
        first, chances = self.drawn(seen, shares, key, state.visited)
        worth = self.worth(arguments, seen, state.critic, begun.scale)
        return self.paths(arguments).walk(self.act(arguments, seen, weights), worth, first, chances, nudges)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Begun, Climb]:
        options, seen = self.options, self.inputs(arguments)
        columns = self.starts.columns + self.length * self.each
        with jax.ensure_compile_time_eval():
            base = jnp.asarray(options.draws.base(options.paths, columns, options.seed))
        key = jax.random.key_data(jax.random.key(options.seed))
        own = nets.flat(self.policy.shape, options.seed)
        weights = self.policy.alike(self.from_prior(arguments, prior, self.head, self.policy.shape, own))
        critic = jnp.zeros(0) if self.problem.finite else self.value.flat(options.seed + 1)
        shares = options.draws.paired(base)
        first = self.starts.at(seen, shares[:, : self.starts.columns])
        visited = jax.tree.map(lambda leaf: leaf[: self.visited], first.states)
        begun = Begun(base, Scale(jnp.zeros(()), jnp.zeros(())))
        state = self.method(arguments, begun).init(weights, critic, visited, key)
        walk = self.walked(arguments, begun, weights, state, shares, keys.key_for(key, keys.FIXED))
        scale = self._measured(walk)
        begun = begun._replace(scale=scale)
        if not self.problem.finite:
            state = state._replace(critic=self._evaluated(arguments, begun, state))
        return begun, state

    def _measured(self, walk: Walk) -> Scale:
        """A level and a unit for V and for the return."""
        more = 1.0 if self.problem.finite else 1 / jnp.maximum(1 - jnp.mean(walk.left), 1e-3)
        level, spread = jnp.mean(walk.total) * more, jnp.std(walk.total) * more
        return Scale(level, unless_nothing(spread + 1e-3 * jnp.abs(level)))

    def method(self, arguments: Arguments, begun: Begun) -> Ascent:
        options, draws = self.options, self.options.draws

        def slope(weights: Array, state: Climb) -> tuple[Array, Array]:
            shares, key = self.shares(begun, state, ascent.fresh(state) & draws.fresh)
            return jax.value_and_grad(lambda w: self.loss(arguments, begun, w, state, shares, key))(weights)

        ascent = Ascent(self.plans, options.rate, slope, lambda state: self.renewed(arguments, begun, state))
        return ascent

    def shares(self, begun: Begun, state: Climb, fresh: Array) -> tuple[Array, Array]:
        """The numbers that make the paths of a step, and its key."""
        draws = self.options.draws
        own, chances = jax.random.split(jax.random.fold_in(keys.key_for(state.key, keys.STEP), state.total))
        shares = jnp.where(fresh, draws.of_step(begun.base, own), draws.paired(begun.base))
        return shares, keys.either(fresh, chances, keys.key_for(state.key, keys.FIXED))

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
        moved = state._replace(key=jax.random.key_data(keys.key_for(state.key, keys.ROUND)))
        if self.visited:
            seen = self.inputs(arguments)
            rule = self.rule(arguments, seen, state.weights)
            key = keys.key_for(moved.key, keys.VISITED)
            found = ergodic.visited(self.problem, arguments, seen, rule, state.visited, key, _STEPS, _WIDER).points
            moved = moved._replace(visited=found[0])
        return moved._replace(critic=self._evaluated(arguments, begun, moved))

    def _evaluated(self, arguments: Arguments, begun: Begun, state: Climb) -> Array:
        """V of the policy now, from the last one on."""
        valuation, rule = self.valuation(arguments, begun), self.rule(arguments, self.inputs(arguments), state.weights)
        points = self.points(arguments, self.fresh(arguments, begun, state, keys.VALUE), self.options.seed)
        return valuation.fitted(valuation.groups(rule, points), state.critic)

    # -- V

    def valuation(self, arguments: Arguments, begun: Begun) -> Valuation:
        """V under rules."""
        euler = Euler(self.problem, arguments, self.head, self.options.quadrature, self.options.degree)
        return Valuation(euler, self.inputs(arguments), self.value, begun.scale)

    def fresh(self, arguments: Arguments, begun: Begun, state: Climb, purpose: int) -> Walk:
        """Other paths than those of the training, and than those of another purpose."""
        return self.walked(arguments, begun, state.weights, state, *self._others(begun, state, purpose))

    def _others(self, begun: Begun, state: Climb, purpose: int) -> tuple[Array, Array]:
        """As `shares`, of paths that no step has seen."""
        own, chances = jax.random.split(keys.key_for(state.key, purpose))
        return self.options.draws.of_step(begun.base, own), chances

    def points(self, arguments: Arguments, walk: Walk, seed: int) -> tuple[Any, Array]:
        """States where V is found, and their periods: along paths, and half of them anywhere where paths may begin
        anywhere."""
        paths = self.options.paths
        every = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), walk.states)
        wanted = self.count // 2 if self.starts.everywhere else self.count
        with jax.ensure_compile_time_eval():
            order = np.random.default_rng(seed).permutation(self.length * paths)[:wanted]
            places, fill = jnp.asarray(order, jnp.int32), sampling.points(wanted, self.layout.columns, seed)
        along = jax.tree.map(lambda leaf: leaf[places], every)
        periods = places // paths if self.problem.finite else jnp.zeros_like(places)
        if not self.starts.everywhere:
            return along, periods
        states, own = jax.vmap(self.inputs(arguments).state)(jnp.asarray(fill))
        joined = jax.tree.map(lambda one, other: jnp.concatenate([one, other]), along, states)
        return joined, jnp.concatenate([periods, own.astype(jnp.int32)])

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Begun, state: Climb, moves: bool = True) -> Found:
        still, seen = lax.stop_gradient(arguments), self.inputs(arguments)
        walk, weights, first = self.fresh(still, begun, state, keys.FINAL), state.weights, state.critic
        points, valued = self.points(still, walk, self.options.seed), begun
        if self.problem.finite:  # V was not asked for before, and returns are no longer those of the beginning
            first, valued = self.value.flat(self.options.seed + 1), begun._replace(scale=self._measured(walk))
        valuation, rule = self.valuation(still, valued), self.rule(still, seen, weights)
        critic = lax.stop_gradient(valuation.fitted(valuation.groups(rule, points), first))
        if moves:
            weights = self._moved(arguments, begun, state, points)
            valuation, rule = self.valuation(arguments, valued), self.rule(arguments, seen, weights)
            critic = levenberg.moved(valuation.groups(rule, points), critic)
        shift = jnp.zeros(1)
        if self.problem.finite:
            shift = shifts(valuation.along(critic, rule, walk), self.alive(walk))
        behaviour = StagedBehaviour(weights, critic, valued.scale, shift, seen, self.head, (self.policy, self.value))
        return Found(behaviour, *self._judged(still, begun, state, lax.stop_gradient(behaviour)))

    def alive(self, walk: Walk) -> Array:
        """Which paths have begun, shape (t, n)."""
        steps = jnp.arange(self.length, dtype=jnp.int32)
        return (steps[:, None] >= walk.begun[None]).astype(walk.total.dtype)

    def _moved(self, arguments: Arguments, begun: Begun, state: Climb, points: Any) -> Array:
        """The weights of the policy as they move with arguments, where the gradient of the loss is zero.

        H dw = -dg along the paths of the last round; V after the last period moves, too, of which the policy's own
        moves have no part, as they are the best there.
        """
        drawn = chances(self.plan)  # in a gradient of a gradient those of a path do not see that they move
        arguments = {name: undriven(x) if name in drawn else x for name, x in arguments.items()}
        still, seen = lax.stop_gradient(arguments), self.inputs(arguments)
        inner, shares, key = state.critic, *self.shares(begun, state, jnp.zeros((), bool))
        if not self.problem.finite:
            valuation, rule = self.valuation(arguments, begun), self.rule(arguments, seen, state.weights)
            inner = levenberg.moved(valuation.groups(rule, points), inner)

        def slope(arguments: Arguments, critic: Array, weights: Array) -> Array:
            at = state._replace(critic=critic)
            return jax.grad(lambda w: self.loss(arguments, begun, w, at, shares, key))(weights)

        def curvature(move: Array) -> Array:
            bent = jax.jvp(lambda weights: slope(still, state.critic, weights), (state.weights,), (move,))[1]
            return bent + _DAMPING * move

        change = slope(arguments, inner, state.weights)
        change = change - lax.stop_gradient(change)
        return state.weights - solved(curvature, change)

    # -- the judgement

    def _judged(
        self, arguments: Arguments, begun: Begun, state: Climb, found: StagedBehaviour
    ) -> tuple[Array, dict[str, Array]]:
        """How the training ended, by fresh paths, or where it failed by those on which it did."""
        before = state._replace(total=state.total - 1)
        failed = self.shares(begun, before, self.method(arguments, begun).fresh(state) & self.options.draws.fresh)
        others, lost = self._others(begun, state, keys.VERDICT), state.fault > 0
        shares, key = jnp.where(lost, failed[0], others[0]), keys.either(lost, failed[1], others[1])

        def walked(nudges: Array) -> tuple[Array, Walk]:
            walk = self.walked(arguments, begun, state.weights, state, shares, key, nudges)
            return jnp.sum(walk.total), walk

        still = jnp.zeros((self.length, self.options.paths, self.head.size))
        (_, walk), slopes = jax.value_and_grad(walked, has_aux=True)(still)
        size = verdict.spread(walk.total, begun.scale.unit)
        twins = self.options.draws.antithetic
        sides = self._sides(arguments, walk, found, slopes)
        lost = verdict.trapped(sides, self.alive(walk), twins)
        width = unless_nothing(jnp.mean(sides.width, axis=(0, 1)))
        rows = verdict.in_rows(self.plan.controls, walk.actions)
        each = verdict.bias(rows, slopes, width, lambda nudges: walked(nudges)[1].total, self.options.seed)
        bias, noise = verdict.mean_and_error(each, twins)
        fault = jnp.max(jnp.where(walk.fault >= 0, 1, 0), axis=1)
        period = jnp.argmax(fault)
        quantity = jnp.max(walk.fault[period])
        stats = {
            "steps": state.total,
            "mean_return": jnp.mean(walk.total),
            "return_sd": size,
            "gain": verdict.ahead(jnp.maximum(state.gain, 0.0), begun.scale.unit, size),
            "trapped": jnp.max(lost) / size,
            "trapped_action": jnp.argmax(lost),
            "bias": jnp.abs(bias) / size,
            "bias_noise": noise / size,
            "fault": state.fault,
            "fault_period": period,
            "fault_quantity": quantity,
            "left": jnp.mean(walk.left),
        }
        stats |= self._valued(arguments, begun, state, found, walk)
        points = self.points(arguments, walk, self.options.seed + 2000)
        euler = self.valuation(arguments, begun).euler
        seen = None if self.starts.everywhere else walk
        stats["better_elsewhere"], unit = better(euler, found, points, seen, size, stats["residual"], self.options.seed)
        stats |= {name: stats[name] * size / unit for name in verdict.OF_DECISIONS}
        return verdict.code(stats, self.options.tolerance), stats

    def _sides(self, arguments: Arguments, walk: Walk, found: StagedBehaviour, slopes: Array) -> verdict.Sides:
        """Where actions are between their bounds along paths."""

        def acted(number: Array, states: Any) -> tuple[Array, Array, Array]:
            seen = found.inputs.of(number, states)
            outputs = nets.forward(self.policy.at(found.actor, number), seen)
            at = self.head.act(self.problem.period(arguments, number), states, outputs)
            both = jnp.isfinite(at.lower) & jnp.isfinite(at.upper)
            return at.share, jnp.where(both, at.upper - at.lower, 0.0), seen

        steps = jnp.arange(self.length, dtype=jnp.int32)
        numbers = steps if self.problem.finite else jnp.zeros_like(steps)
        at = jax.vmap(lambda number, states: jax.vmap(lambda s: acted(number, s))(states))(numbers, walk.states)
        return verdict.Sides(slopes, *at)

    def _valued(
        self, arguments: Arguments, begun: Begun, state: Climb, found: StagedBehaviour, walk: Walk
    ) -> dict[str, Array]:
        """How good V is."""
        valued = begun._replace(scale=found.scale)
        valuation, rule = self.valuation(arguments, valued), self.rule(arguments, found.inputs, state.weights)
        size, alive = verdict.spread(walk.total, begun.scale.unit), self.alive(walk)
        points = self.points(arguments, walk, self.options.seed + 1000)
        residual = levenberg.residuals(valuation.groups(rule, points), found.critic) * found.scale.unit / size
        shift = jnp.concatenate([jnp.broadcast_to(found.shift, (self.length,)), jnp.zeros(1)])
        own = off(valuation.along(found.critic, rule, walk), shift, alive)
        own = own if self.problem.finite else own / jnp.maximum(1 - jnp.mean(walk.left), 1e-3)
        mean, noise = verdict.mean_and_error(own, self.options.draws.antithetic)
        return {
            "residual": jnp.sqrt(jnp.mean(residual**2)),
            "value_error": jnp.abs(mean) / size,
            "value_noise": noise / size,
        }

    def explain(self, solution: GridlessSolution) -> str:
        told = {name: float(value) for name, value in solution.stats.items()}
        names = [name if not self.plan.controls[name].shape else f"{name}[{k}]" for name, k in self.plan.coordinates]
        result = Result(int(solution.code))
        return verdict.complaint(result, told, self.options.tolerance, (quantities(self.plan), names))
