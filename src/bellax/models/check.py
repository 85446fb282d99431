"""What a gallery model claims about itself: one number of ours beside one that this library did not compute."""

from typing import NamedTuple


class Check(NamedTuple):
    """One comparison of a solved model with its reference.

    Attributes:
        quantity: what is compared.
        value: what was computed, where it is furthest from the reference.
        reference: what it should be there.
        error: the largest error, in the units that `quantity` says.
        tolerance: the largest error that passes.
        source: where the reference comes from.
    """

    quantity: str
    value: float
    reference: float
    error: float
    tolerance: float
    source: str

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; an error that is not a number does not pass."""
        return self.error <= self.tolerance
