"""What a file holds of a solved model: V with its axes and nodes, parameters, numbers about the solve, whose it is."""

import json
import platform
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.configuration import encode
from bellax.bellman.continuation import Value
from bellax.bellman.setting import Setting, Settings
from bellax.errors import ModelError
from bellax.model.fingerprint import fingerprint, parts
from bellax.model.quantity import ByPeriod
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics.archive import Archive, Variable
from bellax.problem.problem import Arguments, Problem

FORMAT = "1"
# Names that NetCDF 3 or this format keep for themselves; a state of that name gets an underscore.
TAKEN = {"value", "code", "byte", "char", "short", "ushort", "int", "uint", "int64", "uint64"}
TAKEN |= {"float", "real", "double", "bool", "string"}
_SHARED = ("period", "age")
"""What is the same in every regime."""


def record(setting: Setting, arguments: Arguments, values: Value, code: Array, stats: Mapping[str, Array]) -> Archive:
    """The archive of a solution, or of what is of one regime in it.

    Raises:
        ModelError: if the solution is being traced.
    """
    check_concrete((arguments, values, code))
    lead = ("period",) if setting.problem.clock.finite else ()
    axes = (*lead, *axis_names(setting.problem))
    lines = axes[len(axes) - len(setting.plan.lines) :]
    variables = {"value": Variable(axes, np.asarray(values.levels), {"long_name": "value function at the nodes"})}
    for name, slopes in zip(lines, values.slopes, strict=False):
        what = {"long_name": f"derivative of the value along {name}, in the coordinate of its scale"}
        variables[f"slope:{name}"] = Variable(axes, np.asarray(slopes), what)
    if values.pieces is not None:
        variables |= {f"pieces:{k}": plain(f"pieces:{k}", array) for k, array in vars(values.pieces).items()}
    variables["code"] = Variable((), np.asarray(code))
    variables |= {f"stat:{name}": plain(f"stat:{name}", number) for name, number in stats.items()}
    variables |= _parameters(setting, arguments)
    return Archive(variables, _coordinates(setting, arguments), attributes(setting.model, setting.options))


def record_regimes(
    settings: Settings,
    arguments: dict[str, Arguments],
    values: Mapping[str, Value],
    codes: Mapping[str, Array],
    stats: Mapping[str, Any],
) -> Archive:
    """The archive of a solution of several regimes: what is of one, under the name of the regime and a dot."""
    check_concrete((arguments, values, codes))
    variables: dict[str, Variable] = {}
    coordinates: dict[str, Variable] = {}
    for regime, setting in settings.regimes.items():
        found = Archive(_parameters(setting, arguments))
        if regime in values:
            found = record(setting, arguments, values[regime], codes[regime], stats[regime])
        variables |= {f"{regime}.{name}": _under(regime, variable) for name, variable in found.variables.items()}
        for name, variable in found.coordinates.items():
            coordinates[name if name in _SHARED else f"{regime}.{name}"] = _under(regime, variable)
    variables |= {f"stat:{k}": plain(f"stat:{k}", number) for k, number in stats.items() if k not in settings.regimes}
    names = {"regimes": ", ".join(settings.regimes)}
    return Archive(variables, coordinates, attributes(settings.model, settings.options) | names)


def of_regime(regime: str, variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Of the variables of a file those of one regime, under their own names."""
    start = f"{regime}."
    return {name.removeprefix(start): variable for name, variable in variables.items() if name.startswith(start)}


def _under(regime: str, variable: Variable) -> Variable:
    """The variable on axes of its regime: those of two may have other nodes."""
    axes = (axis if axis in _SHARED else f"{regime}.{axis}" for axis in variable.axes)
    return Variable(tuple(axes), variable.array, variable.attributes)


def check_concrete(leaves: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(leaves)):
        raise ModelError("a solution cannot be saved under a transformation of jax; save the result outside of it.")


def axis_names(problem: Problem) -> list[str]:
    """Names of the axes of the mesh, in order: that of the state, and `x_0`, `x_1`, ... of a vector x.

    Where another state has such a name, or a file keeps it for itself, underscores follow until nobody has it.
    """
    plan = problem.plan
    lines = [c.name if plan.continuous[c.name].shape == () else f"{c.name}_{c.place}" for c in plan.lines]
    wanted = [*plan.processes, *plan.discrete, *lines]
    taken, found = TAKEN | set(plan.states), []
    for state, name in zip(axis_states(problem), wanted, strict=True):
        if name != state or name in TAKEN:
            while name in taken:
                name += "_"
            taken.add(name)
        found.append(name)
    return found


def mesh_nodes(setting: Setting, arguments: Arguments) -> dict[str, np.ndarray]:
    """Nodes along each axis of the mesh, in the units of the state; with the period as first axis where they move."""
    moving = moving_axes(setting.problem, arguments)

    def nodes(arguments: Arguments, period: Array) -> dict[str, Array]:
        mesh = setting.numerics.mesh(arguments, period)
        along = [process.values for process in mesh.processes.values()] + list(mesh.discrete.values())
        return dict(zip(axis_names(setting.problem), along + [line.nodes for line in mesh.lines], strict=True))

    if not moving:
        compiled = setting.program("nodes", lambda: jax.jit(nodes))
        found = compiled(arguments, jnp.zeros((), jnp.int32))
        return {name: np.asarray(found[name]) for name in axis_names(setting.problem)}  # jax sorts dicts
    compiled = setting.program("all nodes", lambda: jax.jit(jax.vmap(nodes, in_axes=(None, 0))))
    found = compiled(arguments, jnp.arange(setting.problem.clock.count + 1, dtype=jnp.int32))
    return {name: np.asarray(found[name] if name in moving else found[name][0]) for name in axis_names(setting.problem)}


def moving_axes(problem: Problem, arguments: Arguments) -> set[str]:
    """Axes whose nodes differ from period to period: bounds or process see the period, or a parameter by period."""
    if not problem.finite:
        return set()
    plan = problem.plan
    nodes = {name: plan.process_nodes(name) for name in plan.processes}
    nodes |= {name: [f"lower:{name}", f"upper:{name}"] for name in plan.continuous}
    moving = {name for name, own in nodes.items() if problem.timed(own, arguments)}
    return {axis for axis, state in zip(axis_names(problem), axis_states(problem), strict=True) if state in moving}


def axis_states(problem: Problem) -> list[str]:
    """The state that each axis of the mesh belongs to, in order; a vector has an axis for each of its numbers."""
    return [*problem.plan.processes, *problem.plan.discrete, *(c.name for c in problem.plan.lines)]


def _coordinates(setting: Setting, arguments: Arguments) -> dict[str, Variable]:
    moving = moving_axes(setting.problem, arguments)
    states = dict(zip(axis_names(setting.problem), axis_states(setting.problem), strict=True))
    found: dict[str, Variable] = {}
    for name, array in mesh_nodes(setting, arguments).items():
        lead = ("period",) if name in moving else ()
        rest = tuple(f"component:{name}:{k}" for k in range(array.ndim - len(lead) - 1))
        label = name if array.ndim == 1 else f"nodes:{name}"
        if array.dtype.kind == "i":
            array = array.astype(np.int32)  # NetCDF 3 has no wider whole numbers, and categories need none
        found[label] = Variable((*lead, name, *rest), array, labels(setting.plan.states[states[name]]))
    clock = setting.problem.clock
    if clock.finite:
        periods = np.arange(clock.count + 1)
        found["period"] = Variable(("period",), periods.astype(np.int32))
        if clock.aged:
            found["age"] = Variable(("period",), clock.age(periods.astype(float)))
    return found


def labels(space: Any) -> dict[str, str]:
    found = space.labels if isinstance(space, Discrete | MarkovChain) else None
    return {"labels": ", ".join(found)} if found else {}


def _parameters(setting: Setting, arguments: Arguments) -> dict[str, Variable]:
    own = setting.problem.own(arguments)
    return {f"parameter:{k}": parameter(k, v) for k, v in own.items() if setting.is_parameter(k)}


def parameter(name: str, value: Any) -> Variable:
    if isinstance(value, ByPeriod):
        return plain(f"parameter:{name}", value.values, {"by_period": "yes"})
    return plain(f"parameter:{name}", value)


def plain(label: str, value: Any, attributes: Mapping[str, str] | None = None) -> Variable:
    array = np.asarray(value)
    return Variable(tuple(f"{label}:{k}" for k in range(array.ndim)), array, attributes or {})


def attributes(model: Any, options: Any) -> dict[str, str]:
    return {
        "title": "a solution of bellax",
        "format": FORMAT,
        "solver": encode(options),
        "fingerprint": fingerprint(model),
        "model": json.dumps(parts(model)),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }
