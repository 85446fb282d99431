"""Checks of numbers, before a solve: discounts, rows of chains, bounds of states, memory."""

import math
import os
from typing import Any

import jax
import numpy as np

from bellax.bellman.setting import Arguments, Setting
from bellax.errors import ModelError, ParameterError
from bellax.model.quantity import ByPeriod
from bellax.model.spaces import AR1, IID, MarkovChain


def check_arguments(setting: Setting, arguments: Arguments) -> None:
    """Raises ParameterError for numbers that make no model: explosive discounts, rows that do not sum to one.

    Args:
        arguments: concrete; under a transformation there is nothing to check.
    """
    timed = setting.model.clock.finite and any(isinstance(value, ByPeriod) for value in arguments.values())
    periods = [0] if not timed else range(setting.model.clock.count)
    for period in periods:
        where = f" in period {period}" if timed else ""
        read = _Reader(setting, arguments, period)
        _check_discount(setting, read, where)
        for name in setting.plan.processes:
            _check_process(setting, name, read, where)
        for name in setting.plan.continuous:
            _check_bounds(setting, name, read, where)


class _Reader:
    """Numbers of slots on the host: read where they are parameters or literals, computed where they are functions."""

    def __init__(self, setting: Setting, arguments: Arguments, period: int) -> None:
        self.setting, self.arguments, self.period = setting, arguments, period

    def __call__(self, node: str) -> np.ndarray:
        quantity = self.setting.plan.graph.slots[node].quantity
        name = quantity.key if quantity.function is None else quantity.names[0] if quantity.alias else None
        if name in self.arguments:
            value = self.arguments[name]
            return np.asarray(value.values[self.period] if isinstance(value, ByPeriod) else value, float)
        environment = self.setting.environment(self.arguments, self.period)
        return np.asarray(self.setting.plan.graph.compose([node])(**environment)[node], float)


def _check_discount(setting: Setting, read: _Reader, where: str) -> None:
    if setting.plan.graph.leaves("slot:discount", "state", "action", "shock", "next"):
        return
    discount = float(read("slot:discount"))
    if not setting.model.clock.finite and not discount < 1:
        raise ParameterError(
            f"discount is {discount:g} and the horizon is infinite; the value would be too. It must be below one."
        )
    if discount < 0:
        raise ParameterError(f"discount is {discount:g}{where}; it must not be negative.")


def _check_process(setting: Setting, name: str, read: _Reader, where: str) -> None:
    space = setting.plan.states[name]
    given = {node.rpartition(".")[2]: read(node) for node in setting.plan.process_nodes(name)}
    if isinstance(space, MarkovChain):
        _check_rows(name, space, given, where)
    elif isinstance(space, AR1):
        if not abs(given["rho"]) < 1:
            raise ParameterError(f"AR1 state {name!r} has rho = {given['rho']:g}{where}; a chain needs |rho| < 1.")
        if not given["sigma"] >= 0:
            raise ParameterError(f"AR1 state {name!r} has sigma = {given['sigma']:g}{where}; it must not be negative.")
    elif isinstance(space, IID) and "probabilities" in given and abs(given["probabilities"].sum() - 1) > 1e-8:
        raise ParameterError(f"IID state {name!r}: its probabilities sum to {given['probabilities'].sum():.10g}{where}.")


def _check_rows(name: str, space: MarkovChain, given: dict[str, Any], where: str) -> None:
    matrix = given["transition"]
    count = len(given["values"]) if "values" in given else len(space.labels or ())
    if matrix.shape != (count, count):
        raise ParameterError(
            f"transition of {name!r} has shape {matrix.shape}{where}; with {count} categories it must be {(count, count)}."
        )
    if (matrix < 0).any():
        row, column = np.argwhere(matrix < 0)[0]
        raise ParameterError(f"transition of {name!r} has the negative entry {matrix[row, column]:g} at [{row}, {column}]{where}.")
    off = np.abs(matrix.sum(axis=1) - 1)
    if off.max() > space.row_tolerance:
        row = int(off.argmax())
        raise ParameterError(
            f"row {row} of the transition of {name!r} sums to {matrix[row].sum():.10g}{where}, not to one. Correct it, or "
            f"give MarkovChain(..., row_tolerance={10 ** math.ceil(math.log10(off.max())):g}) to use published numbers as "
            "they are."
        )


def _check_bounds(setting: Setting, name: str, read: _Reader, where: str) -> None:
    space = setting.plan.continuous[name]
    lower, upper = (np.broadcast_to(read(f"{side}:{name}"), space.shape) for side in ("lower", "upper"))
    if not np.all(lower < upper):
        raise ParameterError(
            f"state {name!r} runs from {lower} to {upper}{where}; the lower bound must be below the upper one."
        )
    if getattr(space.scale, "positive", False) and not np.all(lower > 0):
        raise ParameterError(
            f"state {name!r} starts at {lower}{where} and its scale is a logarithm, which needs a positive lower bound. "
            "Use scale=bx.scales.asinh(unit) for a range that holds zero."
        )


def check_memory(setting: Setting, arguments: Arguments) -> None:
    """Raises ModelError for a grid whose value function does not fit in the machine's memory."""
    shapes = ("fits", *((name, np.shape(leaf)) for name, leaf in arguments.items() if not isinstance(leaf, ByPeriod)))
    if shapes in setting.programs:
        return
    _check_fits(setting, arguments)
    setting.programs[shapes] = True


def _check_fits(setting: Setting, arguments: Arguments) -> None:
    shape = mesh_shape(setting, arguments)
    periods = setting.model.clock.count + 1 if setting.model.clock.finite else 3
    needed = setting.bytes_of_value(shape, periods)
    available = _physical_memory()
    if needed > 0.8 * available:
        raise ModelError(
            f"the grid has {' x '.join(map(str, shape))} = {math.prod(shape):.3g} nodes; V alone takes {needed:.3g} bytes "
            f"({needed / 2**30:.1f} GiB) over {periods} periods, and this machine has {available:.3g} ({available / 2**30:.1f} "
            "GiB). Give fewer nodes (grid=), or use a solver that needs no grid: trajectories (ILQG) or nets "
            "(PolicyGradient, EulerNet), which this version does not have yet."
        )


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def mesh_shape(setting: Setting, arguments: Arguments) -> tuple[int, ...]:
    """Lengths of the axes of the mesh, without making it."""
    shaped = jax.eval_shape(lambda a: setting.mesh(setting.environment(a, 0)), arguments)
    return shaped.shape
