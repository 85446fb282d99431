"""Questions about a solved period: what is chosen at a state, on the mesh or off it, and how a query is read."""

import enum
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.continuation import Value, interpolated
from bellax.bellman.maximisers.maximum import guarded
from bellax.bellman.mesh import Mesh
from bellax.bellman.objective import Decision, Objective, as_float
from bellax.solution.policy import Chosen
from bellax.bellman.reach import admitted, numbers, outside, reach
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import decided, envelope, optimum_at, stopping
from bellax.errors import ModelError, ParameterError, check_names, listed, nearest
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics.interpolate import is_barrier


def concrete(value: Any) -> bool:
    """False for a value that is being traced."""
    return not isinstance(value, jax.core.Tracer)


LITTLE = 20_000
"""Candidates over all states up to which compiling well takes longer than a thousand answers of bad code."""


_HASTE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quickly(function: Callable[..., Any], little: bool) -> Callable[..., Any]:
    """`jax.jit` of a function; with a little to do its code need not be good, and is ready in half of the time.

    Args:
        little: whether there is, and no transformation around: the options are for programs of their own.
    """
    well = jax.jit(function)
    if not little:
        return well
    hasty = jax.jit(function, compiler_options=_HASTE)

    def run(*arguments: Any) -> Any:
        try:
            return hasty(*arguments)
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
            return well(*arguments)

    return run


HASTE = 4
"""Solves of a program in quick code; the next one has it compiled again, well, which takes as long as what that saves
in a hundred of them."""


def quickly_at_first(function: Callable[..., Any], little: bool) -> Callable[..., Any]:
    """`jax.jit` of a function that is often called once and sometimes for ever: quick code first, then good code.

    The two differ by rounding. Under a transformation the code is good.

    Args:
        little: whether there is so little to do that quick code pays; else the code is always good.
    """
    well, hasty = jax.jit(function), quickly(function, True)
    left = itertools.count(HASTE if little else 0, -1)

    def run(*arguments: Any) -> Any:
        if not all(concrete(leaf) for leaf in jax.tree.leaves(arguments)):
            return well(*arguments)
        return (hasty if next(left) > 0 else well)(*arguments)

    return run


def program(setting: Setting, name: Any, build: Callable[[], Any]) -> Any:
    """The compiled program of that name, built once and kept with the setting."""
    if name not in setting.programs:
        setting.programs[name] = build()
    return setting.programs[name]


def problem(setting: Setting, arguments: Arguments, values: Value, period: Any) -> tuple[Objective, Mesh]:
    """The one-period problem of `period`, and today's mesh."""
    finite = setting.clock.finite
    following = jax.tree.map(lambda leaf: leaf[period + 1], values) if finite else values
    today = setting.environment(arguments, period)
    mesh = setting.mesh(today)
    tomorrow = setting.mesh(setting.environment(arguments, period + 1)) if finite else mesh
    return setting.objective(today, mesh.processes, following, tomorrow), mesh


def choose(setting: Setting, objective: Objective, today: Mesh, states: Mapping[str, Array]) -> Chosen:
    """The optimum at one state."""
    point = today.locate(states)
    optimum = optimum_at(setting.maximiser, objective, point)
    actions, _ = objective.actions(point, optimum.decision)
    if optimum.value is None:  # nothing was sought: of each combination, with the continuous actions that are given
        codes, u = jnp.arange(len(objective.combinations), dtype=jnp.int32), optimum.decision.u
        values = jax.vmap(lambda k: guarded(objective, point, Decision(k, u)))(codes)
    else:
        codes = jnp.arange(optimum.choice_values.shape[0], dtype=jnp.int32)
        worth = jax.vmap(lambda value, u, k: envelope(value, objective, point, Decision(k, u)))
        values = worth(optimum.choice_values, optimum.shares, codes)
    values = jnp.where(is_barrier(values), -jnp.inf, values)
    known = today.known(states) & admitted(setting, today, states)
    value = jnp.where(known, decided(objective, point, optimum), jnp.nan)
    stop = stopping(objective, point, optimum)
    # no action is the answer where none is allowed, or none is known to be best: NaN, as far as a whole number can
    shown = ~jnp.isnan(value) & (optimum.feasible | stop)
    actions = {name: masked(shown, action) for name, action in actions.items()}
    return Chosen(value, actions, stop, jnp.where(known, values, jnp.nan))


def masked(shown: Array, leaf: Array) -> Array:
    """NaN where it is not to be shown, as far as a whole number can."""
    return jnp.where(shown, leaf, jnp.nan) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def ending(setting: Setting, arguments: Arguments, last: Value | None) -> Callable[[Mapping[str, Array]], Array]:
    """V after the last decision of a finite horizon, pointwise: the model's function of it, or else the interpolant.

    Args:
        last: V at the nodes of the last period; None counts as zero.
    """
    environment = setting.environment(arguments, setting.clock.count)
    mesh = setting.mesh(environment)

    def at(states: Mapping[str, Array]) -> Array:
        if setting.plan.evaluate_terminal is not None:
            return as_float(setting.plan.evaluate_terminal(**environment, **states)["slot:terminal"])
        if last is None:
            return jnp.zeros(())
        found = interpolated(last, mesh, setting.interpolant, mesh.locate(states, remember=True))
        return jnp.where(admitted(setting, mesh, states), found, jnp.nan)

    return at


def undifferentiable(x: Array, cause: Any) -> Array:
    """x, which refuses to be differentiated where it is a float: a candidate, or a table, does not move with
    parameters.

    Args:
        cause: the arguments beside it; an action that does not move at all would otherwise have the derivative zero.
    """
    return _held(x, cause) if jnp.issubdtype(x.dtype, jnp.floating) else x


@jax.custom_jvp
def _held(x: Array, cause: Any) -> Array:
    return x


@_held.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise ModelError(
        "Enumerate chose this policy among finitely many candidates, or it was tabulated: it has no derivative. Ask "
        "the Solution itself, solved with bx.maximise.Newton(), Golden() or Enumerate(polish=bx.maximise.Newton()). "
        "The value can be differentiated as it is."
    )


def asked_outside(setting: Setting, mesh: Mesh, states: Mapping[str, Array]) -> dict[str, Array]:
    """Beside the answers at one state, where a query is to be warned of: whether the state is outside the grid."""
    return (
        {} if setting.options.outside is not None else {"outside": outside(reach(mesh), numbers(setting.plan, states))}
    )


def check_period(model: Any, period: Any, age: int | float | None, last: bool) -> Any:
    """The period that a query means; ParameterError where it is none."""
    clock = model.clock
    if not clock.finite:
        if period is not None or age is not None:
            raise ParameterError("the horizon is infinite, so value and policy take no period and no age.")
        return 0
    if (period is None) == (age is None):
        raise ParameterError(f"give period= (0 to {clock.count - 1}) or age=, one of them.")
    if age is not None:
        if concrete(age) and np.asarray(age).dtype.kind not in "iuf":
            raise ParameterError(f"age is {age!r}; it must be a number of years.")
        period = clock.period(age)
    if concrete(period):
        number = np.asarray(period)
        if number.dtype.kind not in "iuf" or number.ndim != 0 or number != np.floor(number):
            raise ParameterError(f"period is {period!r}; it must be one whole number. Query several in a loop or vmap.")
        if not 0 <= number <= clock.count - (0 if last else 1):
            raise ParameterError(
                f"period {int(number)} does not exist: decisions are in periods 0 to {clock.count - 1}."
            )
        return int(number)
    return period


def flattened(setting: Setting, states: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Queried states as arrays of one common batch axis, and the shape that they broadcast to."""
    plan = setting.plan
    check_names(states, plan.states, "state")
    missing = [name for name in plan.states if name not in states]
    if missing:
        hint = nearest(missing[0], states)
        raise ModelError(f"the query lacks the states {listed(missing)}; give every state by name.{hint}")
    arrays = {name: _seen(setting, name, states[name]) for name in plan.states}
    inner = {name: plan.continuous[name].shape if name in plan.continuous else _inner(setting, name) for name in arrays}
    for name, array in arrays.items():
        if array.shape[array.ndim - len(inner[name]) :] != inner[name]:
            raise ModelError(f"state {name!r} has shape {array.shape}; its last axes must be {inner[name]}.")
    batch = {name: array.shape[: array.ndim - len(inner[name])] for name, array in arrays.items()}
    try:
        shape = np.broadcast_shapes(*batch.values())
    except ValueError as error:
        raise ModelError(f"the queried states have shapes {batch}, which do not broadcast.") from error
    wide = {name: (np if concrete(a) else jnp).broadcast_to(a, (*shape, *inner[name])) for name, a in arrays.items()}
    return {name: array.reshape(-1, *inner[name]) for name, array in wide.items()}, shape


def _inner(setting: Setting, name: str) -> tuple[int, ...]:
    distribution = getattr(setting.plan.states[name], "distribution", None)
    return () if distribution is None else distribution.shape


def _seen(setting: Setting, name: str, value: Any) -> Array | np.ndarray:
    plan = setting.plan
    return as_seen(plan.states[name], value, plan.graph.seen[name].dtype, f"state {name!r}")


def as_seen(space: Any, value: Any, dtype: Any, what: str) -> Array | np.ndarray:
    """Values of a state from what a user gave, as functions see them: labels and members of an Enum become codes.

    Returns:
        An array of numpy, unless it is being traced: an operation of jax on its own is compiled on its own.

    Raises:
        ParameterError: for what is no number, not finite, or none of the categories.
    """
    array: Any = value
    if not isinstance(value, jax.Array):
        array = _decoded(space, np.asarray(value, dtype=object if isinstance(value, str | enum.Enum) else None), what)
        if array.dtype.kind not in "biuf":
            raise ParameterError(f"{what} is {value!r}, which is no number.")
    if concrete(array):
        array = np.asarray(array)
        _check_value(space, array, what)
    rounds = jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(array.dtype, jnp.floating)
    if concrete(array):
        return np.asarray((array.round() if rounds else array).astype(dtype))  # of one number numpy makes a scalar
    if rounds:  # what is no whole number becomes -1, which is no category
        array = jnp.where(jnp.abs(array - array.round()) < 1e-5, array.round(), -1.0)
    return array.astype(dtype)


def _decoded(space: Any, array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in "OUS":
        return array
    labels = list(space.labels or ()) if isinstance(space, Discrete | MarkovChain) else []

    def decode(entry: Any) -> Any:
        label = entry.name if isinstance(entry, enum.Enum) else entry
        if not isinstance(label, str):
            return entry
        if label not in labels:
            known = f" Categories: {listed(labels)}." if labels else " It takes numbers."
            raise ParameterError(f"{what} has {label!r}, which it does not know.{nearest(label, labels)}{known}")
        assert isinstance(space, Discrete | MarkovChain) and space.values is not None
        return space.values[labels.index(label)]

    return np.asarray([decode(entry) for entry in array.reshape(-1).tolist()]).reshape(array.shape)


def _check_value(space: Any, array: np.ndarray, what: str) -> None:
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        bad = array.reshape(-1)[~np.isfinite(array.reshape(-1))][0]
        raise ParameterError(f"{what} is {bad}; it must be finite.")
    known = space.values if isinstance(space, Discrete | MarkovChain) else None
    if known is not None:
        fits = np.isclose(array.reshape(-1, 1), known).any(axis=1)
        if not fits.all():
            bad = array.reshape(-1)[~fits][0]
            raise ParameterError(f"{what} is {bad}, which is none of its categories: {known.tolist()}.")
