"""Certificates against the truth: of every gallery model whose V is known, how wrong it is and what was said of that.

Each is solved by default settings, by coarse ones, a quarter of the nodes, of the draws and of the candidates, and on
shorter lines, which paths leave. The true error is the largest at some states of period 0, most of them spread evenly
and some where V bends most.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax import models
from bellax.bellman.workload import mesh_shape
from bellax.certify import certify
from bellax.certify.aim import aimed
from bellax.certify.examine import points_of, sample
from bellax.certify.refined import resized
from bellax.model.model import Model
from bellax.solution.solution import Result, Solution
from bellax.solve import solve

SETTINGS = ("default", "coarse", "shorter lines")
EXACT = 1e-10
"""Of max(1, |V|): a true error below it is rounding, of which nobody needs an estimate."""

_QUARTER = 0.25
_SHORTER = -0.15  # of a line, at either end
_STATES = (200, 2000)
"""At how many states the truth is asked for: the more, if that takes less than so many seconds."""
_PATIENCE = 30.0


States = Mapping[str, np.ndarray]


class Honesty(NamedTuple):
    """What was said of one solve, beside the truth.

    Attributes:
        model, setting: of the gallery, and one of `SETTINGS`.
        error: the largest |V - V*| that was found, relative to max(1, |V*|) where that is largest.
        bound, estimate: of the certificate, in the same unit; NaN where there is none.
        verdict: `exact`, `honest`, `idle` (an estimate more than ten times the error), `flatters` (one of less than a
            tenth), `lies` (a bound below the error, or an estimate of less than a hundredth), or why there is nothing
            to compare.
        seconds: of solving and certifying.
    """

    model: str
    setting: str
    error: float
    bound: float
    estimate: float
    verdict: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing untrue was said."""
        return self.verdict != "lies"


def honesty(names: Iterable[str] | None = None, settings: Iterable[str] = SETTINGS) -> Iterator[Honesty]:
    """The table, row by row.

    Args:
        names: of gallery models; by default all.
        settings: of `SETTINGS`.
    Raises:
        ModelError: for an unknown name, before anything is solved.
    """
    chosen = models.names() if names is None else tuple(names)
    for name in chosen:
        models.check_name(name)
    return (row for name in chosen if _known(models.load(name)) for row in _rows(name, settings))


def near(rows: Iterable[Honesty]) -> float:
    """The share of estimates from a tenth of the error to ten times, of errors that are no rounding; one of none."""
    found = [row.verdict == "honest" for row in rows if row.verdict in ("honest", "idle", "flatters", "lies")]
    return sum(found) / len(found) if found else 1.0


def _known(module: ModuleType) -> bool:
    """Whether the gallery knows V of a model of discrete time with one regime."""
    model = module.model
    return isinstance(model, Model) and model.regimes is None and hasattr(module, "reference")


def _rows(name: str, settings: Iterable[str]) -> Iterator[Honesty]:
    module = models.load(name)
    for setting in settings:
        started = time.perf_counter()
        found = _row(module, setting)
        if found is not None:
            yield Honesty(name, setting, *found, time.perf_counter() - started)


def _row(module: ModuleType, setting: str) -> tuple[float, float, float, str] | None:
    """Error, bound, estimate and verdict; None where V is not known, or there is nothing that could be coarser."""
    nothing = (math.nan, math.nan, math.nan)
    solution = solve(module.model, module.params, throw=False)
    if setting != "default" and solution.result == Result.successful:
        if not solution.setting.plan.lines:
            return None
        options = _options(solution, setting)
        if options is None:
            return None
        solution = solve(module.model, module.params, options, throw=False)
    if solution.result != Result.successful:
        return *nothing, solution.result.name
    certificate = certify(solution, points=_STATES[1], refine=True)
    states, exact = _exact(module, _states(solution, certificate.estimate_at))
    if exact is None:
        return None
    when = {"period": 0} if solution.setting.problem.finite else {}
    value = np.asarray(solution.value(**when, **states))
    both = np.isfinite(value) & np.isfinite(exact)
    unit = max(1.0, float(np.abs(exact[both]).max()))
    error = float(np.abs(value - exact)[both].max()) / unit
    bound = certificate.bound / unit
    estimate = certificate.estimate / unit
    return error, bound, estimate, verdict(error, bound, estimate)


def verdict(error: float, bound: float, estimate: float) -> str:
    """What to think of a bound and an estimate of an error; see `Honesty`."""
    if error <= EXACT:
        return "exact"
    if bound < error or estimate < 0.01 * error:
        return "lies"
    if math.isnan(estimate):
        return "no estimate"
    return "flatters" if estimate < 0.1 * error else "idle" if estimate > 10 * error else "honest"


def _options(solution: Solution, setting: str) -> Any:
    own = solution.setting
    if setting == "coarse":
        return resized(solution, _QUARTER, {})
    ends = {"below": _SHORTER, "above": _SHORTER}
    return resized(solution, 1.0, {"": dict.fromkeys(own.plan.labels, ends)})


def _states(solution: Solution, worst: Mapping[str, Any]) -> States:
    """Those in period 0 at which a certificate looks, the one at which it says most is wrong as the first."""
    setting, arguments = solution.setting, solution.arguments
    plan, numerics = setting.plan, setting.numerics
    axes = dict(zip([*plan.processes, *plan.discrete], mesh_shape(numerics, arguments), strict=False))
    looked, _ = aimed(numerics, solution.values, sample(setting.problem, axes, _STATES[1], 0))
    today = looked._replace(periods=jnp.zeros_like(looked.periods))
    found = points_of(numerics)(arguments, today)
    flat = {name: np.asarray(own).reshape(-1, *own.shape[2:]) for name, own in found.items()}
    return {name: np.concatenate([np.asarray(worst[name])[None], own]) if worst else own for name, own in flat.items()}


def _exact(module: ModuleType, states: States) -> tuple[States, np.ndarray | None]:
    """V of the reference at these states or some of them; None where it does not know V."""

    known = vars(module).get("truth", module.reference)

    def at(places: Any) -> np.ndarray:
        found = [known(module.params, **{n: own[k].item() for n, own in states.items()}) for k in places]
        return np.array([float(np.asarray(each.get("value", math.nan))) for each in found])

    count, started = len(next(iter(states.values()))), time.perf_counter()
    few = at([0, count // 2, count - 1])
    if np.isnan(few).all():
        return states, None
    each = (time.perf_counter() - started) / len(few)
    try:  # all at once, where the reference takes arrays
        every = np.asarray(known(module.params, **states)["value"])
        if every.shape == (count,) and np.array_equal(every[[0, count // 2, -1]], few, equal_nan=True):
            return states, every
    except (TypeError, ValueError, IndexError):
        pass
    some = min(count, max(_STATES[0], int(_PATIENCE / each)))
    places = np.linspace(0, count - 1, some).round().astype(int)
    return {name: own[places] for name, own in states.items()}, at(places)
