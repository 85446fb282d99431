"""A firm with convex costs of adjustment in continuous time, its stationary density, and the price that clears.

    r V = P e^(x+z) k^alpha - delta k V_k + k (V_k - 1)^2 / (2 theta(V_k)) - kappa z V_z + sigma^2/2 V_zz,
    theta(p) = theta_up + (theta_down - theta_up) / (1 + e^(steepness (p - 1))),

by Chebyshev collocation in (log k, z) and Newton's method. V is smooth and capital drifts inward at both ends of the
box, so that the equation holds there as everywhere and no condition is needed; V_z = 0 at the ends of z. The mean of a
function y over the stationary density is the number m that makes A w = m - y solvable, A the generator of the states:
no density is computed. The price solves P = Y^(-elasticity) by secants.

What capital drifts with may be investment k (V_k - 1) / theta, or the derivative of the maximised Hamiltonian in V_k,
which differ where theta moves. With theta_up = theta_down they are one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_NODES = (15, 34)
_BOX = ((1.0, 5.0), (-1.25, 1.25))
_STEPS = 40


class Firm(NamedTuple):
    """Value and investment at the states that were asked for, the price, and output and capital on the average."""

    value: Float[np.ndarray, "n"]
    investment: Float[np.ndarray, "n"]
    price: float
    output: float
    capital: float


def firm(
    params: Mapping[str, Any], k: Float[np.ndarray, "n"], z: Float[np.ndarray, "n"], by_hamiltonian: bool = False
) -> Firm:
    """The firm at the price that clears.

    Args:
        params: the letters of the equation by name, `discount` for r and `shifter` for x, and `elasticity`.
        k, z: states inside the box.
        by_hamiltonian: whether capital drifts with the derivative of the Hamiltonian.
    Raises:
        ValueError: if capital does not drift inward at the ends of the box, or Newton's method fails.
    """
    found = _Collocated(params, by_hamiltonian)
    prices, values, left = [0.75, 0.73], found.first(0.75), []
    for step in range(_STEPS):
        values = found.solved(prices[step], values)
        left.append(prices[step] - found.mean(values, found.output) ** -params["elasticity"])
        if step == 0:
            continue
        moved = left[step] * (prices[step] - prices[step - 1]) / (left[step] - left[step - 1])
        if abs(moved) < 1e-13:
            break
        prices.append(prices[step] - moved)
    found.check(values)
    answer, investment = found.at(values, k, z)
    means = [found.mean(values, quantity) for quantity in (found.output, found.k)]
    return Firm(answer, investment, prices[step], *means)


class _Collocated:
    """The equation on nodes, flat, z moving first."""

    def __init__(self, params: Mapping[str, Any], by_hamiltonian: bool) -> None:
        self.params, self.by_hamiltonian = dict(params), by_hamiltonian
        self.y, along_y = _chebyshev(_NODES[0], np.log(_BOX[0][0]), np.log(_BOX[0][1]))
        self.z_nodes, along_z = _chebyshev(_NODES[1], *_BOX[1])
        log_k, self.z = (part.ravel() for part in np.meshgrid(self.y, self.z_nodes, indexing="ij"))
        self.k = np.exp(log_k)
        self.by_k = np.kron(np.diag(np.exp(-self.y)) @ along_y, np.eye(_NODES[1]))
        self.by_z = np.kron(np.eye(_NODES[0]), along_z)
        self.edge = np.isin(self.z, _BOX[1])
        p = self.params
        self.output = np.exp(p["shifter"] + self.z) * self.k ** p["alpha"]
        moving = -(p["kappa"] * self.z)[:, None] * self.by_z + 0.5 * p["sigma"] ** 2 * self.by_z @ self.by_z
        self.moving = np.where(self.edge[:, None], self.by_z, moving)

    def gains(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the marginal value, per unit of capital: the maximised gain, its derivative, and investment."""
        up, down, steep = (self.params[name] for name in ("theta_up", "theta_down", "steepness"))
        share = 1 / (1 + np.exp(steep * (p - 1)))
        theta, slope = up + (down - up) * share, -(down - up) * steep * share * (1 - share)
        gain = (p - 1) ** 2 / (2 * theta)
        return gain, (p - 1) / theta - gain * slope / theta, (p - 1) / theta

    def _generator(self, growth: np.ndarray) -> np.ndarray:
        drift = np.where(self.edge, 0.0, self.k * (growth - self.params["delta"]))
        return drift[:, None] * self.by_k + self.moving

    def _newton(self, price: float, p: np.ndarray) -> np.ndarray:
        """V of the equation's tangent at marginal values p."""
        gain, slope, _ = self.gains(p)
        reward = price * self.output + self.k * (gain - slope * p)
        discount = np.diag(np.where(self.edge, 0.0, self.params["discount"]))
        return np.linalg.solve(discount - self._generator(slope), np.where(self.edge, 0.0, reward))

    def first(self, price: float) -> np.ndarray:
        """V to begin with: the tangent at marginal values by which capital drifts inward."""
        return self._newton(price, 1.16 - 0.3 * np.log(self.k / 2.4) + 0.3 * self.z)

    def solved(self, price: float, values: np.ndarray) -> np.ndarray:
        for _ in range(_STEPS):
            before, values = values, self._newton(price, self.by_k @ values)
            if np.max(np.abs(values - before)) < 1e-11 * np.max(np.abs(values)):
                return values
        raise ValueError("Newton's method did not converge")

    def _growth(self, values: np.ndarray) -> np.ndarray:
        _, slope, investment = self.gains(self.by_k @ values)
        return slope if self.by_hamiltonian else investment

    def mean(self, values: np.ndarray, quantity: np.ndarray) -> float:
        """Over the stationary density."""
        count, inner = len(self.k), np.where(self.edge, 0.0, 1.0)
        matrix = np.zeros((count + 1, count + 1))
        matrix[:count, :count] = self._generator(self._growth(values))
        matrix[:count, count] = -inner
        matrix[count, count // 2] = 1.0  # w is known up to a constant
        return float(np.linalg.solve(matrix, np.append(-inner * quantity, 0.0))[-1])

    def check(self, values: np.ndarray) -> None:
        drift = (self._growth(values) - self.params["delta"]).reshape(_NODES)
        if not (np.all(drift[self.y == np.min(self.y)] > 0) and np.all(drift[self.y == np.max(self.y)] < 0)):
            raise ValueError("capital drifts outward at an end of the box")

    def at(self, values: np.ndarray, k: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and investment by the polynomial through the nodes."""
        along_k, along_z = _between(self.y, np.log(k)), _between(self.z_nodes, z)
        read = lambda table: np.einsum("ni,ij,nj->n", along_k, table.reshape(_NODES), along_z)  # noqa: E731
        return read(values), k * self.gains(read(self.by_k @ values))[2]


def _chebyshev(count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes, and the matrix that differentiates (Trefethen 2000, "Spectral methods in MATLAB", chapter 6)."""
    x = np.cos(np.pi * np.arange(count) / (count - 1))
    weight = np.where((np.arange(count) == 0) | (np.arange(count) == count - 1), 2.0, 1.0)
    weight *= (-1.0) ** np.arange(count)
    matrix = np.outer(weight, 1 / weight) / (x[:, None] - x[None, :] + np.eye(count))
    matrix -= np.diag(matrix.sum(axis=1))
    return low + 0.5 * (high - low) * (1 + x), matrix * 2 / (high - low)


def _between(nodes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weights of the nodes at points, by the barycentric formula; shape (n, nodes)."""
    weight = (-1.0) ** np.arange(len(nodes))
    weight[[0, -1]] *= 0.5
    apart = np.asarray(x)[:, None] - nodes
    hit = np.abs(apart) < 1e-14
    terms = np.where(hit.any(axis=1, keepdims=True), hit, weight / np.where(hit, 1.0, apart))
    return terms / terms.sum(axis=1, keepdims=True)
