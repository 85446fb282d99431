"""A figure of simulated paths: means by age with bands of quantiles, and shares where there are labels."""

import math
from typing import Any

import numpy as np

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
