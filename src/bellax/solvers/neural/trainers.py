"""How an actor and a critic are trained: by least squares in turn, or by gradients with target nets."""

import abc
from dataclasses import dataclass

from bellax.errors import ModelError, check_count, check_positive, named_options


class Trainer(abc.ABC):
    """Configuration of a training."""


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
