"""Actor and critic in turn, each by least squares: Howard's policy iteration with nets.

    critic:  V(s) = E[r + b V(s')] under the actor's decisions, which are held,
    actor:   dQ/da = 0 with the critic held,

by Levenberg and Marquardt. A zero of dQ/da may be a minimum or a lesser maximum: now and then shares all over the way
between bounds are tried, and where one of them is better the actor is drawn there instead.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.learning.levenberg import Fit, LevenbergMarquardt
from bellax.solvers.neural.bellman import ActorCritic, Bellman
from bellax.solvers.neural.candidates import Candidates
from bellax.solvers.neural.conditions import condition_sizes
from bellax.solvers.neural.euler import unit_free, width
from bellax.solvers.neural.evaluation import Looked
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.points import Points

_EARLY, _EVERY = 4, 8  # alternations with candidates: the first ones, and then one of so many


class Aims(NamedTuple):
    """What an actor is fitted to, with the critic held.

    Attributes:
        critic: its weights.
        size: of every condition, shape (n, k, m).
        drawn: whether outputs are given, shape (n, k), and not conditions; these outputs, shape (n, k, m).
    """

    critic: Array
    size: Float[Array, "n k m"]
    drawn: Bool[Array, "n k"]
    outputs: Float[Array, "n k m"]


class Turns(NamedTuple):
    """A running training.

    Attributes:
        critic, actor: the running fit of each.
        improving: whether it is the actor's turn.
        value, outputs: V at the points, in units, and outputs there, when the last alternation was over.
        change: of these in the last alternation: what V moved at most, and actions.
        number: of alternations that are over.
        steps: of all fits.
        loss: of the last step of a fit, its sum of squares.
    """

    critic: Fit
    actor: Fit
    improving: Array
    value: Float[Array, "n"]
    actions: Float[Array, "n m"]
    change: Float[Array, "2"]
    number: Array
    steps: Array
    loss: Array


class Alternation(ActorCritic):
    """The training; made inside a compiled program.

    Args:
        points: where equations hold.
        left: for how many periods something is paid for.
        alternations, evaluation, improvement: at most, and steps of each of their fits.
        settled: what V, in its units, and actions, in theirs, move no more.
        margin: by how much a candidate is better, in units of V.
    """

    def __init__(self, bellman: Bellman, points: Points, left: Array, recipe: Any, margin: float, seed: int) -> None:
        self.bellman, self.points, self.recipe = bellman, points, recipe
        self.margin = margin * bellman.evaluation.scale.unit / left
        self.candidates = Candidates(bellman, recipe.candidates, seed) if bellman.head.size else None
        keep = lambda weights, frozen: frozen  # noqa: E731
        self.critics = LevenbergMarquardt(self._critic_groups, keep, (recipe.evaluation,))
        self.actors = LevenbergMarquardt(self._actor_groups, keep, (recipe.improvement,))

    # -- equations

    def _critic_groups(self, frozen: Looked, number: Array) -> Any:
        return [(self.bellman.evaluation.residual, frozen)]

    def _actor_groups(self, frozen: Aims, number: Array) -> Any:
        one = lambda weights, row: self._aimed(weights, frozen.critic, *row)  # noqa: E731
        return [(one, (*self.points, frozen.size, frozen.drawn, frozen.outputs))]

    def _aimed(
        self, actor: Array, critic: Array, states: Any, number: Array, size: Array, drawn: Array, aim: Array
    ) -> Array:
        """What is left of the actor's aims at one point, shape (k m,)."""
        outputs = self.bellman.outputs(actor)(number, states)
        left = self.conditions(outputs, critic, states, number, size)
        return jnp.where(drawn[:, None], outputs - aim, left).reshape(-1)

    def conditions(self, outputs: Array, critic: Array, states: Any, number: Array, size: Array) -> Array:
        """The conditions of the actions of every combination at one point, shape (k, m)."""
        return unit_free(self.bellman.every_terms(number, states, outputs, critic), size)

    def looked(self, actor: Array, critic: Array) -> tuple[Looked, Array, Array, Array]:
        """What the best decisions bring at the points, V there, the continuous actions, and how far their bounds are
        apart."""
        outputs = self.bellman.outputs(actor)

        def one(states: Any, number: Array) -> tuple[Looked, Array, Array, Array]:
            found = self.bellman.greedy(number, states, outputs(number, states), critic)
            actions = [jnp.ravel(found.option.acted.actions[name]) for name in self.bellman.plan.controls]
            joined = jnp.concatenate(actions) if actions else jnp.zeros(0)
            return found.row, found.value, joined, width(found.option.acted)

        return jax.vmap(one)(*self.points)

    def aims(self, actor: Array, critic: Array, number: Array) -> Aims:
        """What the actor is fitted to next."""
        outputs = jax.vmap(self.bellman.outputs(actor))(self.points.periods, self.points.states)
        size = condition_sizes(self.bellman, self.points, outputs, critic)

        def tried() -> tuple[Array, Array]:
            assert self.candidates is not None
            found = jax.vmap(self.candidates.better, (0, 0, 0, None))(
                self.points.periods, self.points.states, outputs, critic
            )
            return found.gain > self.margin, found.outputs

        asked = (number < _EARLY) | (number % _EVERY == 0)
        drawn, aim = lax.cond(asked, tried, lambda: (jnp.zeros(outputs.shape[:2], bool), outputs))
        return Aims(critic, lax.stop_gradient(size), drawn, aim)

    # -- turns

    def begin(self, actor: Array, critic: Array) -> Turns:
        rows, value, actions, _ = self.looked(actor, critic)
        zero = jnp.zeros((), jnp.int32)
        aims = Aims(critic, *self._unaimed())
        return Turns(
            self.critics.init(critic, rows),
            self.actors.init(actor, aims),
            jnp.zeros((), bool),
            value / self.bellman.evaluation.scale.unit,
            actions,
            jnp.full(2, jnp.inf),
            zero,
            zero,
            jnp.asarray(jnp.inf),
        )

    def _unaimed(self) -> tuple[Array, Array, Array]:
        count, size = self.points.periods.shape[0], self.bellman.head.size
        shape = (count, self.bellman.shapes[0].outputs // max(size, 1), size)
        return jnp.ones(shape), jnp.zeros(shape[:2], bool), jnp.zeros(shape)

    def weights(self, state: Turns) -> tuple[Array, Array]:
        return state.actor.weights, state.critic.weights

    def done(self, state: Turns) -> Array:
        settled = jnp.all(state.change <= self.recipe.settled)
        return settled | (state.number >= self.recipe.alternations)

    def told(self, state: Turns) -> tuple[Array, Array]:
        """Steps, and the root mean square of what is left of the equations whose turn it is."""
        count = self.points.periods.shape[0]
        return state.steps, jnp.sqrt(state.loss / count)

    def step(self, state: Turns) -> Turns:
        if not self.bellman.head.size:
            return self._evaluate(state)
        return lax.cond(state.improving, self._improve, self._evaluate, state)

    def _evaluate(self, state: Turns) -> Turns:
        """One step of the critic; after the last one it is the actor's turn."""
        fit = self.critics.step(state.critic)
        state = state._replace(critic=fit, steps=state.steps + 1, loss=fit.loss)
        if not self.bellman.head.size:
            return lax.cond(self.critics.done(fit), self._turned, lambda state: state, state)

        def over(state: Turns) -> Turns:
            aims = self.aims(state.actor.weights, fit.weights, state.number)
            return state._replace(actor=_again(state.actor, aims), improving=jnp.ones((), bool))

        return lax.cond(self.critics.done(fit), over, lambda state: state, state)

    def _improve(self, state: Turns) -> Turns:
        """One step of the actor; after the last one an alternation is over."""
        fit = self.actors.step(state.actor)
        state = state._replace(actor=fit, steps=state.steps + 1, loss=fit.loss)
        return lax.cond(self.actors.done(fit), self._turned, lambda state: state, state)

    def _turned(self, state: Turns) -> Turns:
        """Decisions are taken anew, and the critic is next."""
        rows, value, actions, apart = self.looked(state.actor.weights, state.critic.weights)
        value = value / self.bellman.evaluation.scale.unit
        spread = jnp.std(actions, axis=0, keepdims=True) + 1e-3 * jnp.mean(jnp.abs(actions), axis=0, keepdims=True)
        least = TINY * jnp.mean(apart, axis=0, keepdims=True)
        moved = jnp.max(jnp.abs(actions - state.actions) / (spread + least), initial=0.0)
        change = jnp.stack([jnp.max(jnp.abs(value - state.value)), moved])
        return state._replace(
            critic=_again(state.critic, rows),
            improving=jnp.zeros((), bool),
            value=value,
            actions=actions,
            change=change,
            number=state.number + 1,
        )


def _again(fit: Fit, frozen: Any) -> Fit:
    """A fit with other things held, from where it was."""
    zero = jnp.zeros((), jnp.int32)
    damping = jnp.minimum(fit.damping, 1e-3)
    return Fit(fit.weights, frozen, damping, jnp.asarray(jnp.inf), zero, zero, fit.total)
