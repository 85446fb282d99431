"""The settings that every test runs under: 64 bit, no silent promotion of types or ranks, programs compiled in haste.

This file must not import bellax: jaxtyping's hook instruments the package when it is first imported.
"""

import gc
import os
from importlib.metadata import version

# Most of the suite's time is compilation of programs that run once. Code that was compiled in haste differs from good
# code by rounding only. XLA_FLAGS="" python -m pytest tests the code that users get. XLA ends the
# process for a flag that it does not know, so that one which is gone from later versions is asked of none of them.
_HASTE = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if version("jaxlib").startswith("0.10."):
    _HASTE += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(_HASTE))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)
# what a test compiles is neither read from the user's cache nor left there; processes that tests start know it, too
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# tracing makes so many small objects that looking for cycles among them takes a tenth of the time
gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def jitted():
    """`jax.jit` of what runs a few times only: its code need not be good, and is ready in half of the time."""
    return lambda f: jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})
