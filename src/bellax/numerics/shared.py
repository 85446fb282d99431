"""A function of pytrees that is traced once for all places that call it.

What `jax.jit` has traced, it differentiates and vectorises as equations, and remembers the result; XLA writes the code
into its callers all the same. So a function with many callers, each with derivatives of its own, is read by Python
once.
"""

from collections.abc import Callable
from typing import Any

import jax


class Shared:
    """What was traced, by structure of the arguments.

    `jax.jit` alone would keep the structure, whose static parts may hold this object, where the collector of cycles
    does not look: then nothing of it would ever be freed. Here it is told of arrays only.

    Args:
        function: of pytrees of arrays. It must not hold what holds this object.
        **options: of `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self._function, self._options = function, options
        self._traced: list[tuple[Any, Callable[..., Any]]] = []

    def __call__(self, *arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        for known, run in self._traced:  # static parts may not be hashable, and there are few
            if known == structure:
                return run(*leaves)
        function = self._function
        run = jax.jit(lambda *leaves: function(*jax.tree.unflatten(structure, leaves)), **self._options)
        self._traced.append((structure, run))
        return run(*leaves)
