"""The certificate of a solution of several regimes: Euler errors across their boundaries."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.across import euler_across
from bellax.certify.examine import sample

STEP = 1e-5


def _slope(solution, regime, age, name, **states):
    """The derivative of V along a state, by differences."""
    low, high = (solution[regime].value(age=age, **{**states, name: states[name] + h}) for h in (-STEP, STEP))
    return (np.asarray(high) - np.asarray(low)) / (2 * STEP)


def _worth_of_saving(solution, params, age, wealth, health):
    """E[dV/dw'] of a worker of one age: every regime, every health, every z, weighed by hand."""
    survival = {60: 0.9, 61: 0.95}[age]
    risk, bequest = params["working"]["risk"][health], (1 - survival) * 0.6 / (1 + wealth)
    if age == 60:
        later = np.array([_slope(solution, "working", 61, "wealth", wealth=wealth, health=h) for h in range(3)])
        return survival * risk @ later + bequest
    z, weights = np.polynomial.hermite_e.hermegauss(7)
    weights, z = weights / weights.sum(), 0.1 * z
    ill = np.array([1, 0, 0])  # who is bad tomorrow
    later = [weights @ _slope(solution, "retired", 62, "wealth", wealth=np.full(7, wealth), health=k, z=z) for k in ill]
    sold = 0.7 * _slope(solution, "shop", 62, "stock", stock=0.7 * wealth)
    return survival * (0.7 * risk @ np.array(later) + 0.3 * sold) + bequest


@pytest.mark.long
def test_errors_are_those_that_a_plain_computation_finds(life, case):
    """Of a policy that is the best of eleven candidates, and so off by a tenth."""
    setting = life.settings.regimes["working"]
    looked = sample(setting.problem, {"health": 3}, 12, 0, np.array([0, 1]))
    found = euler_across(life, "working", looked)
    wealth, health = (np.asarray(found.states[name]) for name in ("wealth", "health"))
    known = np.zeros(wealth.shape)
    for t, age in enumerate((60, 61)):
        chosen = life["working"].policy(age=age, wealth=wealth[t], health=health[t])
        for n, (w, h) in enumerate(zip(wealth[t], health[t], strict=True)):
            c = float(chosen["consumption"][n])
            following = w - c + 0.5 + 1.5 * (1 + float(chosen["job"][n])) * (1 + h) / 3
            known[t, n] = abs(1 - 0.95 * c * _worth_of_saving(life, case.params, age, following, h))
    assert known.max() > 0.02
    # V of the shop moves by u'(c) of an interpolated c, which is its own derivative up to the grid
    np.testing.assert_allclose(found.euler.error[..., 0], known, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_it_is_reported_by_regime(life, case):
    certificate = bx.certify(life, points=60, agents=30, start=case.start)
    text = str(certificate)
    for regime, action in (("working", "consumption"), ("retired", "consumption"), ("shop", "sold")):
        own = certificate.regimes[regime]
        assert set(own.euler) == {action} and own.euler_missing == ""
    assert text.count("Euler errors, log10") == 3
    table = certificate.table().set_index(["quantity", "of", "statistic"])["value"]
    assert table["Euler error, log10", "shop.sold", "max"] == certificate.regimes["shop"].euler["sold"]["max"]
    assert (
        certificate.as_dict()["regimes"]["shop"]["euler"]["sold"]["max"]
        == table["Euler error, log10", "shop.sold", "max"]
    )


@pytest.mark.long
def test_where_the_policy_is_exact_they_are_rounding():
    """Log utility and sure incomes: consumption is a straight line between kinks, of which a limit in the other regime
    makes some."""
    aging = lambda period: {"young": 1.0 * (period == 0), "old": 1.0 * (period > 0)}  # noqa: E731
    young = bx.Regime(functions={"income": lambda wage: wage}, next_regime=aging)
    old = bx.Regime(functions={"income": lambda: 0.2}, entry={"wealth": {"young": lambda savings, tax: savings - tax}})
    model = bx.Model(
        regimes={"young": young, "old": old},
        states={"wealth": bx.Continuous(0.5, 10.0)},
        actions={"consumption": bx.Continuous(1e-9, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": lambda savings, income: 1.1 * savings + income},
        reward=lambda consumption: jnp.log(consumption),
        horizon=3,
    )
    solver = bx.solvers.BackwardInduction(grid={"wealth": 5}, maximiser=bx.maximise.EGM(grid={"savings": 12}))
    found = bx.certify(bx.solve(model, {"discount": 0.9, "wage": 1.5, "tax": -0.3}, solver), points=60, agents=5)
    for own in found.regimes.values():
        assert own.euler["consumption"]["max"] < -13 and 0 < own.euler["consumption"]["interior"] < 1


def test_who_decides_nothing_has_none():
    alive = bx.Regime(reward=1.0, next_regime=lambda: {"alive": 0.9, "dead": 0.1})
    model = bx.Model(regimes={"alive": alive, "dead": bx.Terminal()}, discount=0.9, horizon=2)
    found = bx.certify(bx.solve(model, {}), points=5, agents=5)
    assert found.regimes["alive"].euler == {} and found.regimes["alive"].euler_missing == "no state"
    assert "Euler errors: none, no state" in str(found)
