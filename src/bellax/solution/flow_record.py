"""What a file holds of a solution in continuous time: the arrays of its representation, whichever that is.

An array over the tensor of nodes has the states for axes, in a finite horizon behind one of time, and nodes stand
beside it, so that other tools read a table as one. The structure of the representation is not stored: the solver that
is stored makes it again.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import SolveError, listed
from bellax.numerics.archive import Archive, Variable
from bellax.solution.record import TAKEN, attributes, check_concrete, labels, parameter, plain


def record_flow(solution: Any) -> Archive:
    """The archive of a `FlowSolution`.

    Raises:
        ModelError: if the solution is being traced.
    """
    setting, arguments = solution.setting, solution.arguments
    check_concrete((arguments, solution.values, solution.code))
    nodes = {name: np.asarray(own) for name, own in solution.nodes().items()}
    if setting.flow.timed:
        nodes = {"time": np.asarray(setting.moments()), **nodes}
    axes, shape = _axes(list(nodes)), tuple(len(own) for own in nodes.values())
    variables = {"code": Variable((), np.asarray(solution.code))}
    for label, leaf in leaves_of(solution.values).items():
        array = np.asarray(leaf)
        if not array.size:  # NetCDF 3 takes an axis of length zero for one without end
            continue
        variables[label] = Variable(tuple(axes), array) if array.shape == shape else plain(label, array)
    variables |= {f"stat:{name}": plain(f"stat:{name}", number) for name, number in solution.stats.items()}
    variables |= {f"parameter:{name}": parameter(name, value) for name, value in solution.params.items()}
    coordinates = {}
    for axis, (name, own) in zip(axes, nodes.items(), strict=True):
        own = own.astype(np.int32) if own.dtype.kind == "i" else own  # NetCDF 3 has no wider whole numbers
        space = setting.flow.spaces.get(name)
        coordinates[axis] = Variable((axis,), own, labels(space) if space is not None else {})
    return Archive(variables, coordinates, attributes(setting.model, setting.options))


def values_of(path: Any, setting: Any, arguments: Any, variables: Mapping[str, Variable]) -> Any:
    """The representation in a file.

    Raises:
        SolveError: where arrays are missing, or of other shapes or another precision than the solver makes.
    """
    like = setting.structure(arguments)
    found = {label: leaf for label, leaf in leaves_of(like).items() if leaf.size}
    missing = [label for label in found if label not in variables]
    if missing:
        raise SolveError(f"{path} was not saved by bellax: it lacks {listed(missing)}.")
    for label, leaf in found.items():
        array = variables[label].array
        if array.shape != leaf.shape:
            raise SolveError(
                f"{path}: {label} has shape {array.shape}, and its solver makes {leaf.shape}. Solve again."
            )
        if array.dtype != leaf.dtype:
            raise SolveError(
                f"{path} is in {array.dtype} and this process computes in {leaf.dtype}; set JAX_ENABLE_X64="
                f"{int(array.dtype == np.float64)} to load it."
            )
    leaves = [
        jnp.asarray(variables[label].array) if leaf.size else jnp.zeros(leaf.shape, leaf.dtype)
        for label, leaf in leaves_of(like).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def leaves_of(values: Any) -> dict[str, Any]:
    """The arrays of a representation, under the names by which it knows them: `values`, `values:marginals:k`."""
    found, _ = jax.tree_util.tree_flatten_with_path(values)
    return {":".join(["values", *(_step(part) for part in path)]): leaf for path, leaf in found}


def _step(part: Any) -> str:
    return jax.tree_util.keystr((part,), simple=True)


def _axes(names: list[str]) -> list[str]:
    """Names of the axes: those of the states, and where a file keeps one for itself, with underscores."""
    found: list[str] = []
    for name in names:
        axis = name
        while axis in TAKEN or (axis != name and axis in names):
            axis += "_"
        found.append(axis)
    return found
