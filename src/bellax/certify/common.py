"""What certificates of one regime and of several say in the same way."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.setting import Setting, Settings
from bellax.certify.certificate import Loss, quantiles
from bellax.certify.euler import unavailable
from bellax.certify.examine import Found
from bellax.certify.stage import more_nodes
from bellax.errors import ModelError
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR
from bellax.panel import Panel, RegimePanel
from bellax.problem.problem import Arguments

LITTLE = 20_000_000  # points times candidates up to which quick code pays


def shown(space: Any, value: Any) -> Any:
    """A state as a reader knows it: the label of a category, or numbers."""
    known, labels = getattr(space, "values", None), getattr(space, "labels", None)
    return value.tolist() if known is None or not labels else labels[int(np.abs(known - value).argmin())]


def worst(setting: Setting, periods: np.ndarray, found: Found, relative: np.ndarray) -> dict[str, Any]:
    """Where a number is largest: the period, the state, and the number as `residual`."""
    ranked = np.where(np.isfinite(relative), relative, -1.0)
    t, n = np.unravel_index(int(ranked.argmax()), ranked.shape)
    where: dict[str, Any] = {"period": int(periods[t])} if setting.problem.clock.finite else {}
    where |= {name: shown(space, np.asarray(found.states[name][t, n])) for name, space in setting.plan.states.items()}
    return where | {"residual": float(relative[t, n])}


def own_nodes(setting: Setting, arguments: Arguments) -> tuple[str, ...]:
    """The processes with a law of their own that keep the nodes of the solver, an approximation of it."""
    kept = AR1 | VAR if more_nodes(setting.numerics, arguments) is not None else AR1 | VAR | IID
    states = {name: space for name, space in setting.plan.states.items() if isinstance(space, kept)}
    return tuple(n for n, space in states.items() if not isinstance(getattr(space, "distribution", None), Categorical))


def quantiles_of(found: np.ndarray, bulk: int) -> dict[str, float]:
    """Quantiles of numbers along periods and points; the largest is that of all of them.

    Args:
        bulk: from how many points of each period the others are taken; the rest were aimed where most is wrong.
    """
    return quantiles(found[:, :bulk]) | {"max": quantiles(found)["max"]}


def euler_missing(setting: Setting, found: Found) -> str:
    """Why there are no Euler errors; empty where there are."""
    if found.euler is None:
        return unavailable(setting.numerics) or ""
    usable = found.euler.interior & np.isfinite(found.euler.error)
    return "" if usable.any() else "no sampled point has an action between its bounds and a reward curved in it"


def euler_errors(setting: Setting, found: Found, bulk: int) -> dict[str, dict[str, float]]:
    """Quantiles of Euler errors by continuous action, and how often it lies between its bounds."""
    if euler_missing(setting, found):
        return {}
    assert found.euler is not None
    result = {}
    stop = found.stop[:, : found.euler.error.shape[1]]
    for k, (name, place) in enumerate(setting.plan.coordinates):
        interior = found.euler.interior[..., k] & ~stop
        error = np.where(interior, found.euler.error[..., k], np.nan)
        logarithm = np.log10(np.maximum(error, 1e-17))
        label = name if setting.plan.controls[name].shape == () else f"{name}[{place}]"
        result[label] = quantiles_of(logarithm, bulk) | {"interior": float(interior[:, :bulk].mean())}
    return result


def lost(setting: Setting, periods: np.ndarray, found: Found, bulk: int) -> tuple[Loss | None, np.ndarray]:
    """What a rule loses, without a bound, and the most in each sampled period; None and infinity where that is not
    known: an action has no bounds between which the best one is. Without a rule None and zero."""
    clock, none = setting.problem.clock, np.zeros(len(periods))
    if not setting.follows:
        return None, none
    if not all(space.bounded for space in setting.plan.controls.values()):
        return None, none + math.inf
    lost = np.where(np.isfinite(found.missed), found.missed, np.nan)
    points = {"period": np.repeat(periods, lost.shape[1])} if clock.finite else {}
    points |= {name: np.asarray(found.states[name]).reshape(lost.size, -1) for name in setting.plan.states}
    where = worst(setting, periods, found, lost)
    del where["residual"]
    loss = Loss(quantiles_of(lost, bulk), where, math.inf, {**points, "loss": lost.ravel()})
    return loss, np.where(np.isnan(lost), 0.0, lost).max(axis=1)


def simulated(panel: Panel | RegimePanel) -> dict[str, float]:
    """What simulated agents got, against what V promised them where they started."""
    realised, promised = np.asarray(panel.present_value()), at_entry(panel, panel.value)
    gap = realised - promised
    error = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else float("nan")
    noise = 1e-12 * float(np.abs(promised).max() + np.abs(realised).max())
    return {
        "mean": float(realised.mean()),
        "value": float(promised.mean()),
        "standard_error": error,
        "z": float(gap.mean() / error) if error > noise else float("nan"),
        "agents": float(panel.agents),
        "periods": float(panel.periods),
    }


def at_entry(panel: Panel | RegimePanel, array: Array) -> np.ndarray:
    """What an array of agents and periods says of each agent where it enters."""
    return np.asarray(array)[np.arange(panel.agents), np.asarray(panel.entry)]


def middle(setting: Setting, arguments: Arguments) -> dict[str, Any]:
    """The middle of the grid; AR1, VAR and IID states are drawn."""

    def at(arguments: Arguments) -> dict[str, Array]:
        mesh = setting.numerics.mesh(arguments, 0)
        codes = {name: jnp.asarray(length // 2, jnp.int32) for name, length in mesh.discrete_axes.items()}
        middle = [0.5 * (line.coordinates[0] + line.coordinates[-1]) for line in mesh.lines]
        return mesh.point(codes, jnp.stack(middle) if middle else jnp.zeros(0)).values

    found = setting.program("middle", lambda: jax.jit(at))(arguments)
    return {name: value for name, value in found.items() if not isinstance(setting.plan.states[name], AR1 | VAR | IID)}


def middle_of_first(settings: Settings, arguments: Any) -> dict[str, Any]:
    """The middle of the grid of the first regime in which something is decided in period 0, and which that is."""
    active = settings.model.active_periods
    deciding = settings.deciding
    name = next((name for name in deciding if active.get(name, (True,))[0]), None)
    if name is None:
        raise ModelError("no regime in which something is decided is active in period 0, so that nobody can start.")
    return {"regime": name, **middle(deciding[name], arguments)}
