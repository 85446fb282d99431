"""Checks of numbers, before a solve: discounts, rows of chains, bounds of states, memory."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.setting import Setting
from bellax.bellman.workload import Work, announce, estimated
from bellax.errors import ModelError, ParameterError
from bellax.model.distribution import rounding
from bellax.model.quantity import ByPeriod
from bellax.model.spaces import AR1, IID, MarkovChain
from bellax.numerics import grids, scales
from bellax.numerics.machine import physical_memory
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem


def check_arguments(setting: Setting, arguments: Arguments) -> None:
    """Raises ParameterError for numbers that make no model: explosive discounts, rows that do not sum to one.

    Args:
        arguments: concrete; under a transformation there is nothing to check.
    """
    nodes = _checked(setting.plan)
    timed = _timed(setting.problem, arguments, nodes)
    for period, numbers in enumerate(_numbers(setting, arguments, nodes, timed)):
        where = f" in period {period}" if timed else ""
        _check_bounds(setting, numbers, where)
        if timed and period == setting.problem.clock.count:
            break  # after the last decision there is a grid, and nothing moves any more
        if "slot:discount" in numbers:
            _check_discount(setting, float(numbers["slot:discount"]), where)
        for name in setting.plan.processes:
            _check_process(setting, name, numbers, where, period == 0)
        for node in _computed(setting.plan):
            _check_slot(setting, node, numbers[node], where)


_NUDGE = 1e-3  # by which a row may be off under a transformation, where differences are taken in single entries


def sound(numerics: Discretisation, arguments: Arguments) -> Bool[Array, ""]:
    """What `check_arguments` says of numbers, inside a program: whether they make a model.

    A table of a `Markov` law is left out: to read it takes as long as to solve the model.
    """
    problem, plan = numerics.problem, numerics.plan
    still = [name for name in plan.shocks if not plan.moves(name)]
    nodes = [*_checked(plan), *(node for name in still for node in plan.shock_nodes(name))]

    def numbers_of(nodes: list[str], period: Any) -> dict[str, Array]:
        found = plan.graph.compose(nodes)(**problem.environment(arguments, period))
        return {node: jnp.asarray(value).astype(jnp.result_type(float)) for node, value in found.items()}

    def lines(period: Any) -> Bool[Array, ""]:
        numbers = numbers_of([f"{side}:{name}" for name in plan.continuous for side in ("lower", "upper")], period)
        return _all(
            _sound_line(numerics, name, numbers[f"lower:{name}"], numbers[f"upper:{name}"]) for name in plan.continuous
        )

    def at(period: Any) -> Bool[Array, ""]:
        numbers = numbers_of(nodes, period)
        given = lambda own: {node.rpartition(".")[2]: numbers[node] for node in own}  # noqa: E731
        fine = [lines(period)]
        fine += [_sound_process(plan.states[name], given(plan.process_nodes(name)), period) for name in plan.processes]
        fine += [plan.graph.regime.shocks[name].sound(**given(plan.shock_nodes(name))) for name in still]
        if "slot:discount" in numbers:
            discount = numbers["slot:discount"]
            fine.append((discount >= 0) & (problem.finite | (discount < 1)))
        return _all(fine)

    if not _timed(problem, arguments, nodes):
        return at(0)
    count = problem.clock.count  # after the last decision there is a grid, and nothing moves any more
    return jnp.all(jax.vmap(at)(jnp.arange(count, dtype=jnp.int32))) & lines(count)


def _all(fine: Iterable[Array]) -> Bool[Array, ""]:
    each = [jnp.all(entry) for entry in fine]
    return jnp.all(jnp.stack(each)) if each else jnp.ones((), bool)


def _sound_line(numerics: Discretisation, name: str, lower: Array, upper: Array) -> Bool[Array, ""]:
    space = numerics.plan.continuous[name]
    lower, upper = (jnp.broadcast_to(bound, space.shape).reshape(-1) for bound in (lower, upper))
    grid = numerics.grid[name]
    specs = grid if isinstance(grid, tuple) else (grid,) * space.size
    starts = [_starts(spec, space.scale, lower[k]) for k, spec in enumerate(specs)]
    return jnp.all(lower < upper) & jnp.all(jnp.stack(starts))


def _starts(spec: Any, declared: Any, lower: Array) -> Bool[Array, ""]:
    """Whether a scale is defined from the first node on."""
    scale = _scale(spec, declared)
    first = jnp.asarray(spec.nodes[0], float) if isinstance(spec, grids.Given) else lower
    if getattr(scale, "positive", False):
        return first > 0
    return first >= 0 if isinstance(scale, scales.Power) else jnp.ones((), bool)


def _scale(spec: Any, declared: Any) -> Any:
    own = scales.linear if isinstance(spec, grids.Regular) else spec.scale
    return declared if own is None else scales.as_scale(own)


def _sound_process(space: Any, given: dict[str, Array], period: Any) -> Bool[Array, ""]:
    if isinstance(space, MarkovChain):
        matrix, tolerance = given["transition"], max(space.row_tolerance, _NUDGE)
        return jnp.all(matrix >= -rounding(matrix.dtype)) & jnp.all(jnp.abs(jnp.sum(matrix, axis=-1) - 1) <= tolerance)
    if isinstance(space, AR1):
        most = jnp.where(jnp.asarray(period) == 0, 1.0, jnp.inf)  # period 0 is drawn from a stationary distribution
        return (jnp.abs(given["rho"]) < most) & (given["sigma"] >= 0)
    return space.distribution.sound(**given)


def _timed(problem: Problem, arguments: Arguments, nodes: list[str]) -> bool:
    """Whether the numbers of some nodes may differ from period to period."""
    graph = problem.plan.graph
    moves = any(isinstance(value, ByPeriod) for value in arguments.values())
    return problem.finite and (moves or any(graph.leaves(node, "clock") for node in nodes))


def _checked(plan: Plan) -> list[str]:
    """The nodes of the graph whose numbers are checked: none of them names a state."""
    random = plan.graph.leaves("slot:discount", "state", "action", "shock", "next")
    processes = [node for name in plan.processes for node in plan.process_nodes(name)]
    bounds = [f"{side}:{name}" for name in plan.continuous for side in ("lower", "upper")]
    return [*([] if random else ["slot:discount"]), *processes, *bounds, *_computed(plan)]


def _computed(plan: Plan) -> list[str]:
    """Parameters of shocks that functions compute without a state; what is a number was checked when it was given."""
    nodes = [node for name in plan.shocks if not plan.moves(name) for node in plan.shock_nodes(name)]
    quantities = {node: plan.graph.slots[node].quantity for node in nodes}
    return [node for node, q in quantities.items() if q.function is not None and not q.alias]


def _numbers(setting: Setting, arguments: Arguments, nodes: list[str], timed: bool) -> list[dict[str, np.ndarray]]:
    """The numbers of some nodes of the graph, one dict a period; one for all where they do not differ."""

    def at(arguments: Arguments, period: Any) -> dict[str, Any]:
        return setting.plan.graph.compose(nodes)(**setting.problem.environment(arguments, period))

    if not timed:
        # a number that was given is read, not computed: a composed function costs milliseconds, as much as a solve
        given = {node: _given(setting, arguments, node) for node in nodes}
        nodes = [node for node, value in given.items() if value is None]
        known = {node: value for node, value in given.items() if value is not None}
        if not nodes:
            return [known]
    with jax.ensure_compile_time_eval():
        if not timed:
            return [known | {node: np.asarray(value, float) for node, value in at(arguments, 0).items()}]
        compiled = setting.program("checked", lambda: jax.jit(jax.vmap(at, in_axes=(None, 0))))
        count = setting.problem.clock.count + 1
        found = jax.device_get(compiled(arguments, np.arange(count, dtype=np.int32)))
    return [{node: np.asarray(value[period], float) for node, value in found.items()} for period in range(count)]


def _given(setting: Setting, arguments: Arguments, node: str) -> np.ndarray | None:
    """The number of a node that is a literal or a parameter; None where it is a function."""
    quantity = setting.plan.graph.slots[node].quantity
    name = quantity.key if quantity.function is None else quantity.names[0] if quantity.alias else None
    return np.asarray(arguments[name], float) if name in arguments else None


def _check_discount(setting: Setting, discount: float, where: str) -> None:
    if not setting.problem.clock.finite and not discount < 1:
        raise ParameterError(
            f"discount is {discount:g} and the horizon is infinite; the value would be too. It must be below one."
        )
    if discount < 0:
        raise ParameterError(f"discount is {discount:g}{where}; it must not be negative.")


def _check_process(setting: Setting, name: str, numbers: dict[str, np.ndarray], where: str, first: bool) -> None:
    space = setting.plan.states[name]
    given = {node.rpartition(".")[2]: numbers[node] for node in setting.plan.process_nodes(name)}
    if isinstance(space, MarkovChain):
        _check_rows(name, space, given, where)
    elif isinstance(space, AR1):
        if not abs(given["rho"]) < (1 if first else np.inf):
            later = " It starts from its stationary distribution; where rho moves with time, later ones may be one."
            raise ParameterError(
                f"AR1 state {name!r} has rho = {given['rho']:g}{where}; a chain needs "
                f"{'|rho| < 1.' + later * setting.problem.clock.finite if first else 'a number.'}"
            )
        if not given["sigma"] >= 0:
            raise ParameterError(f"AR1 state {name!r} has sigma = {given['sigma']:g}{where}; it must not be negative.")
    elif isinstance(space, IID):
        for node in setting.plan.process_nodes(name):
            _check_slot(setting, node, numbers[node], where)


def _check_slot(setting: Setting, node: str, numbers: np.ndarray, where: str) -> None:
    """Raises ParameterError for what the slot itself complains of: negative spreads, probabilities that are none."""
    slot = setting.plan.graph.slots[node]
    wrong = slot.complaint(numbers) if slot.complaint is not None else None
    if wrong is not None:
        raise ParameterError(f"{slot.quantity.label}{where} {wrong}")


def _check_rows(name: str, space: MarkovChain, given: dict[str, Any], where: str) -> None:
    matrix = given["transition"]
    count = len(given["values"]) if "values" in given else len(space.labels or ())
    if matrix.shape != (count, count):
        raise ParameterError(
            f"transition of {name!r} has shape {matrix.shape}{where}; with {count} categories it must be "
            f"{(count, count)}."
        )
    if (matrix < -rounding()).any():
        row, column = np.argwhere(matrix < -rounding())[0]
        raise ParameterError(
            f"transition of {name!r} has the negative entry {matrix[row, column]:g} at [{row}, {column}]{where}."
        )
    off = np.abs(matrix.sum(axis=1) - 1)
    if off.max() > max(space.row_tolerance, rounding()):
        row = int(off.argmax())
        raise ParameterError(
            f"row {row} of the transition of {name!r} sums to {matrix[row].sum():.10g}{where}, not to one. Correct it, "
            f"or give MarkovChain(..., row_tolerance={10 ** math.ceil(math.log10(off.max())):g}) to use published "
            "numbers as they are."
        )


def _check_bounds(setting: Setting, numbers: dict[str, np.ndarray], where: str) -> None:
    for name, space in setting.plan.continuous.items():
        lower, upper = (np.broadcast_to(numbers[f"{side}:{name}"], space.shape) for side in ("lower", "upper"))
        if not np.all(lower < upper):
            raise ParameterError(
                f"state {name!r} runs from {lower} to {upper}{where}; the lower bound must be below the upper."
            )
        grid = setting.numerics.grid[name]
        specs = grid if isinstance(grid, tuple) else (grid,)
        for spec, least in zip(specs, np.ravel(lower), strict=True):
            _check_scale(name, spec, space.scale, float(least), where)


def _check_scale(name: str, spec: Any, declared: Any, lower: float, where: str) -> None:
    """A scale is defined from the first node on."""
    scale = _scale(spec, declared)
    first = spec.nodes[0] if isinstance(spec, grids.Given) else lower
    if getattr(scale, "positive", False) and not first > 0:
        raise ParameterError(
            f"state {name!r} starts at {first:g}{where} and its scale is a logarithm, which needs a positive lower "
            "bound. Use scale=bx.scales.asinh(unit) for a range that holds zero."
        )
    if isinstance(scale, scales.Power) and not first >= 0:
        raise ParameterError(
            f"state {name!r} starts at {first:g}{where} and its scale is a power, which has no negative numbers. Use "
            "scale=bx.scales.asinh(unit) for a range that holds zero."
        )


def check_memory(setting: Setting, arguments: Arguments) -> None:
    """Raises ModelError for what does not fit in the machine's memory, and says what will take long."""
    shapes = ("fits", *((name, np.shape(leaf)) for name, leaf in arguments.items() if not isinstance(leaf, ByPeriod)))
    if shapes in setting.programs:
        return
    work = estimated(setting.numerics, arguments)
    _check_fits(setting.numerics, work)
    announce(setting.numerics, work)
    setting.programs[shapes] = True


def _check_fits(numerics: Discretisation, work: Work) -> None:
    shape = work.states.values()
    clock = numerics.problem.clock
    periods = clock.count + 1 if clock.finite else 3
    (needed, passing), available = work.bytes, physical_memory()
    if needed > 0.8 * available:
        raise ModelError(
            f"the grid has {' x '.join(map(str, shape))} = {math.prod(shape):.3g} nodes; V and a table of look-ups "
            f"take {needed:.3g} bytes ({needed / 2**30:.1f} GiB) over {periods} periods, and this machine has "
            f"{available:.3g} ({available / 2**30:.1f} GiB). Give fewer nodes (grid=), or use a solver that needs no "
            "grid: trajectories (ILQG) or nets (PolicyGradient, EulerNet), which this version does not have yet."
        )
    if needed + passing > 0.8 * available:
        raise ModelError(
            f"memory={numerics.budget} lets a Bellman step have {passing:.3g} bytes ({passing / 2**30:.1f} GiB) "
            f"in flight, V takes {needed:.3g}, and this machine has {available:.3g} ({available / 2**30:.1f} GiB). "
            "Give a smaller memory=; the work is then cut in more chunks."
        )
