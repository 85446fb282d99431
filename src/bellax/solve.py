"""One solve: check what was asked, choose what was not, compile once, run, and say how it ended."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from bellax.bellman.masked import advice, masks
from bellax.bellman.maximisers.by_structure import ByStructure, endogenous_grid
from bellax.errors import ModelError, SolveError, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.model.spaces import Continuous
from bellax.numerics.programs import all_concrete
from bellax.numerics.scalar import put
from bellax.problem.problem import Arguments
from bellax.solution.solution import Result, Solution
from bellax.solvers.backward_induction import BackwardInduction
from bellax.solvers.common import BellmanSolver, blanked, check_solvable
from bellax.solvers.continuous.finite_difference import FiniteDifference
from bellax.solvers.policy_iteration import PolicyIteration
from bellax.solvers.progress import listening
from bellax.solvers.solver import Solver
from bellax.solvers.value_iteration import ValueIteration

_LOG = logging.getLogger("bellax")
_UNSERVED = "why an endogenous grid does not serve"


@named_arguments
def solve(
    model: Any,
    params: Mapping[str, Any],
    solver: Solver | None = None,
    *,
    horizon: int | None = None,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
) -> Any:
    """As `bx.solve`, by the solver as it stands."""
    if horizon is not None:
        model = with_horizon(model, horizon)
    if solver is None:
        return _solved_by_structure(model, params, terminal, throw, progress)
    prepared = prepare(model, solver)
    return run(prepared, prepared.arguments(params), terminal, throw, progress)


def _solved_by_structure(
    model: Any, params: Mapping[str, Any], terminal: Solution | None, throw: bool, progress: Any
) -> Any:
    """Solves by what the structure suggests, and where that is an endogenous grid and fails, by what serves every
    model."""
    plain = terminal is not None and not isinstance(model, DiffusionModel)
    solver, why = usual_solver(model) if plain else choose_solver(model)
    _LOG.info("solved by %s", why)
    prepared = prepare(model, solver)
    solution = run(prepared, prepared.arguments(params), terminal, False, progress)
    asked = (throw or prepared.endogenous) and all_concrete(solution)
    wrong = prepared.explain(solution) if asked else ""
    if wrong and prepared.endogenous:
        return _otherwise(model, params, throw, progress, wrong)
    if wrong and throw:
        raise SolveError(wrong)
    return solution


def _otherwise(model: Any, params: Mapping[str, Any], throw: bool, progress: Any, wrong: str) -> Any:
    """Solves by what serves every model, where an endogenous grid has failed."""
    solver, why = usual_solver(model)
    _LOG.info("solved by %s An endogenous grid did not serve: %s", why, wrong)
    prepared = prepare(model, solver)
    solution = run(prepared, prepared.arguments(params), None, throw, progress)
    if int(solution.code) == int(Result.successful):
        # the model keeps it, for solves under a transformation, too, which do not know how they end
        model.programs[_UNSERVED] = wrong
    return solution


def run(
    prepared: Any,
    arguments: Arguments,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
    like: Any = None,
) -> Any:
    """Checks arguments, solves, and explains what failed; see `solve`.

    Args:
        like: solutions of the same model on other nodes, with one of which a stationary solve begins.
    """
    if all_concrete(arguments):
        prepared.check(arguments)
    final = None if terminal is None else prepared.final(arguments, terminal)
    if final is None and like:
        begun = (prepared.begun(arguments, other) for other in like)
        final = next((value for value in begun if value is not None), None)
    _check_progress(progress, all_concrete((arguments, final)))
    started = time.perf_counter()
    with listening(progress) as ticket:
        solution = prepared.solve(arguments, final, ticket if progress is not None else None)
        if not all_concrete(solution):
            return blank(solution)
        wait(solution)
    wrong = prepared.explain(solution) if throw else ""
    if wrong:
        raise SolveError(wrong)
    if solution.leaving():
        _LOG.info("%s Wider bounds, or a scale in which V is nearly a straight line, help.", solution.leaving().strip())
    seconds = put(time.perf_counter() - started, jnp.result_type(float))
    return replace(solution, stats={**solution.stats, "seconds": seconds})


def compile(model: Model | DiffusionModel, solver: Solver | None = None) -> Callable[[Mapping[str, Any]], Any]:  # noqa: A001
    """A pure function from parameters to a `Solution`, which never traces twice for the same shapes.

    Names and shapes of parameters are checked. What their numbers get wrong (a discount above one, rows of a chain)
    raises nothing, nor does a failed solve: it is NaN with its `result`. Without a solver it is that of
    `choose_solver`, which does not give way to another where it fails.
    """
    prepared = prepare(model, solver)

    def solved(params: Mapping[str, Any]) -> Any:
        return blank(prepared.solve(prepared.arguments(params), None, well=True))

    return solved


def blank(solution: Any) -> Any:
    """The solution, or NaN everywhere after a failure: what a transformation gets, where nothing can raise."""
    values = blanked(solution.values, solution.code)
    return replace(solution, values=values)


def choose_solver(model: Any) -> tuple[Solver, str]:
    """The solver that `solve` takes by itself, and why.

    An endogenous grid where the structure of the model allows, else, and where that has failed for this model, a table
    of V in which `Newton` or `Enumerate` finds the best actions.
    """
    if isinstance(model, DiffusionModel):
        return FiniteDifference(), "FiniteDifference: time is continuous."
    check_solvable(model)
    usual, why = usual_solver(model)
    if _UNSERVED in model.programs:
        return usual, f"{why} An endogenous grid did not serve: {model.programs[_UNSERVED]}"
    if model.regimes is not None and not any(_may_save(graph.regime) for graph in model.graphs.values()):
        return usual, why
    if model.regimes is not None:
        return replace(usual, maximiser=ByStructure()), f"{why} Endogenous grids in regimes that allow them."
    grid = endogenous_grid(usual.prepare(model).plan)
    if grid is None:
        return usual, why
    solver = BackwardInduction(maximiser=grid) if model.clock.finite else ValueIteration(maximiser=grid)
    found = solver.prepare(model).numerics.maximiser
    how = f"{type(grid).__name__} for {found.action!r}, since tomorrow sees it through {found.post_decision!r} alone"
    return solver, f"{type(solver).__name__}: the horizon is {_horizon(model)}; {how}."


def usual_solver(model: Any) -> tuple[BellmanSolver, str]:
    """As `choose_solver`, without endogenous grids."""
    finite = model.clock.finite
    if model.regimes is not None:
        how = f"the horizon is {_horizon(model)}, and there are {len(model.graphs)} regimes."
        regimes: BellmanSolver = BackwardInduction() if finite else ValueIteration()
        return regimes, f"{type(regimes).__name__}: {how}"
    solver: BellmanSolver = BackwardInduction() if finite else PolicyIteration()
    numerics = solver.prepare(model).numerics
    name, interpolant = type(numerics.maximiser).__name__, type(numerics.interpolant).__name__
    how = f"{name} for the continuous actions" if numerics.plan.controls else "enumeration of the discrete actions"
    how += f", {interpolant} interpolation of V" if numerics.plan.lines else ""
    why = f"{type(solver).__name__}: the horizon is {_horizon(model)}; {how}."
    if numerics.plan.masking:
        why += f" Not Newton, which would be exact and quick: {masks(numerics.plan)} {advice(numerics.plan)}"
    return solver, why


def _may_save(regime: Any) -> bool:
    """Whether a regime has what an endogenous grid is about, one continuous state and one continuous action."""
    spaces = (getattr(regime, "states", {}), getattr(regime, "actions", {}))
    return all(sum(isinstance(space, Continuous) for space in own.values()) == 1 for own in spaces)


def _horizon(model: Any) -> str:
    return "finite" if model.clock.finite else "infinite"


def prepare(model: Any, solver: Solver | None) -> Any:
    """A model under a solver, or under the one that is chosen by its structure."""
    return check_solver(solver if solver is not None else choose_solver(model)[0]).prepare(model)


def check_solver(solver: Any) -> Solver:
    """The solver; ModelError for what is none."""
    if not isinstance(solver, Solver):
        raise ModelError(f"solver is {solver!r}; give one of bx.solvers, such as bx.solvers.BackwardInduction().")
    return solver


def check_bellman(solver: Any) -> BellmanSolver:
    """The solver; ModelError for what is none on a grid, of models in discrete time."""
    if check_solver(solver).flows:
        raise ModelError(f"{type(solver).__name__} is of continuous time, and this is of discrete time.")
    if not isinstance(solver, BellmanSolver):
        raise ModelError(
            f"{type(solver).__name__} has no grid, and this is done on one: use bx.solvers.ValueIteration()."
        )
    return solver


def with_horizon(model: Any, horizon: int) -> Model:
    """A model of infinite horizon over a number of periods, made once."""
    check_solvable(model)
    if model.clock.finite:
        raise ModelError(
            f"horizon= is for a model without end, and this one has horizon={model.horizon!r}. Leave it out."
        )
    if not isinstance(horizon, int):
        replace(model, horizon=horizon)  # which knows what a horizon is
    name = ("horizon", horizon)
    if name not in model.programs:
        model.programs[name] = replace(model, horizon=horizon)
    return model.programs[name]


def _check_progress(progress: Any, known: bool) -> None:
    if progress is None:
        return
    if not callable(progress):
        raise ModelError(f"progress is {progress!r}; give a function of a count of steps and a residual.")
    if not known:
        raise ModelError("progress= tells of a solve that runs; under a transformation of jax leave it out.")


def wait(solution: Any) -> None:
    """Waits for a solve in a way that Ctrl-C interrupts: the computation runs in the background meanwhile."""
    leaves = [leaf for leaf in jax.tree.leaves((solution.values, solution.code)) if isinstance(leaf, jax.Array)]
    pause, started = 0.0, time.perf_counter()
    while not all(leaf.is_ready() for leaf in leaves):  # type: ignore[attr-defined]
        time.sleep(pause)
        pause = 0.0 if time.perf_counter() - started < 0.05 else 0.01
