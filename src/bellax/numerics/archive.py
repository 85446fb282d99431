"""Arrays and attributes in one NetCDF file: written whole or not at all, read without running anything.

The format is NetCDF 3 with 64-bit offsets, which every NetCDF library reads and which holds numbers and text only. A
file carries a SHA-256 of its contents, so that a damaged one is refused. NetCDF 3 has no 64-bit integers and no
booleans; these are written as float64, exactly, with their type beside them.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bellax.errors import SolveError

_TYPES, _SUM, _MAGIC = "types", "sha256", b"CDF\x02"
_EXACT = 2**53


@dataclass(frozen=True)
class Variable:
    """An array with named axes.

    Attributes:
        axes: a name for each axis.
        array: the numbers.
        attributes: short texts about it.
    """

    axes: tuple[str, ...]
    array: np.ndarray
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Archive:
    """What one file holds.

    Attributes:
        variables: arrays by name.
        coordinates: arrays by name that say where along the axes the entries of the variables lie.
        attributes: texts by name.
    """

    variables: Mapping[str, Variable]
    coordinates: Mapping[str, Variable] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


def write(path: str | os.PathLike[str], archive: Archive) -> None:
    """Writes an archive to `path`, through a temporary file beside it that is renamed once it is complete.

    Raises:
        SolveError: if the folder does not exist or cannot be written; what was at `path` is left as it was.
    """
    import xarray as xr  # costs .4 s at import, and a solve does not need it

    stored = {**archive.variables, **archive.coordinates}
    types = {name: variable.array.dtype.name for name, variable in stored.items()}
    attributes = {**archive.attributes, _TYPES: json.dumps(types)}
    attributes[_SUM] = _sum(stored, attributes)
    arrays = {name: (v.axes, _storable(name, v.array), dict(v.attributes)) for name, v in stored.items()}
    dataset = xr.Dataset(
        {name: arrays[name] for name in archive.variables},
        {name: arrays[name] for name in archive.coordinates},
        attributes,
    )
    plain = {name: {"_FillValue": None} for name in stored}
    with _whole(_path(path)) as temporary:
        dataset.to_netcdf(temporary, engine="scipy", format="NETCDF3_64BIT", encoding=plain)


def read(path: str | os.PathLike[str]) -> Archive:
    """The archive at `path`, as it was written; coordinates come as variables.

    Raises:
        SolveError: if there is no such file, it is no NetCDF file of this kind, or it is damaged.
    """
    import xarray as xr

    path = _path(path)
    _check_kind(path)
    try:
        with xr.open_dataset(path, engine="scipy", decode_cf=False) as dataset:
            attributes = _own(dataset.attrs)
            types = json.loads(attributes[_TYPES])
            stored = {str(name): _restored(array, types[name]) for name, array in dataset.variables.items()}
    except Exception as error:  # whatever a damaged file provokes in a reader
        raise SolveError(f"{path} is damaged or truncated and cannot be read ({error}). Solve again.") from error
    expected = attributes.pop(_SUM, "")
    if _sum(stored, attributes) != expected:
        raise SolveError(f"{path} is damaged: its contents do not match its SHA-256. Solve again.")
    return Archive(stored, attributes={k: v for k, v in attributes.items() if k != _TYPES})


def _path(given: Any) -> Path:
    try:
        return Path(given)
    except TypeError as error:
        raise SolveError(f"path is {given!r}; give the path of a file, a string or a pathlib.Path.") from error


def _check_kind(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError as error:
        raise SolveError(f"there is no file {path}.") from error
    except OSError as error:
        raise SolveError(f"{path} cannot be read: {error.strerror}.") from error
    if start != _MAGIC:
        raise SolveError(f"{path} is no NetCDF file with 64-bit offsets, which is what bellax saves.")


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; its file replaces `path` at the end, and is removed after a failure."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SolveError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype in (np.float64, np.float32, np.int32):
        return array
    wide = array.astype(np.float64)
    if array.dtype.kind not in "iub" or np.any(np.abs(wide) > _EXACT):
        raise SolveError(f"{name} is an array of {array.dtype}, which NetCDF 3 cannot hold exactly.")
    return wide


def _restored(array: Any, dtype: str) -> Variable:
    attributes = _own(array.attrs)
    return Variable(tuple(map(str, array.dims)), np.asarray(array.values).astype(np.dtype(dtype)), attributes)


def _own(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes without the one in which xarray notes which coordinates a variable has."""
    return {str(name): _text(value) for name, value in attributes.items() if name != "coordinates"}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _sum(stored: Mapping[str, Variable], attributes: Mapping[str, str]) -> str:
    """SHA-256 of everything that is read back."""
    digest = hashlib.sha256(json.dumps(sorted((k, v) for k, v in attributes.items() if k != _SUM)).encode())
    for name in sorted(stored):
        variable = stored[name]
        head = [
            name,
            variable.axes,
            sorted(variable.attributes.items()),
            variable.array.shape,
            variable.array.dtype.name,
        ]
        digest.update(json.dumps(head).encode())
        digest.update(variable.array.tobytes())
    return digest.hexdigest()
