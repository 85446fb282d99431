"""The numerical settings that every test runs under: 64 bit, no silent promotion of types or ranks.

This file must not import bellax: jaxtyping's hook instruments the package when it is first imported.
"""

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
