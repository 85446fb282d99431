"""The recipe of the notebook "Minimal stationary HJB-FP x PINN", so that it can be run again and judged.

Two tanh nets on inputs scaled to the whole domain, V and m with mu = softplus(m)^2, and the loss

    mean HJB^2 + mean FP^2 + weight (mean of boundary currents^2 + (mass - 1)^2),

lowered by Adam with clipped gradients at points drawn anew in every step, until it falls no more. V has no condition at
any edge, and nothing selects a branch of the equation: flagged.py says what comes of it. `one_key` draws all dimensions
with one key, as the published run does, so that all points lie on the diagonal.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import check_count, check_positive, named_options
from bellax.learning import nets, sampling
from bellax.learning.adam import Adam
from bellax.learning.training import Method
from bellax.solvers.continuous.core import Core
from bellax.solvers.continuous.pointwise import current, forward_left, moving, slopes
from bellax.solvers.continuous.trained import Form, Rows, SquaredSoftplus, ValueEquation


@named_options
@dataclass(frozen=True, kw_only=True)
class Notebook:
    """What the notebook does.

    Args:
        steps: of Adam, at most.
        rate: of learning.
        clip: largest norm of a gradient.
        batch: points of a step.
        weight: of boundary currents and of mass.
        patience: steps without a loss that is lower by a thousandth, after which it stops.
        one_key: whether all dimensions of a point are drawn with one key.
    """

    steps: int = 4000
    rate: float = 1e-3
    clip: float = 1.0
    batch: int = 256
    weight: float = 10.0
    patience: int = 1000
    one_key: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patience"):
            check_count(getattr(self, name), f"Notebook: {name}")
        for name in ("rate", "clip", "weight"):
            check_positive(getattr(self, name), f"Notebook: {name}")

    @property
    def form(self) -> Form:
        return SquaredSoftplus()

    def where(self, core: Core) -> Core:
        """The whole domain."""
        return replace_core(core)

    def training(self, value: ValueEquation, seed: int, thin: nets.Shape) -> "Descent":
        return Descent(self, value, seed, thin)


def replace_core(core: Core) -> Core:
    """The same with the domain for a box, and no normal."""
    return core._replace(box=core.domain, inner=core.domain, spread=jnp.zeros_like(core.spread))


class Part(NamedTuple):
    """Weights of one net, and a count of steps, as other trainings have them."""

    weights: Array
    total: Array


class Descending(NamedTuple):
    """A running descent.

    Attributes:
        value, density: the nets.
        moments: of Adam.
        loss, best: of the last step, and the lowest so far.
        since: steps since that.
    """

    value: Part
    density: Part
    moments: Any
    loss: Array
    best: Array
    since: Array


class Descent(Method):
    """Adam on the notebook's loss; see learning/training.py."""

    def __init__(self, recipe: Notebook, value: ValueEquation, seed: int, thin: nets.Shape) -> None:
        self.recipe, self.value, self.seed, self.thin = recipe, value, seed, thin
        self.adam = Adam(recipe.rate, recipe.clip)

    def init(self, start: Any = None) -> Descending:
        """Where it begins; `start` is of other recipes."""
        first, second = nets.flat(self.value.shape, self.seed), nets.flat(self.thin, self.seed + 1)
        zero, inf = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf, float)
        return Descending(Part(first, zero), Part(second, zero), self.adam.init((first, second)), inf, inf, zero)

    def done(self, state: Descending) -> Array:
        recipe = self.recipe
        return (state.value.total >= recipe.steps) | (state.since >= recipe.patience) | jnp.isnan(state.loss)

    def told(self, state: Descending) -> tuple[Array, Array]:
        return state.value.total, state.loss

    def step(self, state: Descending) -> Descending:
        key = jax.random.fold_in(jax.random.key(self.seed), state.value.total)
        draws = self.draws(key)
        own = (state.value.weights, state.density.weights)
        loss, slope = jax.value_and_grad(lambda own: self.loss(own[0], own[1], draws))(own)
        (first, second), moments = self.adam.step(own, slope, state.moments)
        better = loss < 0.999 * state.best
        since = jnp.where(better, 0, state.since + 1)
        best = jnp.where(better, loss, state.best)
        value = Part(first, state.value.total + 1)
        return Descending(value, state.density._replace(weights=second), moments, loss, best, since)

    def draws(self, key: Array) -> Array:
        """Points of the unit cube, shape (batch, d)."""
        count = self.value.core.centre.shape[0]
        shape = (self.recipe.batch, 1 if self.recipe.one_key else count)
        return jnp.broadcast_to(jax.random.uniform(key, shape), (self.recipe.batch, count))

    def dependence(self) -> float:
        """The rank correlation of a sample."""
        with jax.ensure_compile_time_eval():
            return sampling.dependence(np.asarray(self.draws(jax.random.fold_in(jax.random.key(self.seed), 0))))

    def loss(self, first: Array, second: Array, draws: Array) -> Array:
        value, core, form = self.value, self.value.core, self.recipe.form
        y = jax.vmap(core.box.at)(draws)
        none = jnp.zeros(y.shape[0])
        left = jax.vmap(value.inside, (None, 0))(first, Rows(y, jnp.zeros_like(y), none > 0, none + 1))
        log = lambda y: form.log(self.thin, core, second, y)  # noqa: E731
        how = lambda y: moving(value.point, lambda y: value.of(first, y), y)  # noqa: E731
        width = core.box.upper - core.box.lower
        volume = jnp.prod(width)

        def forward(y: Array) -> Array:
            return jnp.exp(log(y)) * volume * forward_left(how(y), slopes(log, y))

        def flow(y: Array, onto: Array) -> Array:
            return jnp.exp(log(y)) * volume * jnp.sum(current(how(y), slopes(log, y)) * onto / width)

        total = jnp.mean(left**2) + jnp.mean(jax.vmap(forward)(y) ** 2)
        for axis, pair in enumerate(value.where.edges):
            for edge in pair:
                onto = jnp.zeros_like(edge).at[:, axis].set(1.0)
                total = total + self.recipe.weight * jnp.mean(jax.vmap(flow)(edge, onto) ** 2)
        mass = volume * jnp.mean(jnp.exp(jax.vmap(log)(value.where.inside)))
        return total + self.recipe.weight * (mass - 1) ** 2
