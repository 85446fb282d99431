"""Pictures of a solution: value and policy along one state, and what a simulation did over time.

The figure is a plain `matplotlib.figure.Figure`, made without pyplot: it opens no window and needs no display.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellax.equilibrium import Equilibrium
from bellax.errors import ModelError, check_names, named_arguments
from bellax.figures import draw_moments, draw_paths, draw_regimes, draw_shares
from bellax.flow_figures import draw_flows
from bellax.model.model import Model
from bellax.model.spaces import Continuous, Discrete, MarkovChain
from bellax.panel import Panel, RegimePanel
from bellax.population import Density
from bellax.problem.reading import check_period
from bellax.solution.flowing import FlowSolution
from bellax.solution.gridless import GridlessSolution
from bellax.solution.record import axis_states, mesh_nodes, moving_axes
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Solution

OneRegime = Solution | GridlessSolution
"""What has a value and a policy of its own, in discrete time."""
_POINTS = 200
_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#8d6a9f")
_DASHES = ("-", "--", ":")
_BARS = 12
_DECADES = 100.0


class Axis(NamedTuple):
    """The state along which is drawn.

    Attributes:
        state, component: its name, and which number of a vector; None for a number.
        labels: of the categories, where it is discrete.
        logarithmic: whether it is drawn by ratios: a logarithmic scale over more than two decades.
        label: what is written below the axis.
    """

    state: str
    component: int | None
    labels: tuple[str, ...] | None
    logarithmic: bool
    label: str


class Curve(NamedTuple):
    """One curve: a period, the states, of which one is an array, and how it is drawn; thinner ones lie upon thicker."""

    label: str
    period: int | None
    x: np.ndarray
    states: dict[str, Any]
    colour: str
    dash: str
    width: float


@named_arguments
def plot(
    solution: Solution
    | GridlessSolution
    | RegimeSolution
    | FlowSolution
    | Density
    | Equilibrium
    | Panel
    | RegimePanel
    | Model,
    panel: Any = None,
    *,
    along: str | None = None,
    periods: Sequence[int] | None = None,
    of: Any = None,
) -> Any:
    """Value and each action along one state, and simulated paths where a panel is given; of several regimes one row
    for each.

    `bx.plot(panel)` draws a panel alone, of one regime or several: means by age with bands, and shares of categories.
    `bx.plot(model, params)` draws who may follow whom among the regimes of a model. In continuous time a solution, a
    density and an equilibrium are drawn over one state or two, an equilibrium with its density.

    Curves differ in the period and in one further state, a discrete one first; other states are at their middle node.

    Args:
        solution: what `bx.solve` returned, or a panel, or a model of several regimes.
        panel: what `bx.simulate` returned; of a model, its parameters; of a `FlowSolution`, its density.
        along: the state on the horizontal axis; by default the first continuous one.
        periods: of a finite horizon, three at most; by default the first, the middle and the last decision.
        of: of a panel alone, what is drawn, as in `panel.moments`.
    Returns:
        A matplotlib Figure, to be saved by its `savefig`.
    Raises:
        ModelError: if `along` is no state.
    """
    if isinstance(solution, FlowSolution | Density | Equilibrium):
        return draw_flows(solution, panel, {"along": along, "periods": periods, "of": of})
    if isinstance(solution, Panel | RegimePanel):
        if panel is not None or along is not None or periods is not None:
            raise ModelError("plot: a panel alone takes of=, and neither panel=, along= nor periods=.")
        return draw_moments(solution, of)
    if isinstance(solution, Model):
        return draw_regimes(solution, panel)
    if of is not None:
        raise ModelError("plot: of= says what is drawn of a panel alone, bx.plot(panel, of=[...]).")
    if not isinstance(solution, Solution | GridlessSolution | RegimeSolution):
        raise ModelError(f"plot takes a Solution, not a {type(solution).__name__}.")
    solution.check_one()
    if panel is not None and not isinstance(panel, Panel):
        hint = ", which is drawn by itself: bx.plot(panel)" if isinstance(panel, RegimePanel) else ""
        raise ModelError(f"plot: panel is a {type(panel).__name__}{hint}; give what bx.simulate returned.")
    if panel is not None and (isinstance(solution, RegimeSolution) or panel.problem is not solution.setting.problem):
        raise ModelError("plot: the panel is of another model or solver; simulate the solution that is drawn.")
    shown = _shown(solution, along, periods) if isinstance(solution, RegimeSolution) else [(solution, along, periods)]
    from matplotlib.figure import Figure  # costs .4 s at import, and a solve does not need it

    rows = len(shown) + (panel is not None)
    columns = max(2, *(len(_panels(one)) + 1 for one, _, _ in shown))
    figure = Figure(figsize=(4.0 * columns, 3.4 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, which in zip(grid, shown, strict=False):
        _draw_row(list(row), *which)
    if panel is not None:
        _draw_panel(list(grid[-1]), shown[0][0], panel)
    return figure


def _shown(solution: RegimeSolution, along: str | None, periods: Sequence[int] | None) -> list[tuple[Any, ...]]:
    """The regimes that are drawn, each along its own state and in those periods in which it is active."""
    settings = {name: setting for name, setting in solution.settings.deciding.items() if setting.plan.states}
    check_names([along] if along else [], {n for own in settings.values() for n in own.plan.states}, "along: state")
    found = []
    for name, setting in settings.items():
        active = solution.model.active_periods.get(name)
        own = periods if periods is None or active is None else [t for t in periods if active[t]]
        if own is None or len(own) > 0:
            found.append((solution[name], along if along in setting.plan.states else None, own))
    if not found:
        raise ModelError("plot: no regime has a state along which it could be drawn and exists in one of the periods.")
    return found


def _draw_row(row: Sequence[Any], solution: OneRegime, along: str | None, periods: Sequence[int] | None) -> None:
    """Value and actions of one regime, beside each other."""
    nodes, names = _nodes(solution), _panels(solution)
    axis = _axis(solution, nodes, along)
    curves = _curves(solution, nodes, axis, _periods(solution, periods))
    _draw_value(row[0], solution, axis, curves)
    for place, name in zip(row[1:], names, strict=False):
        _draw_action(place, solution, axis, curves, name)
    for place in row[1 + len(names) :]:
        place.set_visible(False)
    if len(curves) > 1:
        row[0].legend(fontsize="small", frameon=False)
    row[0].set_title(solution.setting.problem.regime, loc="left")


# -- what is drawn ----------------------------------------------------------------------------------------------------


def _nodes(solution: OneRegime) -> dict[str, list[np.ndarray]]:
    """Nodes of every state, one array for each of its numbers, shape (t, n); t is one where they do not move."""
    setting = solution.setting
    moving = moving_axes(setting.problem, solution.arguments)
    found: dict[str, list[np.ndarray]] = {name: [] for name in setting.plan.states}
    along = mesh_nodes(setting, solution.arguments)
    for state, (axis, array) in zip(axis_states(setting.problem), along.items(), strict=True):
        found[state].append(array if axis in moving else array[None])
    return found


def _periods(solution: OneRegime, given: Sequence[int] | None) -> Sequence[int | None]:
    clock = solution.model.clock
    if not clock.finite:
        return [None]
    if given is None:
        everywhere = (True,) * clock.count
        active = np.flatnonzero(solution.model.active_periods.get(solution.setting.problem.regime, everywhere)).tolist()
        given = (active[0], active[len(active) // 2], active[-1])
    for period in given:
        check_period(solution.setting.problem.clock, period, None, last=False)
    if len(set(given)) > len(_DASHES):
        raise ModelError(f"plot: periods has {len(set(given))} entries; give {len(_DASHES)} at most.")
    return list(dict.fromkeys(int(period) for period in given))


def _axis(solution: OneRegime, nodes: Mapping[str, list[np.ndarray]], along: str | None) -> Axis:
    states = solution.setting.plan.states
    if along is not None:
        check_names([along], states, "along: state")
        name = along
    else:
        numbers = [name for name, space in states.items() if isinstance(space, Continuous)]
        smooth = [name for name, space in states.items() if not isinstance(space, Discrete | MarkovChain)]
        name = next(iter((*numbers, *smooth, *states)))
    space = states[name]
    labels = space.labels if isinstance(space, Discrete | MarkovChain) else None
    logarithmic = isinstance(space, Continuous) and getattr(space.scale, "positive", False)
    logarithmic = logarithmic and nodes[name][0].max() > _DECADES * nodes[name][0].min()
    component = 0 if isinstance(space, Continuous) and space.shape != () else None
    label = f"{name}[0]" if component is not None else name
    return Axis(name, component, labels, logarithmic, label)


def _curves(
    solution: OneRegime, nodes: Mapping[str, list[np.ndarray]], axis: Axis, periods: Sequence[int | None]
) -> list[Curve]:
    other, places = _second(solution, nodes, axis)
    curves = []
    for (style, period), (shade, place) in itertools.product(enumerate(periods), enumerate(places)):
        now = {state: [a[min(period or 0, len(a) - 1)] for a in arrays] for state, arrays in nodes.items()}
        x = _points(now[axis.state][axis.component or 0], axis)
        states = _states(solution, now, axis, x, {other: place} if other else {})
        parts = [] if period is None or len(periods) == 1 else [_when(solution, period)]
        parts += [f"{other} = {_category(solution, other, now[other][0][place], place)}"] if other else []
        colour = _COLOURS[(shade if other else style) % len(_COLOURS)]
        dash, rank = (_DASHES[style], shade) if other else ("-", style)
        curves.append(Curve(", ".join(parts), period, x, states, colour, dash, 2.6 - 0.6 * rank))
    return curves


def _second(solution: OneRegime, nodes: Mapping[str, list[np.ndarray]], axis: Axis) -> tuple[str | None, list[int]]:
    """A further state that curves differ in, and the places of its values along its axis."""
    states = {name: space for name, space in solution.setting.plan.states.items() if name != axis.state}
    discrete = [name for name, space in states.items() if isinstance(space, Discrete | MarkovChain)]
    scalars = [name for name in states if len(nodes[name]) == 1 and nodes[name][0].ndim == 2]
    for name in (*discrete, *scalars):
        last = nodes[name][0].shape[1] - 1
        spread = last * np.array([0.1, 0.5, 0.9])
        if name in discrete:
            spread = np.linspace(0, last, min(last + 1, len(_COLOURS)))
        if last > 0:
            return name, list(dict.fromkeys(int(place) for place in np.round(spread)))
    return None, [0]


def _points(nodes: np.ndarray, axis: Axis) -> np.ndarray:
    """Points along the axis: its categories, or as many as make a smooth line, spaced like the nodes."""
    if axis.labels is not None or nodes.ndim > 1:
        return nodes
    return np.interp(np.linspace(0, len(nodes) - 1, _POINTS), np.arange(len(nodes)), nodes)


def _states(
    solution: OneRegime, now: Mapping[str, list[np.ndarray]], axis: Axis, x: np.ndarray, places: Mapping[str, int]
) -> dict[str, Any]:
    """Every state for a query along the axis: x, the places that are given, and middle nodes."""
    states: dict[str, Any] = {}
    for name, space in solution.setting.plan.states.items():
        if isinstance(space, Continuous) and space.shape != ():
            value = np.tile([line[len(line) // 2] for line in now[name]], (len(x), 1))
            if name == axis.state:
                value[:, 0] = x
            states[name] = value.reshape(len(x), *space.shape)
        else:
            own = now[name][0]
            states[name] = x if name == axis.state else own[places.get(name, len(own) // 2)]
    return states


def _when(solution: OneRegime, period: int) -> str:
    clock = solution.model.clock
    aged = (clock.first, clock.years) != (0.0, 1.0)
    return f"age {clock.age(period):g}" if aged else f"period {period}"


def _category(solution: OneRegime, name: str, value: Any, place: int) -> str:
    space = solution.setting.plan.states[name]
    labels = space.labels if isinstance(space, Discrete | MarkovChain) else None
    return labels[place] if labels is not None else f"{value:.3g}"


def _panels(solution: OneRegime) -> list[str]:
    plan = solution.setting.plan
    return [*plan.actions, *(["stop"] if plan.evaluate_stop is not None else [])]


# -- drawing ----------------------------------------------------------------------------------------------------------


def _draw_value(place: Any, solution: OneRegime, axis: Axis, curves: Sequence[Curve]) -> None:
    for index, curve in enumerate(curves):
        y = np.asarray(solution.value(**_when_asked(curve), **curve.states))
        _draw(place, axis, curve, y, (index, len(curves)))
    _dress(place, axis, "value")


def _draw_action(place: Any, solution: OneRegime, axis: Axis, curves: Sequence[Curve], name: str) -> None:
    if name == "stop":
        _draw_region(place, solution, axis, curves)
        return
    space, low, high = solution.setting.plan.actions[name], np.inf, -np.inf
    for index, curve in enumerate(curves):
        y = np.asarray(solution.policy(**_when_asked(curve), **curve.states)[name])
        if isinstance(space, Discrete):
            code = np.argmin(np.abs(y[:, None] - np.asarray(space.values)), axis=1)
            dodge = 0.06 * (index - (len(curves) - 1) / 2)
            _draw_steps(place, axis, curve, code + dodge)
        else:
            y = y.reshape(len(curve.x), -1)[:, 0]
            _draw(place, axis, curve, y, (index, len(curves)))
            low, high = min(low, np.nanmin(y)), max(high, np.nanmax(y))
    _dress(place, axis, f"{name}[0]" if isinstance(space, Continuous) and space.shape != () else name)
    if axis.logarithmic and 0 < low * _DECADES < high < np.inf:
        place.set_yscale("log")
        place.minorticks_off()
    if isinstance(space, Discrete):
        place.set_yticks(range(space.size), space.labels)
        place.set_ylim(-0.5, space.size - 0.5)


def _when_asked(curve: Curve) -> dict[str, int]:
    return {} if curve.period is None else {"period": curve.period}


def _draw(place: Any, axis: Axis, curve: Curve, y: np.ndarray, which: tuple[int, int]) -> None:
    """A line; along a few categories, bars beside those of the other curves."""
    y = np.where(np.isfinite(y), y, np.nan)
    index, count = which
    if axis.labels is None:
        place.plot(curve.x, y, curve.dash, color=curve.colour, linewidth=curve.width, label=curve.label)
    elif len(axis.labels) <= _BARS:
        width = 0.8 / count
        left = np.arange(len(y)) - 0.4 + width * (index + 0.5)
        hatch = {"-": None, "--": "//", ":": ".."}[curve.dash]
        place.bar(left, y, width, color=curve.colour, label=curve.label, hatch=hatch, edgecolor="white")
    else:
        _draw_steps(place, axis, curve, y)


def _draw_steps(place: Any, axis: Axis, curve: Curve, y: np.ndarray) -> None:
    if axis.labels is not None and len(axis.labels) <= _BARS:
        place.plot(np.arange(len(y)), y, "o", color=curve.colour, label=curve.label)
        return
    x = curve.x if axis.labels is None else np.arange(len(y))
    place.plot(x, y, curve.dash, color=curve.colour, label=curve.label, drawstyle="steps-mid")


def _dress(place: Any, axis: Axis, label: str) -> None:
    place.set_xlabel(axis.label)
    place.set_ylabel(label)
    place.grid(alpha=0.25)
    if axis.logarithmic:
        place.set_xscale("log")
        place.minorticks_off()
    if axis.labels is not None and len(axis.labels) <= _BARS:
        place.set_xticks(range(len(axis.labels)), axis.labels)


def _draw_region(place: Any, solution: OneRegime, axis: Axis, curves: Sequence[Curve]) -> None:
    """Where stopping is optimal: over periods and the axis with a finite horizon, else along the axis."""
    clock, first = solution.model.clock, curves[0]
    periods = np.unique(np.linspace(0, clock.count - 1, 60).astype(int)) if clock.finite else np.zeros(1, int)
    rows = []
    for period in periods:
        asked = {"period": int(period)} if clock.finite else {}
        rows.append(np.asarray(solution.policy(**asked, **first.states)["stop"], float))
    x = first.x if axis.labels is None else np.arange(len(first.x))
    region = np.stack(rows)
    height = periods if len(periods) > 1 else np.array([0, 1])
    region = region if len(periods) > 1 else np.repeat(region, 2, axis=0)
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    shades = ("#e8eef3", _COLOURS[1])
    place.pcolormesh(x, height, region, cmap=ListedColormap(shades), vmin=0, vmax=1, shading="nearest", rasterized=True)
    handles = [Patch(color=shades[0], label="continue"), Patch(color=shades[1], label="stop")]
    place.legend(
        handles=handles, fontsize="small", ncols=2, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    _dress(place, axis, "period" if len(periods) > 1 else "stop")
    place.grid(False)
    if len(periods) == 1:
        place.set_yticks([])


def _draw_panel(places: Sequence[Any], solution: OneRegime, panel: Any) -> None:
    """Over time: bands of quantiles, the median and three paths of a number; shares of categories."""
    clock, plan = solution.model.clock, solution.setting.plan
    aged = (clock.first, clock.years) != (0.0, 1.0)
    time = clock.age(np.arange(panel.periods)) if aged else np.arange(panel.periods)
    spaces = {**plan.states, **plan.actions}
    known = {name: array for name, array in {**panel.states, **panel.actions}.items() if name in spaces}
    active = np.asarray(panel.active)
    for place, (name, array) in zip(places, known.items(), strict=False):
        paths, space = np.asarray(array), spaces[name]
        if isinstance(space, Discrete | MarkovChain) and space.labels is not None:
            draw_shares(place, time, paths, active, space)
            place.set_ylabel(f"share by {name}")
        else:
            draw_paths(place, time, paths.reshape(*active.shape, -1)[..., 0], active)
            place.set_ylabel(f"{name}[0]" if paths.ndim > 2 else name)
        place.set_xlabel("age" if aged else "period")
        place.grid(alpha=0.25)
    for place in places[len(known) :]:
        place.set_visible(False)
