"""How a state gets its value where a plain function of names does not say it: by probabilities, from nothing but its
process, and not at all."""

from dataclasses import dataclass
from typing import Final

from bellax.errors import ModelError, named_options
from bellax.model.quantity import QuantityLike


@named_options
@dataclass(frozen=True, eq=False)
class Markov:
    """The law of a discrete state that gives probabilities.

    Args:
        probabilities: a Quantity; pointwise, the probability of each category tomorrow, shape (n,), summing
            to one.
        over: names of discrete states and actions, where `probabilities` is a whole table: an array or a name, one axis
            for each of them and a last one of length n. A solver then reads the table in place.
    """

    probabilities: QuantityLike
    over: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.over, str):
            raise ModelError(f"bx.Markov: over is {self.over!r}; give a tuple of names, ({self.over!r},).")


class Fixed:
    """The law of a state that never moves: a type, a contract, a place."""

    def __repr__(self) -> str:
        return "bx.fixed"


fixed: Final = Fixed()


class Ergodic:
    """The value of a process where nothing is known of its past: a draw from its stationary distribution."""

    def __repr__(self) -> str:
        return "bx.ergodic"


ergodic: Final = Ergodic()
