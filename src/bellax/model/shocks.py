"""Distributions of shocks and of IID states: each knows its nodes and its draws.

A distribution turns a *standard* rule, fixed by a number of nodes, into values by a pointwise function of its
parameters, so that a parameter may depend on the state and the action and is differentiated. Weights may
depend on parameters too (`Categorical`, `Jump`). Shocks are realised after the decision.
"""

# Each distribution names its own parameters where the base class has **parameters.
# mypy: disable-error-code="override"

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bellax.errors import ModelError, check_count, named_options
from bellax.model.demands import Demand, broken, not_negative, ordered, probabilities
from bellax.model.distribution import Distribution, draw_place, drawn_by, without_rounding
from bellax.model.mixture import Mixture
from bellax.model.quantity import QuantityLike, is_literal, read
from bellax.numerics import rules
from bellax.numerics.covariance import factor, semidefinite, symmetric
from bellax.numerics.scalar import whole

__all__ = ["Categorical", "Jump", "Lognormal", "Mixture", "MultivariateNormal", "Normal", "Uniform"]


def _normal_rule(given: Any, shape: tuple[int, ...], default: int) -> rules.Nodes:
    return rules.tensor([rules.as_rule(given, rules.GaussHermite(default)).normal()] * math.prod(shape))


@named_options
@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """mean + sd e with e standard normal.

    Args:
        mean: a Quantity.
        sd: standard deviation, a Quantity, not negative.
        shape: () for a number, (n,) for n independent ones.
    """

    mean: QuantityLike = 0.0
    sd: QuantityLike = 1.0
    shape: Any = ()

    def parameters(self) -> Mapping[str, QuantityLike]:
        return {"mean": self.mean, "sd": self.sd}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        return _normal_rule(given, self.shape, 7 if self.shape == () else 3)

    def realise(self, node: Float[Array, "d"], mean: Array, sd: Array) -> Array:
        return mean + sd * node.reshape(self.shape)

    def draw(self, key: Array, mean: Array, sd: Array) -> Array:
        return mean + sd * jax.random.normal(key, self.shape)

    def bearing_kinks(self, count: int) -> Any:
        return rules.Equispaced(count) if self.shape == () else None

    def demands(self) -> tuple[Demand, ...]:
        return (not_negative("sd"),)


@named_options
@dataclass(frozen=True, eq=False)
class Lognormal(Distribution):
    """exp(mean + sd e) with e standard normal: `mean` and `sd` are those of the logarithm."""

    mean: QuantityLike = 0.0
    sd: QuantityLike = 1.0
    shape: Any = ()

    def parameters(self) -> Mapping[str, QuantityLike]:
        return {"mean": self.mean, "sd": self.sd}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        return _normal_rule(given, self.shape, 7 if self.shape == () else 3)

    def realise(self, node: Float[Array, "d"], mean: Array, sd: Array) -> Array:
        return jnp.exp(mean + sd * node.reshape(self.shape))

    def draw(self, key: Array, mean: Array, sd: Array) -> Array:
        return jnp.exp(mean + sd * jax.random.normal(key, self.shape))

    def bearing_kinks(self, count: int) -> Any:
        return rules.Equispaced(count) if self.shape == () else None

    def demands(self) -> tuple[Demand, ...]:
        return (not_negative("sd"),)


@named_options
@dataclass(frozen=True, eq=False)
class MultivariateNormal(Distribution):
    """mean + L e with L L' = covariance; functions see an array of shape (n,).

    Args:
        mean: a Quantity, shape (n,) or a number.
        covariance: a Quantity, shape (n, n), positive semidefinite: a singular one makes some of the numbers
            functions of others. A derivative of an expectation at a singular one is that along covariances of its rank.
        size: n; read off `covariance` where that is a literal.
    """

    mean: QuantityLike = 0.0
    covariance: QuantityLike = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.covariance is None:
            raise ModelError("MultivariateNormal needs covariance=, an (n, n) array, a name or a function of names.")
        if self.size is None and not (isinstance(self.covariance, str) or callable(self.covariance)):
            shape = np.shape(self.covariance)
            if len(shape) != 2 or shape[0] != shape[1]:
                raise ModelError(f"MultivariateNormal: covariance has shape {shape}; it must be (n, n).")
            object.__setattr__(self, "size", int(shape[0]))
        if self.size is None:
            raise ModelError("MultivariateNormal needs size= where its covariance is a name or a function.")
        check_count(self.size, "MultivariateNormal: size")

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.size is not None
        return (self.size,)

    def parameters(self) -> Mapping[str, QuantityLike]:
        return {"mean": self.mean, "covariance": self.covariance}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        return _normal_rule(given, self.shape, 3)

    def realise(self, node: Float[Array, "d"], mean: Array, covariance: Array) -> Array:
        return jnp.broadcast_to(mean, self.shape) + factor(covariance) @ node

    def draw(self, key: Array, mean: Array, covariance: Array) -> Array:
        return self.realise(jax.random.normal(key, self.shape), mean, covariance)

    def demands(self) -> tuple[Demand, ...]:
        return (Demand(("covariance",), semidefinite, _no_covariance),)

    def parameter_shape(self, name: str) -> tuple[int, ...] | None:
        return (*self.shape, *self.shape) if name == "covariance" else self.shape

    def broadcasts(self, name: str) -> bool:
        return name != "covariance"  # which is a matrix or it is nothing


def _no_covariance(covariance: np.ndarray) -> str:
    if not symmetric(covariance):
        return "is not symmetric."
    least = np.linalg.eigvalsh(covariance)[0]
    return f"is indefinite: its least eigenvalue is {least:g}; that of a covariance is not negative."


@named_options
@dataclass(frozen=True, eq=False)
class Uniform(Distribution):
    """Uniform on [lower, upper]."""

    lower: QuantityLike = 0.0
    upper: QuantityLike = 1.0
    shape: Any = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {
            side: read(bound, f"Uniform: {side}") for side, bound in self.parameters().items() if is_literal(bound)
        }
        wrong = broken(self.demands(), known) if len(known) == 2 else None
        if wrong is not None:
            raise ModelError(f"Uniform {wrong.complaint(known)}")

    def demands(self) -> tuple[Demand, ...]:
        return (ordered("lower", "upper"),)

    def parameters(self) -> Mapping[str, QuantityLike]:
        return {"lower": self.lower, "upper": self.upper}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        default = rules.GaussLegendre(7 if self.shape == () else 3)
        return rules.tensor([rules.as_rule(given, default).uniform()] * math.prod(self.shape))

    def realise(self, node: Float[Array, "d"], lower: Array, upper: Array) -> Array:
        return lower + (upper - lower) * node.reshape(self.shape)

    def draw(self, key: Array, lower: Array, upper: Array) -> Array:
        return lower + (upper - lower) * jax.random.uniform(key, self.shape)

    def bearing_kinks(self, count: int) -> Any:
        return rules.GaussLegendre(count) if self.shape == () else None


@named_options
@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    """One of finitely many values, with given probabilities.

    Args:
        values: a Quantity, shape (n, *shape): functions see one entry; None for the integers 0, 1, ..., n-1.
        probabilities: a Quantity, shape (n,), summing to one; None for equal ones.
        shape: shape of one value, such as (2,) for pairs of a permanent and a transitory shock.
    """

    values: QuantityLike = None
    probabilities: QuantityLike = None
    shape: Any = ()
    mixes = False
    weighs = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values is None and self.probabilities is None:
            raise ModelError("Categorical needs values=, probabilities=, or both.")
        literals = {k: v for k, v in self.parameters().items() if is_literal(v)}
        if all(np.ndim(value) for value in literals.values()):
            self._check_counts({name: np.shape(value) for name, value in literals.items()})
        if self.values is None and self.shape != ():
            raise ModelError(f"Categorical without values= draws one integer; shape {self.shape} needs values=.")

    def parameters(self) -> Mapping[str, QuantityLike]:
        given = {"values": self.values, "probabilities": self.probabilities}
        return {name: value for name, value in given.items() if value is not None}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        self._check_counts(sizes)
        count = next(iter(sizes.values()))[0]
        if given not in (None, count):
            raise ModelError(
                f"a Categorical shock has exactly its {count} values; quadrature {given!r} cannot change that."
            )
        return rules.Nodes(jnp.arange(count, dtype=float)[:, None], jnp.full((count,), 1.0 / count))

    def _check_counts(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        counts = {name: shape[0] for name, shape in sizes.items()}
        if len(set(counts.values())) > 1:
            raise ModelError(
                f"Categorical has {counts['values']} values and {counts['probabilities']} probabilities; each value "
                "needs one."
            )

    def realise(
        self, node: Float[Array, "d"], values: Array | None = None, probabilities: Array | None = None
    ) -> Array:
        index = node[0].astype(jnp.int32)
        return index.astype(whole()) if values is None else values[index]

    def weight(
        self,
        node: Float[Array, "d"],
        weight: Float[Array, ""],
        values: Array | None = None,
        probabilities: Array | None = None,
    ) -> Float[Array, ""]:
        return weight if probabilities is None else without_rounding(probabilities[node[0].astype(jnp.int32)])

    def draw(self, key: Array, values: Array | None = None, probabilities: Array | None = None) -> Array:
        if probabilities is None:
            assert values is not None
            probabilities = jnp.full((values.shape[0],), 1.0 / values.shape[0])
        index = draw_place(key, probabilities)
        return index.astype(whole()) if values is None else values[index]

    def kinds(self, values: Array | None = None, probabilities: Array | None = None) -> Float[Array, "k"]:
        if probabilities is not None:
            return without_rounding(probabilities)
        assert values is not None
        return jnp.full((values.shape[0],), 1.0 / values.shape[0])

    def draw_kind(
        self, key: Array, kind: Int[Array, ""], values: Array | None = None, probabilities: Array | None = None
    ) -> Array:
        return kind.astype(whole()) if values is None else values[kind]

    @property
    def seen(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, whole() if self.values is None else jnp.result_type(float))

    def parameter_shape(self, name: str) -> tuple[int, ...] | None:
        return None

    def demands(self) -> tuple[Demand, ...]:
        given = self.parameters()
        rows = [_rows(name, self.shape if name == "values" else ()) for name in given]
        return (*rows, *(probabilities("probabilities") if "probabilities" in given else ()))


def _rows(name: str, shape: tuple[int, ...]) -> Demand:
    """One entry of a shape for each value."""
    return Demand(
        (name,),
        lambda value: value.ndim > 0 and value.shape[1:] == shape,
        lambda value: f"has shape {value.shape}; it must have one entry of shape {shape} for each value.",
    )


@named_options
@dataclass(frozen=True, eq=False)
class Jump(Distribution):
    """The sum of a Poisson number of normal jumps: N ~ Poisson(intensity), value ~ Normal(N mean, N sd^2).

    Args:
        intensity: expected number of jumps in a period, a Quantity, not negative.
        mean: mean size of one jump, a Quantity.
        sd: standard deviation of the size of one jump, a Quantity.
        largest: jumps counted at most; the probability of more is given to the last count, and at most .01.
    Source: Merton (1976).
    """

    intensity: QuantityLike
    mean: QuantityLike = 0.0
    sd: QuantityLike = 1.0
    largest: int = 6
    shape: Any = ()
    mixes = False
    weighs = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape != ():
            raise ModelError("Jump draws one value; for several declare several shocks.")
        check_count(self.largest, "Jump: largest, the number of jumps counted,")

    def parameters(self) -> Mapping[str, QuantityLike]:
        return {"intensity": self.intensity, "mean": self.mean, "sd": self.sd}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        sizes_of_jump = rules.as_rule(given, rules.GaussHermite(7)).normal()
        count = sizes_of_jump.weights.shape[0]
        jumps = jnp.repeat(jnp.arange(1, self.largest + 1, dtype=float), count)
        standard = jnp.tile(sizes_of_jump.nodes[:, 0], self.largest)
        nodes = jnp.concatenate([jnp.zeros((1, 2)), jnp.stack([jumps, standard], axis=1)])
        return rules.Nodes(nodes, jnp.concatenate([jnp.ones(1), jnp.tile(sizes_of_jump.weights, self.largest)]))

    def realise(self, node: Float[Array, "d"], intensity: Array, mean: Array, sd: Array) -> Array:
        return node[0] * mean + jnp.sqrt(node[0]) * sd * node[1]

    def weight(
        self, node: Float[Array, "d"], weight: Float[Array, ""], intensity: Array, mean: Array, sd: Array
    ) -> Float[Array, ""]:
        masses = [jnp.exp(-intensity)]
        for count in range(1, self.largest):
            masses.append(masses[-1] * intensity / count)
        mass = jnp.stack([*masses, 1 - sum(masses)])
        return weight * mass[node[0].astype(jnp.int32)]

    def draw(self, key: Array, intensity: Array, mean: Array, sd: Array) -> Array:
        count_key, size_key = jax.random.split(key)
        count = jax.random.poisson(count_key, drawn_by(intensity)).astype(jnp.result_type(float))
        return count * mean + jnp.sqrt(count) * sd * jax.random.normal(size_key)

    def kinds(self, intensity: Array, mean: Array, sd: Array) -> Float[Array, "k"]:
        """No jump, or some."""
        return jnp.stack([jnp.exp(-intensity), -jnp.expm1(-intensity)])

    def draw_kind(self, key: Array, kind: Int[Array, ""], intensity: Array, mean: Array, sd: Array) -> Array:
        count_key, size_key = jax.random.split(key)
        counts = jnp.arange(1.0, self.largest + _MORE)
        logs = counts * jnp.log(jnp.maximum(intensity, 1e-300)) - jax.lax.lgamma(counts + 1)
        chances = jax.nn.softmax(logs)  # of a number that is not zero
        count = jnp.where(kind == 0, 0.0, counts[draw_place(count_key, chances)])
        return count * mean + jnp.sqrt(count) * sd * jax.random.normal(size_key)

    def each_dimension(self, count: int) -> int:
        return (count - 1) // self.largest

    def demands(self) -> tuple[Demand, ...]:
        return (not_negative("intensity"), not_negative("sd"), _counted(self.largest))


_UNCOUNTED = 0.01
_MORE = 40  # jumps beyond the largest number that is counted, which have no probability that a float could hold


def _counted(largest: int) -> Demand:
    """Of a Poisson number, more than the largest that is counted has next to no probability."""

    def beyond(intensity: Any) -> Any:
        term = total = 1.0 + 0.0 * intensity
        for count in range(1, largest + 1):
            term = term * intensity / count
            total = total + term
        return 1.0 - total * math.e ** (-intensity)

    return Demand(
        ("intensity",),
        lambda intensity: (beyond(intensity) <= _UNCOUNTED).all(),
        lambda intensity: (
            f"is {np.max(intensity):g}: more than largest={largest} jumps have the probability "
            f"{np.max(beyond(intensity)):.2g}, and are counted as that many. Raise largest=."
        ),
    )
