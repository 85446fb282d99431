"""PolicyGradient: closed forms, bounds that bind, derivatives, trainings that are cut off, simulation and files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import liquidation, rbc

GIVEN, START = liquidation.calibration(2), liquidation.beginning(2)
SMALL = {"start": START, "hidden": (4,), "paths": 256, "budget": 150, "finish": 80, "critic": (12,), "tolerance": 0.02}


@pytest.fixture(scope="module")
def free():
    """The liquidation of two assets."""
    return bx.solve(liquidation.liquidation(2), GIVEN, bx.solvers.PolicyGradient(**SMALL))


@pytest.fixture(scope="module")
def bounded():
    """The same where nothing is bought, and no more is sold than there is."""
    shares = {"sold": bx.shares.Clipped()}
    solver = bx.solvers.PolicyGradient(**SMALL, shares=shares)
    return bx.solve(liquidation.constrained(2), GIVEN, solver)


def sold_by(solution):
    return lambda t, q, p: np.asarray(solution.policy(t, inventory=q, signal=p)["sold"])


def returns(rule, agents=4000):
    """What a rule earns along paths that numpy draws, in pairs of factors of both signs, and one state of each period
    of each path."""
    b, half = GIVEN["loading"], np.random.default_rng(7).normal(size=(10, agents // 2))
    factors = np.concatenate([half, -half], axis=1)
    q, p = (np.tile(START[name], (agents, 1)) for name in ("inventory", "signal"))
    total, seen = np.zeros(agents), []
    for t in range(10):
        v = rule(t, q, p)
        seen.append((q, p, v))
        total += (v * p - 2 * v**2).sum(1) - 0.02 * (q @ b) ** 2
        q, p = q - v, 0.7 * p + 0.4 * factors[t][:, None] * b
    total += (q * p - 8 * q**2).sum(1)
    return total.reshape(2, -1).mean(axis=0), seen


def test_linear_quadratic_control_beside_the_riccati_equation(free):
    exact = liquidation.regulator(GIVEN)
    best = lambda t, q, p: np.concatenate([q, p], axis=1) @ exact.gain[t].T  # noqa: E731
    theirs, seen = returns(best)
    ours, _ = returns(sold_by(free))
    assert abs(np.mean(ours - theirs)) < 1e-3
    for t in (0, 4, 9):
        q, p, v = (array[:200] for array in seen[t])
        np.testing.assert_allclose(sold_by(free)(t, q, p), v, atol=0.02)
    begin = np.concatenate([START["inventory"], START["signal"]])
    size = SMALL["tolerance"] * float(free.stats["return_sd"])
    assert float(free.value(0, **START)) == pytest.approx(exact.value(0, begin), abs=size)
    assert free.result == bx.Result.successful


def test_v_is_what_the_policy_is_worth(free):
    """Along paths that numpy draws; a policy by another training would earn something else."""
    ours, _ = returns(sold_by(free), 20_000)
    assert float(free.value(0, **START)) == pytest.approx(ours.mean(), abs=4 * ours.std() / 100)


def test_bounds_that_bind(bounded):
    """More than the rule of the Riccati equation earns that is cut off at the bounds."""
    exact = liquidation.regulator(GIVEN)
    cut = lambda t, q, p: np.clip(np.concatenate([q, p], axis=1) @ exact.gain[t].T, 0.0, q)  # noqa: E731
    theirs, _ = returns(cut)
    ours, seen = returns(sold_by(bounded))
    better = ours - theirs
    assert better.mean() > 4 * better.std() / len(better) ** 0.5 > 0
    sold = np.concatenate([v for _, _, v in seen])
    held = np.concatenate([q for q, _, _ in seen])
    assert np.mean(sold == 0.0) > 0.02
    assert np.all((sold >= 0) & (sold <= held))


def test_every_action_is_feasible(bounded):
    draws = np.random.default_rng(0)
    q, p = draws.uniform(0.0, 2.0, (500, 2)), draws.uniform(-4.0, 4.0, (500, 2))
    for t in range(10):
        sold = sold_by(bounded)(t, q, p)
        assert np.all((sold >= 0) & (sold <= q))


def test_it_is_simulated_and_kept_in_a_file(free, tmp_path):
    panel = bx.simulate(free, 2000, START, seed=1)
    worth = np.asarray(panel.reward).sum(axis=1) + np.asarray(panel.final_value)
    assert worth.mean() == pytest.approx(float(free.value(0, **START)), abs=4 * worth.std() / 2000**0.5)
    free.save(tmp_path / "kept.nc")
    again = bx.load(tmp_path / "kept.nc", liquidation.liquidation(2))
    for t in (0, 9):
        np.testing.assert_array_equal(again.value(t, **START), free.value(t, **START))
        np.testing.assert_array_equal(again.policy(t, **START)["sold"], free.policy(t, **START)["sold"])
    assert "PolicyGradient (10 periods)" in str(free)


def test_log_utility_from_anywhere_in_the_box():
    """Consumption is wealth times 1 / (1 + b + ... + b^(T-t)), and V follows by backward induction by hand."""
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 5.0, scale=bx.scales.log)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        shocks={"z": bx.shocks.Normal()},
        transitions={"wealth": lambda wealth, consumption, z, mu: (wealth - consumption) * jnp.exp(mu + 0.15 * z)},
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda wealth: jnp.log(wealth),
        horizon=3,
    )
    solver = bx.solvers.PolicyGradient(hidden=(3,), paths=128, budget=200, finish=100, points=300)
    found = bx.solve(model, {"mu": 0.04, "discount": 0.9}, solver)
    wealth, slope, level = np.array([0.6, 1.0, 2.0, 4.0]), 1.0, 0.0
    for t in (2, 1, 0):
        share = 1 / (1 + 0.9 * slope)
        level = np.log(share) + 0.9 * (slope * (np.log(1 - share) + 0.04) + level)
        slope = 1 + 0.9 * slope
        np.testing.assert_allclose(found.policy(t, wealth=wealth)["consumption"] / wealth, share, rtol=2e-3)
        np.testing.assert_allclose(found.value(t, wealth=wealth), slope * np.log(wealth) + level, atol=2e-3)


@pytest.mark.long
def test_without_an_end_and_derivatives():
    """The closed form of growth with full depreciation, and its derivatives in alpha and in the discount."""
    solver = bx.solvers.PolicyGradient(hidden=(4,), length=12, paths=64, budget=200, finish=150)
    at = {"capital": np.array([0.12, 0.17, 0.22]), "productivity": np.array([0.9792, 1.0, 1.0212])}

    def saved(alpha, discount):
        found = bx.solve(rbc.model, rbc.params | {"alpha": alpha, "discount": discount}, solver)
        return found.policy(**at)["capital_next"], found.value(**at)

    def exact(alpha, discount):
        return alpha * discount * at["productivity"] * at["capital"] ** alpha

    both = jax.jit(jax.jacrev(lambda moved: (jnp.stack(saved(*moved)),) * 2, has_aux=True))
    slopes, (policy, value) = both(jnp.asarray([1 / 3, 0.95]))
    np.testing.assert_allclose(policy, exact(1 / 3, 0.95), rtol=1e-3)
    grid = lambda moved: bx.solve(  # noqa: E731
        rbc.model, rbc.params | {"alpha": moved[0], "discount": moved[1]}, rbc.solver
    ).value(**at)
    np.testing.assert_allclose(value, grid((1 / 3, 0.95)), atol=1e-5)
    h = 1e-4
    for place, move in enumerate(((h, 0.0), (0.0, h))):
        above, below = ((1 / 3 + sign * move[0], 0.95 + sign * move[1]) for sign in (1, -1))
        differences = (exact(*above) - exact(*below)) / (2 * h)
        np.testing.assert_allclose(slopes[0, :, place], differences, rtol=1e-3)
        differences = (np.asarray(grid(above)) - np.asarray(grid(below))) / (2 * h)
        np.testing.assert_allclose(slopes[1, :, place], differences, rtol=1e-3)
    with pytest.raises(bx.ModelError, match="probabilities that move with what is differentiated"):
        jax.grad(lambda row: bx.solve(rbc.model, rbc.params | {"transition": row}, solver).value(**at)[0])(
            jnp.asarray(rbc.TRANSITION)
        )


@pytest.mark.long
def test_a_training_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path):
    class Enough(Exception):
        pass

    def stop(steps, loss):
        if steps >= 60:
            raise Enough

    less = {"hidden": (2,), "paths": 32, "budget": 40, "finish": 40, "points": 64, "start": START}
    model = liquidation.liquidation(2)
    whole = bx.solve(model, GIVEN, bx.solvers.PolicyGradient(**less), throw=False)
    kept = bx.solvers.PolicyGradient(**less, checkpoint=str(tmp_path / "kept"))
    with pytest.raises(Enough):
        bx.solve(model, GIVEN, kept, progress=stop, throw=False)
    again = bx.solve(model, GIVEN, kept, throw=False)
    np.testing.assert_array_equal(again.values.actor, whole.values.actor)
    np.testing.assert_array_equal(again.values.critic, whole.values.critic)
    with pytest.raises(bx.ModelError, match="another model, of other parameters"):
        bx.solve(model, GIVEN | {"impact": 3.0}, kept)
