"""V at other nodes of the same axes, by their places: something to begin an iteration with, and no answer."""

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from bellax.bellman.continuation import Value


def regridded(value: Value, like: Value) -> Value | None:
    """V on a mesh that has more or fewer nodes along its axes; None where it is not finite, or known by other than V
    and its slopes at nodes.

    Between nodes it is a cubic spline of the number of the node.

    Args:
        value: known numbers.
        like: has the shapes that are wanted.
    """
    known = [np.asarray(leaf) for leaf in (value.levels, *value.slopes)]
    wanted = [leaf.shape for leaf in (like.levels, *like.slopes)]
    if len(known) != len(wanted) or value.pieces is not None or like.pieces is not None:
        return None
    if not all(np.isfinite(leaf).all() for leaf in known):
        return None
    levels, *slopes = (jnp.asarray(_by_place(leaf, shape)) for leaf, shape in zip(known, wanted, strict=True))
    return Value(levels, tuple(slopes))


def _by_place(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers at as many nodes along each axis."""
    for axis, count in enumerate(shape):
        old = leaf.shape[axis]
        if old == 1:
            leaf = np.broadcast_to(leaf, (*leaf.shape[:axis], count, *leaf.shape[axis + 1 :]))
        elif old != count:
            curve = CubicSpline(np.arange(old), leaf, axis=axis)
            leaf = curve(np.linspace(0.0, old - 1, count)).astype(leaf.dtype)
    return leaf
