"""Quadrature rules as options: `quadrature={"z": 7}` or `quadrature={"z": bx.quadrature.Equispaced(31)}`.

A rule names a method and a count; `normal()` and `uniform()` give its nodes for a standard normal and for a uniform
on [0, 1]. Gauss-Hermite is exact for polynomials and misses kinks; equally spaced nodes bear kinks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import quadrature
from bellax.numerics.scalar import put

__all__ = ["Equiprobable", "Equispaced", "GaussHermite", "GaussLegendre"]


class Nodes(NamedTuple):
    """Nodes, shape (q, d), and weights, shape (q,), summing to one."""

    nodes: Float[Array, "q d"]
    weights: Float[Array, "q"]


@named_options
@dataclass(frozen=True)
class GaussHermite:
    """Exact for polynomials of degree 2 count - 1 in a normal shock."""

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "quadrature.GaussHermite: count")

    def normal(self) -> Nodes:
        return _column(quadrature.gauss_hermite, self.count)

    def uniform(self) -> Nodes:
        raise ModelError("GaussHermite is a rule for normal shocks; for a uniform one use bx.quadrature.GaussLegendre.")


@named_options
@dataclass(frozen=True)
class GaussLegendre:
    """Exact for polynomials of degree 2 count - 1 in a uniform shock."""

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "quadrature.GaussLegendre: count")

    def normal(self) -> Nodes:
        raise ModelError("GaussLegendre is a rule for uniform shocks; for a normal one use bx.quadrature.GaussHermite.")

    def uniform(self) -> Nodes:
        return _column(quadrature.gauss_legendre, self.count)


@named_options
@dataclass(frozen=True)
class Equispaced:
    """Equally spaced nodes on +- width standard deviations, for integrands with kinks."""

    count: int
    width: int | float = 5.5

    def __post_init__(self) -> None:
        check_count(self.count, "quadrature.Equispaced: count")
        check_positive(self.width, "quadrature.Equispaced: width", "5.5")

    def normal(self) -> Nodes:
        return _column(quadrature.equispaced_normal, self.count, self.width)

    def uniform(self) -> Nodes:
        raise ModelError("Equispaced is a rule for normal shocks; for a uniform one use bx.quadrature.GaussLegendre.")


@named_options
@dataclass(frozen=True)
class Equiprobable:
    """Conditional means of bins of equal probability."""

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "quadrature.Equiprobable: count")

    def normal(self) -> Nodes:
        return _column(quadrature.equiprobable_normal, self.count)

    def uniform(self) -> Nodes:
        raise ModelError("Equiprobable is a rule for normal shocks; for a uniform one use bx.quadrature.GaussLegendre.")


RULES = (GaussHermite, GaussLegendre, Equispaced, Equiprobable)


def recounted(rule: Any, count: int) -> Any:
    """A rule with another count, or the next one that has positive weights where few equally spaced nodes have none."""
    found = replace(rule, count=count)
    if isinstance(found, Equispaced):
        for more in range(3):
            try:
                found = replace(rule, count=count + more)
                found.normal()
                break
            except ModelError:
                continue
    return found


def as_rule(given: Any, default: Any) -> Any:
    """The rule that a solver was given: None is the default, a count is the default's kind with that many nodes."""
    if given is None:
        return default
    if isinstance(given, RULES):
        return given
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return type(default)(int(given))
    raise ModelError(f"quadrature {given!r} is neither a number of nodes nor a rule of bx.quadrature.")


def tensor(factors: Sequence[Nodes]) -> Nodes:
    """The product of rules, last factor fastest."""
    if len(factors) == 1:
        return factors[0]
    return Nodes(*quadrature.tensor(*[(rule.nodes, rule.weights) for rule in factors]))


def _column(rule: Callable[..., tuple[Array, Array]], *arguments: Any) -> Nodes:
    """A rule of one variable as numbers: while a program is traced too, they are no part of it."""
    with jax.ensure_compile_time_eval():
        nodes, weights = rule(*arguments)
        # in numpy: an operation of jax on its own is compiled on its own
        return Nodes(put(np.asarray(nodes)[:, None]), weights)
