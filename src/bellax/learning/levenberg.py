"""Levenberg and Marquardt's method: nonlinear least squares of small nets, far better there than gradients alone.

    (J'J + damping I) step = -J'r,

by Cholesky; with fewer residuals than weights J'(J J' + damping I)^-1 r, which is the same step. Damping is divided by
four after a step that lowers the sum of squares, and five times as large after one that does not. A fit goes in rounds:
what is frozen in the residuals is made anew between them (Howard's policy, weights of points).

Source: Marquardt (1963).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import cholesky
from bellax.learning.training import Method

_FIRST, _LEAST, _MOST = 1e-3, 1e-14, 1e10  # damping, relative to the mean diagonal of J'J
_LITTLE = 1e-6  # of the largest effect of an unknown: what every one counts for
_STALLED = 1e-7  # relative decrease of the sum of squares that is none: short steps after rejections are no end

Pointwise = Callable[[Array, Any], Array]
"""Of weights and what belongs to a point, the residual there: a number, or several, shape (k,)."""

Groups = Sequence[tuple[Pointwise, Any]]
"""Pointwise residuals, and what belongs to all of their points, along a first axis."""


class Fit(NamedTuple):
    """A running fit.

    Attributes:
        weights: shape (w,).
        frozen: what is held fixed in this round.
        damping, loss: of the last step; the sum of squares.
        round, steps, total: which round, steps in it, and steps in all.
    """

    weights: Array
    frozen: Any
    damping: Array
    loss: Array
    round: Array
    steps: Array
    total: Array


def residuals(groups: Groups, weights: Array) -> Array:
    """All of them, one vector."""
    return jnp.concatenate([jax.vmap(one, (None, 0))(weights, rows).reshape(-1) for one, rows in groups])


def linearised(groups: Groups, weights: Array, together: int | None = None) -> tuple[Array, Array]:
    """`residuals`, and their derivatives, shape (residuals, w).

    Args:
        together: points that are looked at at once, of residuals that need much memory; then their derivatives have
            none themselves. By default all of them.
    """
    found = []
    for one, rows in groups:
        at = partial(_one, one, weights)
        if together is None:
            found.append(jax.vmap(at)(rows))
            continue
        held = jax.checkpoint(lambda row, at=at: (lambda value, slope: (value, lax.stop_gradient(slope)))(*at(row)))
        found.append(lax.map(held, rows, batch_size=together))
    values = jnp.concatenate([value.reshape(-1) for value, _ in found])
    return values, jnp.concatenate([slope.reshape(-1, weights.shape[0]) for _, slope in found])


def _one(residual: Pointwise, weights: Array, row: Any) -> tuple[Array, Array]:
    """Residuals at a point, and their derivatives."""
    value, pull = jax.vjp(lambda weights: residual(weights, row), weights)
    if value.ndim == 0:
        return value, pull(jnp.ones_like(value))[0]
    return value, jax.vmap(lambda one: pull(one)[0])(jnp.eye(value.shape[0], dtype=value.dtype))


def direction(matrix: Array, right: Array, damping: Array, scaled: Array | bool = False) -> Array:
    """The x that makes the squares of J x - right, and damping times those of x, least.

    Args:
        scaled: whether every unknown counts in units of what it does to the residuals.
    """
    if scaled is not False:
        size = jnp.sqrt(jnp.sum(matrix**2, axis=0))
        size = jnp.where(scaled, size + _LITTLE * jnp.max(size), 1.0)
        return direction(matrix / size[None, :], right, damping) / size
    few = matrix.shape[0] < matrix.shape[1]
    square = matrix @ matrix.T if few else matrix.T @ matrix
    size = jnp.trace(square) / square.shape[0]
    factor = cholesky.factor(square + damping * size * jnp.eye(square.shape[0]))
    return matrix.T @ cholesky.solve(factor, right) if few else cholesky.solve(factor, matrix.T @ right)


class LevenbergMarquardt(Method):
    """Least squares of residuals at points; made and run inside a compiled program.

    Args:
        groups: of what is frozen and the number of the round, the pointwise residuals and their points.
        refresh: of weights and what was frozen, what is frozen in the next round.
        budgets: steps at most of every round.
        scaled: whether in the last round every weight counts in units of what it does: far quicker near the end, and
            apt to go astray at the beginning.
        still: relative decrease of the sum of squares by a step that damping does not shorten that is none: a round
            ends where no more is to be had.
    """

    def __init__(
        self,
        groups: Callable[[Any, Array], Groups],
        refresh: Callable[[Array, Any], Any],
        budgets: Sequence[int],
        scaled: bool = False,
        still: float = _STALLED,
    ) -> None:
        self.groups, self.refresh, self.budgets, self.scaled = groups, refresh, tuple(budgets), scaled
        self.still = still

    def init(self, weights: Array, frozen: Any) -> Fit:
        zero = jnp.zeros((), jnp.int32)
        number = lambda x: jnp.full((), x, float)  # noqa: E731
        return Fit(weights, frozen, number(_FIRST), number(jnp.inf), zero, zero, zero)

    def done(self, fit: Fit) -> Array:
        return fit.round >= len(self.budgets)

    def told(self, fit: Fit) -> tuple[Array, Array]:
        return fit.total, fit.loss

    def step(self, fit: Fit) -> Fit:
        """One step, and the next round where this one is over."""
        groups = self.groups(fit.frozen, fit.round)
        left, matrix = linearised(groups, fit.weights)
        trial = fit.weights - direction(matrix, left, fit.damping, self.scaled and fit.round == len(self.budgets) - 1)
        before, after = jnp.sum(left**2), jnp.sum(residuals(groups, trial) ** 2)
        better = after < before
        weights, loss = jnp.where(better, trial, fit.weights), jnp.where(better, after, before)
        damping = jnp.clip(jnp.where(better, fit.damping / 4, fit.damping * 5), _LEAST, _MOST)
        little = jnp.where(fit.damping <= _FIRST, self.still, _STALLED)
        stalled = (better & (before - after <= little * before)) | (damping >= _MOST)
        budget = jnp.asarray(self.budgets, jnp.int32)[jnp.minimum(fit.round, len(self.budgets) - 1)]
        over = stalled | (fit.steps + 1 >= budget)
        following = Fit(weights, fit.frozen, damping, loss, fit.round, fit.steps + 1, fit.total + 1)
        return lax.cond(over, self._next, lambda fit: fit, following)

    def _next(self, fit: Fit) -> Fit:
        frozen, damping = self.refresh(fit.weights, fit.frozen), jnp.minimum(fit.damping, _FIRST)
        return fit._replace(frozen=frozen, damping=damping, round=fit.round + 1, steps=jnp.zeros_like(fit.steps))


def moved(groups: Groups, still: Array, damping: float = 1e-13, together: int | None = None) -> Array:
    """Weights of a finished fit, with the derivatives that the residuals' least squares give them.

    The implicit function theorem where residuals are nearly zero: J dw = -dr, by least squares.

    Args:
        groups: residuals that depend on what is differentiated.
        still: the weights that were found.
        damping: relative to the mean diagonal of J'J; of many weights that do alike, more than rounding.
        together: see `linearised`.
    """
    still = lax.stop_gradient(still)
    left, matrix = linearised(groups, still, together)
    return _answering(still, lax.stop_gradient(matrix), left, jnp.asarray(damping))


@jax.custom_jvp
def _answering(still: Array, matrix: Array, left: Array, damping: Array) -> Array:
    """Weights that answer what is left; where nothing is differentiated XLA drops the rest."""
    return still


@_answering.defjvp
def _answer(given: tuple[Array, ...], moves: tuple[Array, ...]) -> tuple[Array, Array]:
    still, matrix, left, damping = given
    return _answering(*given), -direction(matrix, moves[2], damping)
