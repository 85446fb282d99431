"""Inventory with a fixed cost of ordering, by renewal theory: the best (s, S) without dynamic programming.

Who orders up to S whenever stock is at or below s, and pays G(y) in a period that begins with y after the order, has
from one order to the next the discounted cost

    K + sum over 0 <= j < S - s of m(j) G(S - j),    m(j) = 1{j = 0} + beta sum over l <= j of p(l) m(j - l),

where m(j) counts, discounted, the periods in which demand since the order has been j. Over M(S - s), M(n) the sum of
m(j) over j < n, it is the cost of a period, c(s, S); the best pair is found by comparing it with G, a level at a time.
Purchases at a unit cost u are part of G: what is bought in a period and left is handed on at u in the next one.

    G(y) = E[h max(y - D, 0) + b max(D - y, 0)] + (1 - beta) u y + beta u E D

Source: Zheng & Federgruen (1991), "Finding optimal (s, S) policies is about as simple as evaluating a single policy",
Operations Research 39, for the average cost, beta = 1; discounted visits take the place of visits.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Inventory(NamedTuple):
    """The best policy, `order` up to S where stock is at or below s, and the cost of a period."""

    s: int
    S: int
    cost: float
    problem: "Problem"

    def order(self, stock: Any) -> Any:
        """What is ordered; stock of any shape."""
        return np.where(np.asarray(stock) <= self.s, self.S - np.asarray(stock), 0)

    def value(self, stock: Any) -> Any:
        """Minus the discounted cost for ever, of any shape; the discount is below one.

        Until stock is at s, visits are paid for, and from then on c / (1-beta), an order included.
        """
        beta, left = self.problem.discount, np.maximum(np.asarray(stock) - self.s, 0)
        onwards = self.cost / (1 - beta)
        costs = np.array([self.problem.visited(self.s, self.s + n) for n in range(int(left.max()) + 1)])
        weights = np.array([self.problem.visits[:n].sum() for n in range(len(costs))])
        total = costs[left] + (1 - (1 - beta) * weights[left]) * onwards
        return self.problem.unit * np.asarray(stock) - total


class Problem(NamedTuple):
    """Costs of a period, and m(j) for j = 0, 1, ..."""

    demand: Float[np.ndarray, " d"]
    fixed: float
    unit: float
    holding: float
    shortage: float
    discount: float
    visits: Float[np.ndarray, " j"]

    def paid(self, y: Any) -> Any:
        """G(y), any shape."""
        left = np.asarray(y)[..., None] - np.arange(len(self.demand))
        costs = self.holding * np.maximum(left, 0) + self.shortage * np.maximum(-left, 0)
        bought = self.demand @ np.arange(len(self.demand))
        steady = (1 - self.discount) * self.unit * np.asarray(y) + self.discount * self.unit * bought
        return costs @ self.demand + steady

    def visited(self, s: int, S: int) -> float:
        """What is paid, discounted, from S until stock is at s or below."""
        j = np.arange(S - s)
        return float(self.visits[j] @ self.paid(S - j)) if s < S else 0.0

    def average(self, s: int, S: int) -> float:
        """c(s, S)."""
        return (self.fixed + self.visited(s, S)) / float(self.visits[: S - s].sum())


def inventory(
    demand: Float[np.ndarray, " d"],
    fixed: float,
    unit: float,
    holding: float,
    shortage: float,
    discount: float,
    most: int = 400,
) -> Inventory:
    """The best (s, S), exact to rounding.

    Args:
        demand: probabilities of 0, 1, ..., independent from period to period; what is not met is met later.
        fixed, unit: K > 0 and u, of an order.
        holding, shortage: h and b, of a unit that is left or owed at the end of a period; b > (1-beta) u.
        discount: beta in (0, 1], one for the average cost.
        most: an upper bound on S - s.
    """
    visits = np.zeros(most)
    for j in range(most):
        known = np.arange(1, min(j, len(demand) - 1) + 1)
        visits[j] = ((j == 0) + discount * demand[known] @ visits[j - known]) / (1 - discount * demand[0])
    own = Problem(demand, fixed, unit, holding, shortage, discount, visits)
    lowest = 0
    while own.paid(lowest + 1) < own.paid(lowest):
        lowest += 1
    while own.paid(lowest - 1) <= own.paid(lowest):
        lowest -= 1
    s, best = lowest - 1, lowest
    while own.average(s, best) > own.paid(s):
        s -= 1
    cost, level = own.average(s, best), best + 1
    while own.paid(level) <= cost:  # where more to begin with could still be better
        if own.average(s, level) < cost:
            best = level
            while own.average(s, best) <= own.paid(s + 1):
                s += 1
            cost = own.average(s, best)
        level += 1
    return Inventory(s, best, cost, own)
