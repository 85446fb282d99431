"""Models on which an endogenous grid would be wrong: it says so, or is right."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

BETA = 0.95
DCEGM = bx.maximise.DCEGM()


def saving(law, horizon=2, upper="wealth", left=lambda wealth, consumption: wealth - consumption, lowest=0.5, **slots):
    """Log utility, and wealth of tomorrow by a law of savings."""
    return bx.Model(
        states={"wealth": bx.Continuous(lowest, 100.0), **slots.pop("states", {})},
        actions={"consumption": bx.Continuous(0.0, upper)},
        functions={"savings": left},
        transitions={"wealth": law},
        reward=lambda consumption: jnp.log(consumption),
        horizon=horizon,
        **slots,
    )


def solved(model, maximiser=DCEGM):
    return bx.solve(model, {"discount": BETA}, bx.solvers.BackwardInduction(grid={"wealth": 30}, maximiser=maximiser))


def enumerated(wealth, following, value, steps=()):
    """V of one decision of log utility, over all savings and both sides of steps."""
    left = np.unique([*np.linspace(0, wealth, 200_001)[:-1], *(s for s in steps if s < wealth)])
    return np.max(np.log(wealth - left) + BETA * value(following(left)))


def test_a_bequest_that_jumps():
    def bequest(wealth):
        return 20.0 * (wealth >= 40.0) + 0.01 * wealth

    found = solved(saving(lambda savings: savings, 1, terminal=bequest))
    for wealth in (30.0, 45.0, 48.97, 90.0):
        exact = enumerated(wealth, lambda a: a, bequest, [40.0])
        assert float(found.value(0, wealth=wealth)) == pytest.approx(exact, abs=1e-7)


def test_a_jump_behind_a_shock_is_refused():
    end = lambda wealth: jnp.where(wealth >= 40.0, 20.0, 0.0)  # noqa: E731
    shocks = {"luck": bx.shocks.Normal(0.0, 1.0)}
    with pytest.raises(bx.SolveError, match="what follows jumps"):
        solved(saving(lambda savings, luck: savings + luck, 1, terminal=end, shocks=shocks))


def test_a_choice_that_begins_at_some_wealth():
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 100.0)},
        actions={"consumption": bx.Continuous(0.0, "wealth"), "club": bx.Discrete(2)},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": lambda savings: savings + 5.0},
        constraints={"rich": lambda wealth, club: (club == 0) | (wealth >= 30.0)},
        reward=lambda consumption, club: jnp.log(consumption) + club,
        horizon=2,
    )
    found = solved(model)
    for wealth in (10.0, 33.0, 45.0, 80.0):
        tomorrow = lambda wealth: np.log(wealth) + (wealth >= 30.0)  # noqa: E731
        exact = enumerated(wealth, lambda a: a + 5.0, tomorrow, [25.0]) + (wealth >= 30.0)
        assert float(found.value(0, wealth=wealth)) == pytest.approx(exact, abs=1e-7)


def test_kinks_of_a_law_are_no_jumps():
    """Two sides of a kink that makes V convex there; c by enumeration of all savings."""
    solution = solved(saving(lambda savings: jnp.where(savings < 30, savings + 5, 35 + 1.3 * (savings - 30))))
    for wealth in (10.0, 55.0, 66.0, 90.0):
        left = wealth * np.linspace(0, 1, 200_001)[:-1]
        following = np.where(left < 30, left + 5, 35 + 1.3 * (left - 30))
        best = np.max(np.log(wealth - left) + BETA * np.log(following))
        assert float(solution.value(0, wealth=wealth)) == pytest.approx(best, rel=1e-6)


def test_nothing_is_saved_that_is_worth_nothing():
    """Beyond 40 a bequest is worth no more: then everything else is consumed."""
    found = solved(saving(lambda savings: savings, 1, terminal=lambda wealth: 0.05 * jnp.minimum(wealth, 40.0)))
    exact = np.log(95.0 - 40.0) + BETA * 0.05 * 40
    assert float(found.value(0, wealth=95.0)) == pytest.approx(exact, rel=1e-9)
    assert float(found.policy(0, wealth=95.0)["consumption"]) == pytest.approx(55.0, abs=1e-8)


@pytest.mark.long
def test_savings_that_are_no_straight_line_of_consumption_only_between_the_bounds():
    def left(wealth, consumption):
        return wealth - consumption - jnp.where((consumption > 2) & (consumption < 20), 0.5, 0.0)

    with pytest.raises(bx.SolveError, match="not what is left of resources"):
        solved(saving(lambda savings: savings + 5.0, left=left))


@pytest.mark.long
def test_a_limit_that_moves_only_in_the_middle():
    with pytest.raises(bx.SolveError, match="the same limit"):
        solved(
            saving(
                lambda savings: savings + 5.0,
                upper=lambda wealth: wealth - jnp.where((wealth > 10) & (wealth < 50), 5.0, 0.0),
            )
        )


def test_nothing_to_consume_is_worth_minus_infinity():
    found = solved(saving(lambda savings: savings + 5.0, lowest=0.0))
    assert float(found.value(0, wealth=0.0)) == -np.inf
    exact = enumerated(8.0, lambda a: a + 5.0, np.log)
    assert float(found.value(0, wealth=8.0)) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize(
    "reward",
    [
        pytest.param(lambda consumption: 1.0 * consumption, id="linear", marks=pytest.mark.long),
        pytest.param(lambda consumption: jnp.log(consumption) + 2 * jnp.tanh(consumption - 10.0), id="two bends"),
    ],
)
def test_a_reward_that_is_not_strictly_concave_is_refused(reward):
    """Of the first everything would be consumed, of the second V be off by 1.9: the first-order condition says less."""
    with pytest.raises(bx.SolveError, match="not strictly concave in 'consumption'.*Newton"):
        solved(dataclasses.replace(saving(lambda savings: 1.5 * savings + 1.0), reward=reward))


@pytest.mark.long
def test_savings_that_are_worth_more_than_any_consumption_are_refused():
    model = dataclasses.replace(
        saving(lambda savings: 3.0 * savings), reward=lambda consumption: jnp.log1p(consumption)
    )
    with pytest.raises(bx.SolveError, match="lower bound of 'consumption' binds"):
        solved(model)


def test_resources_that_are_none_are_refused():
    model = saving(lambda savings: savings + 1.0)
    wrong = dataclasses.replace(model, functions={**model.functions, "twice": lambda wealth: 2 * wealth})
    with pytest.raises(bx.SolveError, match="from what resources= says"):
        solved(wrong, bx.maximise.EGM(resources="twice"))
    assert float(solved(model, bx.maximise.EGM(resources="wealth")).value(1, wealth=5.0)) == pytest.approx(np.log(5.0))


@pytest.mark.long
def test_rows_in_chunks_give_the_same():
    """With memory for one place of a chain at a time; and what would not fit is refused."""
    chain = bx.MarkovChain((0.5, 1.0, 1.5), [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]])
    model = saving(lambda savings, next_income: savings + next_income, states={"income": chain})
    grid = bx.maximise.EGM(grid={"savings": 30}, kinks=0)
    small, large = (bx.solvers.BackwardInduction(maximiser=grid, memory=memory) for memory in (20_000, 2**28))
    ask = {"wealth": np.array([1.0, 9.0]), "income": 1.0}
    values = [bx.solve(model, {"discount": BETA}, solver).value(0, **ask) for solver in (small, large)]
    np.testing.assert_allclose(*values, rtol=1e-13)
    huge = bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM(grid={"savings": 10**9}))
    with pytest.raises(bx.ModelError, match="this machine has"):
        bx.solve(model, {"discount": BETA}, huge)
