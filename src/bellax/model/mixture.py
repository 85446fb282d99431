"""A mixture of distributions: one of several, drawn with given probabilities.

E f = sum over k of p_k E_k f, so that the nodes are those of all components, their weights times p_k. The parameters of
component k are known by their names with the number of it: `mean_0`, `sd_1`.
"""

# Each distribution names its own parameters where the base class has **parameters.
# mypy: disable-error-code="override"

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.errors import ModelError, named_options
from bellax.model.demands import Demand, probabilities
from bellax.model.distribution import Distribution, draw_place, without_rounding
from bellax.model.quantity import QuantityLike
from bellax.numerics import rules


@named_options
@dataclass(frozen=True, eq=False)
class Mixture(Distribution):
    """One of several distributions, each with its probability: rare disasters, fat tails, skewness.

    Args:
        weights: the probabilities of the components, a Quantity, shape (k,), summing to one.
        components: distributions of one shape. A value of its own is `Normal(value, 0.0)`. The number of nodes that a
            solver gives is that of each component.
    """

    weights: QuantityLike
    components: tuple[Distribution, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", tuple(self.components))
        if not self.components:
            raise ModelError("Mixture has no components; give a tuple of distributions of bx.shocks.")
        for component in self.components:
            if not isinstance(component, Distribution) or not component.mixes:
                raise ModelError(
                    f"Mixture: {component!r} is no component; give Normal, Lognormal, Uniform or MultivariateNormal. A "
                    "value with a probability is Normal(value, 0.0)."
                )
            if component.shape != self.shape:
                raise ModelError(
                    f"Mixture has components of shapes {self.shape} and {component.shape}; give one shape."
                )

    mixes = False
    weighs = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.components[0].shape

    def parameters(self) -> Mapping[str, QuantityLike]:
        own = [(f"{n}_{k}", q) for k, each in enumerate(self.components) for n, q in each.parameters().items()]
        return {"weights": self.weights, **dict(own)}

    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        each = [component.rule(given, {}) for component in self.components]
        place = jnp.concatenate([jnp.full((len(rule.weights), 1), float(k)) for k, rule in enumerate(each)])
        nodes = jnp.concatenate([rule.nodes for rule in each])
        return rules.Nodes(jnp.concatenate([place, nodes], axis=1), jnp.concatenate([rule.weights for rule in each]))

    def realise(self, node: Float[Array, "d"], **parameters: Array) -> Array:
        values = [each.realise(node[1:], **own) for each, own in self._each(parameters)]
        return jnp.stack(values)[node[0].astype(jnp.int32)]

    def weight(self, node: Float[Array, "d"], weight: Float[Array, ""], **parameters: Array) -> Float[Array, ""]:
        return weight * without_rounding(parameters["weights"][node[0].astype(jnp.int32)])

    def draw(self, key: Array, **parameters: Array) -> Array:
        which, key = jax.random.split(key)
        values = [each.draw(key, **own) for each, own in self._each(parameters)]
        return jnp.stack(values)[draw_place(which, parameters["weights"])]

    def kinds(self, **parameters: Array) -> Float[Array, "k"]:
        return without_rounding(parameters["weights"])

    def draw_kind(self, key: Array, kind: Int[Array, ""], **parameters: Array) -> Array:
        return jnp.stack([each.draw(key, **own) for each, own in self._each(parameters)])[kind]

    def each_dimension(self, count: int) -> int:
        return round((count / len(self.components)) ** (1 / max(1, math.prod(self.shape))))

    def demands(self) -> tuple[Demand, ...]:
        own = [
            replace(demand, names=tuple(f"{name}_{k}" for name in demand.names))
            for k, component in enumerate(self.components)
            for demand in component.demands()
        ]
        return (*probabilities("weights"), *own)

    def parameter_shape(self, name: str) -> tuple[int, ...] | None:
        if name == "weights":
            return (len(self.components),)
        own, _, k = name.rpartition("_")
        return self.components[int(k)].parameter_shape(own)

    def broadcasts(self, name: str) -> bool:
        own, _, k = name.rpartition("_")
        return name != "weights" and self.components[int(k)].broadcasts(own)

    def _each(self, parameters: Mapping[str, Array]) -> list[tuple[Distribution, dict[str, Array]]]:
        """Each component and its own parameters."""
        return [
            (component, {name: parameters[f"{name}_{k}"] for name in component.parameters()})
            for k, component in enumerate(self.components)
        ]
