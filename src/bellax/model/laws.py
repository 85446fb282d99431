"""How a state moves where a plain function of names does not say it: probabilities, and not at all."""

from dataclasses import dataclass
from typing import Final

from bellax.model.quantity import QuantityLike


@dataclass(frozen=True, eq=False)
class Markov:
    """The law of a discrete state that gives probabilities.

    Args:
        probabilities: a Quantity; pointwise, the probability of each category tomorrow, shape (n,), summing
            to one.
    """

    probabilities: QuantityLike


class Fixed:
    """The law of a state that never moves: a type, a contract, a place."""

    def __repr__(self) -> str:
        return "bx.fixed"


fixed: Final = Fixed()
