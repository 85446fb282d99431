"""The certificate of a solution of several regimes.

V of one regime is made of tomorrow's V of those that it may reach. So what V is off by in period 0 is at most the
discounted sum of the largest residual of *any* regime in each period, as for one regime the sum of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from bellax.bellman.maximisers.maximum import cells, dotted_size
from bellax.bellman.setting import Setting
from bellax.bellman.workload import mesh_shape
from bellax.certify.across import euler_across
from bellax.certify.aim import aimed
from bellax.certify.certificate import (
    QUANTILES,
    Loss,
    estimate_lines,
    euler_lines,
    loss_lines,
    plain,
    rounding_of,
    short,
    simulated_lines,
)
from bellax.certify.common import (
    LITTLE,
    at_entry,
    euler_errors,
    euler_missing,
    lost,
    middle_of_first,
    own_nodes,
    quantiles_of,
    shown,
    simulated,
    worst,
)
from bellax.certify.euler import unavailable
from bellax.certify.examine import Found, Sample, examination, sample
from bellax.certify.refined import BY_SOURCE, estimated, refined_regimes
from bellax.certify.residuals import value_error
from bellax.certify.scan import evaluations
from bellax.errors import ModelError
from bellax.numerics.programs import all_concrete, quickly
from bellax.panel import RegimePanel
from bellax.problem.period import combinations
from bellax.simulate import simulate
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result

_PERIODS = 50  # of the simulation of an infinite horizon


@dataclass(frozen=True)
class RegimeErrors:
    """What was found in one regime; see `Certificate`.

    Attributes:
        residuals, missed, worst, undefined, points, periods, euler, euler_missing: as of a `Certificate`; in an Euler
            error is what tomorrow is worth in every regime that may be reached.
        loss: of a rule that is followed, what it loses in this regime; the bound is that of all regimes.
        own_nodes: AR1 and IID states, and those that enter another regime by a distribution, which keep the nodes of
            the solver.
    """

    residuals: Mapping[str, float]
    missed: float
    worst: Mapping[str, Any]
    undefined: float
    points: int
    periods: tuple[int, ...]
    own_nodes: tuple[str, ...]
    euler: Mapping[str, Mapping[str, float]]
    euler_missing: str
    loss: Loss | None = None


@dataclass(frozen=True)
class RegimeCertificate:
    """How wrong a solution of several regimes can be.

    Attributes:
        regimes: what was found in each regime in which something is decided.
        value_error: estimate of the largest |V - V*| in period 0 that follows from the residuals of all regimes.
        discount: the largest expected discount at the sampled points.
        leaving: a sentence on optimal next states that leave a grid, where V is a guess and nothing is known of its
            error; empty where none does.
        simulated, start: as of a `Certificate`; `start` has the regime, too.
        estimate, estimate_words, estimate_at, sources: as of a `Certificate`, in the first period of every regime; the
            state has the regime, too.
    """

    regimes: Mapping[str, RegimeErrors]
    value_error: float
    discount: float
    leaving: str
    simulated: Mapping[str, float]
    start: Mapping[str, Any]
    estimate: float = math.nan
    estimate_words: str = ""
    estimate_at: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite is None."""
        regimes = {n: {**vars(own), "loss": own.loss and own.loss.as_dict()} for n, own in self.regimes.items()}
        return plain({**vars(self), "regimes": regimes})

    def table(self) -> Any:
        """A pandas DataFrame with columns quantity, of, statistic, value; `of` is the regime."""
        import pandas as pd  # costs .4 s at import

        rows = [("Bellman residual", n, q, own.residuals[q]) for n, own in self.regimes.items() for q in QUANTILES]
        rows += [("missed by the maximiser", name, "max", own.missed) for name, own in self.regimes.items()]
        for name, own in self.regimes.items():
            rows += [("Euler error, log10", f"{name}.{of}", q, x) for of, e in own.euler.items() for q, x in e.items()]
        for name, loss in ((name, own.loss) for name, own in self.regimes.items() if own.loss is not None):
            rows += [("lost by the rule", name, q, loss.quantiles[q]) for q in QUANTILES]
            rows += [("lost by the rule, bound", name, "max", loss.bound)]
        rows += [("value error, estimated", "", "max", self.value_error)]
        rows += [("value error, by a refined solve", "", "max", self.estimate)]
        rows += [("value error, by more of one", name, "max", value) for name, value in self.sources.items()]
        rows += [("simulated value", "", name, value) for name, value in self.simulated.items()]
        return pd.DataFrame(rows, columns=["quantity", "of", "statistic", "value"])

    def __str__(self) -> str:
        lines = ["Bellman residual by regime, |T V - V| / max(1, |V|)"]
        for name, own in self.regimes.items():
            numbers = "  ".join(f"{q} {own.residuals[q]:.1e}" for q in QUANTILES)
            where = ", ".join(f"{key} = {short(value)}" for key, value in own.worst.items() if key != "residual")
            lines += [
                f"  {name}, {own.points} points in {len(own.periods)} periods: {numbers}",
                f"    worst at {where}",
            ]
            if own.missed > max(0.01 * own.residuals["max"], rounding_of(self.simulated)):
                lines.append(f"    the maximiser missed up to {own.missed:.1e} of V there: more candidates (its grid=)")
            if own.undefined > 0:
                lines.append(f"    {own.undefined:.2%} of the points have an infinite value and are left out")
            if own.own_nodes:
                lines.append(f"    on the solver's nodes of {', '.join(own.own_nodes)}: see the simulated value")
            for line in (*loss_lines(own.loss), *euler_lines(own.euler, own.euler_missing)):
                lines.append(f"    {line}")
        lines.append(
            f"Value error, estimated: {self.value_error:.1e} in V (largest sampled discount {self.discount:.6g})"
        )
        if self.estimate_words or not math.isnan(self.estimate):
            lines += estimate_lines(self)
        if self.leaving:
            lines.append(f"  of what lies on the grids alone.{self.leaving}")
        return "\n".join([*lines, *simulated_lines(self.simulated, self.start)])


def certify_regimes(
    solution: RegimeSolution,
    points: int,
    seed: int,
    agents: int,
    start: Any,
    periods: int | None,
    panel: Any,
    refine: Any,
) -> RegimeCertificate:
    """As `bx.certify`, of a solution of several regimes."""
    _check(solution, panel)
    found = _certified(solution, points, seed, agents, start, periods, panel)
    if not refine:
        return found
    missed = max(own.missed for own in found.regimes.values())
    estimate = refined_regimes(solution, points, found.discount, refine == BY_SOURCE)
    return estimated(found, solution, estimate, missed)


def _certified(
    solution: RegimeSolution, points: int, seed: int, agents: int, start: Any, periods: int | None, panel: Any
) -> RegimeCertificate:
    settings, arguments = solution.settings, solution.arguments
    deciding = settings.deciding
    if panel is None:
        start = middle_of_first(settings, arguments) if start is None else start
        periods = _PERIODS if periods is None and not solution.model.clock.finite else periods
        panel = simulate(solution, agents, start, seed, periods)
    clock = solution.model.clock
    count = clock.count if clock.finite else 1
    found: dict[str, RegimeErrors] = {}
    largest, largest_lost, discount = np.zeros(count), np.zeros(count), 0.0
    each = max(1, points // len(deciding))
    for name, setting in deciding.items():
        active = np.flatnonzero(solution.model.active_periods.get(name, (True,) * count))
        looked, bulk, seen = _look(setting, solution, each, seed, active)
        periods_seen = np.asarray(looked.periods)
        missed = np.where(np.isfinite(seen.missed) & ~np.asarray(setting.follows), seen.missed, 0.0)
        size, guess = np.abs(seen.error), np.asarray(seen.escape.guess)[..., 0]
        size = np.maximum(np.where(np.isfinite(size), size, 0.0), missed) + guess
        loss, most_lost = lost(setting, periods_seen, seen, bulk)
        for total, own in ((largest, size.max(axis=1)), (largest_lost, most_lost)):
            total[active] = np.maximum(total[active], _between(own, periods_seen, active))
        discount = max(discount, float(seen.escape.discount.max()))
        found[name] = _errors(setting, arguments, looked, seen, bulk, loss)
    horizon = count if clock.finite else None
    error, bound = (value_error(total, np.arange(count), discount, horizon) for total in (largest, largest_lost))
    bound = math.inf if solution.leaving() else bound
    for name, own in found.items():
        if own.loss is not None:
            found[name] = replace(own, loss=replace(own.loss, bound=bound))
    return RegimeCertificate(found, error, discount, solution.leaving(), simulated(panel), _started(solution, panel))


def _errors(
    setting: Setting, arguments: Any, looked: Sample, seen: Found, bulk: int, loss: Loss | None
) -> RegimeErrors:
    """What was found in one regime."""
    periods = np.asarray(looked.periods)
    relative = np.abs(seen.error) / np.maximum(1.0, np.abs(seen.value))
    missed = np.where(np.isfinite(seen.missed) & ~np.asarray(setting.follows), seen.missed, 0.0)
    return RegimeErrors(
        residuals=quantiles_of(relative, bulk),
        missed=float(missed.max()),
        worst=worst(setting, periods, seen, relative),
        undefined=float(np.mean(~np.isfinite(relative[:, :bulk]))),
        points=relative.size,
        periods=tuple(periods.tolist()),
        own_nodes=own_nodes(setting, arguments) + _entering(setting),
        euler=euler_errors(setting, seen, bulk),
        euler_missing=euler_missing(setting, seen),
        loss=loss,
    )


def _check(solution: RegimeSolution, panel: Any) -> None:
    if not all_concrete((solution.arguments, solution.values)):
        raise ModelError("a solution that is being traced has no numbers yet; certify it outside the transformation.")
    if solution.code.ndim:
        raise ModelError("this is a batch of solutions, as jax.vmap returns. Certify one of them.")
    if solution.result not in (Result.successful, Result.inaccurate):
        raise ModelError(f"the solve ended as {solution.result}; there is nothing to certify.")
    if panel is None:
        return
    problems = {name: setting.problem for name, setting in solution.settings.regimes.items()}
    if not isinstance(panel, RegimePanel) or panel.problems.regimes != problems:
        raise ModelError("the panel is of another model; simulate the solution to certify.")
    pairs = zip(jax.tree.leaves(panel.arguments), jax.tree.leaves(solution.arguments), strict=False)
    if not all(a is b or np.array_equal(a, b) for a, b in pairs):
        raise ModelError("the panel is of other parameters; simulate the solution to certify.")


def _look(
    setting: Setting, solution: RegimeSolution, points: int, seed: int, active: np.ndarray
) -> tuple[Sample, int, Found]:
    """Where a regime was looked at, at how many points of each period whatever V is, and what was found."""
    numerics, plan = setting.numerics, setting.plan
    axes = dict(zip([*plan.processes, *plan.discrete], mesh_shape(numerics, solution.arguments), strict=False))
    own = solution.values[setting.problem.regime]
    looked, bulk = aimed(numerics, own, sample(setting.problem, axes, points, seed, active))
    if unavailable(numerics) is None:
        return looked, bulk, jax.tree.map(np.asarray, euler_across(solution, setting.problem.regime, looked))
    each = cells(numerics.maximiser, plan) + evaluations(plan) * len(combinations(plan)) * dotted_size(plan)
    run = setting.program(("examine", points), lambda: quickly(examination(numerics), points * each < LITTLE))
    return looked, bulk, jax.tree.map(np.asarray, run(solution.arguments, solution.values, looked))


def _entering(setting: Setting) -> tuple[str, ...]:
    """States that enter other regimes by a distribution, such as `retired.z`."""
    entering = setting.plan.arrivals.items()
    return tuple(f"{t}.{n}" for t, found in entering for n, own in found.items() if own.way in ("drawn", "ergodic"))


def _between(largest: np.ndarray, periods: np.ndarray, active: np.ndarray) -> np.ndarray:
    """In each active period the larger of the residuals of the two sampled ones around it."""
    below = np.clip(np.searchsorted(periods, active, side="right") - 1, 0, len(periods) - 1)
    above = np.clip(np.searchsorted(periods, active), 0, len(periods) - 1)
    return np.maximum(largest[below], largest[above])


def _started(solution: RegimeSolution, panel: RegimePanel) -> dict[str, Any]:
    """Where agents start: one value, or 'various'."""
    places = np.unique(at_entry(panel, panel.regime))
    if len(places) > 1:
        return {"regime": "various"}
    name = panel.regimes[int(places[0])]
    plan = solution.settings.regimes[name].plan
    return {"regime": name} | {
        state: shown(space, first[0]) if (first == first[:1]).all() else "various"
        for state, space in plan.states.items()
        for first in [at_entry(panel, panel.states[name][state])]
    }
