"""How an actor and a critic are trained: by least squares in turn, or by gradients with target nets."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jax import Array

from bellax.errors import ModelError, check_count, check_positive, check_widths, named_options
from bellax.learning.levenberg import Fit
from bellax.numerics.held import held
from bellax.problem.problem import Arguments
from bellax.solvers.neural import moved
from bellax.solvers.neural.advantage import AdvantageFit
from bellax.solvers.neural.alternation import Alternation, Turns
from bellax.solvers.neural.bellman import ActorCritic, Bellman
from bellax.solvers.neural.descent import Descending, Descent
from bellax.solvers.neural.points import Points


class Trainer(abc.ABC):
    """Configuration of a training.

    Attributes:
        block: steps between reports, and checkpoints.
    """

    block: ClassVar[int] = 10

    @abc.abstractmethod
    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> ActorCritic:
        """The training, inside a compiled program; its `begin` takes weights of the actor and of the critic.

        Args:
            left: for how many periods something is paid for.
            tolerance: what does not matter, in units of V's spread.
        """

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

    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> Alternation:
        return Alternation(bellman, points, left, self, tolerance, seed)

    def told(self, state: Turns) -> dict[str, Array]:
        return {"steps": state.steps, "alternations": state.number}

    def moved(
        self, bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, weights: Any
    ) -> tuple[Array, Array]:
        return moved.moved(bellman, arguments, points, *weights)


@named_options
@dataclass(frozen=True, kw_only=True)
class Gradients(Trainer):
    """Actor and critic by Adam: the critic on the square of V's equation with a target net, the actor up along Q.

    Conditions hold to about 1e-4. What is found has no derivative in parameters.

    Args:
        rate: of learning, in the beginning.
        decay: what is left of it in the end.
        clip: largest norm of a gradient.
        steps: of each net.
        batch: states of a step, drawn in the box.
        averaged: by how much of the way the target net follows the critic in every step.
    """

    block: ClassVar[int] = 250
    rate: float = 3e-3
    decay: float = 0.01
    clip: float = 1.0
    steps: int = 20000
    batch: int = 128
    averaged: float = 0.05

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            check_count(getattr(self, name), f"Gradients: {name}")
        for name in ("rate", "decay", "clip", "averaged"):
            check_positive(getattr(self, name), f"Gradients: {name}")
        for name in ("decay", "averaged"):
            if getattr(self, name) > 1:
                raise ModelError(f"Gradients: {name} is {getattr(self, name)!r}; it is a share, at most 1.")

    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> Descent:
        return Descent(bellman, self, seed)

    def told(self, state: Descending) -> dict[str, Array]:
        return {"steps": state.step}

    def moved(
        self, bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, weights: Any
    ) -> tuple[Array, Array]:
        complaint = (
            "what bx.solvers.Gradients() found solves no equation to the last digit, so that it has no derivative in "
            "parameters. Train by bx.solvers.LeastSquares(), the default."
        )
        actor, critic = (held(own, arguments, complaint) for own in weights)
        return actor, critic


@named_options
@dataclass(frozen=True, kw_only=True)
class Quadratic(Trainer):
    """Q as a parabola in actions around the policy, fitted to the Bellman equation at actions around it.

    Args:
        hidden: widths of the hidden layers of the net of P.
        rounds: before the last one, of `budget` steps at most each; in every one actions are taken anew.
        budget: see `rounds`.
        finish: steps of the last round at most.
        spread: how far actions are from the policy in the first round, as outputs of the net.
        closer: the same in the last round.
    Source: Gu, Lillicrap, Sutskever & Levine (2016), "Continuous deep Q-learning with model-based acceleration".
    """

    hidden: tuple[int, ...] = (8,)
    rounds: int = 6
    budget: int = 8
    finish: int = 25
    spread: float = 0.5
    closer: float = 0.003

    def __post_init__(self) -> None:
        for name in ("rounds", "budget", "finish"):
            check_count(getattr(self, name), f"Quadratic: {name}")
        check_widths(self.hidden, "Quadratic: hidden")
        for name in ("spread", "closer"):
            check_positive(getattr(self, name), f"Quadratic: {name}")
        if self.closer > self.spread:
            raise ModelError(f"Quadratic: closer={self.closer:g} is farther than spread={self.spread:g}.")

    def method(self, bellman: Bellman, points: Points, left: Array, tolerance: float, seed: int) -> AdvantageFit:
        return AdvantageFit(bellman, points, self, seed)

    def told(self, state: Fit) -> dict[str, Array]:
        return {"steps": state.total}

    def moved(
        self, bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, weights: Any
    ) -> tuple[Array, Array]:
        return moved.moved(bellman, arguments, points, *weights)
