"""`certify`: everything that is known about the error of a solution, in one object."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.maximisers.maximum import cells, dotted_size
from bellax.bellman.setting import Setting
from bellax.bellman.workload import mesh_shape
from bellax.certify.aim import aimed
from bellax.certify.certificate import Certificate
from bellax.certify.common import (
    LITTLE,
    at_entry,
    euler_errors,
    euler_missing,
    lost,
    middle,
    own_nodes,
    quantiles_of,
    shown,
    simulated,
    worst,
)
from bellax.certify.examine import Found, Sample, examination, sample
from bellax.certify.flows import certify_flows
from bellax.certify.gridless import certify_gridless
from bellax.certify.refined import BY_SOURCE, estimated, refined
from bellax.certify.regimes import certify_regimes
from bellax.certify.residuals import value_error
from bellax.certify.scan import evaluations
from bellax.certify.stage import finer
from bellax.errors import ModelError, ParameterError, check_count, check_left_out, check_not_negative, named_arguments
from bellax.model.shocks import Categorical
from bellax.numerics.programs import all_concrete, quickly
from bellax.panel import Panel
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments
from bellax.simulate import simulate
from bellax.solution.flowing import FlowSolution
from bellax.solution.gridless import GridlessSolution
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result, Solution

_LITTLE_LEAVING = 0.01  # share of next states up to which those off the grid count in proportion, then in full
_AT_END = 1e-6  # of a line: so near its end counts as there

_PERIODS = 50  # of the simulation of an infinite horizon


@named_arguments
def certify(
    solution: Solution | RegimeSolution | FlowSolution | GridlessSolution,
    points: int = 2000,
    seed: int = 0,
    agents: int | None = None,
    start: Mapping[str, Any] | Any = None,
    periods: int | None = None,
    panel: Any = None,
    grids: int | None = None,
    wider: float | None = None,
    inner: int | None = None,
    refine: Any = False,
) -> Any:
    """Measures how wrong a solution can be: residuals, value error, Euler errors, escape, simulated value.

    In continuous time: the residual between nodes, what the policy loses, what coarser grids say of the error, what
    holds at the edges, and the mass of the stationary density. Of a solution without a grid: residuals and losses
    between the bounds of the states and on paths, and where one is known a bracket of the optimal value at the start.

    Args:
        solution: what `solve` returned.
        points: about how many points to look at, over all periods. A quarter of them lies in the cells of the grid in
            which V bends most.
        seed: of the points and of the simulation.
        agents: how many to simulate; by default 2000, and 4000 of a solution without a grid.
        start: where they start, as in `simulate`; by default in the middle of the grid, or where the solver began.
        periods: how many to simulate; by default all of a finite horizon, and 50 of an infinite one.
        panel: a simulation of this solution to use instead of a new one.
        grids: in continuous time, on how many coarser grids, of states and of time, to solve again, by default 2.
            Nothing is simulated there, so that `agents`, `start`, `periods` and `panel` are of discrete time.
        wider: in continuous time, by how much of its length the box is made longer beyond edges that are said to be
            never reached (`bx.Natural()`), or of which nothing is said, to see whether V changes inside; by default a
            quarter, 0 not to ask.
        inner: of a solution without a grid, how many draws each mean is of that an upper bound rests on, by default
            500: fewer make the bracket wider, and no less valid.
        refine: of a solution on a grid in discrete time, whether to solve again with twice the nodes,
            draws and candidates, and on a wider grid where paths leave it: what that changes says how wrong V is, also
            where residuals say nothing or far too much. What Bellman's equation is off by where paths go beyond the
            grid, which two grids may guess alike, is added. It takes some four to ten times as long as the solve.
    Returns:
        A `Certificate`, of several regimes a `RegimeCertificate`, in continuous time a `FlowCertificate`, of a solution
        without a grid a `GridlessCertificate`: print it, or take `.table()` or `.as_dict()`.
    Raises:
        ModelError: if the solution is none, failed, or is being traced.
    """
    if not isinstance(solution, RegimeSolution | FlowSolution):
        _check(solution, panel)
    check_count(points, "points")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed is {seed!r}; give a whole number, not negative.")
    if not isinstance(refine, bool) and refine != BY_SOURCE:
        raise ParameterError(f"refine is {refine!r}; give True, False or {BY_SOURCE!r}.")
    if not isinstance(solution, Solution | RegimeSolution):
        why = "of solutions on a grid in discrete time, and this is none"
        check_left_out({"refine": refine or None}, "certify", why)
    if not isinstance(solution, GridlessSolution):
        check_left_out({"inner": inner}, "certify", "of solutions without a grid, and this one has a grid")
    if isinstance(solution, FlowSolution):
        simulated = {"agents": agents, "start": start, "periods": periods, "panel": panel}
        check_left_out(simulated, "certify", "of discrete time, and this solution is in continuous time")
        count = 2 if grids is None else grids
        check_count(count, "grids", 0)
        share = 0.25 if wider is None else wider
        check_not_negative(share, "wider", "0.25")
        return certify_flows(solution, points, seed, min(count, 2), share)
    others: dict[str, Any] = {"grids": grids, "wider": wider}
    check_left_out(others, "certify", "of continuous time, and this solution is in discrete time")
    if isinstance(solution, GridlessSolution):
        draws = 500 if inner is None else inner
        check_count(draws, "inner", 2)
        agents = 4000 if agents is None else agents
        return certify_gridless(solution, points, seed, agents, start, periods, panel, draws)
    agents = 2000 if agents is None else agents
    if isinstance(solution, RegimeSolution):
        return certify_regimes(solution, points, seed, agents, start, periods, panel, refine)
    setting, arguments, values = solution.setting, solution.arguments, solution.values
    numerics, plan = setting.numerics, setting.plan
    if panel is None:
        start = middle(setting, arguments) if start is None else start
        periods = _PERIODS if periods is None and not setting.problem.clock.finite else periods
        panel = simulate(solution, agents, start, seed, periods)
    axes = dict(zip([*plan.processes, *plan.discrete], mesh_shape(numerics, arguments), strict=False))
    looked, bulk = aimed(numerics, values, sample(setting.problem, axes, points, seed))
    scanned = evaluations(plan) * len(combinations(plan)) * dotted_size(plan)
    each = cells(numerics.maximiser, plan) + scanned
    run = setting.program(("examine", points), lambda: quickly(examination(numerics), points * each < LITTLE))
    found = jax.tree.map(np.asarray, run(arguments, values, looked))
    certificate = _summary(setting, arguments, looked, found, bulk, panel)
    if not refine:
        return certificate
    leaving, discount = _leaving(certificate.escape), certificate.discount
    found = refined(solution, looked, leaving, discount, refine == BY_SOURCE)
    return estimated(certificate, solution, found, certificate.missed)


def _leaving(escape: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """By line, how often it is left on either side, of sampled points and paths whichever is more."""
    points, paths = escape["points"], escape["path"]
    return {label: {side: max(p, paths[label][side]) for side, p in own.items()} for label, own in points.items()}


def _check(solution: Any, panel: Panel | None) -> None:
    if not isinstance(solution, Solution | GridlessSolution):
        raise ModelError(f"certify takes a Solution, not {type(solution).__name__!r}.")
    if solution.setting.problem.regime:
        raise ModelError("certify takes the whole solution: the error of a regime is that of others, too.")
    if not all_concrete((solution.arguments, solution.values)):
        raise ModelError("a solution that is being traced has no numbers yet; certify it outside the transformation.")
    solution.check_one()
    result = Result(int(solution.code))
    if result not in (Result.successful, Result.inaccurate):
        raise ModelError(f"the solve ended as {result.name!r}; there is nothing to certify.")
    if panel is None:
        return
    if not isinstance(panel, Panel):
        raise ModelError(f"panel is a {type(panel).__name__}; give what bx.simulate makes of this solution.")
    pairs = zip(jax.tree.leaves(panel.arguments), jax.tree.leaves(solution.arguments), strict=False)
    if panel.problem is not solution.setting.problem or not all(a is b or np.array_equal(a, b) for a, b in pairs):
        raise ModelError("the panel is of another model, solver or parameters; simulate the solution to certify.")


def _summary(
    setting: Setting, arguments: Arguments, looked: Sample, found: Found, bulk: int, panel: Panel
) -> Certificate:
    """The certificate of what was found; `bulk` is that of `quantiles_of`."""
    clock = setting.problem.clock
    periods = np.asarray(looked.periods)
    size = np.abs(found.error)
    relative = size / np.maximum(1.0, np.abs(found.value))
    discount = float(found.escape.discount.max())
    missed = np.where(np.isfinite(found.missed) & ~np.asarray(setting.follows), found.missed, 0.0)
    # between the nodes V is asked of the maximiser again, which may miss what those of its nodes did not
    size = np.maximum(np.where(np.isfinite(size), size, 0.0), missed)
    left, stay = _left(setting, arguments, panel)
    guess = min(1.0, left / _LITTLE_LEAVING) * (np.asarray(found.escape.guess) @ np.array([1.0, stay]))
    count = clock.count if clock.finite else None
    estimate, beyond = (value_error(most.max(axis=1), periods, discount, count) for most in (size + guess, guess))
    half = size[:, ::2].max(axis=1)
    grown = 2 * size.max(axis=1) - half if size.shape[1] > 1 else size.max(axis=1)
    chains = own_nodes(setting, arguments)
    known = not chains and not np.any(np.asarray(found.escape.guess) > 0)
    loss, largest = lost(setting, periods, found, bulk)
    if loss is not None:
        # nothing bounds what there is to gain where paths leave for what is only guessed
        loss = replace(loss, bound=math.inf if beyond > 0 else value_error(largest, periods, discount, count))
    return Certificate(
        residuals=quantiles_of(relative, bulk),
        missed=float(np.max(missed)),
        worst=worst(setting, periods, found, relative),
        undefined=float(np.mean(~np.isfinite(relative[:, :bulk]))),
        value_error=estimate,
        beyond=beyond,
        bound=value_error(grown, periods, discount, count) if known else math.nan,
        discount=discount,
        euler=euler_errors(setting, found, bulk),
        euler_missing=euler_missing(setting, found),
        escape=_escape(setting, found, bulk, panel),
        simulated=simulated(panel),
        start=_start(setting, panel),
        own_nodes=chains,
        finer=_refined(setting, arguments),
        points=relative.size,
        periods=tuple(periods.tolist()) if clock.finite else (),
        loss=loss,
    )


def _start(setting: Setting, panel: Panel) -> dict[str, Any]:
    """Where agents start, by state: one value, or 'various'."""
    found = {}
    for name, space in setting.plan.states.items():
        first = at_entry(panel, panel.states[name])
        found[name] = shown(space, first[0]) if (first == first[:1]).all() else "various"
    return found


def _refined(setting: Setting, arguments: Arguments) -> bool:
    """Whether the quadrature of `examination` is finer; true where there is nothing to refine."""
    exact = all(isinstance(setting.plan.graph.regime.shocks[name], Categorical) for name in setting.plan.shocks)
    return exact or any(finer(setting.numerics, setting.numerics.shock_nodes(arguments)).values())


def _escape(setting: Setting, found: Found, bulk: int, panel: Panel) -> dict[str, Any]:
    labels = setting.plan.labels
    alive = np.asarray(panel.active)
    last = alive[:, -1] & np.isfinite(np.asarray(panel.final_value))
    reached = max(1, int(alive[:, 1:].sum() + last.sum()))
    left = lambda label, side: np.asarray(panel.outside[label][side])[1:].sum() / reached  # noqa: E731
    path = [[left(label, side) for label in labels] for side in ("below", "above")]
    sampled = [side[:, :bulk].mean(axis=(0, 1)) for side in (found.escape.below, found.escape.above)]
    return {
        where: {label: {"below": float(below[k]), "above": float(above[k])} for k, label in enumerate(labels)}
        for where, (below, above) in (("points", sampled), ("path", path))
    }


def _left(setting: Setting, arguments: Arguments, panel: Panel) -> tuple[float, float]:
    """The share of the next states of agents that lie at an end of the grid or beyond, and of those from the first such
    state of an agent on.
    """
    plan, clock = setting.plan, setting.problem.clock
    if not plan.lines:
        return 0.0, 0.0

    def ends(arguments: Arguments, period: Array) -> Array:
        lines = setting.numerics.mesh(arguments, period).lines
        return jnp.stack([line.nodes[np.array([0, -1])] for line in lines], axis=1)

    build = lambda: jax.jit(jax.vmap(ends, in_axes=(None, 0)))  # noqa: E731
    found = setting.program("ends", build)(arguments, np.arange(clock.count + 1 if clock.finite else 1, dtype=np.int32))
    first, last = np.moveaxis(np.asarray(found), 1, 0)[:, : panel.periods + 1]
    paths = [
        np.append(np.asarray(panel.states[n]), np.asarray(panel.final[n])[:, None], axis=1) for n in plan.continuous
    ]
    at = np.concatenate([path.reshape(*path.shape[:2], -1) for path in paths], axis=2)
    slack = _AT_END * (last - first)
    # whoever is at no number has not come back, but is where nothing could be done any more
    out = ~((at > first + slack) & (at < last - slack)).all(axis=2)[:, 1:]
    active = np.asarray(panel.active)
    there = np.append(active[:, 1:], active[:, -1:], axis=1)
    out &= there
    since = there & (out.cumsum(axis=1) > 0)
    return float(out.sum() / max(1, there.sum())), float(out.sum() / max(1, since.sum()))
