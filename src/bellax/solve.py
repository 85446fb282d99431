"""The front door: check what was asked, choose what was not, compile once, run, and say how it ended."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.checks import check_arguments, check_memory, sound
from bellax.bellman.chunks import Node, over_mesh
from bellax.bellman.continuation import Value
from bellax.bellman.diagnosis import first_failure
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.options import complete_maximiser, key
from bellax.bellman.setting import Setting
from bellax.bellman.sweep import value_and_slopes
from bellax.bellman.workload import mesh_shape
from bellax.errors import ModelError, SolveError, check_names, named_arguments
from bellax.model.conditions import Conditions
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.model.spaces import agree
from bellax.numerics.programs import quickly_at_first
from bellax.numerics.scalar import put
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments
from bellax.solution.policy import Policy
from bellax.solution.solution import Result, Solution
from bellax.solvers.backward_induction import BackwardInduction
from bellax.solvers.common import Solver, blanked
from bellax.solvers.driver import Run, drive
from bellax.solvers.policy_iteration import PolicyIteration
from bellax.solvers.progress import listening, report

_LOG = logging.getLogger("bellax")


@named_arguments
def solve(
    model: Model,
    params: Mapping[str, Any],
    solver: Solver | None = None,
    *,
    horizon: int | None = None,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
) -> Solution:
    """Solves a model for given parameters.

    Args:
        model: what to solve.
        params: parameters by name; a pytree that may be traced by `jit`, `grad` and `vmap`.
        solver: one of `bx.solvers`; chosen by the structure of the model where absent. `print(solution)` says which,
            `choose_solver` also why, and the logger `bellax` at level INFO both.
        horizon: a number of periods to solve a model of infinite horizon for.
        terminal: a solution whose value is the value after the last decision.
        throw: whether to raise where the solve fails; else the `result` says so. Under a transformation nothing raises.
        progress: called with the count of steps done and a residual; what it raises is raised when the solve is over.
    Raises:
        ModelError: if the solver cannot solve such a model.
        ParameterError: if the parameters do not fit.
        SolveError: if the solve fails; the message says where.
    """
    check_solvable(model)
    if horizon is not None:
        model = with_horizon(model, horizon)
    if solver is None:
        solver, why = choose_solver(model)
        _LOG.info("solved by %s", why)
    setting = setting_of(model, solver)
    return run(setting, setting.arguments(params), terminal, throw, progress)


def run(
    setting: Setting,
    arguments: Arguments,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
) -> Solution:
    """Checks arguments, solves, and explains what failed; see `solve`."""
    if not _traced(arguments):
        check_arguments(setting, arguments)
        check_memory(setting, arguments)
    final = None if terminal is None else _final(setting, arguments, terminal)
    _check_progress(progress, _traced((arguments, final)))
    started = time.perf_counter()
    with listening(progress) as ticket:
        traced = _traced((arguments, final))
        sane = sound_of(setting, arguments) if traced else np.asarray(True)
        little = not traced and setting.program("little", lambda: _little(setting.numerics, arguments))
        compiled = _program(setting, final is not None, progress is not None, little)
        solution = compiled(arguments, final, ticket, sane)
        if _traced(solution):
            return blank(solution)
        wait(solution)
    if throw and solution.result != Result.successful:
        raise SolveError(_explain(setting, solution))
    if throw and _worthless(solution):
        raise SolveError(
            "V is minus infinity at every node. Likely causes: a reward of minus infinity that no action avoids, or a "
            "grid with a node of minus infinity, such as log 0, that every state may move next to: a cell with such a "
            "node is minus infinity. Raise the lower bound of the state, or that of the action."
        )
    if solution.leaving():
        _LOG.info("%s Wider bounds, or a scale in which V is nearly a straight line, help.", solution.leaving().strip())
    seconds = put(time.perf_counter() - started, jnp.result_type(float))
    return replace(solution, stats={**solution.stats, "seconds": seconds})


def compile(model: Model, solver: Solver | None = None) -> Callable[[Mapping[str, Any]], Solution]:  # noqa: A001
    """A pure function from parameters to a `Solution`, which never traces twice for the same shapes.

    Names and shapes of parameters are checked. What their numbers get wrong (a discount above one, rows of a chain)
    raises nothing, nor does a failed solve: it is NaN with its `result`.
    """
    solver = choose_solver(model)[0] if solver is None else solver
    setting = setting_of(model, solver)
    compiled = _program(setting, False, False, little=False)

    def solved(params: Mapping[str, Any]) -> Solution:
        arguments = setting.arguments(params)
        return blank(compiled(arguments, None, np.asarray(0), sound_of(setting, arguments)))

    return solved


def _traced(tree: Any) -> bool:
    """True under a transformation."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def sound_of(setting: Setting, arguments: Arguments) -> Array:
    """Whether numbers make a model: what `check_arguments` raises for where they are known."""
    return setting.program("sound", lambda: jax.jit(partial(sound, setting.numerics)))(arguments)


def blank(solution: Solution) -> Solution:
    """The solution, or NaN everywhere after a failure: what a transformation gets, where nothing can raise."""
    values = blanked(solution.values, solution.code)
    return replace(solution, values=values)


def choose_solver(model: Model) -> tuple[Solver, str]:
    """The solver that `solve` takes by itself, and why."""
    check_solvable(model)
    plan = Plan(model.graph)
    chosen = type(complete_maximiser(plan, None)).__name__
    how = f"{chosen} for the continuous actions" if plan.controls else "enumeration of the discrete actions"
    if model.clock.finite:
        return BackwardInduction(), f"BackwardInduction: the horizon is finite; {how}."
    return PolicyIteration(), f"PolicyIteration: the horizon is infinite; {how}."


def setting_of(model: Model, solver: Solver) -> Setting:
    """The numerics of a model under a solver, made once for equal configurations and kept on the model."""
    check_solvable(model)
    check_solver(solver)
    name = ("setting", key(solver))
    if name not in model.programs:
        setting = Setting(model, solver)
        solver.check(setting.problem)
        model.programs[name] = setting
    return model.programs[name]


def check_solver(solver: Any) -> None:
    """Raises ModelError for what is no solver."""
    if not isinstance(solver, Solver):
        raise ModelError(f"solver is {solver!r}; give one of bx.solvers, such as bx.solvers.BackwardInduction().")


def check_solvable(model: Any) -> None:
    """Raises ModelError for what this version does not solve."""
    if isinstance(model, DiffusionModel | Conditions):
        raise ModelError(
            f"a {type(model).__name__} can be stated and printed; this version of bellax does not solve it."
        )
    if not isinstance(model, Model):
        raise ModelError(f"solve takes a bx.Model, not {model!r}.")
    regime = model.graph.regime
    for what in ("preferences", "taste_shocks"):
        if getattr(regime, what) is not None:
            raise ModelError(
                f"the model has {what.replace('_', ' ')} {getattr(regime, what)!r}, which can be stated; the solvers "
                "of this version take expected utility without taste shocks."
            )
    if not model.clock.finite:
        for node, slot in model.graph.slots.items():
            named = {"period", "age"} & set(slot.quantity.names)
            if named:
                raise ModelError(f"{slot.quantity.label} names {named.pop()!r}, and the horizon is infinite ({node}).")


def with_horizon(model: Model, horizon: int) -> Model:
    """A model of infinite horizon over a number of periods, made once."""
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


def _check_progress(progress: Any, traced: bool) -> None:
    if progress is None:
        return
    if not callable(progress):
        raise ModelError(f"progress is {progress!r}; give a function of a count of steps and a residual.")
    if traced:
        raise ModelError("progress= tells of a solve that runs; under a transformation of jax leave it out.")


_LITTLE = 3_000_000
"""Evaluations of Q in a solve up to which it is over sooner than it is compiled well."""

_STEPS = 30
"""Bellman steps that a stationary model counts for: whether there will be ten or a hundred, nobody knows before."""


def _little(numerics: Discretisation, arguments: Arguments) -> bool:
    """Whether quick code pays for the first solves."""
    clock = numerics.problem.clock
    shocks = jax.eval_shape(numerics.shock_nodes, arguments).values()
    nodes = math.prod(mesh_shape(numerics, arguments)) * math.prod(rule.weights.shape[0] for rule in shocks)
    periods = clock.count if clock.finite else _STEPS
    return nodes * cells(numerics.maximiser, numerics.plan) * periods <= _LITTLE


def _program(setting: Setting, given_final: bool, told: bool, little: bool) -> Callable[..., Solution]:
    """The compiled solve. Arguments go around the compiled program, which would copy them to its outputs."""
    solver: Any = setting.options

    def run(arguments: Arguments, final: Value | None, ticket: Array, sane: Array) -> Run:
        setting.programs["traces"] = setting.programs.get("traces", 0) + 1
        iteration = solver.iteration(setting.numerics, arguments, final, sane)
        found = drive(iteration, report(ticket) if told else None)
        return found._replace(code=jnp.where(sane, found.code, int(Result.nonfinite)).astype(jnp.int32))

    compiled = setting.program(("solve", given_final, told, little), lambda: quickly_at_first(run, little))

    def solved(arguments: Arguments, final: Value | None, ticket: np.ndarray, sane: Any) -> Solution:
        found = compiled(arguments, final, ticket, sane)
        return Solution(arguments=arguments, values=found.values, code=found.code, stats=found.stats, setting=setting)

    return solved


def _final(setting: Setting, arguments: Arguments, terminal: Solution) -> Value:
    """The value of another solution, at its first period, and its slopes on this one's last mesh."""
    if not isinstance(terminal, Solution):
        raise ModelError(f"terminal is {terminal!r}; give the Solution whose value follows the last decision.")
    if setting.plan.evaluate_terminal is not None:
        raise ModelError(
            "the model has a terminal value of its own; solve without terminal=, or remove it from the model."
        )
    if not setting.problem.finite:
        raise ModelError("terminal= is the value after the last decision; the horizon is infinite: give horizon= too.")
    terminal.check_one()
    if not _traced(terminal.code) and np.any(np.asarray(terminal.code) != int(Result.successful)):
        raise ModelError(f"the terminal solution ended as {terminal.result!r}; its value is none to go on from.")
    check_names(terminal.setting.plan.states, setting.plan.states, "state of the terminal solution")
    for name, space in terminal.setting.plan.states.items():
        if not agree(space, setting.plan.states[name]):
            raise ModelError(f"state {name!r} of the terminal solution has other categories, or another shape.")
    build = lambda: jax.jit(partial(_on_last_mesh, setting.numerics))  # noqa: E731
    return setting.program(("final", terminal.setting.numerics), build)(arguments, terminal.pointwise)


def _on_last_mesh(numerics: Discretisation, arguments: Arguments, terminal: Policy) -> Value:
    """The value that another policy has at its first period, on the last mesh."""
    mesh, rule = numerics.mesh(arguments, numerics.problem.clock.count), terminal.rule(0)

    def at(node: Node) -> Value:
        value = lambda coordinates: rule(mesh.point(node.codes, coordinates).values).value  # noqa: E731
        return Value(*value_and_slopes(value, node.coordinates, numerics.interpolant.needs_slopes))

    other = terminal.numerics
    return over_mesh(at, mesh, cells(other.maximiser, other.problem.plan), numerics.memory)


def wait(solution: Solution) -> None:
    """Waits for a solve in a way that Ctrl-C interrupts: the computation runs in the background meanwhile."""
    leaves = [leaf for leaf in jax.tree.leaves(solution.values) if isinstance(leaf, jax.Array)]
    pause, started = 0.0, time.perf_counter()
    while not all(leaf.is_ready() for leaf in leaves):  # type: ignore[attr-defined]
        time.sleep(pause)
        pause = 0.0 if time.perf_counter() - started < 0.05 else 0.01


def _worthless(solution: Solution) -> bool:
    """Whether V is minus infinity at every node at which something was decided."""
    shape = solution.values.levels.shape
    decided = (shape[0] - 1, *shape[1:]) if solution.model.clock.finite else shape
    return int(solution.stats["infinite_nodes"]) == math.prod(decided)


def _explain(setting: Setting, solution: Solution) -> str:
    result = Result(int(solution.code))
    if result == Result.max_steps_reached:
        steps, residual = int(solution.stats["steps"]), float(solution.stats["residual"])
        options: Any = setting.options
        other = "" if isinstance(options, PolicyIteration) else ", or use bx.solvers.PolicyIteration"
        left = solution.leaving()
        left = f"{left} Wider bounds, or a scale in which V is nearly a straight line, may help." if left else ""
        if setting.follows:
            return (
                f"the value of the rule is not found after {steps} steps (max_steps={options.max_steps}): the last "
                f"change was {residual:.3g}, and tolerance={options.tolerance:g}.{left} Likely causes: following the "
                "rule leads away faster than rewards are discounted, so that it has no value; a discount near one; an "
                "interpolant that does not contract (try bx.interpolants.Linear()). `throw=False` gives what there is."
            )
        return (
            f"not converged after {steps} steps (max_steps={options.max_steps}): the last change of V was "
            f"{residual:.3g}, and tolerance={options.tolerance:g}.{left} Likely causes: a tolerance below rounding, a "
            f"discount near one (raise max_steps={other}), an interpolant that does not contract (try "
            "bx.interpolants.Linear()), or a maximiser that jumps between local maxima (more candidates in its grid=). "
            "`throw=False` returns what there is, with its `result`."
        )
    return first_failure(setting.numerics, solution.arguments, solution.values)
