"""The references against published numbers, closed forms, and direct solutions of their own equations."""

import numpy as np
import pytest
from scipy.optimize import brentq, linprog, minimize, minimize_scalar
from scipy.signal import lfilter
from scipy.special import ndtr

from bellax.models import references


def normal_quadrature(count):
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


class TestMerton:
    discount, mu, sigma, gamma = 0.96, 0.04, 0.15, 2.5

    def bellman(self, w, utility, value_next):
        """Best consumption and value by a scalar search over the share, with 20-node quadrature."""
        z, weights = normal_quadrature(20)

        def loss(share):
            wealth_next = (1 - share) * w * np.exp(self.mu + self.sigma * z)
            return -utility(share * w) - self.discount * weights @ value_next(wealth_next)

        best = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-10})
        return best.x, -best.fun

    def crra(self, **changes):
        arguments = {"gamma": self.gamma, "discount": self.discount, "mu": self.mu, "sigma": self.sigma}
        return references.merton_crra(**(arguments | changes))

    @pytest.mark.parametrize("w", [0.3, 10.0])
    def test_log_value_solves_the_bellman_equation(self, w):
        A, B = references.merton_log(self.discount, self.mu)
        share, value = self.bellman(w, np.log, lambda wealth: A + B * np.log(wealth))
        assert share == pytest.approx(1 - self.discount, rel=1e-6)
        assert value == pytest.approx(A + B * np.log(w), rel=1e-11)

    @pytest.mark.parametrize("gamma", [0.5, 2.5, 6.0])
    def test_crra_value_solves_the_bellman_equation(self, gamma):
        exact = self.crra(gamma=gamma, horizon=3, terminal=4.0)
        coefficients = [*exact.coefficient, 4.0]

        def utility(c):
            return c ** (1 - gamma) / (1 - gamma)

        for t in range(3):
            later = coefficients[t + 1]
            share, value = self.bellman(2.0, utility, lambda wealth, later=later: later * utility(wealth))
            assert share == pytest.approx(exact.share[t], rel=1e-6)
            assert value == pytest.approx(coefficients[t] * utility(2.0), rel=1e-11)

    def test_long_horizon_is_stationary(self):
        stationary, long = self.crra(), self.crra(horizon=2000)
        for name in stationary._fields:
            np.testing.assert_allclose(getattr(long, name)[0], getattr(stationary, name), rtol=1e-10)

    def test_share_tends_to_log_share(self):
        assert self.crra(gamma=1.0 + 1e-9).share == pytest.approx(1 - self.discount, rel=1e-6)

    def test_everything_is_consumed_in_the_last_period(self):
        last = self.crra(horizon=1)
        assert (last.share[0], last.coefficient[0], last.share_by_sigma[0]) == (1.0, 1.0, 0.0)

    @pytest.mark.parametrize("horizon", [None, 7])
    @pytest.mark.parametrize("name", ["sigma", "discount"])
    def test_derivatives_are_limits_of_differences(self, name, horizon):
        step, centre = 1e-5, getattr(self, name)
        above = self.crra(**{name: centre + step}, horizon=horizon, terminal=3.0)
        below = self.crra(**{name: centre - step}, horizon=horizon, terminal=3.0)
        exact = self.crra(horizon=horizon, terminal=3.0)
        for field in ("share", "coefficient"):
            difference = (getattr(above, field) - getattr(below, field)) / (2 * step)
            np.testing.assert_allclose(getattr(exact, f"{field}_by_{name}"), difference, rtol=1e-6)

    def test_refusals(self):
        with pytest.raises(ValueError, match="merton_log"):
            self.crra(gamma=1.0)
        with pytest.raises(ValueError, match="the value is infinite"):
            self.crra(gamma=0.5, discount=0.999)


class TestLifeCycle:
    discount, gross_return = 0.95, 1.04

    def incomes(self, periods, count=3, sigma=0.3):
        z, weights = normal_quadrature(count)
        return references.lognormal_incomes(np.linspace(1.0, 1.4, periods), sigma, z), weights

    def direct(self, gamma, incomes, weights):
        """Consumption and value by a root of the Euler equation within a root: exponential in T, exact."""

        def consume(t, m):
            if t == len(incomes) - 1:
                return m

            def excess(c):
                later = [consume(t + 1, self.gross_return * (m - c) + y) for y in incomes[t + 1]]
                return c**-gamma - self.discount * self.gross_return * weights @ np.power(later, -gamma)

            return m if excess(m) >= 0 else brentq(excess, 1e-3 * m, m, xtol=1e-13, rtol=1e-13)

        def value(t, m):
            c = consume(t, m)
            flow = np.log(c) if gamma == 1 else c ** (1 - gamma) / (1 - gamma)
            if t == len(incomes) - 1:
                return flow
            later = [value(t + 1, self.gross_return * (m - c) + y) for y in incomes[t + 1]]
            return flow + self.discount * weights @ np.array(later)

        return consume, value

    @pytest.mark.parametrize("gamma", [1.0, 3.0])
    def test_agrees_with_nested_roots(self, gamma):
        incomes, weights = self.incomes(4)
        solution = references.carroll_deaton_egm(gamma, self.discount, self.gross_return, incomes, weights)
        consume, value = self.direct(gamma, incomes, weights)
        for t in (1, 2):
            for m in (0.2, 0.7, 1.3, 2.2, 4.0, 9.0):
                assert solution(t, m) == pytest.approx(consume(t, m), rel=3e-9)
                assert solution.value(t, m) == pytest.approx(value(t, m), rel=3e-9)
        assert solution(0, 2.5) == pytest.approx(consume(0, 2.5), rel=3e-9)

    def test_error_falls_with_the_square_of_the_nodes(self):
        incomes, weights = self.incomes(30, count=5, sigma=0.2)
        m = np.geomspace(0.05, 100.0, 2001)
        consumption = [
            np.array([solution(t, m) for t in range(30)])
            for solution in (
                references.carroll_deaton_egm(2.0, 0.96, 1.03, incomes, weights, nodes=nodes)
                for nodes in (10_000, 20_000, 40_000, 80_000)
            )
        ]
        changes = [np.abs(b / a - 1).max() for a, b in zip(consumption, consumption[1:], strict=False)]
        assert changes[-1] < 1e-8
        assert changes[0] / changes[-1] > 10  # 16 if the order is exactly two

    def test_constrained_consumption_is_cash_on_hand(self):
        incomes, weights = self.incomes(10)
        solution = references.carroll_deaton_egm(2.0, self.discount, self.gross_return, incomes, weights)
        m = np.linspace(0.01, 0.6, 50)
        assert all(np.array_equal(solution(t, m), m) for t in range(10))
        assert solution(0, 3.0) < 2.0

    def test_perfect_foresight(self):
        # Certain, falling income and beta R > 1: the constraint never binds, and consumption grows steadily.
        gamma, discount, periods = 2.0, 0.99, 12
        incomes = np.linspace(1.0, 0.1, periods)[:, None]
        solution = references.carroll_deaton_egm(gamma, discount, self.gross_return, incomes, np.ones(1))
        growth = (discount * self.gross_return) ** (1 / gamma) / self.gross_return
        wealth = 2.0 + incomes[1:, 0] @ self.gross_return ** -np.arange(1.0, periods)
        c = wealth * (1 - growth) / (1 - growth**periods)
        path = c * (growth * self.gross_return) ** np.arange(periods)
        value = -np.sum(discount ** np.arange(periods) / path)
        assert solution(0, 2.0) == pytest.approx(c, rel=1e-9)
        assert solution.value(0, 2.0) == pytest.approx(value, rel=1e-8)


def black_scholes_put(spot, strike, rate, volatility, maturity):
    deviation = volatility * np.sqrt(maturity)
    d = (np.log(spot / strike) + (rate + 0.5 * volatility**2) * maturity) / deviation
    return strike * np.exp(-rate * maturity) * ndtr(deviation - d) - spot * ndtr(-d)


class TestOptions:
    spot = np.array([36.0, 38.0, 40.0])

    @pytest.mark.parametrize(("maturity", "published"), [(1.0, [4.478, 3.250, 2.314]), (2.0, [4.840, 3.745, 2.885])])
    def test_bermudan_is_table_1_of_longstaff_and_schwartz(self, maturity, published):
        value = references.bermudan_put(self.spot, 40.0, 0.06, 0.2, maturity, dates=int(50 * maturity))
        np.testing.assert_allclose(value, published, atol=5.0e-4)

    def test_one_date_is_european(self):
        value = references.bermudan_put(self.spot, 40.0, 0.06, 0.2, 1.0, dates=1)
        european = black_scholes_put(self.spot, 40.0, 0.06, 0.2, 1.0)
        np.testing.assert_allclose(value, np.maximum(40.0 - self.spot, european), rtol=1e-14)

    def test_european_tree_tends_to_black_scholes(self):
        exact = black_scholes_put(self.spot, 40.0, 0.06, 0.2, 1.0)
        tree = references.crr_tree(self.spot, 40.0, 0.06, 0.2, 1.0, steps=2000, american=False)
        np.testing.assert_allclose(tree, exact, atol=2e-3)

    def test_many_dates_are_american(self):
        coarse, fine = (references.bermudan_put(self.spot, 40.0, 0.06, 0.2, 1.0, dates=n) for n in (50, 100))
        tree = references.american_put_tree(self.spot, 40.0, 0.06, 0.2, 1.0)
        assert np.all(coarse < fine) and np.all(fine < tree)
        np.testing.assert_allclose(2 * fine - coarse, tree, atol=6e-5)  # a Bermudan falls short by about 1/n

    def test_smooth_tree_converges(self):
        rough = references.crr_tree(self.spot, 40.0, 0.06, 0.2, 1.0)
        trees = [references.american_put_tree(self.spot, 40.0, 0.06, 0.2, 1.0, steps) for steps in (500, 1000)]
        np.testing.assert_allclose(trees[0], trees[1], atol=3e-5)
        np.testing.assert_allclose(trees[1], rough, atol=2e-4)

    def test_deep_in_the_money_is_exercised(self):
        assert references.crr_tree(20.0, 40.0, 0.06, 0.2, 1.0, steps=200) == 20.0
        assert references.bermudan_put(20.0, 40.0, 0.06, 0.2, 1.0, dates=10) == 20.0


class TestRegimeSwitchingPut:
    spot, volatilities = np.linspace(0.7, 1.3, 13), (0.15, 0.4)
    transition = np.array([[0.9, 0.1], [0.4, 0.6]])

    def test_who_stays_has_one_volatility(self):
        value = references.regime_switching_put(self.spot, 1.0, 0.05, self.volatilities, np.eye(2), 0.5, 5)
        for own, volatility in zip(value, self.volatilities, strict=True):
            np.testing.assert_allclose(
                own, references.bermudan_put(self.spot, 1.0, 0.05, volatility, 0.5, 5), rtol=0, atol=1e-12
            )

    def test_differences_agree_with_quadrature(self):
        contract = self.spot, 1.0, 0.05, self.volatilities, self.transition, 0.5, 5
        exact = references.regime_switching_put(*contract)
        differences = references.regime_switching_put_by_differences(*contract, nodes=1000, steps=40)
        np.testing.assert_allclose(differences, exact, atol=1e-5)
        assert np.max(np.abs(references.regime_switching_put_by_differences(*contract, nodes=100) - exact)) > 5e-5

    def test_differences_are_black_scholes_with_one_date(self):
        value = references.regime_switching_put_by_differences(self.spot, 1.0, 0.05, (0.3,), np.eye(1), 0.5, 1)
        exact = np.maximum(1.0 - self.spot, black_scholes_put(self.spot, 1.0, 0.05, 0.3, 0.5))
        np.testing.assert_allclose(np.maximum(1.0 - self.spot, value[0]), exact, atol=1e-4)


class TestJumpDiffusionPut:
    spot, jumps = np.linspace(0.7, 1.3, 13), (0.5, -0.1, 0.2)

    def test_series_solves_the_integral(self):
        # given n jumps the log price is normal: the payoff's mean by panels, a density at a time
        intensity, mean, sd = self.jumps
        drift = 0.05 - 0.15**2 / 2 - intensity * (np.exp(mean + sd**2 / 2) - 1)
        y, weights = np.polynomial.legendre.leggauss(120)
        y, weights = 4 * (y - 1), 4 * weights * np.exp(-0.05)  # log prices at maturity, from -8 to the strike
        expected, mass = np.zeros(13), np.exp(-intensity)
        for n in range(12):
            spread = np.sqrt(0.15**2 + n * sd**2)
            distance = (y - np.log(self.spot)[:, None] - drift - n * mean) / spread
            density = np.exp(-0.5 * distance**2) / (spread * np.sqrt(2 * np.pi))
            expected, mass = expected + mass * density @ (weights * (1 - np.exp(y))), mass * intensity / (n + 1)
        series = references.merton_series(self.spot, 1.0, 0.05, 0.15, *self.jumps, 1.0)
        np.testing.assert_allclose(series, expected, rtol=1e-9)

    def test_no_jumps(self):
        series = references.merton_series(self.spot, 1.0, 0.05, 0.15, 0.0, -0.1, 0.2, 2.0)
        np.testing.assert_allclose(series, black_scholes_put(self.spot, 1.0, 0.05, 0.15, 2.0), rtol=1e-12)
        put = references.jump_diffusion_put(self.spot, 1.0, 0.05, 0.15, 0.0, -0.1, 0.2, 1.0, 5)
        np.testing.assert_allclose(put, references.bermudan_put(self.spot, 1.0, 0.05, 0.15, 1.0, 5), rtol=1e-10)

    def test_one_date_is_the_series(self):
        put = references.jump_diffusion_put(self.spot, 1.0, 0.05, 0.15, *self.jumps, 1.0, 1)
        series = references.merton_series(self.spot, 1.0, 0.05, 0.15, *self.jumps, 1.0)
        np.testing.assert_allclose(put, np.maximum(1.0 - self.spot, series), rtol=1e-9)

    def test_dates_without_exercise_compose(self):
        # at a rate of almost zero, a put is not exercised early: many dates are one
        put = references.jump_diffusion_put(self.spot, 1.0, 1e-9, 0.15, *self.jumps, 1.0, 4)
        series = references.merton_series(self.spot, 1.0, 1e-9, 0.15, *self.jumps, 1.0)
        np.testing.assert_allclose(put, series, atol=1e-8)


def almgren_chriss(assets):
    """Value at the start of liquidating over ten periods, inventory and signals unconstrained.

    The reward sum(v p - 2 v^2) - .02 (b q)^2 has a term in v p: with u = v - p/4 it is -2 u^2 + p^2 / 8.
    """
    identity, zero = np.eye(assets), np.zeros((assets, assets))
    b = np.linspace(0.7, 1.3, assets) if assets > 1 else np.ones(1)
    inventory = np.linspace(0.8, 0.4, assets)
    A = np.block([[identity, -identity / 4], [zero, 0.7 * identity]])
    B = np.vstack([-identity, zero])
    Q = np.block([[0.02 * np.outer(b, b), zero], [zero, -identity / 8]])
    noise = np.append(np.zeros(assets), 0.4 * b)
    terminal = np.block([[8 * identity, -identity / 2], [-identity / 2, zero]])
    R, covariance = 2 * identity, np.outer(noise, noise)
    solved = references.riccati(A, B, Q, R, covariance, 1.0, horizon=10, terminal=terminal)
    start = np.append(inventory if assets > 1 else 0.6, np.zeros(assets))
    return -start @ solved.value_matrix[0] @ start - solved.constant[0]


class TestRiccati:
    A = np.array([[1.0, 0.2], [-0.1, 0.9]])
    B = np.array([[0.0, 0.3], [1.0, 0.1]])
    Q = np.array([[1.0, 0.2], [0.2, 0.5]])
    R = np.array([[0.4, 0.1], [0.1, 0.3]])
    noise_covariance = np.array([[0.04, 0.01], [0.01, 0.02]])

    def solve(self, **options):
        return references.riccati(self.A, self.B, self.Q, self.R, self.noise_covariance, 0.95, **options)

    @pytest.mark.parametrize(("assets", "published"), [(1, -0.02640129), (40, -22.087922)])
    def test_almgren_chriss(self, assets, published):
        assert almgren_chriss(assets) == pytest.approx(published, rel=1e-6)

    def test_recursion_solves_the_bellman_equation(self):
        solved = self.solve(horizon=4, terminal=np.diag([1.0, 3.0]))
        root = np.linalg.cholesky(self.noise_covariance)
        nodes = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) @ root.T  # two moments: exact for quadratics
        x = np.array([0.7, -1.2])

        def value(t, x):
            return -np.einsum("...i,ij,...j", x, solved.value_matrix[t], x) - solved.constant[t]

        for t in range(4):

            def loss(u, t=t):
                later = value(t + 1, self.A @ x + self.B @ u + nodes).mean()
                return x @ self.Q @ x + u @ self.R @ u - 0.95 * later

            best = minimize(loss, np.zeros(2), options={"gtol": 1e-8})
            assert -best.fun == pytest.approx(value(t, x), rel=1e-10)
            np.testing.assert_allclose(best.x, -solved.gain[t] @ x, atol=1e-6)

    def test_long_horizon_is_stationary(self):
        for long, stationary in zip(self.solve(horizon=600), self.solve(), strict=True):
            np.testing.assert_allclose(long[0], stationary, rtol=1e-9)

    def test_scalar_equation_is_quadratic(self):
        # P = q + beta P r / (r + beta P) for A = B = 1, that is beta P^2 - (beta q + beta r - r) P - q r = 0.
        one, q, r, discount = np.eye(1), 0.6, 2.0, 0.9
        linear = discount * (q + r) - r
        exact = (linear + np.sqrt(linear**2 + 4 * discount * q * r)) / (2 * discount)
        solved = references.riccati(one, one, q * one, r * one, 0.5 * one, discount)
        assert solved.value_matrix[0, 0] == pytest.approx(exact, rel=1e-12)
        assert solved.constant == pytest.approx(discount * 0.5 * exact / (1 - discount), rel=1e-12)

    def test_stationary_problem_has_no_terminal_value(self):
        with pytest.raises(ValueError, match="terminal was given without a horizon"):
            self.solve(terminal=np.eye(2))


class TestBrockMirman:
    alpha, discount = 1 / 3, 0.95
    levels = np.array([0.9792, 0.9896, 1.0, 1.0106, 1.0212])
    transition = np.array(
        [
            [0.9727, 0.0273, 0, 0, 0],
            [0.0041, 0.9806, 0.0153, 0, 0],
            [0, 0.00815, 0.9837, 0.00815, 0],
            [0, 0, 0.0153, 0.9806, 0.0041],
            [0, 0, 0, 0.0273, 0.9727],
        ]
    )

    def test_known_numbers(self):
        solved = references.brock_mirman(self.alpha, self.discount, self.levels, self.transition)
        assert solved.slope == pytest.approx(0.48780488, abs=5e-9)
        known = [-18.764083, -18.524581, -18.272873, -18.019627, -17.782241]
        np.testing.assert_allclose(solved.intercepts, known, atol=5.1e-7)
        steady = 0.178198287
        assert solved.capital_next(steady)[2] == pytest.approx(steady, abs=5e-10)
        assert solved.consumption(steady)[2] + steady == pytest.approx(0.562731434, abs=1e-9)

    @pytest.mark.parametrize("weight", [1.0, 0.05])
    def test_bellman_equation(self, weight):
        solved = references.brock_mirman(self.alpha, self.discount, self.levels, self.transition, weight)
        for k in (0.05, 0.3):
            for i, z in enumerate(self.levels):

                def loss(c, k=k, i=i, z=z):
                    later = self.transition[i] @ solved.value(z * k**self.alpha - c)
                    return -weight * np.log(c) - self.discount * later

                bounds = (1e-6, z * k**self.alpha - 1e-6)
                best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12})
                assert best.x == pytest.approx(solved.consumption(k)[i], rel=1e-6)
                assert -best.fun == pytest.approx(solved.value(k)[i], rel=1e-12)


class TestDiscrete:
    def test_puterman(self):
        value, policy = references.puterman_621(0.95)
        np.testing.assert_allclose(value, [-8.5714286, -20.0], atol=5e-8)
        assert policy.tolist() == [0, 0]

    def test_puterman_switches_at_ten_elevenths(self):
        value, policy = references.puterman_621(0.9)
        np.testing.assert_allclose(value, [10 - 0.9 / 0.1, -10.0], rtol=1e-12)
        assert policy.tolist() == [1, 0]

    def test_asset_replacement(self):
        # Miranda & Fackler (2002), section 7.6.2, with the values that QuantEcon's lectures print.
        age = np.arange(1, 6)
        rewards = np.column_stack([50 - 2.5 * age - 2.5 * age**2, np.full(5, 50.0 - 75)])
        rewards[4, 0] = -np.inf
        transitions = np.zeros((5, 2, 5))
        transitions[np.arange(5), 0, np.minimum(age, 4)] = 1
        transitions[:, 1, 0] = 1
        value, policy = references.discrete_dp(rewards, transitions, 0.9)
        published = [216.56004653, 190.62227392, 172.91363769, 169.90404187, 169.90404187]
        np.testing.assert_allclose(value, published, atol=5e-9)
        assert policy.tolist() == [0, 0, 0, 1, 1]

    def test_random_process_against_its_linear_programme(self):
        generator = np.random.default_rng(3)
        states, actions, discount = 30, 4, 0.97
        rewards = generator.normal(size=(states, actions))
        transitions = generator.dirichlet(np.full(states, 0.2), size=(states, actions))
        keep = np.repeat(np.eye(states), actions, axis=0)
        programme = linprog(
            np.ones(states),
            A_ub=discount * transitions.reshape(-1, states) - keep,
            b_ub=-rewards.ravel(),
            bounds=(None, None),
        )
        value, _ = references.discrete_dp(rewards, transitions, discount)
        np.testing.assert_allclose(value, programme.x, rtol=1e-8)


class TestRustReplacement:
    rate, maintenance, cost, discount = 0.5, 200.0, 1e5, 0.95

    def solve(self):
        return references.rust_replacement(self.rate, self.maintenance, self.cost, self.discount)

    def test_published_threshold(self):
        assert self.solve().threshold == pytest.approx(52.86545636, abs=5e-9)

    def iterate(self, x):
        """Value iteration on nodes x, with the exact expectation of the linear interpolant."""
        step = x[1]
        decay = np.exp(-self.rate * step)
        far = (1 - decay) / (self.rate * step) - decay  # weights of the two ends of a cell that is reached
        near = 1 - decay - far
        value = np.zeros_like(x)
        for _ in range(700):
            gains = near * value[:-1] + far * value[1:]
            tail = lfilter([1.0], [1.0, -decay], np.append(value[-1], gains[::-1]))
            keep = -self.maintenance * x + self.discount * tail[::-1]
            replace = keep[0] - self.cost
            value = np.maximum(keep, replace)
        crossing = np.flatnonzero(keep < replace)[0]
        left, right = keep[crossing - 1] - replace, keep[crossing] - replace
        return value, x[crossing - 1] + step * left / (left - right)

    def test_value_iteration_agrees(self):
        solved = self.solve()
        x = np.linspace(0.0, 80.0, 8001)
        value, threshold = self.iterate(x)
        assert threshold == pytest.approx(solved.threshold, rel=1e-6)
        np.testing.assert_allclose(value, solved.value(x), rtol=1e-7)

    def test_value_at_zero_pays_for_the_machine(self):
        solved = self.solve()
        assert solved.value(0.0) - solved.value(60.0) == pytest.approx(self.cost, rel=1e-12)
