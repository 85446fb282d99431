"""Scales: how distance along a line is measured.

A scale maps x to a coordinate y in which a grid is uniform and an interpolant is a polynomial. The cell of a point is
then floor((y - y0) / h): no search. In a plane of candidates the logarithm is ours, from the bits of the float: with
x = 2^k m and m in [sqrt(1/2), sqrt(2)), log x = k log 2 + 2 artanh(s), s = (m - 1)/(m + 1), an odd series in s; on the
CPU it is four to eight times faster than the library's, and good to 1e-15. `Octave` goes further: its coordinate is the
bits themselves, log2 of x interpolated linearly between powers of two, which costs next to nothing and grows like a
logarithm.

`Log`, `Octave` and `Power` have no numbers below zero, where laws may lead all the same. A grid goes on there straight,
as at its first node (numerics/grids.py): what is flat below zero is a debt that costs nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.errors import ModelError, check_positive
from bellax.numerics.scalar import where

__all__ = ["asinh", "linear", "log", "octave", "power"]

_FORMATS = {"float64": (jnp.int64, 52, 1023), "float32": (jnp.int32, 23, 127)}


@jax.custom_jvp
def logarithm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log x for normal positive x, to 1e-15 (float64); x below the smallest normal number counts as that number."""
    integer, mantissa, _ = _FORMATS[x.dtype.name]
    given, x = x, jnp.maximum(x, jnp.finfo(x.dtype).tiny)
    bits = lax.bitcast_convert_type(x, integer)
    root = lax.bitcast_convert_type(jnp.asarray(math.sqrt(0.5), x.dtype), integer)
    exponent = (bits - root) >> mantissa
    m = lax.bitcast_convert_type(bits - (exponent << mantissa), x.dtype)
    s = (m - 1) / (m + 1)
    square = s * s
    series = jnp.full_like(s, 1 / 19)
    for odd in range(17, 0, -2):
        series = series * square + 1 / odd
    return _honest(exponent.astype(x.dtype) * math.log(2) + 2 * s * series, given)


def _honest(y: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """y, read off the bits of x; x itself where it is infinite or no number, whose bits mean something else."""
    return jnp.where(x < jnp.inf, y, x)


@logarithm.defjvp
def _logarithm_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    return logarithm(x), dx / jnp.maximum(x, jnp.finfo(x.dtype).tiny)


@jax.custom_jvp
def bit_logarithm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log2 of x at powers of two, linear in x between them."""
    integer, mantissa, bias = _FORMATS[x.dtype.name]
    bits = lax.bitcast_convert_type(jnp.maximum(x, jnp.finfo(x.dtype).tiny), integer)
    return _honest(bits.astype(x.dtype) * 2.0**-mantissa - bias, x)


@bit_logarithm.defjvp
def _bit_logarithm_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    y = bit_logarithm(x)
    return y, dx * jnp.exp2(-jnp.floor(y))


def _log(x: Float[Array, "..."], bits: bool) -> Float[Array, "..."]:
    return logarithm(x) if bits else _library_log(x)


@jax.custom_jvp
def _library_log(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log x; x below the smallest normal number counts as that number, and does not move."""
    return jnp.log(lax.max(x, jnp.full_like(x, jnp.finfo(x.dtype).tiny)))


@_library_log.defjvp
def _library_log_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    return _library_log(x), dx * _reciprocal(x)


@jax.custom_jvp
def _reciprocal(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / x, and zero for x that counts as the smallest normal number."""
    tiny = jnp.finfo(x.dtype).tiny
    return where(x > tiny, 1 / lax.max(x, jnp.full_like(x, tiny)), 0.0)


@_reciprocal.defjvp
def _reciprocal_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    inverse = _reciprocal(x)
    return inverse, -dx * (inverse * inverse)


def quick(scale: Any) -> Any:
    """The same scale with its logarithms from bits: faster in a plane of candidates, more to compile elsewhere."""
    return replace(scale, bits=True) if isinstance(scale, Log | Asinh | Power) else scale


@dataclass(frozen=True)
class Linear:
    """y = x."""

    nonnegative: ClassVar[bool] = False

    def forward(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return x

    def inverse(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return y


@dataclass(frozen=True)
class Log:
    """y = log x, for x > 0.

    A state of tomorrow at zero counts as the smallest normal number, 1e-308: V there is extrapolated over 700 units of
    y, low where V rises, and finite; below zero further, by the distance in x. Keep such states away by the bounds of
    the actions.
    """

    positive: ClassVar[bool] = True
    nonnegative: ClassVar[bool] = True
    bits: bool = False

    def forward(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return _log(x, self.bits)

    def inverse(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(y)


@dataclass(frozen=True)
class Asinh:
    """y = arsinh(x / unit): linear below `unit`, logarithmic above, defined for every x."""

    nonnegative: ClassVar[bool] = False
    unit: float = 1.0
    bits: bool = False

    def forward(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if not self.bits:
            return jnp.arcsinh(x * (1 / self.unit))
        z = jnp.abs(x) * (1 / self.unit)
        far = z + jnp.sqrt(z * z + 1)
        # d|x|/dx is 0 at 0 for autodiff; the sign restores the odd function and jnp.where its slope there.
        return jnp.where(x == 0, x * (1 / self.unit), jnp.sign(x) * logarithm(far))

    def inverse(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.unit * jnp.sinh(y)


@dataclass(frozen=True)
class Power:
    """y = x^(1/exponent), for x >= 0: nodes crowd towards zero where exponent > 1.

    At zero V has no slope in y that says anything of its slope in x: below its first node a grid goes on by the secant
    of the first cell.
    """

    nonnegative: ClassVar[bool] = True
    exponent: float = 2.0
    bits: bool = False

    def forward(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(_log(x, self.bits) / self.exponent)

    def inverse(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.maximum(y, 0.0) ** self.exponent


@dataclass(frozen=True)
class Octave:
    """y = exponent of the float plus the fraction of its octave, for x > 0: the cheapest scale that grows like log2."""

    positive: ClassVar[bool] = True
    nonnegative: ClassVar[bool] = True

    def forward(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return bit_logarithm(x)

    def inverse(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        octave = jnp.floor(y)
        return jnp.exp2(octave) * (1 + (y - octave))


@dataclass(frozen=True)
class Pair:
    """A scale given as two functions, each the other's inverse, increasing.

    Where laws may lead off the grid, `forward` must have numbers there that go on: where it has none, V has none.
    """

    nonnegative: ClassVar[bool] = False
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]


type_of_scale = (Linear, Log, Asinh, Power, Octave, Pair)
linear = Linear()
log = Log()
octave = Octave()


def asinh(unit: int | float = 1.0) -> Asinh:
    """The scale arsinh(x / unit)."""
    check_positive(unit, "scales.asinh: unit, below which distances count as linear,", "1.0")
    return Asinh(float(unit))


def power(exponent: int | float = 2.0) -> Power:
    """The scale x^(1/exponent)."""
    check_positive(exponent, "scales.power: exponent", "2.0")
    return Power(float(exponent))


def as_scale(given: Any) -> Any:
    """A scale of this module from itself, from one of its constructors, or from a pair of functions."""
    if isinstance(given, type_of_scale):
        return given
    if given in (asinh, power):
        return given()
    if isinstance(given, tuple) and len(given) == 2 and all(callable(f) for f in given):
        return Pair(*given)
    raise ModelError(
        f"scale is {given!r}; use bx.scales.linear, log, octave, asinh(unit), power(exponent) or a pair (forward, "
        "inverse) of increasing functions."
    )
