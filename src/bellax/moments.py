"""Moments of simulated paths by age: a table of means, spreads and quantiles, and of shares where there are labels."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bellax.errors import ModelError, check_names, nearest

STATISTICS = ("mean", "sd", "p10", "p50", "p90")
_NAMED = {"mean": "mean", "sd": "std", "min": "min", "max": "max", "count": "count"}


def table(frame: Callable[[Any], Any], of: Any, by: Any, statistics: Sequence[str]) -> Any:
    """A pandas DataFrame of moments, rows groups, columns variables and statistics; see `Panel.moments`.

    Args:
        frame: makes the tidy frame, with what is asked for besides.
    """
    import pandas as pd

    if isinstance(of, str) or isinstance(statistics, str):
        raise ModelError(f"moments: give a list of names, [{of if isinstance(of, str) else statistics!r}].")
    for name in statistics:
        _check_statistic(name)
    rows = frame(() if of is None else of)
    groups = _groups(rows, by)
    owned = {"agent", "agent_", "period", "age", *groups}
    wanted = [name for name in rows.columns if name not in owned] if of is None else _columns(rows, of)
    grouped = rows.groupby(groups if len(groups) > 1 else groups[0], observed=True)
    found = {}
    for name in wanted:
        column = rows[name]
        if not pd.api.types.is_numeric_dtype(column) or column.dtype == bool:
            for label, share in _shares(rows, column, groups).items():
                found[name, label] = share
            continue
        for statistic in statistics:
            found[name, statistic] = _moment(grouped[name], statistic)
    table = pd.DataFrame(found)
    table.columns = pd.MultiIndex.from_tuples(list(found), names=["variable", "statistic"])
    return table


def _check_statistic(name: Any) -> None:
    """Raises ModelError for what is no statistic."""
    quantile = re.fullmatch(r"p(\d+(\.\d+)?)", str(name))
    if name not in _NAMED and not (quantile and float(quantile[1]) <= 100):
        raise ModelError(
            f"moments: there is no statistic {name!r}.{nearest(str(name), _NAMED)} There are {', '.join(_NAMED)}, and "
            "quantiles such as 'p10'."
        )


def _groups(rows: Any, by: Any) -> list[str]:
    if by is None:
        return ["age" if "age" in rows.columns else "period"]
    groups = [by] if isinstance(by, str) else list(by)
    check_names(groups, rows.columns, "moments: by")
    return groups


def _columns(rows: Any, of: Any) -> list[str]:
    """The columns that names stand for: of a vector all of its numbers."""
    names = list(of) if not isinstance(of, Mapping) else [str(name) for name in of]
    found: list[str] = []
    for name in names:
        parts = [column for column in rows.columns if re.fullmatch(re.escape(str(name)) + r"(\[[\d, ]+\])?", column)]
        check_names([] if parts else [name], rows.columns, "moments: of")
        found += parts
    return list(dict.fromkeys(found))


def _moment(groups: Any, statistic: str) -> Any:
    if statistic in _NAMED:
        return getattr(groups, _NAMED[statistic])()
    return groups.quantile(float(statistic[1:]) / 100)


def _shares(rows: Any, column: Any, groups: list[str]) -> dict[str, Any]:
    """The share of each category among those that have one."""
    categories = column.cat.categories if hasattr(column, "cat") else sorted(column.dropna().unique())
    keys = [rows[name] for name in groups]
    there = column.notna()
    return {
        str(label): (column == label).astype(float).where(there, np.nan).groupby(keys, observed=True).mean()
        for label in categories
    }
