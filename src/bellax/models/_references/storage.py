"""Gas storage under a mean-reverting log price: a table in volume and price, with the process itself and not a chain.

    V_t(v, x) = max over v' of -e^x (v' - v) - s |v' - v| + W_t(v', x),    W_t(v', x) = beta E V_{t+1}(v', x'),
    v - out(v) <= v' <= v + in(v),    in(v) = min(i (1 - v / 2C), C - v),    out(v) = min(o (.3 + .7 v / C), v),
    x' = m + rho (x - m) + sigma e,    V_T(v, x) = k e^x v.

W is concave in v', so one injects towards where its slope is e^x + s, withdraws towards where it is e^x - s, and waits
in between. Where a rate limits that V has kinks in v where in(v) and out(v) have theirs, and wherever a move at full
rate leads to a kink of the next period: the nodes of volume are even ones and these, a few moves back, and lines
between them are straight. Along x a cubic goes through four nodes, and the normal density is integrated against it cell
by cell by Gauss and Legendre's rule of four nodes, exactly but for the tails beyond the grid.

Source: Boogert & De Jong (2008), "Gas storage valuation using a Monte Carlo method", Journal of Derivatives 15;
Carmona & Ludkovski (2010), "Valuation of energy storage: an optimal switching approach", Quantitative Finance 10.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bellax.models._references.numbers import Numbers

_WIDTH = 8.0  # of the table of log prices, in standard deviations either way
_MOVES = 4  # at full rate, back from kinks
_AT_ONCE = 1000  # states that are asked for: each has a row of volumes


class Cavern(NamedTuple):
    """Volume, the largest rates, of injection when empty and withdrawal when full, and what moving a unit costs."""

    capacity: float
    injection: float
    withdrawal: float
    cost: float

    def most_in(self, v: Numbers) -> Numbers:
        """in(v)."""
        return np.minimum(self.injection * (1 - v / (2 * self.capacity)), self.capacity - v)

    def most_out(self, v: Numbers) -> Numbers:
        """out(v)."""
        return np.minimum(self.withdrawal * (0.3 + 0.7 * v / self.capacity), v)

    def nodes(self, count: int) -> Float[np.ndarray, " v"]:
        """So many even ones, kinks, and volumes from which up to four moves at full rate lead to one."""
        C = self.capacity
        kinks = np.array([C * (C - self.injection) / (C - self.injection / 2), 0.0])
        kinks[1] = 0.3 * self.withdrawal / (1 - 0.7 * self.withdrawal / C)
        even = np.linspace(0.0, C, count)
        found, last = even, kinks
        for _ in range(_MOVES + 1):
            last = last[(last > 0) & (last < C)]
            found = np.append(found, last)
            # v that leads to `last`, by v + in(v) and by v - out(v), where rates are not those of the rest
            before = (last - self.injection) / (1 - self.injection / (2 * C))
            after = (last + 0.3 * self.withdrawal) / (1 - 0.7 * self.withdrawal / C)
            last = np.concatenate([before, after])
        found = np.sort(found)
        return found[np.append(True, np.diff(found) > 1e-9 * C)]


class Storage(NamedTuple):
    """W_t on a table; `value` and `rate` decide at the state itself."""

    cavern: Cavern
    prices: Float[np.ndarray, " x"]
    volumes: Float[np.ndarray, " v"]
    worth: Float[np.ndarray, "t x v"]

    def value(self, t: int, v: Numbers, x: Numbers) -> Numbers:
        """V_t, any shape."""
        return self._decided(t, v, x)[0]

    def rate(self, t: int, v: Numbers, x: Numbers) -> Numbers:
        """v' - v: what is injected, negative where it is withdrawn."""
        return self._decided(t, v, x)[1]

    def _decided(self, t: int, v: Numbers, x: Numbers) -> tuple[np.ndarray, np.ndarray]:
        v, x = np.broadcast_arrays(np.asarray(v, float), np.asarray(x, float))
        found = np.empty((2, v.size))
        for begin in range(0, v.size, _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            own_v, own_x = v.ravel()[part], x.ravel()[part]
            first, weights = cubic(self.prices, own_x)
            rows = np.einsum("nk,nkv->nv", weights, self.worth[t][first[:, None] + np.arange(4)])
            found[:, part] = np.stack(decide(self.cavern, self.volumes, rows, own_v[:, None], np.exp(own_x)[:, None]))[
                ..., 0
            ]
        return found[0].reshape(v.shape), found[1].reshape(v.shape)


def cubic(nodes: Float[np.ndarray, " x"], at: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """The first of the four even nodes around each place, and their weights, shape (n, 4)."""
    place = (at - nodes[0]) / (nodes[1] - nodes[0])
    first = np.clip(np.floor(place).astype(int) - 1, 0, len(nodes) - 4)
    u = place - first
    weights = [
        -(u - 1) * (u - 2) * (u - 3) / 6,
        u * (u - 2) * (u - 3) / 2,
        -u * (u - 1) * (u - 3) / 2,
        u * (u - 1) * (u - 2) / 6,
    ]
    return first, np.stack(weights, axis=-1)


def expectation(nodes: Float[np.ndarray, " x"], mean: Float[np.ndarray, " x"], sigma: float) -> np.ndarray:
    """Rows that take a table on even nodes to E of the cubic through it, x' ~ N(mean, sigma^2), shape (x, x)."""
    u, weight = np.polynomial.legendre.leggauss(4)
    cell = nodes[1] - nodes[0]
    at = (nodes[:-1, None] + cell * (u + 1) / 2).ravel()
    density = np.exp(-(((at - mean[:, None]) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    rows = density * np.tile(weight * cell / 2, len(nodes) - 1)
    first, weights = cubic(nodes, at)
    spread = np.zeros((len(at), len(nodes)))
    np.add.at(spread, (np.arange(len(at))[:, None], first[:, None] + np.arange(4)), weights)
    return rows @ spread


def decide(
    cavern: Cavern, volumes: np.ndarray, worth: Float[np.ndarray, "x v"], v: np.ndarray, price: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Value and rate at volumes v, shape (x, n) or (1, n), where what is kept is worth a row at a price, shape (x, 1).

    The node at which the slope falls below the marginal cost is where the concave, piecewise linear W is best.
    """
    slopes = np.diff(worth, axis=1) / np.diff(volumes)
    bought, sold = (volumes[(slopes > price + own).sum(axis=1)][:, None] for own in (cavern.cost, -cavern.cost))
    wanted = np.clip(v, bought, np.maximum(bought, sold))
    kept = np.clip(wanted, v - cavern.most_out(v), v + cavern.most_in(v))
    rate = kept - v
    cell = np.clip(np.searchsorted(volumes, kept, side="right") - 1, 0, len(volumes) - 2)
    rows = np.arange(len(worth))[:, None]
    ahead = worth[rows, cell] + slopes[rows, cell] * (kept - volumes[cell])
    return ahead - price * rate - cavern.cost * np.abs(rate), rate


def storage(
    cavern: Cavern,
    rho: float,
    sigma: float,
    mean: float,
    discount: float,
    salvage: float,
    horizon: int,
    nodes: tuple[int, int] = (401, 601),
) -> Storage:
    """The solution in every period.

    Args:
        rho, sigma, mean: of the log price.
        discount: beta.
        salvage: k, share of the price at which what is left is sold.
        horizon: T.
        nodes: of volume and log price.
    """
    reach = _WIDTH * sigma / np.sqrt(1 - rho**2)
    x = np.linspace(mean - reach, mean + reach, nodes[1])
    v = cavern.nodes(nodes[0])
    rows = discount * expectation(x, mean + rho * (x - mean), sigma)
    worth = np.empty((horizon, len(x), len(v)))
    value = salvage * np.exp(x)[:, None] * v
    for t in reversed(range(horizon)):
        worth[t] = rows @ value
        value, _ = decide(cavern, v, worth[t], v[None], np.exp(x)[:, None])
    return Storage(cavern, x, v, worth)
