"""Nested endogenous grids: against plans searched in numpy, against Newton's method, and where they would be wrong."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

NEGM = bx.maximise.NEGM
BETA, GROSS = 0.95, 1.02


def backward(maximiser, **grid):
    return bx.solvers.BackwardInduction(grid=grid, maximiser=maximiser)


# -- a stock that is bought out of what there is, and pledged, before a last period that values it as it likes -------


def bequest(assets, durable, first, second, resale):
    humps = first * jnp.exp(-(((durable - 2.0) / 0.6) ** 2)) + second * jnp.exp(-(((durable - 5.0) / 0.6) ** 2))
    return jnp.log(assets + resale * durable + 3.0) + humps


def enjoyed(consumption, stock, duty):
    return jnp.log(consumption) + 0.3 * jnp.log(stock) - duty * jnp.maximum(stock - 4.0, 0.0)


def kept(savings, tax):
    return GROSS * savings - tax * jnp.maximum(savings - 2.0, 0.0)


pledged = bx.Model(
    states={"assets": bx.Continuous(-2.0, 10.0), "durable": bx.Continuous(0.1, 8.0)},
    actions={"stock": bx.Continuous(0.1, 8.0), "consumption": bx.Continuous(1e-3, "most")},
    functions={
        "means": lambda assets, durable: assets + 3.0 + 0.9 * durable,
        "most": lambda means, stock, pledge: means - (1 - pledge) * stock,
        "savings": lambda means, stock, consumption: means - stock - consumption,
    },
    transitions={"assets": kept, "durable": "stock"},
    reward=enjoyed,
    terminal=bequest,
    horizon=1,
)
PLEDGED = {"pledge": 0.2, "first": 0.0, "second": 0.0, "duty": 0.0, "tax": 0.0, "resale": 0.9, "discount": BETA}
ASSETS, DURABLE = np.meshgrid([-1.9, -0.5, 1.0, 4.0, 9.0], [0.1, 1.3, 4.0], indexing="ij")


def searched(assets, durable, pledge, first, second, duty, tax, resale, discount):
    """V and the stock of the best plan: every stock, and consumption in closed form, with the tax, without it, and
    where it just begins."""
    stock = np.linspace(0.1, 8.0, 80_001)
    left = assets + 3.0 + 0.9 * durable - stock
    humps = first * np.exp(-(((stock - 2.0) / 0.6) ** 2)) + second * np.exp(-(((stock - 5.0) / 0.6) ** 2))
    most = left + pledge * stock
    possible = most >= 1e-3
    plans = [left - 2.0]
    # 1/c = beta R / (R (left - c) + free + resale stock + 3)
    for gross, free in ((GROSS, 0.0), (GROSS - tax, 2.0 * tax)):
        plans.append((gross * left + free + resale * stock + 3.0) / (gross * (1 + discount)))
    value = np.full(stock.shape, -np.inf)
    for plan in plans:
        consumption = np.where(possible, np.clip(plan, 1e-3, np.maximum(most, 1e-3)), 1.0)
        saved = left - consumption
        end = GROSS * saved - tax * np.maximum(saved - 2.0, 0.0) + resale * stock + 3.0
        today = np.log(consumption) + 0.3 * np.log(stock) - duty * np.maximum(stock - 4.0, 0.0)
        worth = today + discount * (np.log(np.where(possible, end, 1.0)) + humps)
        value = np.maximum(value, np.where(possible, worth, -np.inf))
    return value.max(), stock[value.argmax()]


def solved(**changed):
    method = NEGM(grid={"stock": 30}, inner=bx.maximise.DCEGM(grid={"savings": 40}))
    return bx.solve(pledged, PLEDGED | changed, backward(method, assets=24, durable=bx.grids.Regular(80)))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(
            {}, id="a bound that moves with the stock, and stocks that nobody can pay", marks=pytest.mark.long
        ),
        pytest.param({"first": 0.8, "second": 0.75}, id="two humps, nearly equal"),
        pytest.param({"pledge": 0.3, "second": 1.5}, id="pledged for the far hump"),
        pytest.param({"duty": 0.5, "second": 0.8}, id="a kink between outer nodes, at which many stay"),
        pytest.param({"tax": 0.5, "resale": 0.1}, id="savings bunch where a tax begins, whatever is bought"),
        pytest.param({"first": -5.0, "second": -5.0}, id="pits: the least stock, or the most"),
    ],
)
def test_the_best_plan_is_found(changed):
    solution, wanted = solved(**changed), PLEDGED | changed
    known = [searched(a, d, **wanted) for a, d in zip(ASSETS.ravel(), DURABLE.ravel(), strict=True)]
    value, stock = (np.reshape(column, ASSETS.shape) for column in zip(*known, strict=True))
    np.testing.assert_allclose(solution.value(0, assets=ASSETS, durable=DURABLE), value, atol=3e-4)
    bought = solution.policy(0, assets=ASSETS, durable=DURABLE)["stock"]
    np.testing.assert_allclose(bought, stock, atol=0.02)


# -- a share, of which the inner problem sees what savings earn ------------------------------------------------------


def shares(horizon=3):
    return bx.Model(
        states={"wealth": bx.Continuous(0.1, 20.0, scale=bx.scales.log)},
        actions={"share": bx.Continuous(0.0, 1.0), "consumption": bx.Continuous(1e-6, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        shocks={"risky": bx.shocks.Categorical([-0.3, 0.45], probabilities=[0.45, 0.55])},
        transitions={
            "wealth": lambda savings, share, risky, riskless: (
                savings * (1 + riskless + share * (risky - riskless)) + 0.3
            )
        },
        reward=lambda consumption, aversion: consumption ** (1 - aversion) / (1 - aversion),
        horizon=horizon,
    )


SHARES = {"aversion": 3.0, "riskless": 0.02, "discount": BETA}
SHARE = NEGM(grid={"share": 8}, inner=bx.maximise.EGM(grid={"savings": 30}))


def test_twice_as_many_nodes_outside_and_inside():
    plan = backward(SHARE, wealth=25).prepare(shares()).plan
    more = SHARE.completed(plan).resized(plan, 2.0)
    assert more.grid == {"share": 15} and more.inner.grid == {"savings": 59}
    assert NEGM().completed(plan).resized(plan, 0.25).inner.grid == {"savings": 21}


@pytest.fixture(scope="module")
def invested():
    return bx.solve(shares(), SHARES, backward(SHARE, wealth=25))


@pytest.mark.long
def test_a_share_is_that_of_newton(invested):
    """Also where nobody saves, and where all is risky."""
    newton = bx.solve(shares(), SHARES, backward(bx.maximise.Newton(), wealth=25))
    np.testing.assert_allclose(invested.values.levels, newton.values.levels, rtol=1e-12)
    wealth = np.array([0.11, 0.5, 1.3, 17.0])
    ours, theirs = (each.policy(0, wealth=wealth) for each in (invested, newton))
    np.testing.assert_allclose(ours["consumption"], theirs["consumption"], rtol=1e-9)
    # who saves nothing may hold any share
    np.testing.assert_allclose(ours["share"][1:], theirs["share"][1:], rtol=1e-7)
    assert ours["share"][1] == 1.0


@pytest.mark.long
def test_certified_and_simulated(invested):
    certificate = bx.certify(invested, points=60)
    assert certificate.missed < 1e-8
    panel = bx.simulate(invested, agents=20, start={"wealth": 2.0}, seed=1)
    np.testing.assert_allclose(panel.actions["share"][:, 0], float(invested.policy(0, wealth=2.0)["share"]), rtol=1e-9)


@pytest.mark.long
def test_derivatives(with_value):
    model = shares()

    def asked(aversion):
        found = bx.solve(model, SHARES | {"aversion": aversion}, backward(SHARE, wealth=25), throw=False)
        return jnp.stack([found.value(0, wealth=2.0), found.policy(0, wealth=2.0)["share"]])

    both = with_value(asked)
    differences = (both(3.0 + 1e-4)[1] - both(3.0 - 1e-4)[1]) / 2e-4
    np.testing.assert_allclose(both(3.0)[0], differences, rtol=1e-5)


@pytest.mark.long
def test_without_end():
    model = shares(horizon=math.inf)
    ours = bx.solve(model, SHARES, bx.solvers.ValueIteration(grid={"wealth": 25}, maximiser=SHARE))
    theirs = bx.solve(model, SHARES, bx.solvers.PolicyIteration(grid={"wealth": 25}, maximiser=bx.maximise.Newton()))
    np.testing.assert_allclose(ours.values.levels, theirs.values.levels, rtol=1e-6)


# -- a discrete outer choice and a stock that wears out --------------------------------------------------------------


house = bx.Model(
    states={"assets": bx.Continuous(0.0, 10.0, scale=bx.scales.power(2.0)), "house": bx.Continuous(0.2, 3.0)},
    actions={"move": bx.Discrete([0, 1, 2]), "consumption": bx.Continuous(1e-6, "means")},
    functions={
        "size": lambda house, move: jnp.where(move == 0, house, jnp.where(move == 1, 0.2, 2.0)),
        "means": lambda assets, house, size, move: assets + 1.5 - (move != 0) * (0.5 * size - 0.4 * house),
        "savings": lambda means, consumption: means - consumption,
    },
    transitions={"assets": lambda savings, bonus: 1.03 * savings + bonus * (savings >= 2.0), "house": "size"},
    reward=lambda consumption, size: jnp.log(consumption) + 0.4 * jnp.log(size),
    horizon=2,
)
"""Stay, sell, or move to a large house; the inner problem sees the house that is left."""


def moved(bonus):
    found = backward(NEGM(), assets=60, house=30)
    return bx.solve(house, {"bonus": bonus, "discount": BETA}, found)


@pytest.mark.parametrize(
    "bonus",
    [pytest.param(0.0, id="a concave law", marks=pytest.mark.long), pytest.param(1.5, id="just enough for a bonus")],
)
def test_moves_are_the_best_of_all_plans(bonus):
    """Two periods, the second in closed form: everything is consumed, in the best house that there is."""

    def sizes(h):
        return np.stack([h, np.full_like(h, 0.2), np.full_like(h, 2.0)])

    def means(a, h):
        moves = np.array([0.0, 1.0, 1.0]).reshape(3, *[1] * h.ndim)
        return a + 1.5 - moves * (0.5 * sizes(h) - 0.4 * h)

    def last(a, h):
        return (np.log(np.maximum(means(a, h), 1e-300)) + 0.4 * np.log(sizes(h))).max(0)

    solution = moved(bonus)
    assets, own = np.meshgrid([0.1, 1.0, 4.0, 6.0], [0.3, 1.1, 2.4], indexing="ij")
    best = np.full(assets.shape, -np.inf)
    for place in np.ndindex(assets.shape):
        for m, h in zip(means(assets[place], own[place]), sizes(own[place]), strict=True):
            saved = np.append(np.linspace(0.0, m, 20_001)[:-1], min(2.0, 0.999 * m))
            follows = last(1.03 * saved + bonus * (saved >= 2.0), np.full_like(saved, h))
            best[place] = max(best[place], (np.log(m - saved) + 0.4 * np.log(h) + BETA * follows).max())
    np.testing.assert_allclose(solution.value(0, assets=assets, house=own), best, atol=2e-3)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_law_that_falls_is_refused():
    with pytest.raises(bx.SolveError, match=r"NEGM, inner DCEGM: 'assets' of tomorrow falls.*Newton"):
        moved(-1.5)


def told(model, method, match, params=SHARES, error=bx.ModelError):
    with pytest.raises(error, match=match):
        bx.solve(model, params, bx.solvers.BackwardInduction(maximiser=method))


@pytest.mark.parametrize(
    ("method", "match"),
    [
        (NEGM(outer="shore"), "shore.*Did you mean 'share'"),
        (NEGM(outer="consumption"), r"one function alone"),
        (NEGM(inner=bx.maximise.EGM(action="consumption"), outer="consumption"), "is the inner action"),
        (NEGM(inner=bx.maximise.EGM(post_decision="left")), "post_decision"),
        (NEGM(inner=bx.maximise.EGM(resources="savings")), "is to be known before 'consumption' is chosen"),
        (NEGM(grid={"share": 2}), "the grid of 'share' has 2 nodes; give at least 4"),
        (NEGM(grid={"share": bx.grids.Given([0.0, 1.0])}), "the grid of 'share' has 2 nodes; give at least 4"),
        (NEGM(grid={"savings": 60}), "grid names 'savings'; it takes the outer action"),
        (NEGM(inner=bx.maximise.EGM(grid={"savings": 2})), "the grid of 'savings' has 2 nodes"),
    ],
)
def test_options_that_are_none(method, match):
    told(shares(), method, match)


def test_an_inner_method_that_is_none():
    with pytest.raises(bx.ModelError, match="inner is Newton.*; give bx.maximise.EGM"):
        NEGM(inner=bx.maximise.Newton())


STATES = {"wealth": bx.Continuous(0.1, 20.0)}
ACTIONS = {"share": bx.Continuous(0.0, 1.0), "consumption": bx.Continuous(1e-6, "wealth")}


def statement(**slots):
    """The share again, with other slots."""
    given = {
        "states": STATES,
        "actions": ACTIONS,
        "functions": {"savings": lambda wealth, consumption: wealth - consumption},
        "transitions": {"wealth": lambda savings, share: savings * (1 + share)},
        "reward": lambda consumption: jnp.log(consumption),
        "horizon": 2,
    }
    return bx.Model(**(given | slots))


@pytest.mark.parametrize(
    ("slots", "match"),
    [
        pytest.param(
            {"actions": {"consumption": bx.Continuous(1e-6, "wealth")}, "transitions": {"wealth": "savings"}},
            "nothing is nested.*EGM",
            id="nothing outer",
        ),
        pytest.param(
            {"actions": ACTIONS | {"effort": bx.Continuous(0.0, 1.0)}, "reward": lambda consumption, effort: -effort},
            "at most one around it; the model has.*Newton",
            id="two outer ones",
        ),
        pytest.param(
            {"transitions": {"wealth": lambda wealth, consumption, share: (wealth - consumption) * (1 + share)}},
            "through one function alone",
            id="no savings",
        ),
        pytest.param(
            {"reward": lambda consumption, wealth: jnp.log(consumption) + wealth},
            "beside 'savings', laws of motion, the reward or a bound see 'wealth'",
            id="the state beside savings",
        ),
        pytest.param(
            {
                "actions": {
                    "share": bx.Continuous(0.0, lambda consumption: 1.0 - 0.001 * consumption),
                    "consumption": bx.Continuous(1e-6, "wealth"),
                }
            },
            "the bounds of 'share' see 'consumption', so that it is not chosen before",
            id="the inner action first",
        ),
        pytest.param(
            {
                "shocks": {"risky": bx.shocks.Normal(0.0, 0.1)},
                "functions": {
                    "savings": lambda wealth, consumption, share, risky: wealth - consumption + share * risky
                },
                "transitions": {"wealth": "savings"},
            },
            "no function of the model that sees a continuous state and an action and no shock",
            id="savings that see the shock",
        ),
        pytest.param(
            {
                "shocks": {"risky": bx.shocks.Normal(0.0, 0.1)},
                "reward": lambda consumption, risky: jnp.log(consumption) + risky,
            },
            "a reward that is known with the decision",
            id="a reward that sees the shock",
        ),
        pytest.param(
            {"constraints": {"little": lambda consumption: consumption < 5.0}}, "cannot honour", id="a constraint"
        ),
        pytest.param({"actions": ACTIONS | {"share": bx.Continuous(0.0)}}, "infinite", id="no bound"),
    ],
)
def test_models_that_do_not_qualify(slots, match):
    told(statement(**slots), NEGM(), match, {"discount": BETA})


def test_an_outer_choice_that_is_discrete():
    told(house, NEGM(outer="move"), "outer='move' is a discrete action", {"bonus": 0.0, "discount": BETA})


def test_an_outer_action_that_touches_nothing():
    model = statement(transitions={"wealth": "savings"}, reward=lambda consumption: jnp.log(consumption))
    told(model, NEGM(), "sees the action 'share'", {"discount": BETA})


def test_savings_that_see_a_shock_by_name():
    functions = {"savings": lambda wealth, consumption, share, risky: wealth - consumption + share * risky}
    model = statement(
        shocks={"risky": bx.shocks.Normal(0.0, 0.1)}, functions=functions, transitions={"wealth": "savings"}
    )
    method = NEGM(inner=bx.maximise.DCEGM(post_decision="savings"))
    told(model, method, "'savings' is to be known with the decision, and it sees 'risky'", {"discount": BETA})


@pytest.mark.long
def test_a_bound_that_only_keeps_a_stock_positive_hides_no_hump():
    """A house of one pays a step: nodes at equal ratios from 1e-4 to 20 alone do not come near it for who has 1.2."""
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 20.0, scale=bx.scales.log)},
        actions={
            "stock": bx.Continuous(1e-4, "wealth"),
            "consumption": bx.Continuous(1e-6, lambda wealth, stock: wealth - stock),
        },
        functions={"savings": lambda wealth, stock, consumption: wealth - stock - consumption},
        transitions={"wealth": lambda savings, stock: 1.02 * savings + 0.8 * stock + 0.1},
        reward=lambda consumption, stock: jnp.log(consumption) + jnp.where(stock >= 1.0, 0.8, 0.0),
        discount=0.95,
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"wealth": 40}, maximiser=bx.maximise.NEGM(outer="stock"))
    found = bx.solve(model, {}, solver)
    wealth, stock, share = 1.2, np.append(np.linspace(1e-4, 1.19, 600), 1.0), np.linspace(1e-3, 1.0, 600)[:, None]
    # in the last period everything is consumed, but for the house where it is worth it
    last = lambda w: np.maximum(np.log(w - 1e-4), np.where(w > 1.0, 0.8 + np.log(np.maximum(w - 1.0, 1e-9)), -9.0))  # noqa: E731
    left = wealth - stock
    values = np.log(share * left) + 0.8 * (stock >= 1) + 0.95 * last(1.02 * (1 - share) * left + 0.8 * stock + 0.1)
    assert float(found.value(0, wealth=wealth)) == pytest.approx(values.max(), abs=5e-3)
