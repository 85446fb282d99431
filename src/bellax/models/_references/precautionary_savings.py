"""Consumption over a finite life without borrowing, the log of income a chain of Rouwenhorst: an endogenous grid.

    u'(c_t(w, i)) = beta R sum_j P_ij u'(c_{t+1}(R a, j)),    a = w + y_i - c >= 0,    u'(c) = c^(-gamma),

w wealth before income. Everything is consumed in the last period. c_t(., i) has a kink where saving begins and one
wherever R a is a kink of c_{t+1}(., j); all but the weakest are nodes, so that straight lines converge at second order.

Source: Carroll (2006), "The method of endogenous gridpoints for solving dynamic stochastic optimization problems",
Economics Letters 91; Rouwenhorst (1995) for the chain.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_WEAKEST_KINK = 3e-3  # as a share of one where saving begins


class Saver(NamedTuple):
    """Consumption at nodes of wealth, by period and income: two lists of lists of arrays."""

    wealth: list[list[np.ndarray]]
    consumption: list[list[np.ndarray]]

    def __call__(self, t: int, income: int, wealth: np.ndarray) -> np.ndarray:
        """Consumption in period t with the income of this number."""
        return _line(wealth, self.wealth[t][income], self.consumption[t][income])


def rouwenhorst(rho: float, sigma: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and rows of the chain that stands for z' = rho z + sigma e."""
    p, rows = (1 + rho) / 2, np.ones((1, 1))
    for n in range(2, count + 1):
        wider = np.zeros((n, n))
        wider[:-1, :-1] += p * rows
        wider[:-1, 1:] += (1 - p) * rows
        wider[1:, :-1] += (1 - p) * rows
        wider[1:, 1:] += p * rows
        wider[1:-1] /= 2
        rows = wider
    half = np.sqrt(count - 1) * sigma / np.sqrt(1 - rho**2)
    return np.linspace(-half, half, count), rows


def precautionary_savings(
    gamma: float,
    discount: float,
    gross_return: float,
    incomes: Float[np.ndarray, " i"],
    rows: Float[np.ndarray, "i j"],
    horizon: int,
    nodes: int = 4000,
    top: float = 120.0,
) -> Saver:
    """The solution.

    Args:
        incomes, rows: the chain.
        nodes, top: of savings; the error falls with the square of their number.
    """
    base = np.expm1(np.linspace(0.0, np.log1p(top / 0.1), nodes)) * 0.1
    ends = np.array([0.0, top])
    last = [ends + y for y in incomes]
    found = Saver([[ends] * len(incomes)], [last])
    kinks, strengths, owner = np.empty(0), np.empty(0), np.empty(0, int)
    for _ in range(horizon - 1):
        saved = np.unique(np.concatenate([base, kinks / gross_return]))
        later = [_line(gross_return * saved, w, c) for w, c in zip(found.wealth[0], found.consumption[0], strict=True)]
        consumed = (discount * gross_return * rows @ np.stack(later) ** -gamma) ** (-1 / gamma)
        wealth = [saved + c - y for y, c in zip(incomes, consumed, strict=True)]
        turns = [np.append(m[0], np.interp(kinks / gross_return, saved, m)) for m in wealth]
        strong = [np.append(1.0, strengths * row[owner]) for row in rows]
        # below the first node everything is consumed
        found.wealth.insert(0, [np.append(m[0] - 0.5 * c[0], m) for m, c in zip(wealth, consumed, strict=True)])
        found.consumption.insert(0, [np.append(0.5 * c[0], c) for c in consumed])
        kinks, strengths = np.concatenate(turns), np.concatenate(strong)
        owner = np.repeat(np.arange(len(incomes)), [len(own) for own in turns])
        kept = (kinks > 0) & (kinks < top) & (strengths > _WEAKEST_KINK)
        kinks, strengths, owner = kinks[kept], strengths[kept], owner[kept]
    return found


def _line(x: np.ndarray, nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear between the nodes and, with the slopes of the outermost pieces, beyond them."""
    below = (values[1] - values[0]) / (nodes[1] - nodes[0]) * np.minimum(x - nodes[0], 0.0)
    above = (values[-1] - values[-2]) / (nodes[-1] - nodes[-2]) * np.maximum(x - nodes[-1], 0.0)
    return np.interp(x, nodes, values) + below + above
