"""Endogenous grids with discrete choices, kinks and steps: closed forms, published numbers, searches, and refusals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import retirement_choice
from bellax.models.references import retirement as enumerated
from bellax.models.retirement_choice import WEALTH, Labor

PARAMS = retirement_choice.params


def by(maximiser, **grid):
    return bx.solvers.BackwardInduction(grid=grid, maximiser=maximiser)


# -- work or retire for good -------------------------------------------------------------------------------------------


HORIZON = 20  # with more than fifty kinks in the first period, and choices that tie where V of both has no more digits


@pytest.fixture(scope="module")
def plans():
    """Twenty periods, on 100 nodes."""
    model = replace(retirement_choice.model, horizon=HORIZON)
    return bx.solve(model, PARAMS, by(bx.maximise.DCEGM(grid={"savings": 100})))


@pytest.mark.parametrize("period", [0, 3, 7, 12, 15, 17, 19])
@pytest.mark.long
def test_a_hundred_nodes_are_exact(plans, period):
    exact = enumerated(HORIZON, **PARAMS)
    for name, working in (("working", True), ("retired", False)):
        value, policy = plans[name].value(period, wealth=WEALTH), plans[name].policy(period, wealth=WEALTH)
        np.testing.assert_allclose(value, exact.value(period, WEALTH, working), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(policy["consumption"], exact.consumption(period, WEALTH, working), rtol=1e-12)


def test_one_decision_left(plans):
    """20 / (e^(1/1.98) - 1): below, they work; above, they retire and consume less."""
    switch = 20 / (np.exp(1 / 1.98) - 1)
    policy = plans["working"].policy(HORIZON - 2, wealth=switch + np.array([-1e-9, 1e-9]))
    np.testing.assert_array_equal(policy["labor"], [Labor.work, Labor.retire])
    np.testing.assert_allclose(policy["consumption"], [25.474, 15.373], atol=5e-4)


def shaken(horizon):
    """The same with taste shocks over work."""
    worker = replace(retirement_choice.model.regimes["working"], taste_shocks=bx.ExtremeValue("scale", over=("labor",)))
    regimes = {**retirement_choice.model.regimes, "working": worker}
    return replace(retirement_choice.model, regimes=regimes, horizon=horizon)


@pytest.mark.parametrize("nodes", [150, 300])
@pytest.mark.long
def test_taste_shocks_against_published_values(nodes):
    found = bx.solve(shaken(5), {**PARAMS, "scale": 0.2}, by(bx.maximise.DCEGM(grid={"savings": nodes})))
    values = found["working"].choice_values(0, wealth=10.0)
    np.testing.assert_allclose(values, [3.33181165, 9.85166807], atol=1e-6)


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_derivatives_through_the_solve(with_value):
    """Of consumption and of what choices are worth with taste shocks, with respect to every parameter but interest."""
    model, solver = shaken(3), by(bx.maximise.DCEGM(grid={"savings": 60}))
    names = ("discount", "income", "effort", "scale")
    wealth = jnp.asarray([10.0, 55.0])

    def asked(vector):
        found = bx.solve(model, {**PARAMS, **dict(zip(names, vector, strict=True))}, solver)["working"]
        return jnp.column_stack(
            [found.policy(0, wealth=wealth)["consumption"], found.choice_values(0, wealth=wealth)]
        ).ravel()

    at, step, both = jnp.asarray([0.98, 20.0, 1.0, 0.2]), 1e-5, with_value(asked)
    ours, _ = both(at)
    ahead, behind = ([both(at + sign * step * row)[1] for row in jnp.eye(4)] for sign in (1, -1))
    central = (np.stack(ahead, 1) - np.stack(behind, 1)) / (2 * step)
    np.testing.assert_allclose(ours, central, rtol=1e-5, atol=1e-6)


# -- one regime --------------------------------------------------------------------------------------------------------


def saving(law=lambda savings: savings + 5.0, **changes):
    """What is saved out of wealth, log utility, and what it becomes; two periods."""
    statement = {
        "states": {"wealth": bx.Continuous(1.0, 60.0)},
        "actions": {"consumption": bx.Continuous(1e-9, "wealth")},
        "functions": {"savings": lambda wealth, consumption: wealth - consumption},
        "transitions": {"wealth": law},
        "reward": lambda consumption: jnp.log(consumption),
        "horizon": 2,
    }
    return bx.Model(**(statement | changes))


@pytest.mark.long
def test_three_maximisers_agree():
    """Work costs, and income is taxed from 12 on: a kink in a law, and a choice."""

    def law(savings, labor):
        earned = 8.0 * (labor == Labor.work)
        return savings + 2.0 + earned - 0.3 * jnp.maximum(savings - 12.0, 0.0)

    model = saving(
        law,
        actions={"consumption": bx.Continuous(1e-9, "wealth"), "labor": bx.Discrete(Labor)},
        reward=lambda consumption, labor: jnp.log(consumption) - 0.4 * (labor == Labor.work),
        horizon=3,
    )
    wealth = np.linspace(2.0, 55.0, 12)
    ours = bx.solve(model, {"discount": 0.95}, by(bx.maximise.DCEGM(grid={"savings": 100})))
    # V of the others is linear, or cubic, between nodes, and has kinks there
    for other in (bx.maximise.Enumerate(grid={"consumption": 300}), bx.maximise.Newton(grid={"consumption": 60})):
        found = bx.solve(model, {"discount": 0.95}, by(other, wealth=150))
        np.testing.assert_allclose(ours.value(0, wealth=wealth), found.value(0, wealth=wealth), atol=2e-3)
    np.testing.assert_allclose(
        ours.policy(0, wealth=wealth)["consumption"], found.policy(0, wealth=wealth)["consumption"], atol=0.1
    )


@pytest.mark.long
def test_value_goes_on_where_shocks_smear_kinks():
    """Kinks upwards of what follows, as many as outcomes, are between nodes, where V once jumped by 2e-4: it rises as
    marginal utility says. Beside it, V of a search on more nodes."""
    model = saving(
        lambda savings, labor, income, luck: (
            1.03 * savings + jnp.where(labor == Labor.work, jnp.exp(income + 0.1 * luck), 0.3)
        ),
        states={"wealth": bx.Continuous(0.1, 100.0, scale=bx.scales.log), "income": bx.AR1(0.95, 0.12)},
        actions={"consumption": bx.Continuous(1e-9, "wealth"), "labor": bx.Discrete(Labor)},
        shocks={"luck": bx.shocks.Normal()},
        reward=lambda consumption, labor: -2 / jnp.sqrt(consumption) - 0.4 * (labor == Labor.work),
        horizon=8,
    )

    def solved(maximiser, wealth):
        grid = {"income": 3, "wealth": wealth}
        options = bx.solvers.BackwardInduction(grid=grid, quadrature={"luck": 3}, maximiser=maximiser)
        return bx.solve(model, {"discount": 0.96}, options)

    ours = solved(bx.maximise.DCEGM(grid={"savings": 100}), 4)
    wealth = np.geomspace(0.2, 30.0, 4001)
    for period in (0, 3):
        marginal = np.asarray(ours.policy(period, wealth=wealth, income=0.0)["consumption"]) ** -1.5
        rise = np.diff(ours.value(period, wealth=wealth, income=0.0)) / np.diff(wealth)
        most, least = np.maximum(marginal[1:], marginal[:-1]), np.minimum(marginal[1:], marginal[:-1])
        excess = np.maximum(rise - most, least - rise) * np.diff(wealth)
        assert np.max(excess) < 7e-5
    found = solved(bx.maximise.Newton(grid={"consumption": 40}), 800).value(0, wealth=wealth[::200], income=0.0)
    np.testing.assert_allclose(ours.value(0, wealth=wealth[::200], income=0.0), found, atol=8e-5)


# -- laws with kinks and steps: of savings, in the model's words and in numpy's ----------------------------------------

LAWS = {
    "concave kink": lambda savings, xp: savings + 5.0 - 0.5 * xp.maximum(savings - 10.0, 0.0),
    "convex kink": lambda savings, xp: savings + 5.0 + 0.5 * xp.maximum(savings - 10.0, 0.0),
    "steps upwards": lambda savings, xp: savings + 5.0 + 3.0 * (savings >= 10.0) + 2.0 * (savings > 25.0),
}
DISCOUNTS = {
    "discount that falls": lambda savings, xp: 0.95 - 0.1 * (savings >= 10.0),
    "discount that rises": lambda savings, xp: 0.95 + 0.1 * (savings >= 10.0),
}


KEPT = {"concave kink", "steps upwards"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in KEPT else [pytest.mark.long]) for n in (*LAWS, *DISCOUNTS)]
)
def test_kinks_and_steps(name):
    """Against a search over savings, those at the kinks and next to the steps among them."""
    law = LAWS.get(name, lambda savings, xp: savings + 5.0)
    discount = DISCOUNTS.get(name, lambda savings, xp: 0.95 + 0.0 * savings)
    model = saving(lambda savings: law(savings, jnp), discount=lambda savings: discount(savings, jnp))
    found = bx.solve(model, {}, by(bx.maximise.DCEGM(grid={"savings": 100}, kinks=48)))
    wealth, edges = np.linspace(1.5, 59.5, 117), np.array([10.0, 25.0])
    savings = np.sort(np.concatenate([np.linspace(0.0, 59.0, 20_001), edges, np.nextafter(edges, 0), edges + 1e-13]))
    consumed = wealth[:, None] - savings
    with np.errstate(invalid="ignore", divide="ignore"):
        worth = np.log(consumed) + discount(savings, np) * np.log(law(savings, np))
    worth = np.where(consumed > 0, worth, -np.inf)
    np.testing.assert_allclose(found.value(0, wealth=wealth), worth.max(axis=1), atol=2e-6)
    best = np.take_along_axis(consumed, worth.argmax(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(found.policy(0, wealth=wealth)["consumption"], best, atol=0.01)


@pytest.mark.long
def test_derivatives_where_a_kink_moves(jitted):
    """Savings of 20 and 35 are beside the kink, and of 30 at it: consumption falls one for one as it moves up."""
    model = saving(lambda savings, edge: savings + 5.0 - 0.5 * jnp.maximum(savings - edge, 0.0))
    solver, wealth = by(bx.maximise.DCEGM(grid={"savings": 40}, kinks=48)), np.array([20.0, 30.0, 36.0, 55.0])

    def asked(edge):
        found = bx.solve(model, {"discount": 0.95, "edge": edge}, solver)
        return jnp.concatenate([found.value(0, wealth=wealth), found.policy(0, wealth=wealth)["consumption"]])

    later = lambda saved: 0.95 / (saved + 5.0)  # W' on the lower side  # noqa: E731
    rich = 0.5 / 1.95  # resources of the last are half of the edge more, for what saving brings half
    expected = [0.0, later(10.0) - 1 / 20, later(10.0) - 1 / 26]
    found = jitted(jax.jacfwd(asked))(10.0)
    np.testing.assert_allclose(found[:3], expected, atol=1e-9)
    np.testing.assert_allclose(found[4:], [0.0, -1.0, -1.0, 2 * rich], atol=1e-6)


@pytest.mark.parametrize("maximiser", [bx.maximise.EGM(), bx.maximise.DCEGM()])
@pytest.mark.long
def test_a_means_test_is_refused(maximiser):
    with pytest.raises(bx.SolveError, match=r"'wealth' of tomorrow falls .* bx\.maximise\.Newton\(\) or Enumerate"):
        bx.solve(saving(lambda savings: savings + 5.0 - 3.0 * (savings >= 10.0)), {"discount": 0.95}, by(maximiser))


@pytest.mark.parametrize("other", [bx.maximise.Newton(grid={"consumption": 400}), bx.maximise.Enumerate()])
def test_a_means_test_is_served(other):
    """At wealth 22 and 55 the first-order condition holds; at 30 they stop short of where the benefit ends."""
    found = bx.solve(saving(lambda savings: savings + 5.0 - 3.0 * (savings >= 10.0)), {"discount": 0.95}, by(other))
    inside = [1.95 * np.log(saved / 1.95) + 0.95 * np.log(0.95) for saved in (22.0 + 5.0, 55.0 + 2.0)]
    expected = [inside[0], np.log(20.0) + 0.95 * np.log(15.0), inside[1]]
    np.testing.assert_allclose(found.value(0, wealth=np.array([22.0, 30.0, 55.0])), expected, atol=5e-3)


# -- what is refused ---------------------------------------------------------------------------------------------------

WORK = {"consumption": bx.Continuous(1e-9, "wealth"), "labor": bx.Discrete(Labor)}
TWO = {"consumption": bx.Continuous(1e-9, "wealth"), "gift": bx.Continuous(0.0, 1.0)}
KNOWN = {"savings": lambda wealth, consumption: wealth - consumption, "cash": lambda wealth: wealth}
REFUSED = [
    (saving(lambda wealth, consumption: wealth - consumption, functions={}), {}, "no function of the model that sees"),
    (saving(lambda savings, wealth: savings + 0.1 * wealth), {}, "beside 'savings', .* sees 'wealth'"),
    (saving(reward=lambda consumption, wealth: jnp.log(consumption) + wealth), {}, "'wealth' through the action alone"),
    (saving(actions=TWO, reward=lambda consumption, gift: jnp.log(consumption + gift)), {}, "one continuous action"),
    (
        saving(
            states={"wealth": bx.Continuous(1.0, 60.0), "skill": bx.Continuous(0.0, 1.0)},
            transitions={"wealth": lambda savings, skill: savings + skill, "skill": bx.fixed},
        ),
        {},
        "one continuous state",
    ),
    (saving(stop=lambda wealth: wealth, terminal=lambda wealth: wealth), {}, "does not honour stop="),
    (saving(constraints={"modest": lambda consumption: consumption < 9.0}), {}, "cannot honour 'constraint modest'"),
    (saving(), {"post_decision": "assets"}, "post_decision= 'assets'"),
    (saving(functions=KNOWN), {"post_decision": "cash"}, "does not see both the action 'consumption' and the state"),
    (saving(), {"resources": "cash"}, "resources 'cash'"),
    (saving(), {"action": "spending"}, "action 'spending'"),
    (saving(), {"grid": {"assets": 100}}, "grid names 'assets'; it takes the savings"),
    (saving(), {"grid": {"savings": 2}}, "has 2 nodes; give at least 4"),
    (saving(actions=WORK), {}, "the discrete action 'labor' .* bx.maximise.DCEGM"),
]


@pytest.mark.parametrize("model, options, words", REFUSED, ids=[words for _, _, words in REFUSED])
def test_models_that_do_not_qualify(model, options, words):
    with pytest.raises(bx.ModelError, match=words):
        bx.solve(model, {"discount": 0.95}, by(bx.maximise.EGM(**options)))


def test_an_interpolant_is_refused():
    solver = bx.solvers.BackwardInduction(maximiser=bx.maximise.DCEGM(), interpolant=bx.interpolants.Linear())
    with pytest.raises(bx.ModelError, match="DCEGM knows V between its nodes by itself; leave interpolant="):
        bx.solve(saving(), {"discount": 0.95}, solver)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"law": lambda savings: savings + 5.0 + jnp.maximum(savings - 9.0, 0.0)}, "not concave .* bx.maximise.DCEGM"),
        ({"law": lambda savings: savings + 10.0, "actions": {"consumption": bx.Continuous(8.0, "wealth")},
          "states": {"wealth": bx.Continuous(9.0, 60.0)}}, "the lower bound of 'consumption' binds .* Lower it"),
    ],
)  # fmt: skip
@pytest.mark.long
def test_numbers_that_do_not_qualify(changes, words):
    with pytest.raises(bx.SolveError, match=words):
        bx.solve(saving(**changes), {"discount": 1.5}, by(bx.maximise.EGM(grid={"savings": 40})))


# -- simulated, certified, saved ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def risky():
    """Four periods with an income that is drawn afresh."""
    model = saving(
        lambda savings, income: 1.02 * savings + income,
        states={"wealth": bx.Continuous(0.5, 30.0)},
        shocks={"income": bx.shocks.Categorical(values=[1.0, 2.0, 4.0], probabilities=[0.3, 0.4, 0.3])},
        horizon=4,
    )
    return model, bx.solve(model, {"discount": 0.95}, by(bx.maximise.EGM(grid={"savings": 100})))


@pytest.mark.long
def test_simulated_policies_are_as_good_as_solved_ones(risky):
    """Euler errors along the paths of 2,000 agents, by hand, beside those of a certificate."""
    _, solution = risky
    start = {"wealth": jnp.linspace(1.0, 20.0, 2000)}
    panel = bx.simulate(solution, 2000, start, seed=1)
    wealth, consumption = np.asarray(panel.states["wealth"]), np.asarray(panel.actions["consumption"])
    errors = []
    for period in range(3):
        w, c = wealth[:, period], consumption[:, period]
        later = [
            np.asarray(solution.policy(period + 1, wealth=1.02 * (w - c) + y)["consumption"]) for y in (1.0, 2.0, 4.0)
        ]
        implied = 1 / (0.95 * 1.02 * np.tensordot([0.3, 0.4, 0.3], 1 / np.stack(later), 1))
        errors.append(np.abs(implied / c - 1)[c < w - 1e-6])
    # as many points, since the largest lies beside the kink where the limit begins to bind tomorrow
    certificate = bx.certify(solution, points=6000, seed=1, panel=panel)
    assert np.max(np.concatenate(errors)) <= 1.1 * 10 ** certificate.euler["consumption"]["max"] < 1e-3
    assert certificate.residuals["max"] < 1e-5


def test_a_solution_is_saved_with_its_pieces(risky, tmp_path):
    model, solution = risky
    bx.save(solution, tmp_path / "risky.nc")
    loaded = bx.load(tmp_path / "risky.nc", model)
    wealth = np.linspace(1.0, 29.0, 7)
    np.testing.assert_array_equal(loaded.value(1, wealth=wealth), solution.value(1, wealth=wealth))
    for name, actions in solution.policy(1, wealth=wealth).items():
        np.testing.assert_array_equal(loaded.policy(1, wealth=wealth)[name], actions)
