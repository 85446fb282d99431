"""How an actor and a critic are trained: by least squares in turn, or by gradients with target nets."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax import Array

from bellax.errors import check_count, check_positive, named_options
from bellax.learning.training import Method
from bellax.problem.problem import Arguments
from bellax.solvers.neural import moved
from bellax.solvers.neural.alternation import Alternation, Turns
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.points import Points


class Trainer(abc.ABC):
    """Configuration of a training."""

    @abc.abstractmethod
    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> Method:
        """The training, inside a compiled program; its `init` takes weights of the actor and of the critic.

        Args:
            left: for how many periods something is paid for.
            tolerance: what does not matter, in units of V's spread.
        """

    @abc.abstractmethod
    def weights(self, state: Any) -> tuple[Array, Array]:
        """Those of the actor and of the critic when a training is over."""

    @abc.abstractmethod
    def told(self, state: Any) -> dict[str, Array]:
        """Numbers about a training, by name."""

    @abc.abstractmethod
    def moved(
        self, bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, weights: Any
    ) -> tuple[Array, Array]:
        """Weights of the actor and of the critic that move with arguments, or refuse to be differentiated in them."""


@named_options
@dataclass(frozen=True, kw_only=True)
class LeastSquares(Trainer):
    """Actor and critic in turn by Levenberg and Marquardt's method: Howard's policy iteration.

    Args:
        alternations: at most.
        evaluation, improvement: steps of each fit at most.
        settled: what V, in units of its spread, and actions, in units of theirs, move no more when a training ends.
        candidates: shares of every action that are tried against the actor's.
    """

    alternations: int = 40
    evaluation: int = 25
    improvement: int = 15
    settled: float = 1e-5
    candidates: int = 17

    def __post_init__(self) -> None:
        for name in ("alternations", "evaluation", "improvement"):
            check_count(getattr(self, name), f"LeastSquares: {name}")
        check_count(self.candidates, "LeastSquares: candidates", 3)
        check_positive(self.settled, "LeastSquares: settled")

    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> Method:
        return Alternation(bellman, points, left, self, tolerance, seed)

    def weights(self, state: Turns) -> tuple[Array, Array]:
        return state.actor.weights, state.critic.weights

    def told(self, state: Turns) -> dict[str, Array]:
        return {"steps": state.steps, "alternations": state.number}

    def moved(
        self, bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, weights: Any
    ) -> tuple[Array, Array]:
        return moved.moved(bellman, arguments, points, *weights)
