"""What a solver's maximiser missed shows in its certificate."""

from enum import IntEnum

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def certified(model, maximiser, **options):
    solver = bx.solvers.PolicyIteration(maximiser=maximiser, grid={"w": 15}, tolerance=1e-6)
    solution = bx.solve(model, {}, solver)
    return solution, bx.certify(solution, points=200, agents=20, periods=5)


def test_a_narrow_second_maximum():
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.0, 1.0)},
        transitions={"w": lambda w: 0.9 * w + 0.2},
        reward=lambda c: -((c - 0.3) ** 2) + 2 * jnp.exp(-(((c - 0.7253) / 0.004) ** 2)),
        discount=0.9,
    )
    solution, certificate = certified(model, None)
    best = 2 - (0.7253 - 0.3) ** 2  # of the period, to the fourth digit
    error = best / (1 - 0.9) - float(solution.value(w=1.0))
    assert error > 10
    assert certificate.value_error > 0.9 * error and certificate.missed == pytest.approx(best, rel=1e-3)
    assert "the maximiser missed up to 1.8e+00" in str(certificate)


def test_two_correlated_actions():
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"a": bx.Continuous(0.0, 1.0), "b": bx.Continuous(0.0, 1.0)},
        transitions={"w": lambda w: 0.9 * w + 0.2},
        reward=lambda w, a, b: -100 * (a - b) ** 2 - (a + b - 1.2 - 0.1 * w) ** 2,
        discount=0.9,
    )
    solution, certificate = certified(model, bx.maximise.Golden(grid={"a": 5, "b": 5}, rounds=2))
    error = -float(np.min(np.asarray(solution.value(w=np.linspace(0.5, 4.0, 30)))))  # V = 0: both squares can vanish
    assert error > 0.1
    assert certificate.value_error > 0.9 * error


class Status(IntEnum):
    working = 0
    retired = 1


class Choice(IntEnum):
    retire = 0
    work = 1


def worker(horizon=10):
    """Work or retire for good: income 20, effort 1, log consumption."""
    return bx.Model(
        states={"wealth": bx.Continuous(5.0, 400.0, scale=bx.scales.log), "status": bx.Discrete(Status)},
        actions={"choice": bx.Discrete(Choice), "consumption": bx.Continuous(1e-3, "wealth")},
        constraints={"for good": lambda status, choice: (status == Status.working) | (choice == Choice.retire)},
        transitions={
            "wealth": lambda wealth, consumption, choice: wealth - consumption + 20.0 * choice,
            "status": lambda choice: jnp.where(choice == Choice.work, Status.working, Status.retired),
        },
        reward=lambda consumption, choice: jnp.log(consumption) - choice,
        horizon=horizon,
        discount=0.98,
    )


def retired_at(wealth, years, horizon=10, discount=0.98):
    """The value of working for so many years and consuming (1 - b) / (1 - b^T) of wealth and all income."""
    weights = discount ** np.arange(horizon)
    consumption = (wealth + 20.0 * min(years, horizon - 1)) / weights.sum() * weights
    return float(weights @ np.log(consumption) - weights[:years].sum())


def test_a_worker_by_default():
    """Consumption is never limited by wealth from 60 on."""
    solution = bx.solve(worker(), {})
    wealth = np.linspace(60.0, 200.0, 15)
    truth = [max(retired_at(w, years) for years in range(11)) for w in wealth]
    np.testing.assert_allclose(solution.value(period=0, wealth=wealth, status="working"), truth, rtol=0, atol=1e-4)


def test_a_worker_with_few_candidates_is_found_out():
    solver = bx.solvers.BackwardInduction(grid={"wealth": 60}, maximiser=bx.maximise.Newton(grid={"consumption": 3}))
    solution = bx.solve(worker(), {}, solver)
    wealth = np.linspace(60.0, 200.0, 15)
    truth = [max(retired_at(w, years) for years in range(11)) for w in wealth]
    error = np.max(np.abs(np.asarray(solution.value(period=0, wealth=wealth, status="working")) - truth))
    assert bx.certify(solution, points=400, agents=20).value_error > error


@pytest.mark.long
def test_an_action_that_moves_nothing():
    """Stock and a fixed cost: without an order its size moves nothing, Q is flat, and its rounding makes peaks."""
    stock = bx.Model(
        states={"x": bx.Continuous(-10.0, 20.0)},
        actions={"order": bx.Discrete(2), "size": bx.Continuous(0.0, 20.0)},
        shocks={"demand": bx.shocks.Uniform(0.0, 4.0)},
        transitions={"x": lambda x, order, size, demand: jnp.clip(x + order * size - demand, -10.0, 20.0)},
        reward=lambda x, order, size: -(order * (5.0 + size) + jnp.where(x > 0, 0.2 * x, -3.0 * x)),
        discount=0.95,
    )
    certificate = bx.certify(bx.solve(stock, {}), points=600, agents=200)
    assert certificate.missed < 0.05
