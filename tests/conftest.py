"""The numerical settings that every test runs under: 64 bit, no silent promotion of types or ranks.

This file must not import bellax: jaxtyping's hook instruments the package when it is first imported.
"""

import os

import jax
import pytest

jax.config.update("jax_enable_x64", True)
# what a test compiles is neither read from the user's cache nor left there; processes that tests start know it, too
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def jitted():
    """`jax.jit` of what runs a few times only: its code need not be good, and is ready in half of the time."""
    haste = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    return lambda f: jax.jit(f, compiler_options=haste)
