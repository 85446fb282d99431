"""Checks of numbers, before a solve: those that need no grid, where grids start, and memory."""

import math
import operator
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Bool

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.setting import Setting
from bellax.bellman.workload import Work, announce, estimated
from bellax.errors import ModelError
from bellax.model.demands import Demand
from bellax.model.quantity import ByPeriod
from bellax.model.spaces import Continuous
from bellax.numerics import grids, scales
from bellax.numerics.machine import physical_memory
from bellax.problem import checks
from bellax.problem.checks import Group
from bellax.problem.problem import Arguments

_NUDGE = 1e-3  # by which a row may be off under a transformation, where differences are taken in single entries


def check_arguments(setting: Setting, arguments: Arguments) -> None:
    """Raises ParameterError for numbers that make no model: explosive discounts, rows that do not sum to one.

    Args:
        arguments: concrete; under a transformation there is nothing to check.
    """
    problem = setting.problem
    checks.check(problem, [*checks.groups(problem), *_starts(setting.numerics)], arguments, setting.program)


def sound(numerics: Discretisation, arguments: Arguments) -> Bool[Array, ""]:
    """What `check_arguments` says of numbers, inside a program: whether they make a model.

    Rows of chains may be off by more there: differences are taken in single entries.
    """
    problem = numerics.problem
    return checks.sound(problem, [*checks.groups(problem, _NUDGE), *_starts(numerics)], arguments)


def _starts(numerics: Discretisation) -> list[Group]:
    """Where the grids of states start: a scale is defined from the first node on."""
    found = []
    for name, space in numerics.plan.continuous.items():
        grid, label = numerics.grid[name], f"state {name!r}"
        specs = grid if isinstance(grid, tuple) else (grid,) * space.size
        demands = [_start(spec, space, place) for place, spec in enumerate(specs)]
        asked = tuple(demand for demand in demands if demand is not None)
        found.append(Group(label, {"lower": f"lower:{name}"}, {"lower": label}, asked, last=True))
    return found


def _start(spec: Any, space: Continuous, place: int) -> Demand | None:
    """What the first node of a line must be; None where its scale is defined everywhere."""
    own = scales.linear if isinstance(spec, grids.Regular) else spec.scale
    scale = space.scale if own is None else scales.as_scale(own)
    if getattr(scale, "positive", False):
        fits, why = operator.gt, "a logarithm, which needs a positive lower bound"
    elif isinstance(scale, scales.Power):
        fits, why = operator.ge, "a power, which has no negative numbers"
    else:
        return None

    def first(lower: Any) -> Any:
        if isinstance(spec, grids.Given):
            return spec.nodes[0]
        return lower.__array_namespace__().broadcast_to(lower, space.shape).reshape(-1)[place]

    advice = "Use scale=bx.scales.asinh(unit) for a range that holds zero."
    return Demand(
        ("lower",),
        lambda lower: fits(first(lower), 0),
        lambda lower: f"starts at {first(lower):g} and its scale is {why}. {advice}",
    )


def check_memory(setting: Setting, arguments: Arguments) -> None:
    """Raises ModelError for what does not fit in the machine's memory, and says what will take long."""
    shapes = ("fits", *_shapes(setting, arguments))
    if shapes in setting.programs:
        return
    work = work_of(setting, arguments)
    _check_fits(setting.numerics, work)
    announce(setting.numerics, work)
    setting.programs[shapes] = True


def work_of(setting: Setting, arguments: Arguments) -> Work:
    """What a solve has to do, which is known once for all arguments of the same shapes."""
    name = ("work", *_shapes(setting, arguments))
    return setting.program(name, lambda: estimated(setting.numerics, arguments))


def _shapes(setting: Setting, arguments: Arguments) -> list[tuple[str, tuple[int, ...]]]:
    own = setting.problem.own(arguments)
    return [(name, np.shape(leaf)) for name, leaf in own.items() if not isinstance(leaf, ByPeriod)]


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
            "grid: bx.solvers.ILQG follows trajectories, EulerNet and PolicyGradient train nets."
        )
    if needed + passing > 0.8 * available:
        raise ModelError(
            f"memory={numerics.budget} lets a Bellman step have {passing:.3g} bytes ({passing / 2**30:.1f} GiB) "
            f"in flight, V takes {needed:.3g}, and this machine has {available:.3g} ({available / 2**30:.1f} GiB). "
            "Give a smaller memory=; the work is then cut in more chunks."
        )
