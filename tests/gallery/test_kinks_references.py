"""References of models with kinks and bounds, against published numbers, enumeration, and differences."""

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import norm

from bellax.models import references
from bellax.models._references.storage import expectation
from bellax.models.inventory import poisson
from bellax.models.references import Cavern, Tariff


def slope(function, step=1e-6):
    return (function(step) - function(-step)) / (2 * step)


class TestInventory:
    @pytest.mark.parametrize(
        "mean, levels, cost",
        [(10, (6, 40), 35.022), (15, (10, 49), 42.698), (20, (14, 62), 49.173), (25, (19, 56), 54.262)],
    )
    def test_published(self, mean, levels, cost):
        """Zheng & Federgruen (1991), their examples: Poisson demand, K = 64, h = 1, b = 9, on average."""
        found = references.inventory(poisson(float(mean), 90), 64.0, 0.0, 1.0, 9.0, 1.0)
        assert (found.s, found.S) == levels
        assert found.cost == pytest.approx(cost, abs=5e-4)

    @pytest.mark.parametrize("unit, discount", [(2.0, 0.99), (0.5, 0.8)])
    def test_agrees_with_policy_iteration(self, unit, discount):
        demand = poisson(4.0, 14)
        found = references.inventory(demand, 15.0, unit, 1.0, 6.0, discount)
        stock = np.arange(-14, 31)
        left = stock[:, None] - np.arange(15)
        paid = (np.maximum(left, 0) + 6.0 * np.maximum(-left, 0)) @ demand
        order = stock[None] - stock[:, None]
        rewards = np.where((order >= 0) & (stock >= 0), -15.0 * (order > 0) - unit * order - paid, -np.inf)
        rows = np.zeros((45, 45, 45))
        rows[:, :14, 0] = 1.0  # after an order nobody may wait
        for place in range(14, 45):
            rows[:, place, place - np.arange(15)] = demand
        exact = references.discrete_dp(rewards, rows, discount)
        np.testing.assert_allclose(found.value(stock), exact.value, rtol=1e-12)
        assert np.array_equal(found.order(stock), stock[exact.policy] - stock)

    def test_no_other_pair_is_better(self):
        found = references.inventory(poisson(10.0, 30), 64.0, 2.0, 1.0, 9.0, 0.99)
        pairs = [found.problem.average(s, S) for s in range(-20, 40) for S in range(s + 1, 100)]
        assert found.cost == pytest.approx(min(pairs), rel=1e-14)


class TestTwoRates:
    numbers = (2.0, 0.96, 0.15, 0.02, 1.1)
    names = ("risk_aversion", "discount", "borrowing", "lending", "income")
    wealth = np.array([0.2, 0.7, 1.0, 1.06, 1.08, 1.11, 1.2, 3.0, 8.0])

    @pytest.mark.parametrize("g", [0.5, 1.0, 3.0])
    def test_no_other_consumption_is_better(self, g):
        found = references.two_rates(self.wealth, g, *self.numbers[1:])
        c = np.linspace(1e-3, 1 - 1e-3, 20_001)[:, None] * (self.wealth + 1.1 / 1.15)
        c = np.concatenate([c, self.wealth[None]])
        saved = self.wealth - c
        later = saved * np.where(saved < 0, 1.15, 1.02) + 1.1
        values = sum(
            weight * (np.log(own) if g == 1 else own ** (1 - g) / (1 - g)) for weight, own in ((1, c), (0.96, later))
        )
        assert np.all(values <= found.value + 1e-12)
        np.testing.assert_allclose(values.max(axis=0), found.value, atol=1e-6)

    def test_nobody_saves_between_the_thresholds(self):
        below, above = references.thresholds(*self.numbers)
        between = (self.wealth > below) & (self.wealth < above)
        assert between.sum() == 3
        found = references.two_rates(self.wealth, *self.numbers)
        assert np.array_equal(found.consumption == self.wealth, between)

    @pytest.mark.parametrize("name", ["wealth", *names])
    def test_slopes_are_limits_of_differences(self, name):
        def moved(step):
            own = [number + step * (name == which) for which, number in zip(self.names, self.numbers, strict=True)]
            return references.two_rates(self.wealth + step * (name == "wealth"), *own)

        found = moved(0.0)
        if name != "risk_aversion":
            np.testing.assert_allclose(found.value_by[name], slope(lambda h: moved(h).value), rtol=1e-7, atol=1e-8)
        known = slope(lambda h: moved(h).consumption)
        np.testing.assert_allclose(found.consumption_by[name], known, rtol=1e-7, atol=1e-8)


class TestTariff:
    own = Tariff(np.array([1.0, 1.5, 2.5]), np.array([1.0, 2.0]))
    rest = (1.03, 0.95, 4.0, 3)
    wealth = np.linspace(0.5, 25.0, 50)

    def solved(self, wealth=0.0, prices=0.0, limits=0.0):
        own = Tariff(self.own.prices + prices, self.own.limits + limits)
        return references.tariff(self.wealth + wealth, own, *self.rest)

    def test_first_order_conditions(self):
        """Of a concave problem: no use is better a little below or above, at the price of wealth; the budget holds."""
        R, discount, weight, horizon = self.rest
        found = self.solved()
        left = self.wealth.copy()
        for t in range(horizon):
            q = found.used[:, t]
            price = found.marginal / (discount * R) ** t
            above, below = (self.own.bill(q + h) - self.own.bill(q) for h in (1e-7, -1e-7))
            assert np.all(1e-7 / q - price * above < 1e-12) and np.all(-1e-7 / q - price * below < 1e-12)
            left = R * (left - self.own.bill(q))
        np.testing.assert_allclose(weight / left, found.marginal / (discount * R) ** horizon, rtol=1e-12)
        utility = np.log(found.used) @ discount ** np.arange(horizon) + discount**horizon * weight * np.log(left)
        np.testing.assert_allclose(found.value, utility, rtol=1e-13)

    def test_a_plan_by_linear_programming(self):
        """Log utility as the least of many tangents, in two periods: from above, and near."""
        points = np.geomspace(0.05, 30.0, 400)
        R, discount, weight, _ = self.rest
        for wealth in (2.0, 8.0, 22.0):
            exact = references.tariff(np.array([wealth]), self.own, R, discount, weight, 2).value[0]
            # three blocks of two periods, what is left, and three utilities
            spend = np.concatenate([self.own.prices, self.own.prices / R, [R**-2], np.zeros(3)])
            rows, bounds = [spend], [wealth]
            for k, columns in enumerate(([0, 1, 2], [3, 4, 5], [6])):
                for point in points:
                    row = np.zeros(10)
                    row[7 + k], row[columns] = 1.0, -1 / point
                    rows.append(row)
                    bounds.append(np.log(point) - 1)
            widths = [(0, 1), (0, 1), (0, None)] * 2 + [(0, None)] + [(None, None)] * 3
            gain = np.concatenate([np.zeros(7), [-1, -discount, -(discount**2) * weight]])
            found = linprog(gain, A_ub=np.array(rows), b_ub=bounds, bounds=widths)
            assert exact <= -found.fun + 1e-9
            assert exact == pytest.approx(-found.fun, abs=2e-3)

    def test_slopes_are_limits_of_differences(self):
        found = self.solved()
        assert 10 < found.kinked[:, 0].sum() < 40
        np.testing.assert_allclose(found.marginal, slope(lambda h: self.solved(h).value), rtol=1e-7)
        np.testing.assert_allclose(found.by_wealth, slope(lambda h: self.solved(h).used[:, 0]), atol=1e-8)
        for k in range(3):
            known = slope(lambda h, k=k: self.solved(prices=h * np.eye(3)[k]).value)
            np.testing.assert_allclose(found.prices[:, k], known, atol=1e-7)
        for k in range(2):
            known = slope(lambda h, k=k: self.solved(limits=h * np.eye(2)[k]).value)
            np.testing.assert_allclose(found.limits[:, k], known, atol=1e-7)


class TestStorage:
    cavern = Cavern(10.0, 2.0, 3.0, 0.1)
    process = (0.9, 0.15, 1.0)

    def solved(self, horizon, nodes=(201, 201)):
        return references.storage(self.cavern, *self.process, 0.995, 0.5, horizon, nodes)

    def test_the_last_period_is_linear(self):
        """Each unit is sold for k e^x' later, on average, or now; it is a matter of the price which."""
        solved = self.solved(1)
        v, x = np.linspace(0.0, 10.0, 51)[:, None], np.linspace(0.3, 2.0, 41)
        later = 0.995 * 0.5 * np.exp(1.0 + 0.9 * (x - 1.0) + 0.15**2 / 2)
        into = np.minimum(2.0 * (1 - v / 20), 10 - v) * np.maximum(later - np.exp(x) - 0.1, 0)
        out = np.minimum(3.0 * (0.3 + 0.07 * v), v) * np.maximum(np.exp(x) - 0.1 - later, 0)
        np.testing.assert_allclose(solved.value(0, v, x), later * v + into + out, rtol=1e-7)

    def test_expectations_of_the_process(self):
        """Of a parabola exactly, of e^x, and of a kink, which is a price of Bachelier's."""
        nodes = np.linspace(-3.0, 3.0, 301)
        mean = 0.5 * nodes
        rows, inside = expectation(nodes, mean, 0.2), np.abs(mean) < 1.4
        np.testing.assert_allclose((rows @ nodes**2)[inside], (mean**2 + 0.04)[inside], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose((rows @ np.exp(nodes))[inside], np.exp(mean + 0.02)[inside], rtol=1e-8)
        d = mean / 0.2
        kinked = mean * norm.cdf(d) + 0.2 * norm.pdf(d)
        np.testing.assert_allclose((rows @ np.maximum(nodes, 0))[inside], kinked[inside], atol=1e-4)

    def test_two_periods_by_search(self):
        """Every rate on a fine line, and tomorrow by many even nodes of the innovation."""
        one, two = self.solved(1), self.solved(2, (201, 801))
        e = np.linspace(-7.0, 7.0, 1001)
        weights = norm.pdf(e) * (e[1] - e[0])
        for v, x in ((0.5, 0.8), (4.0, 1.0), (9.2, 0.6), (8.0, 1.6), (5.0, 0.2)):
            rates = np.append(0.0, np.linspace(-self.cavern.most_out(v), self.cavern.most_in(v), 101))
            tomorrow = one.value(0, (v + rates)[:, None], 1.0 + 0.9 * (x - 1.0) + 0.15 * e)
            values = -np.exp(x) * rates - 0.1 * np.abs(rates) + 0.995 * tomorrow @ weights
            assert two.value(0, v, x) == pytest.approx(values.max(), abs=2e-4)
            assert two.rate(0, v, x) == pytest.approx(rates[values.argmax()], abs=0.05)

    def test_finer_nodes(self):
        v, x = np.linspace(0.0, 10.0, 77)[:, None], 1.0 + 0.344 * np.linspace(-3.0, 3.0, 53)
        coarse, fine = (self.solved(12, nodes).value(0, v, x) for nodes in ((401, 401), (801, 801)))
        np.testing.assert_allclose(coarse, fine, atol=1e-4)
