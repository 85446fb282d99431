"""The value of a rule of one's own, against closed forms and numpy's linear algebra; and rules that are none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

W = np.array([0.5, 3.3, 70.0])
PARAMS = {"discount": 0.96, "mu": 0.04, "sigma": 0.15}
GRID = bx.solvers.PolicyIteration(grid={"wealth": 8})


def share_of_wealth(wealth, share):
    return share * wealth


def merton(**slots):
    base = dict(
        states={"wealth": bx.Continuous(1e-3, 200.0, scale=bx.scales.log)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        shocks={"z": bx.shocks.Normal()},
        transitions={
            "wealth": lambda wealth, consumption, z, mu, sigma: (wealth - consumption) * jnp.exp(mu + sigma * z)
        },
        reward=lambda consumption: jnp.log(consumption),
    )
    return bx.Model(**{**base, **slots})


def intercept(share, discount=0.96, mu=0.04):
    """A of V = A + log(w) / (1-b), of consuming a fixed share of wealth for ever."""
    return (np.log(share) + discount / (1 - discount) * (np.log(1 - share) + mu)) / (1 - discount)


@pytest.fixture(scope="module")
def model():
    return merton()


@pytest.fixture(scope="module")
def tenth(model):
    return bx.evaluate(model, {**PARAMS, "share": 0.1}, {"consumption": share_of_wealth}, GRID)


def test_a_fixed_share_for_ever(tenth):
    np.testing.assert_allclose(tenth.value(wealth=W), intercept(0.1) + 25 * np.log(W), rtol=1e-11)
    np.testing.assert_array_equal(tenth.policy(wealth=W)["consumption"], 0.1 * W)
    assert "Follows a rule" in str(tenth)
    assert tenth.params["share"] == 0.1


def test_derivatives_by_the_parameter_of_the_rule_and_of_the_model(model, tenth, jitted):
    def worth(x):
        params = {**PARAMS, "share": x[0], "mu": x[1]}
        return bx.evaluate(model, params, {"consumption": share_of_wealth}, GRID).value(wealth=3.0)

    found = jitted(jax.jacfwd(worth))(jnp.array([0.1, 0.04]))
    np.testing.assert_allclose(found, [(1 / 0.1 - 24 / 0.9) * 25, 24 * 25], rtol=1e-9)
    both = jax.jacfwd(lambda w: (tenth.policy(wealth=w)["consumption"], tenth.value(wealth=w)))(3.0)
    np.testing.assert_allclose(both, [0.1, 25 / 3.0], rtol=1e-10)


def test_the_simulated_mean_is_the_value(tenth):
    panel = bx.simulate(tenth, agents=1000, start={"wealth": 3.0}, periods=30)
    np.testing.assert_allclose(panel.actions["consumption"], 0.1 * panel.states["wealth"])
    paid = np.asarray(panel.present_value())
    assert abs(paid.mean() - (intercept(0.1) + 25 * np.log(3.0))) < 4 * paid.std() / 1000**0.5


@pytest.mark.parametrize("interpolant", [bx.interpolants.Linear(extrapolation="linear"), bx.interpolants.Hermite()])
def test_a_rule_by_period_and_a_model_with_an_end(interpolant):
    count = 4
    model = merton(horizon=count)
    solver = bx.solvers.BackwardInduction(grid={"wealth": 6}, interpolant=interpolant)
    found = bx.evaluate(model, PARAMS, {"consumption": lambda wealth, period: wealth / (6.0 - period)}, solver)
    a = b = 0.0
    for period in range(count - 1, -1, -1):
        k = 1 / (6 - period)
        a, b = np.log(k) + 0.96 * (a + b * (np.log(1 - k) + 0.04)), 1 + 0.96 * b
        inside = np.array([0.5, 3.3, 8.0])
        np.testing.assert_allclose(found.value(period, wealth=inside), a + b * np.log(inside), atol=1e-11)
        np.testing.assert_allclose(found.policy(period, wealth=W)["consumption"], k * W)


CHANCES = np.array([0.3, 0.4, 0.3])


@pytest.fixture(scope="module")
def shop():
    return bx.Model(
        states={"stock": bx.Discrete(5)},
        actions={"order": bx.Discrete(5)},
        shocks={"demand": bx.shocks.Categorical(probabilities=CHANCES)},
        functions={"sold": lambda stock, order, demand: jnp.minimum(stock + order, demand)},
        constraints={"room": lambda stock, order: stock + order <= 4},
        transitions={"stock": lambda stock, order, sold: stock + order - sold},
        reward=lambda sold, order, price: price * sold - 2.0 * order - 1.0 * (order > 0),
    )


def low_then_full(stock):
    return jnp.where(stock <= 1, 4 - stock, 0)


def solved_by_numpy():
    """(I - b P) v = r of the rule that fills the shop when there is one unit left, or none."""
    chain, paid = np.zeros((5, 5)), np.zeros(5)
    for stock in range(5):
        order = 4 - stock if stock <= 1 else 0
        for demand, chance in enumerate(CHANCES):
            sold = min(stock + order, demand)
            chain[stock, stock + order - sold] += chance
            paid[stock] += chance * (5.0 * sold - 2.0 * order - (order > 0))
    return np.linalg.solve(np.eye(5) - 0.95 * chain, paid)


@pytest.mark.parametrize("solver", [bx.solvers.PolicyIteration(), bx.solvers.ValueIteration(tolerance=1e-13)])
def test_a_small_decision_process(shop, solver):
    found = bx.evaluate(shop, {"price": 5.0, "discount": 0.95}, {"order": low_then_full}, solver)
    np.testing.assert_allclose(found.value(stock=np.arange(5)), solved_by_numpy(), rtol=1e-10)
    np.testing.assert_array_equal(found.policy(stock=np.arange(5))["order"], [4, 3, 0, 0, 0])


def test_a_rule_that_stops():
    chain = np.array([[0.7, 0.3, 0.0], [0.2, 0.5, 0.3], [0.0, 0.4, 0.6]])
    values = np.array([1.0, 2.0, 3.0])
    put = bx.Model(
        states={"price": bx.MarkovChain(values.tolist(), chain)},
        stop=lambda price: 3.0 - price,
        reward=0.0,
        discount=0.9,
    )
    found = bx.evaluate(put, {}, {"stop": lambda price: price < 1.5})
    going = np.linalg.solve(np.eye(2) - 0.9 * chain[1:, 1:], 0.9 * chain[1:, 0] * 2.0)
    np.testing.assert_allclose(found.value(price=values), [2.0, *going], rtol=1e-12)
    np.testing.assert_array_equal(found.policy(price=values)["stop"], [True, False, False])
    holding = bx.Model(states=put.states, reward=0.0, discount=0.9)
    with pytest.raises(bx.ModelError, match="the policy says whether to stop, and the model has no `stop`"):
        bx.evaluate(holding, {}, found)
    with pytest.raises(bx.ModelError, match="the policy never stops, and the model may"):
        bx.evaluate(put, {}, bx.solve(holding, {}))
    young, old = (dataclasses.replace(holding, horizon=bx.Ages(first, 40)) for first in (38, 39))
    with pytest.raises(bx.ModelError, match="the policy starts at age 38, .* at 39"):
        bx.evaluate(old, {}, bx.solve(young, {}))
    panel = bx.simulate(found, agents=300, start={"price": 2.0}, periods=60)
    assert set(np.asarray(panel.reward)[np.asarray(panel.actions["stop"])]) == {2.0}


def test_a_policy_is_a_rule(model, shop, tenth):
    again = bx.evaluate(model, PARAMS, tenth, bx.solvers.PolicyIteration(grid={"wealth": 6}))
    np.testing.assert_allclose(again.value(wealth=W), intercept(0.1) + 25 * np.log(W), rtol=1e-11)
    given = {"price": 5.0, "discount": 0.95}
    best = bx.solve(shop, given)
    for policy in (best, best.tabulate()):
        found = bx.evaluate(shop, given, policy)
        np.testing.assert_allclose(found.value(stock=np.arange(5)), best.value(stock=np.arange(5)), rtol=1e-11)


def test_what_was_tabulated_refuses_to_be_differentiated():
    short = merton(horizon=2)
    solver = bx.solvers.BackwardInduction(grid={"wealth": 6})
    table = bx.solve(short, PARAMS, solver).tabulate()
    found = bx.evaluate(short, PARAMS, table, solver)
    share = 1 / 1.96
    np.testing.assert_allclose(found.policy(0, wealth=3.0)["consumption"], 3.0 * share, rtol=1e-6)
    exact = np.log(3.0 * share) + 0.96 * (np.log(3.0 * (1 - share)) + 0.04)
    np.testing.assert_allclose(found.value(0, wealth=3.0), exact, rtol=1e-6)
    with pytest.raises(bx.ModelError, match="no derivative"):
        jax.jvp(lambda w: found.policy(0, wealth=w)["consumption"], (1.0,), (1.0,))


def test_what_has_no_value_is_none():
    """x grows by 1.2 a period and costs its square: 1.2^2 .95 is above one."""
    growing = bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        transitions={"x": lambda x, a: 1.2 * x + a},
        reward=lambda x, a: -(x**2) - a**2,
        discount=0.95,
    )
    found = bx.evaluate(growing, {}, {"a": 0.0}, bx.solvers.PolicyIteration(grid={"x": 9}), throw=False)
    assert found.result != bx.Result.successful
    with pytest.raises(bx.SolveError, match="the value of the rule is not found|not a number"):
        bx.evaluate(growing, {}, {"a": 0.0}, bx.solvers.PolicyIteration(grid={"x": 9}))


def a_number(wealth):
    return 0.1 * wealth


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ({"consumtion": a_number}, bx.ModelError, "action 'consumtion' is unknown. Did you mean 'consumption'"),
        ({}, bx.ModelError, "lacks 'consumption'"),
        ({"consumption": lambda welth: welth}, bx.ParameterError, "'welth' .named by rule.* Did you mean 'wealth'"),
        ({"consumption": lambda z: z}, bx.ModelError, r"rule\['consumption'\] names the shock 'z'"),
        ({"consumption": lambda consumption: consumption}, bx.ModelError, "in a circle"),
        ({"consumption": lambda wealth, period: wealth / 9}, bx.ModelError, "'period', and the horizon is infinite"),
        ({"consumption": lambda wealth: jnp.ones(2) * wealth}, bx.ModelError, r"shape \(2,\); it must be a single"),
        ({"consumption": "wealth "}, bx.ModelError, "which is no name"),
        (
            {"consumption": lambda wealth: 2 * wealth},
            bx.SolveError,
            r"consumption = 0.00.* at wealth = 0.001 .*bounds there",
        ),
        ({"consumption": lambda wealth: jnp.log(-wealth)}, bx.SolveError, r"consumption = nan at wealth = 0.001"),
    ],
)
def test_a_rule_that_is_none(model, rule, error, message):
    with pytest.raises(error, match=message):
        bx.evaluate(model, PARAMS, rule, bx.solvers.PolicyIteration(grid={"wealth": 4}))


def test_what_a_rule_breaks_is_named(shop):
    given = {"price": 5.0, "discount": 0.95}
    with pytest.raises(bx.SolveError, match="order = 4 at stock = 1 .*, which breaks the constraint 'room'"):
        bx.evaluate(shop, given, {"order": 4})
    with pytest.raises(bx.SolveError, match=r"order = 7.* at stock = 0.*none of \[0, 1, 2, 3, 4\]"):
        bx.evaluate(shop, given, {"order": 7})
    with pytest.raises(bx.SolveError, match="in period 1 .*bounds there are"):
        rule = {"consumption": lambda wealth, period: wealth * (1 + 2.0 * (period == 1)) / 2}
        bx.evaluate(merton(horizon=3), PARAMS, rule, bx.solvers.BackwardInduction(grid={"wealth": 4}))


def test_a_smooth_constraint_that_is_broken_is_named_and_one_at_its_edge_is_not():
    """At wealth 1 the rule spends 2: `budget` is -1, `some` is 0 and holds."""
    m = bx.Model(
        states={"wealth": bx.Continuous(1.0, 2.0)},
        actions={"spent": bx.Continuous(0.0, 5.0)},
        constraints={
            "budget": bx.nonnegative(lambda wealth, spent: wealth - spent),
            "some": bx.nonnegative(lambda spent: spent - 2.0),
        },
        transitions={"wealth": bx.fixed},
        reward=lambda spent: spent,
        horizon=1,
    )
    with pytest.raises(bx.SolveError, match="spent = 2.0 at wealth = 1. .*breaks the constraint 'budget'"):
        bx.evaluate(m, {"discount": 0.9}, {"spent": 2.0}, bx.solvers.BackwardInduction(grid={"wealth": 2}))


def test_options_and_policies_that_do_not_fit(model, shop, tenth):
    with pytest.raises(bx.ModelError, match="maximises nothing: leave the maximiser="):
        bx.evaluate(
            model, PARAMS, {"consumption": a_number}, bx.solvers.PolicyIteration(maximiser=bx.maximise.Newton())
        )
    with pytest.raises(bx.ModelError, match="rule: state of the policy 'wealth' is unknown"):
        bx.evaluate(shop, {"price": 5.0, "discount": 0.95}, tenth)
    with pytest.raises(bx.ModelError, match="follows a rule.* a table of it"):
        tenth.tabulate()
    with pytest.raises(bx.ModelError, match="option 'sovler' is unknown. Did you mean 'solver'"):
        bx.evaluate(model, PARAMS, {"consumption": a_number}, sovler=GRID)
    with pytest.raises(bx.ModelError, match="number that is being traced"):
        jax.eval_shape(lambda c: bx.evaluate(model, PARAMS, {"consumption": c}, GRID).value(wealth=3.0), 0.1)


def test_what_a_rule_loses(tenth, tmp_path):
    """Of V = A + B log w a period of c = share w' gains log(s) - log(.1) + .96 B log((1 - s) / .9), most at s = .04."""
    certificate = bx.certify(tenth, points=60, agents=20, periods=3)
    exact = np.log(0.04 / 0.1) + 24 * np.log(0.96 / 0.9)
    assert certificate.loss is not None
    points = certificate.loss.frame()
    inside = points[(points.wealth > 0.01) & (points.wealth < 20)]
    assert len(inside) > 20
    np.testing.assert_allclose(inside["loss"], exact, rtol=1e-6)
    np.testing.assert_allclose(certificate.loss.bound, 25 * certificate.loss.quantiles["max"], rtol=1e-12)
    assert certificate.loss.bound >= intercept(0.04) - intercept(0.1) - 1e-9
    assert certificate.residuals["90%"] < 1e-9
    assert "Lost by the rule" in str(certificate)
    assert certificate.as_dict()["loss"]["bound"] == certificate.loss.bound
    assert "a rule is followed" in certificate.euler_missing
    with pytest.raises(bx.ModelError, match="a file holds no function"):
        tenth.save(tmp_path / "rule.nc")
    assert len(bx.plot(tenth).axes) == 2
