"""Numbers that may be differentiated once: a second derivative is refused instead of being wrong.

Solutions of continuous time have the derivatives of the implicit function theorem, with what the scheme selects held
fixed; the derivative of that formula is not the second derivative.
"""

from typing import Any

import jax
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from bellax.errors import ModelError

_linear = Primitive("first_derivative")
_linear.def_impl(lambda tangent, what: tangent)
_linear.def_abstract_eval(lambda tangent, what: tangent)
mlir.register_lowering(_linear, lambda context, tangent, what: [tangent])
batching.primitive_batchers[_linear] = lambda args, axes, what: (_linear.bind(*args, what=what), axes[0])
# what depends on parameters is the tangent of a result in forward mode, and the cotangent of what is given in reverse
ad.primitive_transposes[_linear] = lambda cotangent, tangent, what: [_linear.bind(cotangent, what=what)]


def _refused(primals: Any, tangents: Any, what: str) -> Any:
    raise ModelError(f"{what} has first derivatives, and no second ones in this version: take differences of jax.grad.")


ad.primitive_jvps[_linear] = _refused


def once(tree: Any, what: str) -> Any:
    """The same numbers, of which a second derivative raises ModelError: what is given and what is found both pass here.

    Args:
        what: for the message.
    """

    @jax.custom_jvp
    def same(leaf: Array) -> Array:
        return leaf

    @same.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        return same(*primals), _linear.bind(*tangents, what=what)

    floating = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: same(leaf) if floating(leaf) else leaf, tree)
