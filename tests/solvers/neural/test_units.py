"""Nothing hangs on the units of rewards and of states: what is trained, how that is judged, and what is certified."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

model = bx.Model(
    states={"wealth": bx.Continuous("goods", lambda goods: 3 * goods)},
    actions={"saved": bx.Continuous(0.0, "wealth")},
    shocks={"z": bx.shocks.Normal(0.0, 0.1)},
    transitions={"wealth": lambda saved, z, goods: jnp.exp(z) * saved + goods},
    reward=lambda wealth, saved, utils, goods: utils * jnp.log((wealth - saved) / goods + 0.1),
    terminal=lambda wealth, utils, goods: utils * jnp.log(wealth / goods),
    horizon=2,
)
SHORT = {"hidden": (4,), "tolerance": 1e-2}
FEW = {**SHORT, "points": 48, "rounds": 1, "budget": 10, "finish": 25}
SOLVERS = {
    "conditions": bx.solvers.EulerNet(**FEW),
    "conditions with V": bx.solvers.EulerNet(**{**FEW, "finish": 40, "tolerance": 5e-2}, costates=True),
    "critic and actor": bx.solvers.NeuralValueIteration(**SHORT, trainer=bx.solvers.LeastSquares(alternations=6)),
    "paths": bx.solvers.PolicyGradient(**SHORT, paths=32, budget=60, finish=40),
    "draws": bx.solvers.DDPG(steps=40, wait=20, hidden=(4,), worth=(4,)),
}


_LONG = {"conditions", "critic and actor"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long if n in _LONG else ()) for n in SOLVERS])
def test_units_of_rewards_and_of_goods_are_nothing_to_a_training(name):
    found = {}
    for utils, goods in ((1.0, 1.0), (1e-20, 1.0), (1e20, 1.0), (1.0, 1e-10)):
        own = bx.solve(model, {"discount": 0.95, "utils": utils, "goods": goods}, SOLVERS[name], throw=False)
        wealth = goods * np.linspace(1.1, 2.9, 7)
        told = {key: float(value) for key, value in own.stats.items() if key not in ("seconds", "loss")}
        told |= {key: told[key] / utils for key in ("mean_return", "return_sd") if key in told}
        saved = np.asarray(own.policy(period=0, wealth=wealth)["saved"]) / goods
        found[utils, goods] = own.result, saved, own.value(period=0, wealth=wealth) / utils, told, own
    first = found[1.0, 1.0]
    for result, saved, value, told, _ in found.values():
        assert result == first[0]
        np.testing.assert_allclose(saved, first[1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value, first[2], rtol=1e-5, atol=1e-6)
        assert told == pytest.approx(first[3], rel=1e-3, abs=1e-6)
    if name == "conditions":
        shown = [bx.certify(own, points=40, agents=20) for *_, own in found.values()]
        for one in shown:
            for where, sizes in one.residuals.items():
                assert sizes == pytest.approx(shown[0].residuals[where], rel=1e-6)
            assert one.euler["box"] == pytest.approx(shown[0].euler["box"], abs=1e-6)


def test_utility_of_dollars_is_solved_or_refused():
    """Utilities of 1e-19: a net that was hardly trained is refused, whoever trained it."""
    gamma = 5.0
    dollars = bx.Model(
        states={"wealth": bx.Continuous(5e4, 5e5, scale=bx.scales.log)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        transitions={"wealth": lambda wealth, consumption: 1.02 * (wealth - consumption)},
        reward=lambda consumption: consumption ** (1 - gamma) / (1 - gamma),
        terminal=lambda wealth: wealth ** (1 - gamma) / (1 - gamma),
        horizon=1,
    )
    once = {"hidden": (2,), "points": 16}
    for solver in (
        bx.solvers.EulerNet(**once, rounds=1, budget=1, finish=1, costates=True),
        bx.solvers.NeuralValueIteration(
            **once, trainer=bx.solvers.LeastSquares(alternations=1, evaluation=1, improvement=1)
        ),
        bx.solvers.PolicyGradient(**once, paths=16, budget=1, finish=0),
    ):
        found = bx.solve(dollars, {"discount": 0.95}, solver, throw=False)
        assert found.result != bx.Result.successful, solver
