"""Whether a function jumps along lines: what derivatives do not see, and a search by them cannot weigh.

Each line is cut into many pieces. The pieces over which the function changes most beyond what it does next to them are
cut again, and again, until they are as short as rounding allows. What a smooth function, or one with a kink, does over
such a piece is nothing; a jump stays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.numerics import loops
from bellax.numerics.scalar import as_small

_PIECES, _AGAIN, _ZOOMS, _FOLLOWED = 2048, 32, 5, 4
_ASIDE = 10.0  # times what the function does beside it: what a jump is more than
_LEAST = 1e-6  # of the size of the function on its line


class Jump(NamedTuple):
    """The largest jump on some lines.

    Attributes:
        size: relative to the size of what jumps there; zero where nothing does.
        line, place: where, as the number of the line and the share of the way along it.
        part: which number of the function it is.
    """

    size: Float[Array, ""]
    line: Array
    place: Float[Array, ""]
    part: Array


def largest(function: Callable[[Array], Array], starts: Float[Array, "l z"], ends: Float[Array, "l z"]) -> Jump:
    """The largest jump of a function of a vector, a vector itself, inside of lines. Where it is no number it has none.

    What happens at the very end of a line, such as at a bound, does not count.
    """
    _, found = loops.over(lambda none, ends: (none, _along(function, *ends)), None, (starts, ends))
    best = jnp.argmax(found.size)
    return Jump(found.size[best], best, found.place[best], found.part[best])


def _along(function: Callable[[Array], Array], start: Array, end: Array) -> Jump:
    at = lambda share: function(start + share * (end - start))  # noqa: E731
    values = jax.vmap(at)(jnp.linspace(0.0, 1.0, _PIECES + 1))
    size = jnp.max(jnp.where(jnp.isfinite(values), jnp.abs(values), 0.0), axis=0)
    size = jnp.where(size > 0, size, 1.0)
    moved = _moved(values) / size[None]
    beside = jnp.maximum(jnp.roll(moved, 1, 0), jnp.roll(moved, -1, 0))
    excess = (moved - beside).at[jnp.asarray([0, -1])].set(0.0)
    _, pieces = lax.top_k(jnp.max(excess, axis=1), _FOLLOWED)
    zoomed = jax.vmap(lambda piece: _zoomed(at, size, piece / _PIECES))(pieces.astype(start.dtype))
    best = jnp.argmax(zoomed.size)
    return jax.tree.map(lambda leaf: leaf[best], zoomed)


def _moved(values: Float[Array, "p k"]) -> Float[Array, "o k"]:
    """By how much each number changes over each piece; zero where one of its ends is no number."""
    fine = jnp.isfinite(values[1:]) & jnp.isfinite(values[:-1])
    return jnp.where(fine, jnp.abs(values[1:] - values[:-1]), 0.0)


def _zoomed(at: Callable[[Array], Array], size: Array, low: Array) -> Jump:
    """What is left of the change over a piece that begins at `low`, where it is cut again and again."""

    def closer(state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, width = state
        cuts = low + width * jnp.linspace(0.0, 1.0, _AGAIN + 1)
        moved = jnp.max(_moved(jax.vmap(at)(cuts)) / size[None], axis=1)
        return cuts[jnp.argmax(moved)], width / _AGAIN

    zooms = _ZOOMS if low.dtype == jnp.float64 else 1
    low, width = loops.repeat(zooms, closer, (low, jnp.asarray(1.0 / _PIECES, low.dtype)))
    before, below, above, after = (at(low + k * width) for k in (-1.0, 0.0, 1.0, 2.0))
    jump = jnp.abs(above - below) / size
    aside = (jnp.abs(below - before) + jnp.abs(after - above)) / size
    inside = (low - width > 0) & (low + 2 * width < 1)
    fine = inside & jnp.isfinite(jump) & jnp.isfinite(aside) & (jump > _ASIDE * aside + as_small(_LEAST))
    jump = jnp.where(fine, jump, 0.0)
    part = jnp.argmax(jump)
    return Jump(jump[part], jnp.zeros((), jnp.int32), low, part)
