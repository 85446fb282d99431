"""Figures of what is no solution: simulated paths by age, and the graph of a model's regimes."""

import math
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

from bellax.errors import ModelError
from bellax.model.boundaries import targets
from bellax.model.model import Model
from bellax.panel import Panel, RegimePanel

_BLUE = "#1b6ca8"
_MOST = 8  # categories that are told apart


def draw_moments(panel: Panel | RegimePanel, of: Any = None) -> Any:
    """Means of variables by age, and the band from the 10th to the 90th percentile; shares of categories as lines.

    Args:
        panel: what `bx.simulate` returned.
        of: as in `panel.moments`.
    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure  # costs .4 s at import, and a solve does not need it

    table = panel.moments(of, statistics=("mean", "p10", "p90"))
    names = list(dict.fromkeys(table.columns.get_level_values(0)))
    columns = min(4, max(1, len(names)))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.0 * columns, 3.2 * rows + 0.4), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for place, name in zip(places, names, strict=False):
        _draw(place, name, table[name])
        place.set_xlabel(table.index.name)
        place.grid(alpha=0.25)
    for place in places[len(names) :]:
        place.set_visible(False)
    return figure


def _draw(place: Any, name: str, found: Any) -> None:
    time = np.asarray(found.index)
    if list(found.columns) == ["mean", "p10", "p90"]:
        mean, low, high = (np.where(np.isfinite(found[what]), found[what], np.nan) for what in ("mean", "p10", "p90"))
        place.fill_between(time, low, high, alpha=0.2, color=_BLUE, linewidth=0, label="10 to 90 %")
        place.plot(time, mean, color=_BLUE, label="mean")
        place.set_ylabel(name)
    else:
        for k, label in enumerate(found.columns[:_MOST]):
            place.plot(time, np.asarray(found[label]), color=f"C{k}", label=label)
        place.set_ylim(-0.02, 1.02)
        place.set_ylabel(f"share by {name}")
    place.legend(fontsize="x-small", frameon=False)


def draw_paths(place: Any, time: np.ndarray, paths: np.ndarray, active: np.ndarray) -> None:
    """The paths of some agents, and bands in which those of half of them lie, and of nine in ten."""
    there = active.any(axis=0)
    paths = np.where(active, paths, np.nan)
    bands = np.nanquantile(paths[:, there], (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
    blue = {"color": _BLUE, "linewidth": 0}
    place.fill_between(time[there], bands[0], bands[4], alpha=0.15, label="5 to 95 %", **blue)
    place.fill_between(time[there], bands[1], bands[3], alpha=0.3, label="25 to 75 %", **blue)
    place.plot(time[there], bands[2], color=_BLUE, label="median")
    for k, path in enumerate(paths[:3]):
        place.plot(time, path, color="#444444", linewidth=0.7, alpha=0.8, label="paths" if k == 0 else None)
    place.legend(fontsize="x-small", frameon=False)


def draw_shares(place: Any, time: np.ndarray, paths: np.ndarray, active: np.ndarray, space: Any) -> None:
    """The share of agents in each category."""
    count = np.maximum(active.sum(axis=0), 1)
    for k, (label, value) in enumerate(zip(space.labels[:_MOST], space.values, strict=False)):
        place.plot(time, (np.isclose(paths, value) & active).sum(axis=0) / count, color=f"C{k}", label=label)
    place.set_ylim(-0.02, 1.02)
    place.legend(fontsize="x-small", frameon=False)


def draw_regimes(model: Model, parameters: Mapping[str, Any] | None = None) -> Any:
    """The graph of the regimes: an arrow from each to those that may follow; those that end the problem are filled.

    Args:
        parameters: where who may follow depends on them.
    Returns:
        A matplotlib Figure.
    Raises:
        ModelError: for a model of one regime, which has no such graph.
    """
    from matplotlib.figure import Figure  # see above

    if model.regimes is None:
        raise ModelError("plot: a model of one regime has no graph of regimes; plot its solution, bx.plot(solution).")
    graph = nx.DiGraph()
    graph.add_nodes_from(model.graphs)
    unknown = []
    for name in model.graphs:
        found = targets(model, name, None if parameters is None else model.parameters(parameters))
        graph.add_edges_from((name, other) for other in found or ())
        unknown += [name] if found is None else []
    places = nx.circular_layout(graph)
    ends = [name for name, own in model.graphs.items() if "slot:reward" not in own.slots]
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    filled = ["#d0d7de" if name in ends else "white" for name in graph]
    shape = {"node_size": 2600, "ax": axes}
    nx.draw_networkx_nodes(graph, places, node_color=filled, edgecolors=_BLUE, **shape)
    nx.draw_networkx_labels(graph, places, font_size=9, ax=axes)
    nx.draw_networkx_edges(graph, places, edge_color="#57606a", connectionstyle="arc3,rad=0.12", **shape)
    if unknown:
        axes.set_title(f"who follows {', '.join(unknown)} is known with parameters: bx.plot(model, params)", fontsize=8)
    axes.set_axis_off()
    axes.margins(0.25)
    return figure
