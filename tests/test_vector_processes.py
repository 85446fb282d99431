"""Vector autoregressions against the closed forms of linear and quadratic rewards, and their own continuous law."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx

RHO = np.array([[0.8, 0.05], [0.02, 0.7]])
COVARIANCE = np.array([[0.04, 0.01], [0.01, 0.02]])
MEAN, DISCOUNT = np.array([0.3, -0.1]), 0.9
GIVEN = {"rho": RHO, "covariance": COVARIANCE}
PRICE = np.array([1.0, 2.0])


def model(**changes):
    """Pays prices times tomorrow's z, for ever."""
    slots = {
        "states": {"z": bx.VAR("rho", "covariance", MEAN, size=2)},
        "reward": lambda next_z: next_z @ PRICE,
        "discount": DISCOUNT,
    }
    return bx.Model(**{**slots, **changes})


def nodes(solution):
    numerics = solution.setting.numerics
    return np.asarray(numerics.mesh(solution.arguments, 0).processes["z"].values)


def covariance(rho=RHO):
    """Of the stationary distribution, by its sum."""
    total, term = np.zeros((2, 2)), COVARIANCE
    for _ in range(2000):
        total, term = total + term, rho @ term @ rho.T
    return total


@pytest.fixture(scope="module")
def endless():
    return bx.solve(model(), GIVEN, bx.solvers.PolicyIteration(grid={"z": 5}))


def linear(z):
    """V = sum of b^t p' E z_{t+1}."""
    expected = np.linalg.inv(np.eye(2) - DISCOUNT * RHO) @ RHO @ (z - MEAN).T
    return PRICE @ expected + PRICE @ MEAN / (1 - DISCOUNT)


def test_a_linear_value_is_exact_at_nodes_and_between_them(endless):
    """Conditional means are exact at every node, and between nodes both V and the rows of the chain are mixed."""
    z = nodes(endless)
    assert z.shape == (25, 2)
    np.testing.assert_allclose(endless.value(z=z), linear(z), rtol=1e-10)
    shares = np.random.default_rng(0).dirichlet(np.ones(25), 30)
    np.testing.assert_allclose(endless.value(z=shares @ z), linear(shares @ z), rtol=1e-10)


def test_a_quadratic_value_is_exact_at_nodes():
    """With exact conditional covariances E (q'z)^2 is exact over several periods, the unconditional one among them."""
    q = np.array([1.0, -0.5])
    quadratic = model(reward=lambda z: (z @ q) ** 2, terminal=lambda z: (z @ q) ** 2, horizon=3)
    solution = bx.solve(quadratic, GIVEN, bx.solvers.BackwardInduction(grid={"z": (6, 4)}))
    z, total, variance, power = nodes(solution), 0.0, np.zeros((2, 2)), np.eye(2)
    for t in range(4):
        expected = MEAN + (z - MEAN) @ power.T
        total = total + DISCOUNT**t * ((expected @ q) ** 2 + q @ variance @ q)
        variance, power = RHO @ variance @ RHO.T + COVARIANCE, RHO @ power
    np.testing.assert_allclose(solution.value(period=0, z=z), total, rtol=1e-10)


def test_agents_move_by_the_continuous_law(endless):
    panel = bx.simulate(endless, agents=20_000, seed=1, periods=3)
    z = np.asarray(panel.states["z"])
    for t in range(3):
        np.testing.assert_allclose(z[:, t].mean(axis=0), MEAN, atol=0.012)
        np.testing.assert_allclose(np.cov(z[:, t].T), covariance(), atol=0.003)
    moved = z[:, 1] - MEAN - (z[:, 0] - MEAN) @ RHO.T
    np.testing.assert_allclose(np.cov(moved.T), COVARIANCE, atol=0.001)
    assert {"z[0]", "z[1]"} <= set(panel.frame().columns)


def test_the_certificate_of_a_vector(endless):
    found = bx.certify(endless, points=50, agents=2000)
    assert found.own_nodes == ("z",) and abs(found.simulated["z"]) < 4


def test_a_policy_between_nodes_and_a_table_of_it():
    """Works where this pays more than .3 now: the sign of the first number alone decides."""
    chosen = model(actions={"work": bx.Discrete(2)}, reward=lambda work, z: jnp.where(work == 1, z[0], 0.3), horizon=2)
    solution = bx.solve(chosen, GIVEN, bx.solvers.BackwardInduction(grid={"z": 4}))
    z = np.random.default_rng(1).normal(MEAN, 0.1, (40, 2))
    np.testing.assert_array_equal(solution.policy(period=1, z=z)["work"], z[:, 0] > 0.3)
    np.testing.assert_allclose(solution.value(period=1, z=z), np.maximum(z[:, 0], 0.3), rtol=1e-12)
    np.testing.assert_array_equal(solution.tabulate().policy(period=1, z=z)["work"], z[:, 0] > 0.3)


def test_derivatives_pass_through_the_chain():
    def value(scale):
        given = {"rho": scale * RHO, "covariance": COVARIANCE}
        solution = bx.solve(model(horizon=2), given, bx.solvers.BackwardInduction(grid={"z": 3}))
        return solution.value(period=0, z=jnp.array([0.4, 0.1]))

    exact = lambda s: PRICE @ (s * RHO + DISCOUNT * s**2 * RHO @ RHO) @ (np.array([0.4, 0.1]) - MEAN)  # noqa: E731
    assert float(jax.grad(value)(1.0)) == pytest.approx((exact(1 + 1e-5) - exact(1 - 1e-5)) / 2e-5, rel=1e-7)


def test_one_number_is_an_autoregression():
    vector = bx.Model(states={"z": bx.VAR([[0.9]], [[0.04]])}, reward=lambda z: jnp.exp(z[0]), discount=0.9, horizon=4)
    scalar = bx.Model(states={"z": bx.AR1(0.9, 0.2)}, reward=lambda z: jnp.exp(z), discount=0.9, horizon=4)
    solver = bx.solvers.BackwardInduction(grid={"z": bx.grids.FarmerToda(7)})
    z = np.linspace(-1, 1, 9)
    ours, theirs = bx.solve(vector, {}, solver), bx.solve(scalar, {}, solver)
    np.testing.assert_allclose(ours.value(period=0, z=z[:, None]), theirs.value(period=0, z=z), rtol=1e-12)


WRONG = {
    "no size": (lambda: bx.VAR("rho", "covariance"), "needs size="),
    "two sizes": (lambda: bx.VAR(RHO, np.eye(3)), r"covariance has shape \(3, 3\)"),
    "a unit root": (lambda: model(states={"z": bx.VAR(np.eye(2), COVARIANCE)}), "an eigenvalue of size 1;"),
    "no covariance": (lambda: model(states={"z": bx.VAR(RHO, [[1.0, 2.0], [2.0, 1.0]])}), "positive definite"),
    "a vector too long": (lambda: bx.solve(model(), GIVEN | {"rho": np.eye(3)}), r"has shape \(3, 3\)"),
    "another chain": (
        lambda: bx.solve(model(), GIVEN, bx.solvers.ValueIteration(grid={"z": bx.grids.Tauchen(5)})),
        "the grid of the VAR state 'z' is Tauchen",
    ),
    "too many nodes": (
        lambda: bx.solve(model(), GIVEN, bx.solvers.ValueIteration(grid={"z": 100})),
        "has 10000 nodes",
    ),
    "a law that moves": (
        lambda: bx.solve(model(horizon=2), GIVEN | {"rho": bx.by_period([RHO, RHO])}),
        "'z', a bx.VAR, moves with time",
    ),
    "other nodes": (
        lambda: bx.solve(career(), GIVEN, bx.solvers.BackwardInduction(grid={"z": 3, "late": {"z": 4}})),
        "'z' has other nodes in 'late', where it goes on, than in 'early'",
    ),
    "another law where it goes on": (
        lambda: bx.solve(career(), GIVEN | {"late": {"rho": 0.5 * RHO}}),
        "'z' has other nodes in 'late'",
    ),
    "beyond the nodes": (
        lambda: bx.solve(career(entry=bx.shocks.MultivariateNormal(MEAN + 3.0, COVARIANCE)), GIVEN),
        "by a distribution that lies beyond its nodes",
    ),
    "a single number": (lambda: bx.solve(career(entry=bx.shocks.Normal(0.0, 0.1)), GIVEN), "as many numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_vector_process(case):
    make, message = WRONG[case]
    with pytest.raises((bx.ModelError, bx.ParameterError), match=message):
        make()


# -- in several regimes ------------------------------------------------------------------------------------------------


ENTRIES = {
    "young": (lambda: MEAN + np.array([0.13, -0.07]), MEAN + np.array([0.13, -0.07])),
    "drawn": (bx.shocks.MultivariateNormal(MEAN + 0.1, 0.1 * COVARIANCE), MEAN + 0.1),
    "ergodic": (bx.ergodic, MEAN),
}


def career(entry=None):
    """A year idle, of one of three kinds, then two regimes with the process, of which the second pays twice as much."""
    z = {"z": bx.VAR("rho", "covariance", MEAN, size=2)}
    given = {source: own if entry is None else entry for source, (own, _) in ENTRIES.items()}
    early = bx.Regime(
        states=z,
        entry={"z": given},
        reward=lambda next_z: next_z @ PRICE,
        next_regime=lambda: {"early": 0.25, "late": 0.75},
    )
    late = bx.Regime(states=z, reward=lambda next_z: 2 * next_z @ PRICE)
    idle = bx.Regime(reward=lambda: 0.0, next_regime=lambda: {"early": 1.0})
    regimes = {**dict.fromkeys(ENTRIES, idle), "early": early, "late": late}
    return bx.Model(regimes=regimes, discount=DISCOUNT, horizon=3)


def worth(start, idle):
    """Of z tomorrow, of the years that are left: prices times expected z, times one or two."""
    total, chance, z = 0.0, 1.0, start
    for t in range(3 - idle):
        z = MEAN + RHO @ (z - MEAN)
        total, chance = total + DISCOUNT ** (t + idle) * (2 - chance) * PRICE @ z, 0.25 * chance
    return total


@pytest.fixture(scope="module")
def careers():
    return bx.solve(career(), GIVEN, bx.solvers.BackwardInduction(grid={"z": 4}))


def test_regimes_that_it_enters_and_goes_on_in(careers):
    for source, (_, mean) in ENTRIES.items():
        assert float(careers[source].value(0)) == pytest.approx(worth(np.asarray(mean), 1), rel=1e-10)
    z = MEAN + np.array([[0.2, 0.1], [-0.15, 0.02]])
    np.testing.assert_allclose(careers["early"].value(0, z=z), [worth(each, 0) for each in z], rtol=1e-10)


def test_agents_enter_with_it_and_keep_it(careers):
    kinds = np.repeat(list(ENTRIES), 4000)
    frame = bx.simulate(careers, seed=3, start=pd.DataFrame({"regime": kinds, "age": 0})).frame()
    first, second = (frame[frame["period"] == t][["z[0]", "z[1]"]].to_numpy() for t in (1, 2))
    for source, (_, mean) in ENTRIES.items():
        np.testing.assert_allclose(first[kinds == source].mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(first[kinds == "ergodic"].T), covariance(), atol=0.01)
    moved = second - MEAN - (first - MEAN) @ RHO.T
    np.testing.assert_allclose(np.cov(moved.T), COVARIANCE, atol=0.002)
