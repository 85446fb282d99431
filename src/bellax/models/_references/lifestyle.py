"""A recursion over work, effort and saving with types of people, by plain loops: savings and efforts among nodes.

    V_j(s) = max over n, f, a' of  u - costs + beta p_j E V_{j+1}(a', h', f, z', chi'),

of Mahler & Yum (2024), see `bellax.models.mahler_yum`. Savings are nodes of wealth and effort is one of its levels, so
that nothing is interpolated.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

HOURS = np.array([0.0, 0.5, 1.0])


class Lifestyle(NamedTuple):
    """V and choices by period, shock, cost, habit, education, productivity, patience, health type, health and wealth.

    Attributes:
        value: V.
        hours, effort, saving: places among their candidates; the first of equals.
    """

    value: np.ndarray
    hours: np.ndarray
    effort: np.ndarray
    saving: np.ndarray


def lifestyle(
    nodes: np.ndarray,
    efforts: np.ndarray,
    chain: tuple[np.ndarray, np.ndarray],
    costs: tuple[np.ndarray, np.ndarray],
    given: Mapping[str, Any],
) -> Lifestyle:
    """The solution on nodes.

    Args:
        nodes: of wealth, which savings are among, shape (a,).
        efforts: levels, shape (f,).
        chain: nodes and rows of the productivity shock.
        costs: of adjustment, as shares of the largest one, and their probabilities.
        given: parameters by name; those by period with a row each.
    """
    (shocks, rows), (draws, chances) = chain, costs
    periods = len(given["survival"])
    shape = (len(shocks), len(draws), len(efforts), 2, 2, 2, 2, 2, len(nodes))
    value = np.zeros((periods + 1, *shape))
    places = np.zeros((3, periods, *shape), int)
    for t in range(periods - 1, -1, -1):
        later = np.einsum("zy,q,yqfeibkha->zfeibkha", rows, chances, value[t + 1])
        for e, i, h, z in itertools.product(range(2), range(2), range(2), range(len(shocks))):
            pleasure = _pleasure(given, t, e, 2 * i - 1, h, shocks[z], nodes)
            for b, k, past in itertools.product(range(2), range(2), range(len(efforts))):
                good = _good_health(given, t, e, k, h, efforts, efforts[past])[:, None]
                next_bad, next_good = later[z, :, e, i, b, k, 0], later[z, :, e, i, b, k, 1]
                future = given["discounts"][b] * given["survival"][t, e, h] * (next_bad + good * (next_good - next_bad))
                for q, draw in enumerate(draws):
                    paid = draw * given["largest_adjustment_cost"][t] * (np.arange(len(efforts)) != past)
                    paid = paid + _strain(given, t, e, h, efforts)
                    every = pleasure[:, :, None, :] + (future - paid[:, None])[None, None]
                    flat = every.reshape(len(nodes), -1)
                    best = np.argmax(flat, axis=1)
                    own = (t, z, q, past, e, i, b, k, h)
                    value[own] = flat[np.arange(len(nodes)), best]
                    for kind, place in enumerate(np.unravel_index(best, every.shape[1:])):
                        places[kind][own] = place
    return Lifestyle(value, *places)


def _pleasure(
    given: Mapping[str, Any], t: int, e: int, productivity: int, h: int, shock: Any, nodes: np.ndarray
) -> np.ndarray:
    """Utility of consumption less that of work, by wealth, hours and saving; minus infinity where there is no way."""
    before_retirement, average = 25 + 2 * t < given["retirement_age"], given["average_earnings"]
    luck = np.cosh(given["type_spread"]) * np.exp(given["innovation_sd"] ** 2 / (2 - 2 * given["persistence"] ** 2))

    def wage(year: int | float) -> Any:
        return given["wage_start"][e] * np.exp(given["wage_growth"][e] * year + given["wage_bend"][e] * year**2) / luck

    offered = wage(t) * (1 - given["illness_cut"][e] * (1 - h)) * np.exp(productivity * given["type_spread"] + shock)
    tax = given["progressivity"]
    income = given["tax_level"] * (offered * HOURS) ** (1 - tax) * average**tax
    if before_retirement:
        income = income + (HOURS == 0) * (1 - h) * given["benefit_rate"] * average
    else:
        income = income + given["replacement"] * wage((given["retirement_age"] - 27) / 2)
    held = given["gross_return"] * nodes[:, None] + income
    left = held[:, :, None] - nodes
    consumed = np.maximum(left, given["floor"] * average)
    power = 1 - given["risk_aversion"]
    taste = 1.0 if h == 1 else given["illness_taste"]
    found = taste * (consumed**power / power + given["joy_of_life"])
    found = found - (given["toil_weight"][t, e, h] * HOURS**2 / 2)[:, None]
    allowed = (left >= 0) & (before_retirement | (HOURS == 0))[:, None]
    return np.where(allowed, found, -np.inf)


def _good_health(
    given: Mapping[str, Any], t: int, e: int, k: int, h: int, efforts: np.ndarray, past: Any
) -> np.ndarray:
    """The probability of good health, by effort."""
    weights = given["health_weights"]
    x = given["health_constant"] + given["health_by_age"][t] + weights[0] * efforts + weights[1] * past
    x = x + weights[2] * h + weights[3] * e + weights[4] * k
    return 1 / (1 + np.exp(-x))


def _strain(given: Mapping[str, Any], t: int, e: int, h: int, efforts: np.ndarray) -> np.ndarray:
    power = 1 + 1 / given["effort_elasticity"]
    return given["strain_weight"][t, e, h] * efforts**power / power
