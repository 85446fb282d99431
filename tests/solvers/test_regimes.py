"""Models of several regimes against plain recursions in numpy, on common grids."""

import dataclasses
import importlib.util
from enum import IntEnum
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def stated(name):
    """A model of tests/language, as it is stated there."""
    path = Path(__file__).parents[1] / "language" / f"test_{name}.py"
    spec = importlib.util.spec_from_file_location(f"stated_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def linear(values, x):
    """Linear interpolation, and straight lines beyond the ends."""
    cell = np.clip(np.searchsorted(NODES, x, side="right") - 1, 0, len(NODES) - 2)
    share = (x - NODES[cell]) / (NODES[cell + 1] - NODES[cell])
    return values[cell] + share * (values[cell + 1] - values[cell])


NODES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 50.0])
SHARES = np.linspace(0.0, 1.0, 15)
ON_A_GRID = bx.solvers.BackwardInduction(
    grid={"wealth": bx.grids.Given(NODES)},
    maximiser=bx.maximise.Enumerate(grid={"consumption": len(SHARES)}),
    interpolant=bx.interpolants.Linear(extrapolation="linear"),
)


@pytest.fixture(scope="module")
def health():
    """The model of health and retirement from 62 to 68, and its solution."""
    told = stated("health_regimes")
    wealth, ages = {"wealth": bx.Continuous(0.0, 50.0)}, bx.Ages(62, 68)
    model = dataclasses.replace(told.model(), states=wealth, horizon=ages)
    return model, told.PARAMS, bx.solve(model, told.PARAMS, ON_A_GRID)


def _health_in_numpy(params, model):
    found = model.parameters(params)
    working, retired = found["working"], found["retired"]
    risk, at = np.asarray(working["health_risk"]), lambda table, t: np.asarray(table.at(t))
    count, discount, interest = 7, 0.97, 0.03
    alive = {"working": np.zeros((count + 1, 3, len(NODES))), "retired": np.zeros((count + 1, 2, len(NODES)))}
    dead = lambda wealth: 0.5 * np.log(wealth + 1.0)  # noqa: E731
    decline = np.array([[1.0, 0.0], [0.1, 0.9]])
    for t in range(count - 1, -1, -1):
        age = 62 + t
        for k, wealth in enumerate(NODES):
            c = (1 - SHARES) * 0.01 + SHARES * (wealth + 0.01)
            utility = -1 / c
            for h in range(3):
                best = []
                for labor in range(2):
                    income = at(working["wage"], t) * np.asarray(working["productivity"])[h] * labor
                    after = (1 + interest) * (wealth - c) + income
                    survival, retires = at(working["survival"], t)[h], age + 1 >= 65
                    if retires:
                        later = [linear(alive["retired"][t + 1, int(g >= 1)], after) for g in range(3)]
                    else:
                        later = [linear(alive["working"][t + 1, g], after) for g in range(3)]
                    expected = sum(risk[labor, h, g] * later[g] for g in range(3))
                    q = utility - 0.3 * labor + discount * (survival * expected + (1 - survival) * dead(after))
                    best.append(np.max(q))
                alive["working"][t, h, k] = max(best)
            for h in range(2):
                after = (1 + interest) * (wealth - c) + 0.4
                survival = at(retired["survival"], t)[h]
                later = [linear(alive["retired"][t + 1, g], after) for g in range(2)]
                expected = sum(decline[h, g] * later[g] for g in range(2))
                alive["retired"][t, h, k] = np.max(
                    utility + discount * (survival * expected + (1 - survival) * dead(after))
                )
    return alive


def test_health_becomes_frailty_at_retirement_by_a_law_that_the_target_owns(health):
    model, params, solution = health
    known = _health_in_numpy(params, model)
    for regime in ("working", "retired"):
        np.testing.assert_allclose(solution.values[regime].levels, known[regime], rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def mortality():
    """Alive pays 1, survival .9, dead is worth nothing: no state at all."""
    alive = bx.Regime(reward=1.0, next_regime=lambda survival: {"alive": survival, "dead": 1 - survival})
    return bx.Model(regimes={"alive": alive, "dead": bx.Terminal()}, horizon=3)


def test_a_regime_without_any_state(mortality):
    params = {"survival": 0.9, "discount": 0.95}
    solution = bx.solve(mortality, params)
    assert float(solution["alive"].value(period=0)) == pytest.approx(1 + 0.855 + 0.855**2, abs=1e-14)  # 2.586025
    assert float(solution["dead"].value(period=1)) == 0.0
    panel = bx.simulate(solution, 40_000, {"regime": "alive"}, seed=1)
    np.testing.assert_allclose(panel.share("alive"), [1.0, 0.9, 0.81], atol=0.01)
    assert float(panel.present_value().mean()) == pytest.approx(2.586025, abs=0.01)
    frame = panel.frame()
    assert set(frame["regime"]) == {"alive", "dead"}
    assert len(frame) == int(np.sum(np.asarray(panel.regime) >= 0))


def test_derivatives_pass_through_regimes(mortality):
    def value(survival):
        return bx.solve(mortality, {"survival": survival, "discount": 0.95})["alive"].value(period=0)

    assert float(jax.grad(value)(0.9)) == pytest.approx(0.95 + 2 * 0.9 * 0.95**2, rel=1e-12)
    found = jax.vmap(value)(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(found, [1 + 0.475 + 0.475**2, 2.586025], rtol=1e-12)
