"""The front door: a solve as the solver stands, or with as many nodes as an accuracy takes."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from bellax.accurate import Given, refined_to
from bellax.bellman.options import GridSolver
from bellax.errors import ModelError, ParameterError, check_left_out, check_positive, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.numerics.programs import all_concrete
from bellax.solution.solution import Result, Solution
from bellax.solve import solve as solve_once
from bellax.solvers.solver import Solver

_SECONDS = 600.0


@named_arguments
def solve(
    model: Model | DiffusionModel,
    params: Mapping[str, Any],
    solver: Solver | None = None,
    *,
    horizon: int | None = None,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
    accuracy: Any = None,
    seconds: Any = None,
) -> Any:
    """Solves a model for given parameters.

    Args:
        model: what to solve.
        params: parameters by name; a pytree that may be traced by `jit`, `grad` and `vmap`.
        solver: one of `bx.solvers`; chosen by the structure of the model where absent. `print(solution)` says which,
            `choose_solver` also why, and the logger `bellax` at level INFO both. An endogenous grid that does not serve
            gives way to `Newton`; under a transformation it can only where a solve with numbers has shown that before.
        horizon: a number of periods to solve a model of infinite horizon for.
        terminal: a solution whose value is the value after the last decision.
        throw: whether to raise where the solve fails; else the `result` says so. Under a transformation nothing raises.
        progress: called with the count of steps done and what is left: a residual, or the loss of a training. What it
            raises is raised when the solve is over.
        accuracy: of a model in discrete time on grids: how wrong V may be, over max(1, |V|), in the first, a middle and
            the last period. Nodes of states, processes and shocks, bounds and candidates become more until V stays at
            a thousand states; `solution.refinement` says how. A solver that is given must leave them open.
            `solution.setting.options` is then the solver that was found, for solves under a transformation.
        seconds: with `accuracy`, after how long no solve is begun any more, by default 600.
    Returns:
        A `Solution`; of a model with several regimes a `RegimeSolution`, which gives one by the name of a regime; of a
        `DiffusionModel` a `FlowSolution`.
    Raises:
        ModelError: if the solver cannot solve such a model.
        ParameterError: if the parameters do not fit.
        SolveError: if the solve fails, or the accuracy is not reached; the message says where, and why. With
            `throw=False` a solution that is less accurate is returned, with the result `inaccurate`.
    """
    if accuracy is None:
        check_left_out({"seconds": seconds}, "solve", "the budget of accuracy=, and that is not given")
        return solve_once(model, params, solver, horizon=horizon, terminal=terminal, throw=throw, progress=progress)
    budget = _SECONDS if seconds is None else seconds
    check_positive(accuracy, "solve: accuracy", "1e-5")
    rounding = float(jnp.finfo(jnp.result_type(float)).eps)
    if accuracy < 8 * rounding:
        raise ParameterError(
            f"solve: accuracy={accuracy:g} is less than rounding leaves, {rounding:.2g} of V: give {8 * rounding:.1g} "
            "or more."
        )
    check_positive(budget, "solve: seconds", "600")
    _check_refinable(model, params, solver)
    started = time.perf_counter()
    first = solve_once(model, params, solver, horizon=horizon, terminal=terminal, throw=throw, progress=progress)
    if int(first.code) != int(Result.successful):
        return first
    given = Given(params, terminal, progress)
    return refined_to(first, given, float(accuracy), float(budget), started, throw)


def _check_refinable(model: Any, params: Any, solver: Any) -> None:
    """Raises ModelError where there is nothing to refine."""
    if isinstance(model, DiffusionModel):
        raise ModelError("accuracy= refines grids in discrete time, and time is continuous here. `certify` says more.")
    if not all_concrete(params):
        raise ModelError(
            "accuracy= looks at numbers, and these parameters are traced. Solve once outside the transformation, and "
            "give it `solution.setting.options` as solver."
        )
    if solver is None:
        return
    if not isinstance(solver, GridSolver):
        raise ModelError(
            f"accuracy= refines grids, and solver={type(solver).__name__} has none. Leave one of both out."
        )
    given = {"grid": solver.grid, "quadrature": solver.quadrature, "maximiser": _fixes(solver.maximiser)}
    for name, value in given.items():
        if value:
            raise ModelError(
                f"accuracy= says how many nodes, and the solver fixes them by {name}=: leave one of both out."
            )


def _fixes(maximiser: Any) -> bool:
    """Whether a maximiser, or one that it asks in turn, is given candidates or nodes of its own."""
    if not dataclasses.is_dataclass(maximiser):
        return isinstance(maximiser, Mapping)
    own = {field.name: getattr(maximiser, field.name) for field in dataclasses.fields(maximiser)}
    return bool(own.get("grid")) or any(_fixes(each) for each in own.values() if dataclasses.is_dataclass(each))
