"""AR1 processes and chains whose laws move with age: against closed forms, numpy and their own continuous law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

RHO = np.array([0.6, 0.9, 1.0, 0.8, 0.5])
SIGMA = np.array([0.1, 0.3, 0.2, 0.05, 0.4])
MEAN = np.array([0.2, 0.0, 0.5, 1.0, 1.0])
PERIODS, DISCOUNT = 5, 0.9
COUNT = 5
GIVEN = {"rho": bx.by_period(RHO), "sigma": bx.by_period(SIGMA), "mean": bx.by_period(MEAN)}


def worker(**changes):
    """Works for the wage of tomorrow or today, or does not."""
    slots = {
        "states": {"z": bx.AR1("rho", "sigma", "mean")},
        "actions": {"work": bx.Discrete(2)},
        "reward": lambda work, z: jnp.where(work == 1, jnp.exp(z), 1.3),
        "discount": DISCOUNT,
        "horizon": PERIODS,
    }
    return bx.Model(**{**slots, **changes})


def deviations():
    """Of z in periods 0 to the last, from the law alone."""
    found = [SIGMA[0] / np.sqrt(1 - RHO[0] ** 2)]
    for rho, sigma in zip(RHO, SIGMA, strict=True):
        found.append(np.sqrt(rho**2 * found[-1] ** 2 + sigma**2))
    return np.array(found)


def means():
    found = [MEAN[0]]
    for rho, mean in zip(RHO, MEAN, strict=True):
        found.append((1 - rho) * mean + rho * found[-1])
    return np.array(found)


def nodes(t):
    return means()[t] + np.sqrt(COUNT - 1) * deviations()[t] * np.linspace(-1, 1, COUNT)


def transition(t):
    """Rouwenhorst's matrix by his recursion, p from the correlation of z_t and z_{t+1}."""
    p = 0.5 * (1 + RHO[t] * deviations()[t] / deviations()[t + 1])
    matrix = np.array([[p, 1 - p], [1 - p, p]])
    for n in range(3, COUNT + 1):
        larger = np.zeros((n, n))
        for rows, columns, weight in ((0, 0, p), (0, 1, 1 - p), (1, 0, 1 - p), (1, 1, p)):
            larger[rows : rows + n - 1, columns : columns + n - 1] += weight * matrix
        larger[1:-1] /= 2
        matrix = larger
    return matrix


@pytest.fixture(scope="module")
def solved():
    return bx.solve(worker(), GIVEN, bx.solvers.BackwardInduction(grid={"z": bx.grids.Rouwenhorst(COUNT)}))


def test_the_value_of_a_life_is_that_of_a_recursion_on_the_same_nodes(solved):
    value = np.zeros(COUNT)
    for t in range(PERIODS - 1, -1, -1):
        value = np.maximum(np.exp(nodes(t)), 1.3) + DISCOUNT * transition(t) @ value
        np.testing.assert_allclose(solved.value(period=t, z=nodes(t)), value, rtol=1e-12)


@pytest.mark.parametrize("spec", [bx.grids.Rouwenhorst(COUNT), bx.grids.FarmerToda(COUNT)])
def test_a_reward_that_sees_tomorrow(spec):
    """V = E sum of b^t z_{t+1}^2 is quadratic, so that a chain with the conditional moments of the law is exact."""
    model = worker(reward=lambda next_z: next_z**2, actions={})
    solution = bx.solve(model, GIVEN, bx.solvers.BackwardInduction(grid={"z": spec}))
    z, total, variance = nodes(0), 0.0, 0.0
    for t in range(PERIODS):
        z = (1 - RHO[t]) * MEAN[t] + RHO[t] * z
        variance = RHO[t] ** 2 * variance + SIGMA[t] ** 2
        total = total + DISCOUNT**t * (z**2 + variance)
    np.testing.assert_allclose(solution.value(period=0, z=nodes(0)), total, rtol=1e-11)


def test_simulated_moments_are_those_of_the_law(solved):
    panel = bx.simulate(solved, agents=20_000, seed=1)
    z = np.concatenate([panel.states["z"], np.asarray(panel.final["z"])[:, None]], axis=1)
    np.testing.assert_allclose(z.mean(axis=0), means(), atol=0.015)
    np.testing.assert_allclose(z.std(axis=0), deviations(), rtol=0.02)
    assert "z" in str(bx.certify(solved, points=100, agents=100))


def test_the_derivative_through_a_moving_chain(solved):
    def value(scale):
        given = GIVEN | {"sigma": bx.by_period(scale * SIGMA)}
        return bx.solve(solved.model, given, solved.setting.options).value(period=0, z=0.3)

    step = 1e-5
    difference = (value(1 + step) - value(1 - step)) / (2 * step)
    assert float(jax.grad(value)(1.0)) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("spec", [bx.grids.Rouwenhorst(5), bx.grids.Tauchen(5, 2.5), bx.grids.FarmerToda(5)])
def test_a_law_that_says_the_same_in_every_period_is_the_stationary_one(spec):
    solver = bx.solvers.BackwardInduction(grid={"z": spec})
    still = bx.solve(worker(), {"rho": 0.8, "sigma": 0.2, "mean": 0.1}, solver)
    again = bx.solve(worker(), {"rho": bx.by_period(np.full(PERIODS, 0.8)), "sigma": 0.2, "mean": 0.1}, solver)
    np.testing.assert_allclose(again.values.levels, still.values.levels, rtol=1e-13)


def test_laws_that_read_the_age_a_file_and_the_end(tmp_path):
    """Spread zero from the second period on, a unit root: z stays where it is, and V is a sum."""
    law = bx.AR1(lambda age: jnp.where(age == 30, 0.5, 1.0), lambda period: jnp.where(period == 0, 0.2, 0.0))
    model = worker(states={"z": law}, horizon=bx.Ages(30, 33), terminal=lambda z: z, reward=lambda z: z, actions={})
    solution = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"z": bx.grids.Tauchen(5)}))
    z = np.asarray(solution.setting.numerics.mesh(solution.arguments, 2).processes["z"].values)
    np.testing.assert_allclose(solution.value(age=32, z=z), z * (1 + 0.9 + 0.9**2), rtol=1e-12)
    solution.save(tmp_path / "solution.nc")
    loaded = bx.load(tmp_path / "solution.nc", model)
    assert float(loaded.value(age=31, z=0.1)) == float(solution.value(age=31, z=0.1))


def test_the_values_of_a_chain_move_with_age():
    """Today's law to tomorrow's values: the expectation of the levels of the next age."""
    levels, rows = np.array([[1.0, 2.0], [1.5, 4.0], [0.5, 8.0]]), np.array([[0.7, 0.3], [0.2, 0.8]])
    chain = bx.MarkovChain(bx.by_period(levels), rows)
    model = worker(states={"z": chain}, actions={}, reward=lambda next_z: next_z, horizon=2)
    solution = bx.solve(model, {})
    last = rows @ levels[2]
    np.testing.assert_allclose(solution.value(period=1, z=levels[1]), last, rtol=1e-14)
    np.testing.assert_allclose(solution.value(period=0, z=levels[0]), rows @ levels[1] + 0.9 * rows @ last, rtol=1e-14)
    panel = bx.simulate(solution, agents=50, seed=0)
    assert set(np.unique(panel.states["z"][:, 1])) == {1.5, 4.0}


def test_what_a_moving_law_may_not_be():
    root = GIVEN | {"rho": bx.by_period(np.array([1.0, 0.9, 0.9, 0.9, 0.9]))}
    with pytest.raises(bx.ParameterError, match="'z' in period 0 has rho = 1; a chain needs .* later ones may be one"):
        bx.solve(worker(), root)
    negative = GIVEN | {"sigma": bx.by_period(np.array([0.1, 0.1, -0.1, 0.1, 0.1]))}
    with pytest.raises(bx.ParameterError, match="sigma.*-0.1.*not be negative"):
        bx.solve(worker(), negative)
    law = bx.AR1(0.5, lambda period: 0.1 - 0.1 * period)
    with pytest.raises(bx.ParameterError, match="sigma of state .z. in period 2 is -0.1"):
        bx.solve(worker(states={"z": law}), {})
    outcome = jax.jit(lambda rho: bx.solve(worker(), GIVEN | {"rho": bx.by_period(rho)}).value(period=0, z=0.1))
    assert jnp.isnan(outcome(jnp.array([1.0, 0.9, 0.9, 0.9, 0.9])))


# -- where z starts


STARTS = {"known": (0.3, 0.3, 0.0), "spread": (bx.shocks.Normal(0.3, "spread"), 0.3, 0.25)}


def started(start, **changes):
    """A random walk, whose mean does not matter, from a start."""
    return worker(states={"z": bx.AR1(1.0, "sigma", 7.0, start=start)}, **changes)


@pytest.fixture(scope="module", params=STARTS)
def begun(request):
    start, mean, sd = STARTS[request.param]
    params = {"sigma": bx.by_period(SIGMA)} | ({"spread": sd} if sd else {})
    return (
        bx.solve(started(start), params, bx.solvers.BackwardInduction(grid={"z": bx.grids.Rouwenhorst(COUNT)})),
        mean,
        sd,
    )


def test_a_process_that_starts_spreads_with_age(begun):
    """var_t = var_0 + sum of sigma^2 on nodes and in the simulation, and V by the recursion on these nodes.

    Fella, Gallipoli and Pan (2019): the sides of Rouwenhorst's coins are kept with (1 + rho s_t / s_{t+1}) / 2.
    """
    solution, mean, sd = begun
    spread = np.sqrt(sd**2 + np.concatenate([[0.0], np.cumsum(SIGMA**2)]))
    value = np.zeros(COUNT)
    for t in range(PERIODS - 1, -1, -1):
        z = mean + np.sqrt(COUNT - 1) * spread[t] * np.linspace(-1, 1, COUNT)
        keep = 0.5 * (1 + spread[t] / spread[t + 1])
        flips = np.array([[keep, 1 - keep], [1 - keep, keep]])
        value = np.maximum(np.exp(z), 1.3) + DISCOUNT * rouwenhorst(flips) @ value
        np.testing.assert_allclose(solution.value(period=t, z=z), value, rtol=1e-12)
    panel = bx.simulate(solution, agents=20_000, seed=5)
    simulated = np.asarray(panel.states["z"])
    assert (sd > 0) == (len(np.unique(simulated[:, 0])) > 1)
    np.testing.assert_allclose(simulated.mean(axis=0), mean, atol=0.015)
    np.testing.assert_allclose(simulated.std(axis=0), spread[:-1], rtol=0.02, atol=1e-9)
    assert abs(bx.certify(solution, points=60, agents=1000).simulated["z"]) < 4


def rouwenhorst(flips):
    """Convolutions of the rows of coins that keep their side and of those that do not."""
    rows = []
    for heads in range(COUNT):
        row = np.ones(1)
        for coin in range(COUNT - 1):
            row = np.convolve(row, flips[1] if coin < heads else flips[0])
        rows.append(row)
    return np.array(rows)


def test_what_a_start_may_not_be():
    with pytest.raises(bx.ModelError, match="start is Uniform.*give the value of period 0"):
        bx.AR1(0.9, 0.1, start=bx.shocks.Uniform())
    with pytest.raises(bx.ModelError, match="'z' has a start and the horizon is infinite"):
        started(0.0, horizon=np.inf)
    with pytest.raises(bx.ModelError, match="start_sd of state 'z' is -1; it must not be negative"):
        started(bx.shocks.Normal(0.0, -1.0))
    solution = bx.solve(started(0.0), {"sigma": 0.1})
    with pytest.raises(bx.ParameterError, match="'z' is 0.5, outside its nodes from 0 to 0"):
        bx.simulate(solution, agents=10, start={"z": 0.5})
