"""How paths are drawn: numbers between zero and one, from which shocks are made.

A sequence of low discrepancy fills the cube of all draws of a path more evenly than independent numbers, so that means
over few paths are nearer to those over many. Another step of a training has it turned around by a random shift, which
leaves it as even as it was, and its means without bias. An antithetic path has one minus each number.

Source: L'Ecuyer & Lemieux (2002), "Recent advances in randomized quasi-Monte Carlo methods"; Owen (1998) for the
scrambling.
"""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, named_options

__all__ = ["Independent", "Sobol"]

_EDGE = 1e-9  # how near a number comes to zero and to one, where normal numbers are without end


@dataclass(frozen=True)
class Draws(abc.ABC):
    """How paths are drawn.

    Args:
        antithetic: whether every path has a twin with one minus each of its numbers.
        fresh: whether every step of a descent has paths of its own.
    """

    antithetic: bool = True
    fresh: bool = True

    def __post_init__(self) -> None:
        for name in ("antithetic", "fresh"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"{type(self).__name__}: {name} is {getattr(self, name)!r}; give True or False.")

    def base(self, count: int, dimensions: int, seed: int) -> np.ndarray:
        """Points of the unit cube, shape (count, dimensions); of twins one."""
        rows = count // 2 if self.antithetic else count
        return np.clip(self.points(rows, dimensions, seed), _EDGE, 1 - _EDGE)

    def of_step(self, base: Float[Array, "m d"], key: Array) -> Float[Array, "n d"]:
        """The numbers of another step."""
        return self.paired(jnp.clip(self.moved(base, key), _EDGE, 1 - _EDGE))

    def paired(self, base: Float[Array, "m d"]) -> Float[Array, "n d"]:
        """The numbers of all paths, twins among them."""
        return jnp.concatenate([base, 1 - base]) if self.antithetic else base

    @abc.abstractmethod
    def points(self, count: int, dimensions: int, seed: int) -> np.ndarray:
        """Points of the unit cube, shape (count, dimensions)."""

    @abc.abstractmethod
    def moved(self, base: Float[Array, "m d"], key: Array) -> Float[Array, "m d"]:
        """Other points of the same kind."""


@named_options
@dataclass(frozen=True)
class Independent(Draws):
    """Independent numbers."""

    def points(self, count: int, dimensions: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((count, dimensions))

    def moved(self, base: Float[Array, "m d"], key: Array) -> Float[Array, "m d"]:
        return jax.random.uniform(key, base.shape)


@named_options
@dataclass(frozen=True)
class Sobol(Draws):
    """A scrambled sequence of Sobol', turned around for every step."""

    def points(self, count: int, dimensions: int, seed: int) -> np.ndarray:
        from scipy.stats import qmc

        power = max(int(np.ceil(np.log2(max(count, 1)))), 0)
        sequence = qmc.Sobol(max(dimensions, 1), scramble=True, rng=np.random.default_rng(seed))
        return sequence.random_base2(power)[:count, :dimensions]

    def moved(self, base: Float[Array, "m d"], key: Array) -> Float[Array, "m d"]:
        return jnp.mod(base + jax.random.uniform(key, (1, base.shape[1])), 1.0)
