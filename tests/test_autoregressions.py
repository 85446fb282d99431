"""What stands for an AR1 by default is the autoregression itself: V at its nodes and between them, in closed form.

Of z' = rho z + sigma e the mean of exp(a z_t) given z is exp(a rho^t z + a^2 s^2 (1 - rho^(2 t)) / 2), s the stationary
standard deviation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

RHO, SIGMA, DISCOUNT = 0.9, 0.2, 0.95
SPREAD = SIGMA / np.sqrt(1 - RHO**2)
ASKED = SPREAD * np.linspace(-3.0, 3.0, 41)


def lognormal(z, rho=RHO, spread=SPREAD, first=0):
    """Discounted sum of the conditional means of exp(z) from period `first` on."""
    t = np.arange(first, 2000)[:, None]
    known = rho**t
    return (DISCOUNT**t * np.exp(known * z[None] + spread**2 * (1 - known**2) / 2)).sum(axis=0)


@pytest.mark.parametrize(("rho", "error"), [(0.0, 2e-6), (0.5, 6e-6), (0.9, 8e-5), (-0.9, 8e-5), (0.95, 2e-4)])
def test_four_moments_are_those_of_the_process(rho, error):
    """A sum of exponentials of the process, of half its standard deviation, by rows at the nodes and between them."""
    spec, correlation = bx.grids.Autoregression(17), jnp.asarray(rho)
    span = spec.reach(correlation)
    units, rows = (np.asarray(found) for found in spec.chain(correlation, span))
    nodes = float(span) * units
    here = np.linspace(-3.0, 3.0, 25)
    below = np.clip(np.searchsorted(nodes, here, side="right") - 1, 0, 15)
    share = ((here - nodes[below]) / (nodes[1] - nodes[0]))[:, None]
    mixed = (1 - share) * rows[below] + share * rows[below + 1]
    between = jax.vmap(lambda row, x: spec.row(correlation, span, row, x))(jnp.asarray(mixed), jnp.asarray(here))
    value = np.linalg.solve(np.eye(17) - DISCOUNT * rows, np.exp(0.5 * nodes))
    np.testing.assert_allclose(
        np.exp(0.5 * here) + DISCOUNT * np.asarray(between) @ value, lognormal(0.5 * here, rho, 0.5), rtol=error
    )
    assert rows.min() >= 0 and np.asarray(between).min() >= 0
    np.testing.assert_allclose(np.asarray(between) @ nodes, rho * here, atol=1e-12)
    np.testing.assert_allclose(np.asarray(between) @ nodes**2, (rho * here) ** 2 + 1 - rho**2, atol=1e-10)


@pytest.mark.parametrize("rho", [0.98, 0.995, 1 - 1e-12])
def test_near_a_unit_root_it_is_the_chain_of_rouwenhorst(rho):
    """No probabilities have four moments there; those that there are have two at the nodes, and a mean everywhere."""
    spec, correlation = bx.grids.Autoregression(13), jnp.asarray(rho)
    units, rows = (np.asarray(found) for found in spec.chain(correlation, spec.reach(correlation)))
    nodes = np.sqrt(12) * units
    np.testing.assert_allclose(rows @ nodes, rho * nodes, atol=1e-12)
    np.testing.assert_allclose(rows @ nodes**2, (rho * nodes) ** 2 + 1 - rho**2, atol=1e-11)
    assert spec.reach(correlation) == pytest.approx(np.sqrt(12))
    between = np.asarray(spec.row(correlation, np.sqrt(12), jnp.asarray(0.5 * (rows[5] + rows[6])), jnp.asarray(-0.25)))
    assert between.min() >= 0 and between.sum() == pytest.approx(1.0)
    slope = jax.grad(lambda r: spec.chain(r, spec.reach(r))[1][5] @ jnp.asarray(nodes))(correlation)
    assert float(slope) == pytest.approx(nodes[5], rel=1e-6)  # the conditional mean is rho times the node


SEEN = {
    "averaged at the nodes": dict(reward=lambda z: jnp.exp(z)),
    "seen by the reward tomorrow": dict(reward=lambda next_z: jnp.exp(next_z)),
}


@pytest.mark.parametrize("slots", SEEN.values(), ids=SEEN.keys())
def test_the_value_is_that_of_the_process_at_any_state(slots):
    model = bx.Model(states={"z": bx.AR1("rho", "sigma")}, discount=DISCOUNT, **slots)
    solution = bx.solve(model, {"rho": RHO, "sigma": SIGMA})
    exact = lognormal(ASKED)
    if "next_z" in slots["reward"].__code__.co_varnames:
        exact = lognormal(ASKED, first=1) / DISCOUNT
    np.testing.assert_allclose(solution.value(z=ASKED), exact, rtol=1e-4)


def test_the_value_moves_with_the_law_as_that_of_the_process():
    """Derivatives in rho and sigma between nodes, against central differences of the closed form."""
    model = bx.Model(states={"z": bx.AR1("rho", "sigma")}, reward=lambda z: jnp.exp(z), discount=DISCOUNT)
    value = lambda given: bx.solve(model, given).value(z=0.3)  # noqa: E731
    found = jax.grad(value)({"rho": RHO, "sigma": SIGMA})
    exact = lambda rho, sigma: lognormal(np.array([0.3]), rho, sigma / np.sqrt(1 - rho**2))[0]  # noqa: E731
    step = 1e-5
    by_rho = (exact(RHO + step, SIGMA) - exact(RHO - step, SIGMA)) / (2 * step)
    by_sigma = (exact(RHO, SIGMA + step) - exact(RHO, SIGMA - step)) / (2 * step)
    assert float(found["rho"]) == pytest.approx(by_rho, rel=2e-3)
    assert float(found["sigma"]) == pytest.approx(by_sigma, rel=2e-3)


def test_who_may_be_ruined_tomorrow_is_worth_minus_infinity_between_the_nodes():
    """No weight is negative: minus infinity at a node of tomorrow does not become its contrary, or no number."""
    ruin = lambda z: jnp.where(z < -2.5 * SPREAD, -jnp.inf, z)  # noqa: E731
    model = bx.Model(states={"z": bx.AR1(RHO, SIGMA)}, reward=ruin, horizon=3, discount=0.9)
    found = np.asarray(bx.solve(model, {}, throw=False).value(period=0, z=ASKED))
    # from -2 deviations ruin is an innovation and a half away
    assert np.isneginf(found[ASKED < -2.0 * SPREAD]).all()
    assert not np.isnan(found).any() and not np.isposinf(found).any()


def test_a_chain_by_name_is_what_it_says():
    """Seven nodes of Rouwenhorst, rows as counts of coins in plain numpy, and straight between the nodes."""
    model = bx.Model(states={"z": bx.AR1(RHO, SIGMA)}, reward=lambda z: jnp.exp(z), discount=DISCOUNT)
    solution = bx.solve(model, {}, bx.solvers.ValueIteration(grid={"z": bx.grids.Rouwenhorst(7)}))
    nodes, keep = SPREAD * np.sqrt(6) * np.linspace(-1, 1, 7), (1 + RHO) / 2
    rows = np.empty((7, 7))
    for heads in range(7):
        stay = [[1 - keep, keep]] * heads + [[keep, 1 - keep]] * (6 - heads)
        row = np.ones(1)
        for tail, head in stay:
            row = np.convolve(row, [tail, head])
        rows[heads] = row
    value = np.linalg.solve(np.eye(7) - DISCOUNT * rows, np.exp(nodes))
    np.testing.assert_allclose(solution.value(z=nodes), value, rtol=1e-6)
    middle = 0.5 * (nodes[3] + nodes[4])
    ahead = DISCOUNT * rows @ value
    assert float(solution.value(z=middle)) == pytest.approx(np.exp(middle) + 0.5 * (ahead[3] + ahead[4]), rel=1e-6)
