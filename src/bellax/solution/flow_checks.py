"""What is wrong with the numbers of a model in continuous time, before it is solved."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ParameterError
from bellax.numerics.programs import all_concrete
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting

_NUDGE = 1e-3  # relative: by which a row may be off under a transformation, where single entries are moved


def sound_parameters(setting: FlowSetting, arguments: Arguments) -> Array:
    """What `check_parameters` says, inside a program: whether bounds and intensities make a model."""
    found = [jnp.ones((), bool)]
    for name in setting.flow.continuous:
        lower, upper = setting.flow.bounds(arguments, name)
        found.append(jnp.isfinite(lower) & jnp.isfinite(upper) & (lower < upper))
    for name in setting.flow.chains:
        rates = setting.flow.chain(arguments, name)[1]
        off = jnp.where(jnp.eye(rates.shape[0], dtype=bool), 0.0, rates)
        sums = jnp.max(jnp.abs(jnp.sum(rates, axis=1)))
        found.append(jnp.all(off >= 0) & (sums <= _NUDGE * (rounding() + jnp.max(jnp.abs(rates)))))
    return jnp.all(jnp.stack(found))


def check_parameters(setting: FlowSetting, arguments: Arguments) -> None:
    """Raises ParameterError where bounds of a state cross, are none or have no coordinate, or intensities are none;
    nothing is known of tracers."""
    for name in setting.flow.continuous:
        lower, upper = setting.flow.bounds(arguments, name)
        if all_concrete((lower, upper)):
            _check_ends(name, setting.flow.spaces[name], float(lower), float(upper))
        if all_concrete((lower, upper)) and not float(lower) < float(upper):
            raise ParameterError(
                f"state {name!r} has bounds {float(lower):g} and {float(upper):g}; the lower one must be below."
            )
    for name in setting.flow.chains:
        rates = setting.flow.chain(arguments, name)[1]
        if all_concrete(rates):
            _check_intensity(name, np.asarray(rates))


def _check_ends(name: str, space: Any, lower: float, upper: float) -> None:
    for side, bound in (("lower", lower), ("upper", upper)):
        if not math.isfinite(bound):
            raise ParameterError(
                f"the {side} bound of the state {name!r} is {bound:g}, and nodes lie between finite bounds: give "
                "bx.Continuous(lower, upper), so far out that few come there; boundary= says what holds at its edges."
            )
        place, slope = jax.jvp(space.scale.forward, (jnp.asarray(bound),), (jnp.ones(()),))
        again = float(space.scale.inverse(place))
        if not abs(again - bound) <= 1e-6 * (1 + abs(bound)) or float(slope) == 0:
            raise ParameterError(
                f"the {side} bound of the state {name!r} is {bound:g}, which has no coordinate on its scale "
                f"{type(space.scale).__name__.lower()}. Move the bound above zero, or give another scale=, such as "
                "bx.scales.asinh."
            )


def _check_intensity(name: str, rates: np.ndarray) -> None:
    off = rates[~np.eye(len(rates), dtype=bool)]
    if not np.all(off >= 0):
        raise ParameterError(
            f"the intensity of state {name!r} holds the rate {np.min(off):g} off the diagonal; none may be negative."
        )
    sums = np.abs(np.sum(rates, axis=1))
    if not np.all(sums <= rounding() * (1 + np.max(np.abs(rates)))):
        raise ParameterError(f"the intensity of state {name!r} has a row that sums to {np.max(sums):g}, not to zero.")
