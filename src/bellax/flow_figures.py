"""Figures of continuous time: value, policy and density over the states, and the search for prices.

Along one continuous state there is a line for each category of the chains; over two a map, and a row for each. All is
drawn in the coordinates of the states' scales, and of further continuous states at their middle, a density summed over
them.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.equilibrium import Equilibrium
from bellax.errors import ModelError
from bellax.numerics.scales import Linear
from bellax.population import Density
from bellax.population.density import ATOM
from bellax.solution.flowing import FlowSolution

_COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#8d6a9f")
_CATEGORIES = 4
_TICKS = 5
_LEVELS = 24
_SEEN = 1e-4  # of all mass, what may lie beyond either end of a density that is drawn


class Along(NamedTuple):
    """A continuous state that is drawn along.

    Attributes:
        name: of the state.
        axis: its place among the states.
        nodes, coordinates: in units of the state, and of its scale.
        scale: of the state.
    """

    name: str
    axis: int
    nodes: np.ndarray
    coordinates: np.ndarray
    scale: Any


class Category(NamedTuple):
    """One combination of categories of the chains: what it is called, and its place along every axis."""

    label: str
    places: Mapping[int, int]


class Scene(NamedTuple):
    """What is drawn over: one continuous state or two, and which categories."""

    along: tuple[Along, ...]
    categories: tuple[Category, ...]


Panel = tuple[str, Callable[[Any, Scene, Category, str], None]]


def draw_flows(found: FlowSolution | Density | Equilibrium, density: Any, others: Mapping[str, Any]) -> Any:
    """A solution, with a density of it where one is given; a density; an equilibrium with its density and the way to
    its prices where that is known.

    Args:
        others: options that mean nothing here, and are None.
    Returns:
        A matplotlib Figure.
    """
    for name, value in others.items():
        if value is not None:
            raise ModelError(f"plot: {name}= is of discrete time; in continuous time leave it out.")
    if density is not None and not (isinstance(found, FlowSolution) and isinstance(density, Density)):
        raise ModelError(
            f"plot: beside a {type(found).__name__} stands a {type(density).__name__}; a FlowSolution takes a Density "
            "of it, and nothing else takes anything."
        )
    if isinstance(found, Equilibrium):
        return _of_equilibrium(found)
    if isinstance(found, Density):
        return _drawn(_scene(found.solution), [_of_density(found)], [])
    return _drawn(_scene(found), [*_of_solution(found), *([] if density is None else [_of_density(density)])], [])


def _of_equilibrium(found: Equilibrium) -> Any:
    scene, path = _scene(found.solution), found.path
    figure = _drawn(scene, [*_of_solution(found.solution), _of_density(found.density)], list(path.items()))
    prices = ", ".join(f"{name} = {float(value):.7g}" for name, value in found.unknowns.items())
    figure.suptitle(prices, x=0.01, ha="left", fontsize="medium")
    return figure


def at_nodes(solution: FlowSolution) -> dict[str, np.ndarray]:
    """Value and actions at the nodes, an axis for each state in their order; of a finite horizon, at its beginning."""
    nodes = solution.nodes()
    laid = np.meshgrid(*(np.asarray(values) for values in nodes.values()), indexing="ij")
    states = {name: own.reshape(-1) for name, own in zip(nodes, laid, strict=True)}
    states |= {"time": np.zeros(laid[0].size)} if solution.setting.flow.timed else {}
    found = {"value": solution.value(**states), **solution.policy(**states)}
    return {name: np.asarray(values).reshape(laid[0].shape) for name, values in found.items()}


# -- what is drawn -----------------------------------------------------------------------------------------------------


def _scene(solution: FlowSolution) -> Scene:
    flow, nodes = solution.setting.flow, {n: np.asarray(values) for n, values in solution.nodes().items()}
    names = list(nodes)
    if solution.code.ndim or not flow.continuous:
        raise ModelError("plot draws one solution, of a model with a continuous state.")
    along = []
    for name in flow.continuous[:2]:
        scale: Any = flow.spaces[name].scale  # type: ignore[union-attr]
        along.append(
            Along(name, names.index(name), nodes[name], np.asarray(scale.forward(jnp.asarray(nodes[name]))), scale)
        )
    middle = {names.index(name): len(nodes[name]) // 2 for name in flow.continuous[2:]}
    each = [[(name, place) for place in _spread(len(nodes[name]))] for name in flow.chains]
    categories = [
        Category(
            ", ".join(f"{name} = {_named(flow.spaces[name], nodes[name], place)}" for name, place in combination),
            middle | {names.index(name): place for name, place in combination},
        )
        for combination in itertools.product(*each)
    ]
    return Scene(tuple(along), tuple(categories[:_CATEGORIES]))


def _spread(count: int) -> list[int]:
    """Places of a few categories among many."""
    return sorted({int(place) for place in np.round(np.linspace(0, count - 1, min(count, _CATEGORIES)))})


def _named(space: Any, values: np.ndarray, place: int) -> str:
    return space.labels[place] if space.labels is not None else f"{values[place]:.3g}"


def _of_solution(solution: FlowSolution) -> list[Panel]:
    tables = at_nodes(solution)

    def panel(table: np.ndarray) -> Callable[[Any, Scene, Category, str], None]:
        def draw(place: Any, scene: Scene, category: Category, colour: str) -> None:
            shown = _cut(np.where(np.isfinite(table), table, np.nan), scene, category.places)
            if len(scene.along) == 1:
                place.plot(scene.along[0].coordinates, shown, color=colour, label=category.label)
            else:
                _map(place, scene, shown)

        return draw

    return [(name, panel(table)) for name, table in tables.items()]


def _of_density(density: Density) -> Panel:
    flow = density.solution.setting.flow
    summed = tuple(list(flow.spaces).index(name) for name in flow.continuous[2:])
    mass = np.asarray(density.mass).sum(axis=summed, keepdims=True)
    held = np.asarray(density.held) & (np.asarray(density.mass) > ATOM)
    atoms = np.where(held, np.asarray(density.mass), 0.0).sum(axis=summed, keepdims=True)

    def draw(place: Any, scene: Scene, category: Category, colour: str) -> None:
        chains = {axis: at for axis, at in category.places.items() if axis not in summed}
        stuck, shown = (_cut(table, scene, chains) for table in (atoms, (mass - atoms) / _cells(scene, mass.ndim)))
        if len(scene.along) == 1:
            _lines(place, scene, shown, stuck, (category.label, colour))
        else:
            _map(place, scene, shown)
            _mark(place, scene, stuck)
        _zoom(place, scene, _cut(mass, scene, {}))

    return "density", draw


def _cells(scene: Scene, dimensions: int) -> np.ndarray:
    """The size of the cell around every node, in units of the states that are drawn along."""
    found = np.ones((1,) * dimensions)
    for one in scene.along:
        apart = 0.5 * np.diff(one.nodes)
        own = np.append(apart, 0.0) + np.append(0.0, apart)
        found = found * own.reshape([-1 if axis == one.axis else 1 for axis in range(dimensions)])
    return found


def _cut(table: np.ndarray, scene: Scene, places: Mapping[int, int]) -> np.ndarray:
    """The table over the states that are drawn along, at places of some others and summed over the rest."""
    kept = [one.axis for one in scene.along]
    for axis in reversed(range(table.ndim)):
        if axis in places:
            table = np.take(table, places[axis], axis=axis)
        elif axis not in kept:
            table = table.sum(axis=axis)
    return table


# -- drawing -----------------------------------------------------------------------------------------------------------


def _drawn(scene: Scene, panels: list[Panel], paths: list[tuple[str, Any]]) -> Any:
    """A row of panels; over two states a row for each category."""
    from matplotlib.figure import Figure  # costs .4 s at import, and a solve does not need it

    rows = len(scene.categories) if len(scene.along) == 2 else 1
    columns = len(panels) + len(paths)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, category in enumerate(scene.categories):
        row, colour = grid[number if rows > 1 else 0], _COLOURS[number % len(_COLOURS)]
        for place, (name, draw) in zip(row, panels, strict=False):
            draw(place, scene, category, colour)
            _dress(place, scene, name, category if rows > 1 else None)
    for place, (name, path) in zip(grid[0][len(panels) :], paths, strict=False):
        _path(place, name, np.asarray(path))
    for place in grid.reshape(-1):
        place.set_visible(bool(place.has_data()))
    if rows == 1 and len(scene.categories) > 1:
        grid[0][0].legend(fontsize="small", frameon=False)
    return figure


def _dress(place: Any, scene: Scene, name: str, category: Category | None) -> None:
    _tick(place.xaxis, scene.along[0])
    place.set_xlabel(scene.along[0].name)
    if len(scene.along) == 2:
        _tick(place.yaxis, scene.along[1])
        place.set_ylabel(scene.along[1].name)
        place.set_title(name + (f", {category.label}" if category and category.label else ""), fontsize="medium")
    else:
        place.set_ylabel(name)
        place.grid(alpha=0.25)


def _tick(axis: Any, along: Along) -> None:
    """Ticks at round numbers of the state, evenly spread in its coordinate; matplotlib's own where the two are one."""
    if isinstance(along.scale, Linear):
        return
    first, last = axis.get_view_interval()
    first, last = max(first, along.coordinates[0]), min(last, along.coordinates[-1])
    spread = np.interp(np.linspace(first, last, _TICKS), along.coordinates, along.nodes)
    size = max(abs(along.nodes[0]), abs(along.nodes[-1]))
    round_ones = {float(f"{value:.2g}") if abs(value) > 1e-6 * size else 0.0 for value in spread}
    values = np.asarray(sorted(v for v in round_ones if along.nodes[0] <= v <= along.nodes[-1]))
    places = np.asarray(along.scale.forward(jnp.asarray(values)))
    axis.set_ticks(places, [f"{value:g}" for value in values])


def _map(place: Any, scene: Scene, shown: np.ndarray) -> None:
    x, y = (one.coordinates for one in scene.along)
    if not np.any(np.isfinite(shown)) or np.nanmax(shown) <= np.nanmin(shown):
        return
    drawn = place.contourf(x, y, np.ma.masked_invalid(shown.T), levels=_LEVELS, cmap="viridis")
    place.figure.colorbar(drawn, ax=place)


def _lines(place: Any, scene: Scene, pdf: np.ndarray, atoms: np.ndarray, style: tuple[str, str]) -> None:
    label, colour = style
    x = scene.along[0].coordinates
    place.plot(x, pdf, color=colour, label=label)
    for at in np.flatnonzero(atoms > 0):
        place.axvline(x[at], color=colour, linestyle=":")
        height = 0.95 - 0.08 * sum(isinstance(text.get_text(), str) for text in place.texts)
        place.annotate(
            f" atom {atoms[at]:.3g}", (x[at], height), xycoords=("data", "axes fraction"), color=colour, va="top"
        )


def _mark(place: Any, scene: Scene, atoms: np.ndarray) -> None:
    """Atoms as points, whose areas are their masses."""
    total = float(atoms.sum())
    if not total > 0:
        return
    first, second = np.nonzero(atoms > 1e-3 * atoms.max())
    x, y = (one.coordinates for one in scene.along)
    size = 4 + 60 * atoms[first, second] / atoms.max()
    place.scatter(x[first], y[second], s=size, color=_COLOURS[1], clip_on=False, zorder=3)
    place.annotate(
        f"atoms {total:.3g}", (0.97, 0.95), xycoords="axes fraction", color=_COLOURS[1], ha="right", va="top"
    )


def _zoom(place: Any, scene: Scene, mass: np.ndarray) -> None:
    """Where the mass is."""
    for own, limits in zip(range(mass.ndim), (place.set_xlim, place.set_ylim), strict=False):
        along = scene.along[own]
        share = np.cumsum(mass.sum(axis=tuple(axis for axis in range(mass.ndim) if axis != own)))
        low = max(int(np.searchsorted(share, _SEEN)) - 1, 0)
        high = min(int(np.searchsorted(share, share[-1] - _SEEN)) + 1, len(share) - 1)
        if high > low:
            margin = 0.03 * (along.coordinates[high] - along.coordinates[low])
            limits(along.coordinates[low] - margin, along.coordinates[high] + margin)


def _path(place: Any, name: str, path: np.ndarray) -> None:
    """Where a price was looked for."""
    place.plot(np.arange(1, len(path) + 1), path, "o-", color=_COLOURS[0], markersize=4)
    place.set_xlabel("solve")
    place.set_ylabel(name)
    place.grid(alpha=0.25)
