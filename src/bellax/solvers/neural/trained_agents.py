"""A model under a solver that trains an actor by critics: `DDPG` and `ActorCritic`."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError, check_count, check_positive, check_share, check_widths
from bellax.learning import nets, sampling
from bellax.learning.nets import Shape
from bellax.problem.averages import Averages
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSolution
from bellax.solvers.neural.agent import Recipe, Running, Training
from bellax.solvers.neural.deciding import Trained
from bellax.solvers.neural.floors import unless_nothing
from bellax.solvers.neural.following import Following
from bellax.solvers.neural.heads import Head, check_shares
from bellax.solvers.neural.inputs import Inputs, inputs
from bellax.solvers.neural.judging import code_of, complaint, judged
from bellax.solvers.neural.options import NetSolver
from bellax.solvers.neural.prepared import Found, PreparedNets
from bellax.solvers.neural.priming import Priming
from bellax.solvers.neural.roles import Roles, Scale, Weights, check_constraints
from bellax.solvers.neural.warm import Prior

_FIT = 240  # steps of the least squares for V
_BEND = 2.0  # see `nets.initial`
_ROUNDS = 6  # of them, where there are choices
_MEASURED = 512  # states from which the size of rewards is taken
_JUDGED = 128  # states of the box at which the policy is judged; and as many on its paths, twice


@dataclass(frozen=True, kw_only=True)
class AgentSolver(NetSolver):
    """Configuration of an actor that is trained by critics.

    What all solvers by nets take is `NetSolver`. Here `points` are those of the least squares for V, and `tolerance`
    says by how much V may be off from what the policy is worth, and by how much other actions may promise more, both
    in units of the spread of V over the box, or of what decisions are about where that is less. Expectations are those
    of `quadrature` and `degree`: how far these are off is not counted.

    Args:
        steps: of the training.
        environments: agents that explore at the same time, each a period in every step.
        replay: periods that are kept.
        batch: of them, how many a step learns from.
        soft: by which part copies of the nets, from which targets are made, follow in every step.
        critic_rate, actor_rate: of learning, in the beginning.
        decay: what is left of them in the end.
        noise: in the beginning and in the end, falling by the same factor in every step: the standard deviation of what
            is added to shares that are tried, and the chance of another combination of discrete actions.
        restarts: the chance that an agent begins again anywhere in the box, in every period.
        wait: steps before the actor learns.
        averaged: steps over which the actor is averaged.
        worth: widths of the hidden layers of the net that V is in the end.
    """

    hidden: tuple[int, ...] = (32, 32)
    tolerance: float = 1e-2
    steps: int = 30_000
    environments: int = 32
    replay: int = 50_000
    batch: int = 256
    soft: float = 0.05
    critic_rate: float = 2e-3
    actor_rate: float = 5e-4
    decay: float = 0.01
    noise: tuple[float, float] = (0.33, 0.03)
    restarts: float = 0.02
    wait: int = 1000
    averaged: int = 3000
    worth: tuple[int, ...] = (16, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        what = type(self).__name__
        for name in ("steps", "environments", "replay", "batch", "averaged"):
            check_count(getattr(self, name), f"{what}: {name}")
        check_count(self.wait, f"{what}: wait", 0)
        for name in ("critic_rate", "actor_rate", "decay", "soft"):
            check_positive(getattr(self, name), f"{what}: {name}")
        check_widths(self.worth, f"{what}: worth")
        for name, of in (("decay", "the rates"), ("soft", "the way"), ("restarts", "the agents")):
            check_share(getattr(self, name), f"{what}: {name}", of)
        if not _is_pair(self.noise):
            raise ModelError(
                f"{what}: noise is {self.noise!r}; give it in the beginning and in the end, two numbers up to one: "
                "(0.33, 0.03)."
            )
        if self.wait >= self.steps:
            raise ModelError(
                f"{what}: wait={self.wait} of steps={self.steps} is all of the training, so that the actor would never "
                "learn. Give more steps=, or less wait=."
            )
        if self.replay < self.environments:
            raise ModelError(
                f"{what}: replay={self.replay} holds less than what {self.environments} environments see in one step."
            )

    @property
    def ensemble_of(self) -> tuple[int, int]:
        """How many critics there are, and how many of the largest estimates are left out."""
        return 1, 0

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        rates = (self.actor_rate, self.critic_rate)
        return Recipe(
            self.steps, self.batch, self.soft, rates, self.decay, self.noise, self.wait, self.averaged, self.restarts
        )


def _is_pair(noise: Any) -> bool:
    """Whether these are two sizes, each above zero and up to one."""
    if not isinstance(noise, tuple | list) or len(noise) != 2:
        return False
    return all(isinstance(size, numbers.Real) and not isinstance(size, bool) and 0 < float(size) <= 1 for size in noise)


class PreparedAgent(PreparedNets):
    """A model under `DDPG` or `ActorCritic`."""

    block = 500

    def __init__(self, model: Any, options: Any) -> None:
        super().__init__(model, options)
        check_constraints(self.plan, type(options).__name__)
        head = Head(self.plan, check_shares(self.plan, options.shares))
        self.roles = Roles(self.layout, head, options.hidden, *options.ensemble_of)
        self.shape = Shape(self.layout.size, options.worth, self.roles.count)
        self.warms = self.roles.count == 1 and self.roles.numbers > 0
        self.count = options.points or max(256, 4 * self.shape.weights // self.roles.count)

    def inputs(self, arguments: Arguments) -> Inputs:
        return inputs(self.layout, arguments, self.options.box)

    def points(self, seen: Inputs, seed: int, count: int) -> tuple[dict[str, Array], Array]:
        """States of the box and periods, one row each."""
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(count, self.layout.columns, seed))
        return jax.vmap(seen.state)(shares)

    # -- the training

    def begin(self, arguments: Arguments, prior: Any) -> tuple[Scale, Running]:
        seen = self.inputs(arguments)
        scale = self._measure(arguments, seen)
        weights = self.roles.begin(self.options.seed)
        if self.warms:
            actor = self.from_prior(arguments, prior, self.roles.head, self.roles.actor, weights.actor)
            weights = self._primed(arguments, prior, scale, weights._replace(actor=actor))
        method = self.method(arguments, scale)
        return scale, method.begin(weights, self.options.environments, self.options.replay, self.options.seed)

    def _primed(self, arguments: Arguments, prior: Prior | None, scale: Scale, weights: Weights) -> Weights:
        """With critics that begin with the V that is known, where it is."""
        if prior is None or prior.values is None:
            return weights
        start = nets.flat(self.shape, self.options.seed + 100, _BEND)
        value = self.worth_of_prior(arguments, prior, scale.level, scale.unit, self.shape, start)
        critics = self.method(arguments, scale, Priming).knowing(self.shape, value)
        return weights._replace(critics=critics.critics(weights, self.options.seed + 200))

    def method(self, arguments: Arguments, begun: Scale, kind: type[Training] = Training) -> Any:
        seen, recipe = self.inputs(arguments), self.options.recipe
        return kind(self.problem, arguments, self.roles, seen, begun, recipe, self.averages(arguments))

    def averages(self, arguments: Arguments) -> Callable[[Array], Averages]:
        """Of a period, ready to be averaged over."""
        options = self.options
        return lambda number: Averages(self.problem, arguments, number, options.quadrature, options.degree)

    def _measure(self, arguments: Arguments, seen: Inputs) -> Scale:
        """A level and a unit for Q: of what any actions are paid, for ever."""
        roles = self.roles
        states, numbers = self.points(seen, self.options.seed + 2000, _MEASURED)
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(_MEASURED, roles.numbers, self.options.seed + 3000))
        keys = jax.random.split(jax.random.key(self.options.seed), _MEASURED)

        def paid(states: dict[str, Array], number: Array, shares: Array, key: Array) -> tuple[Array, Array]:
            period, (which, own) = self.problem.period(arguments, number), jax.random.split(key)
            x = jnp.broadcast_to(roles.outputs_of(shares), (roles.count, roles.numbers))
            may = jnp.where(roles.allowed(period, states, x), jax.random.gumbel(which, (roles.count,)), -jnp.inf)
            place = jnp.argmax(may).astype(jnp.int32)
            acted = roles.head.act(period, states, x[place], place)
            found = Laws(self.problem, arguments, number).advance(states, acted.actions, own)
            return found.reward, found.discount

        reward, discount = jax.vmap(paid)(states, numbers, shares, keys)
        fine = jnp.isfinite(reward)
        count = jnp.maximum(jnp.sum(fine.astype(reward.dtype)), 1.0)
        mean = jnp.sum(jnp.where(fine, reward, 0.0)) / count
        spread = jnp.sqrt(jnp.sum(jnp.where(fine, reward - mean, 0.0) ** 2) / count)
        least = 1 / max(self.problem.clock.count, 1) if self.problem.finite else 1e-3
        lasting = 1 / jnp.maximum(1 - jnp.mean(jnp.where(fine, discount, 0.0)), least)
        return Scale(mean * lasting, unless_nothing((spread + 1e-3 * jnp.abs(mean)) * jnp.sqrt(lasting)))

    # -- what comes out

    def finish(self, arguments: Arguments, begun: Scale, state: Running, moves: bool = True) -> Found:
        seen, options = self.inputs(arguments), self.options
        start = nets.flat(self.shape, options.seed + 100, _BEND)
        found = Trained(state.actor, start, begun, seen, self.roles, self.shape)
        following = self._taught(self.following(arguments, found), state.copies._replace(actor=state.actor))
        states, numbers = self._evaluated_at(following, *self.points(seen, options.seed + 4000, self.count))
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.vmap(following.looked)(numbers, states))
        rounds = (_FIT // _ROUNDS,) * _ROUNDS if self.chooses else (_FIT,)
        following = following.knowing(following.fitted(rows, rounds))
        outcome = judged(following, *self.points(seen, options.seed + 1000, _JUDGED), options.seed + 5000)
        code = code_of(outcome, state.drawn, state.diverged, options.tolerance)
        stats = {
            "steps": state.step,
            "loss": state.loss,
            "residual": outcome.residual,
            "gain": outcome.gain,
            "at_bound": outcome.at_bound,
            "leaving": outcome.leaving,
            "not_a_number_at": state.drawn,
            "diverged_at": state.diverged,
        }
        return Found(following.found, code, stats)

    @property
    def chooses(self) -> bool:
        """Whether there is a choice among combinations, or of stopping."""
        return self.roles.count > 1 or self.plan.evaluate_stop is not None

    def _taught(self, following: Following, weights: Weights) -> Following:
        """With W as critics have it: they say what is chosen first."""
        if not self.chooses:
            return following
        roles, seen, scale = self.roles, following.seen, following.scale
        states, numbers = self.points(seen, self.options.seed + 4000, self.count)

        def said(states: Any, number: Array) -> tuple[Array, Array]:
            period, u = self.problem.period(following.arguments, number), roles.see(seen, number, states)
            return u, roles.decide(weights, scale, seen, period, number, states).values

        u, values = jax.vmap(said)(states, numbers)
        return following.knowing(following.taught(u, values, _FIT))

    def following(self, arguments: Arguments, found: Trained) -> Following:
        return Following(self.problem, arguments, found, self.averages(arguments))

    def _evaluated_at(self, following: Following, states: Any, numbers: Array) -> tuple[Any, Array]:
        """Points of the least squares for V: half of them in the box, a quarter where the policy leads from there, and
        a quarter where any actions do."""
        roles, part = self.roles, self.count // 4
        key = jax.random.key(self.options.seed + 6000)
        with jax.ensure_compile_time_eval():
            shares = jnp.asarray(sampling.points(part, roles.numbers, self.options.seed + 7000))

        def tried(states: Any, number: Array, share: Array, own: Array) -> Any:
            laws = Laws(self.problem, following.arguments, number)
            which, now = jax.random.split(own)
            place = jax.random.randint(which, (), 0, roles.count, jnp.int32)
            acted = roles.head.act(laws.today, states, roles.outputs_of(share), place)
            return following.kept(states, number, laws.advance(states, acted.actions, now).following)

        cut = lambda first, last: jax.tree.map(lambda leaf: leaf[first:last], (states, numbers))  # noqa: E731
        from_here, from_there, here = cut(0, part), cut(part, 2 * part), cut(2 * part, self.count)
        led = following.led(from_here[0], from_here[1], jax.random.fold_in(key, 1), 5)
        any_of = jax.vmap(tried)(from_there[0], from_there[1], shares, jax.random.split(key, part))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), led, any_of, here)

    def explain(self, solution: GridlessSolution) -> str:
        return complaint(type(self.options).__name__, solution.code, solution.stats, self.options.tolerance)
