"""Compiled programs on disk: what was compiled once is read by the next process.

Most of the time to a first answer is compilation. The cache is that of jax, in a folder of the user's; it is keyed by
the program, the options of the compiler and the version of jax, and code made for one processor is kept from others.
Several processes may use it at once. It may be deleted at any time.
"""

import hashlib
import os
import platform
import tempfile
import warnings
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache


def cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keeps compiled programs in a folder, for other processes and for tomorrow.

    Where the folder cannot be written a warning says so, and programs are compiled as ever. Nothing happens where jax's
    own option `jax_enable_compilation_cache` is off, nor, without `folder`, where a cache of jax is in use already.

    Args:
        folder: where; by default `bellax` in `$XDG_CACHE_HOME` or else in `~/.cache`.
    Returns:
        The folder in use, a part of `folder` for this processor; None where there is none.
    """
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return None
    known = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if folder is None and known:
        return Path(known)
    try:
        own = (_users() if folder is None else Path(folder).expanduser()) / _processor()
        own.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=own):
            pass
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"compiled programs are not kept: the cache folder cannot be written ({error}). Give another one, "
            "bx.cache('folder'), or set XDG_CACHE_HOME.",
            stacklevel=2,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(own))
    # the small programs are many: of each that is not read, one is compiled
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # what was compiled before has made jax settle on having none
    return own


def _users() -> Path:
    """The user's cache folder; RuntimeError where there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "bellax"


def _processor() -> str:
    """A name for this kind of processor: code made for another may not run on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0] if lines else "")
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:12]}"
