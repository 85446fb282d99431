"""The settings that every test runs under: 64 bit, no silent promotion of types or ranks, programs compiled in haste.

This file must not import bellax: jaxtyping's hook instruments the package when it is first imported.
"""

import ast
import atexit
import ctypes
import gc
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

# Most of the suite's time is compilation of programs that run once. Code that was compiled in haste differs from good
# code by rounding only. XLA_FLAGS="" python -m pytest tests the code that users get. XLA ends the
# process for a flag that it does not know, so that one which is gone from later versions is asked of none of them.
_HASTE = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if version("jaxlib").startswith("0.10."):
    _HASTE += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(_HASTE))

import jax  # noqa: E402
import jaxtyping._import_hook as hook  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)


def _own_folder() -> str:
    """For compiled programs, empty when a run begins: that of the first process, which goes when it ends."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return os.environ["JAX_COMPILATION_CACHE_DIR"]
    folder = tempfile.mkdtemp(prefix="bellax-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# What tests compile is neither read from the user's cache nor left there. Within a run many of them build the same
# program again; what one has compiled is read by others, by other workers, and by the processes that tests start.
_KEPT = {
    "jax_enable_compilation_cache": True,
    "jax_compilation_cache_dir": _own_folder(),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for _name, _value in _KEPT.items():
    os.environ[_name.upper()] = str(_value)
    jax.config.update(_name, _value)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# tracing makes so many small objects that looking for cycles among them takes a tenth of the time
gc.set_threshold(50_000, 20, 50)


def _but_closures(transformer: ast.NodeVisitor, node: ast.AST) -> None:
    """Types are checked of all functions but those that stand in the body of another one without a decorator: for them
    code would be written and compiled whenever the outer one is called, a tenth of the time of all tests. Files that
    were compiled before remain as they were until they change."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.FunctionDef) and isinstance(child, ast.FunctionDef) and not child.decorator_list):
            transformer.visit(child)


assert "generic_visit" not in vars(hook.JaxtypingTransformer)  # what it would be, this replaces
hook.JaxtypingTransformer.generic_visit = _but_closures

_LONG = {"solvers", "lives", "gallery", "test_memory.py", "test_readme.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first: then no worker is left with one of them when the others have ended."""
    items.sort(key=lambda item: _LONG.isdisjoint(item.path.parts))


@pytest.fixture(scope="module", autouse=True)
def programs_end_with_their_file():
    """A process may map 65,530 pieces of memory, every compiled program is several, and XLA dies where it has no more.

    Long before that what jax keeps is given up, with the models of the files that have ended.
    """
    yield
    pieces = Path("/proc/self/maps")
    if pieces.exists() and pieces.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # else what was freed remains with the process, some gigabytes at the end
            trim(0)


@pytest.fixture(scope="session", autouse=True)
def no_second_compilation():
    """Of the fifth solve of a model: all code is quick here, and tests that solve often would wait for more of it."""
    from bellax.numerics import programs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "HASTE", 10**6)
        yield


@pytest.fixture(scope="session")
def jitted():
    """`jax.jit` of what runs a few times only: its code need not be good, and is ready in half of the time."""
    return lambda f: jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="session")
def with_value(jitted):
    """A function that answers the derivative of f and f, compiled once: differences of f need no other program.

    The second argument is the transformation: `jax.jacfwd`, `jax.jacrev`, `jax.grad`.
    """
    return lambda f, by=jax.jacfwd, **options: jitted(by(lambda *x: (f(*x),) * 2, has_aux=True, **options))
