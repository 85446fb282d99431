"""Constraints on states and actions: comparisons, and smooth ones, which are numbers that must not be negative.

A comparison says only whether an action is allowed. A number also says how far it is from the edge and in which
direction, which is what a method needs that walks along the edge.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from bellax.errors import ModelError, named_options
from bellax.model.quantity import QuantityLike


@named_options
@dataclass(frozen=True, eq=False)
class Nonnegative:
    """The constraint function >= 0.

    Args:
        function: a Quantity in states and actions, smooth, a single number.
    """

    function: QuantityLike

    def __post_init__(self) -> None:
        if isinstance(self.function, Nonnegative):
            raise ModelError("bx.nonnegative stands around another one; give it the function itself.")


def nonnegative(function: QuantityLike) -> Nonnegative:
    """A smooth constraint, `constraints={"budget": bx.nonnegative(lambda wealth, food, rent: wealth - food - rent)}`.

    It holds where the number is not negative, or is so by rounding only: by no more than the precision to the power of
    3/4 (2e-12 in 64 bits), times the largest of the states and actions that it reads where that is above one.

    Args:
        function: a function of states, actions and parameters, that gives a single number.
    """
    return Nonnegative(function)


def not_true_or_false(dtype: Any) -> str | None:
    """What is wrong with the type of a constraint that is a comparison, or None."""
    if jnp.issubdtype(dtype, jnp.bool_):
        return None
    return (
        "gives a number; a constraint gives True or False: write a comparison, or bx.nonnegative(f) where f >= 0 is "
        "meant."
    )


def not_a_number(dtype: Any) -> str | None:
    """What is wrong with the type of what a smooth constraint gives, or None."""
    if not jnp.issubdtype(dtype, jnp.bool_):
        return None
    return (
        "gives True or False, and bx.nonnegative takes a number that is not negative where the constraint holds: write "
        "wealth - spending and not spending <= wealth. A comparison is a constraint without bx.nonnegative."
    )
