"""What hardly ever happens and matters, against sums by hand: a mean over draws does not know of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import t

import bellax as bx
from bellax.certify.bracket import Bracket, Side
from bellax.problem.draws import Laws
from bellax.problem.kinds import Kinds
from bellax.problem.problem import Problem
from bellax.solution.gridless import Behaviour, GridlessSetting, GridlessSolution, certain

RARE, LOSS = 1e-7, 1e8
SOLVER = bx.solvers.RegressionMonteCarlo(degree=2, samples=128, successors=4)


def insurance(fire, **changes):
    """To insure costs one in each of three periods; not to, ten in the mean, which no draw shows."""
    given = {
        "states": {"wealth": bx.Continuous(0.0, 10.0)},
        "actions": {"insure": bx.Discrete(2)},
        "shocks": {"fire": fire, "w": bx.shocks.Normal()},
        "transitions": {"wealth": lambda wealth, w: jnp.clip(wealth + 0.1 * w, 0.0, 10.0)},
        "reward": lambda insure, fire: 1.0 - insure - LOSS * fire * (1 - insure),
        "discount": 0.95,
        "horizon": 3,
    }
    return bx.Model(**{**given, **changes})


FIRES = {
    "category": bx.shocks.Categorical(probabilities=np.array([1 - RARE, RARE])),
    "mixture": bx.shocks.Mixture([1 - RARE, RARE], (bx.shocks.Normal(0.0, 0.0), bx.shocks.Normal(1.0, 1e-3))),
    "jump": bx.shocks.Jump(intensity=RARE, mean=1.0, sd=1e-3),
}


@pytest.mark.parametrize("fire", [pytest.param(n, marks=() if n == "category" else pytest.mark.long) for n in FIRES])
def test_a_rare_loss_is_insured_against(fire):
    """V is zero: with insurance nothing is left of the one that is earned."""
    solution = bx.solve(insurance(FIRES[fire]), {}, SOLVER)
    assert int(solution.policy(0, wealth=5.0)["insure"]) == 1
    assert float(solution.value(0, wealth=5.0)) == pytest.approx(0.0, abs=1e-9)
    found = bx.certify(solution, points=16, agents=50, start={"wealth": 5.0}, inner=4).bracket
    assert found.interval == pytest.approx((0.0, 0.0), abs=1e-9)


def test_what_is_rare_among_too_many_to_go_through_is_no_success():
    """A hundred fires, of which the last one burns: draws do not know it, and the solve says so."""
    often = np.append(np.full(99, (1 - RARE) / 99), RARE)
    fire = bx.shocks.Categorical(np.append(np.zeros(99), 1.0), often)
    with pytest.raises(bx.SolveError, match="some category is so rare that hardly any successor has it"):
        bx.solve(insurance(fire), {}, SOLVER)
    assert bx.solve(insurance(fire), {}, SOLVER, throw=False).result == bx.Result.biased
    even = bx.shocks.Categorical(np.arange(100.0) / 1e8, np.full(100, 0.01))
    found = bx.solve(insurance(even), {}, replace(SOLVER, successors=64))
    assert int(found.policy(0, wealth=5.0)["insure"]) == 1  # 49.5 are lost in the mean


def test_a_policy_that_gambles_is_not_flattered():
    """What a wrong policy earns on paths without a fire, 1 a period, is far above what it is worth, -9 a period."""

    class Gambles(Behaviour):
        level: jax.Array

        @property
        def smooth(self):
            return True

        def chosen(self, period, number, states):
            found = certain(period.plan, self.level, period.choices(jnp.zeros((), jnp.int32)))
            return found._replace(choice_values=jnp.zeros(2), probabilities=jnp.asarray([1.0, 0.0]))

    solution = replace(bx.solve(insurance(FIRES["category"]), {}, SOLVER), values=Gambles(jnp.asarray(2.85)))
    found = bx.certify(solution, points=16, agents=50, start={"wealth": 5.0}, inner=4).bracket
    assert found.lower.mean == pytest.approx((1.0 - RARE * LOSS) * (1 + 0.95 + 0.95**2), rel=1e-6)
    assert found.interval[1] >= 0.0


def test_a_chain_that_hardly_moves_is_in_the_value():
    """V of a machine that breaks for good with a small probability, by the rows of its chain; paths do not know it."""
    chain = np.array([[1 - RARE, RARE], [0.0, 1.0]])
    model = insurance(
        FIRES["category"],
        states={"wealth": bx.Continuous(0.0, 10.0), "broken": bx.MarkovChain([0.0, 1.0], chain)},
        shocks={"w": bx.shocks.Normal()},
        reward=lambda insure, broken: 1.0 - insure - LOSS * broken * (1 - insure),
        actions={"insure": bx.Discrete(2)},
        terminal=lambda broken: -LOSS * broken,
    )
    worth = np.array([0.0, -LOSS])
    for _ in range(3):
        # whole machines need no insurance, broken ones do
        worth = np.array([1.0, 0.0]) + 0.95 * chain @ worth
    solution = bx.solve(model, {}, SOLVER)
    found = [float(solution.value(0, wealth=5.0, broken=broken)) for broken in (0.0, 1.0)]
    assert found == pytest.approx(worth, rel=1e-9)
    missing = bx.certify(solution, points=16, agents=50, start={"wealth": 5.0, "broken": 0.0}, inner=4).bracket
    assert missing.interval == (-np.inf, np.inf)
    assert "what 'broken' draws with a probability of at most 1.0e-07 is drawn 1.5e-05 times" in missing.lower_missing


def test_a_rare_event_that_moves_paths_has_no_bracket():
    model = insurance(
        FIRES["category"],
        transitions={"wealth": lambda wealth, w, fire: jnp.where(fire == 1, 0.0, jnp.clip(wealth + 0.1 * w, 0, 10))},
        reward=lambda insure: 1.0 - insure,
        terminal=lambda wealth: jnp.where(wealth == 0, -LOSS, 0.0),
    )
    solution = bx.solve(model, {}, SOLVER)
    found = bx.certify(solution, points=16, agents=50, start={"wealth": 5.0}, inner=4).bracket
    assert found.lower is None and found.upper is None
    assert "'fire' draws" in found.upper_missing
    often = replace(model, shocks={**model.shocks, "fire": bx.shocks.Categorical(probabilities=[0.5, 0.5])})
    assert bx.certify(bx.solve(often, {}, SOLVER), points=16, agents=50, start={"wealth": 5.0}, inner=4).bracket.lower


def test_what_a_policy_earns_on_paths_says_nothing_of_what_they_never_saw():
    """A continuous action, so that there are no martingales: the side from below is a plain mean."""
    model = insurance(FIRES["category"], actions={"insure": bx.Continuous(0.0, 1.0)})

    class Gambles(Behaviour):
        share: jax.Array

        @property
        def smooth(self):
            return True

        def chosen(self, period, number, states):
            return certain(period.plan, jnp.asarray(2.85), {"insure": self.share})

    setting = GridlessSetting(model, bx.solvers.PolicyGradient())
    code = jnp.zeros((), jnp.int32)
    solution = GridlessSolution(setting.arguments({}), Gambles(jnp.zeros(())), code, {}, setting)
    found = bx.certify(solution, points=16, agents=50, start={"wealth": 5.0}).bracket
    assert found.lower is None and "'fire' draws with a probability of at most 1.0e-07" in found.lower_missing


def test_kinds_are_mixed_by_probabilities_that_read_what_was_drawn_before():
    """A category whose probabilities depend on another one's: the mean is that of all four combinations."""

    def chances(next_mood):
        return jnp.stack([0.7 + 0.2 * next_mood, 0.3 - 0.2 * next_mood])

    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0), "mood": bx.MarkovChain([0.0, 1.0], [[0.9, 0.1], [0.2, 0.8]])},
        shocks={"hit": bx.shocks.Categorical([0.0, 3.0], chances)},
        transitions={"x": lambda x: x},
        reward=lambda hit, next_mood: hit + 10.0 * next_mood * hit,
        discount=0.9,
        horizon=1,
    )  # fmt: skip
    setting = bx.solvers.BackwardInduction().prepare(model)
    problem = Problem(model.graph, model.clock)
    kinds = Kinds(Laws(problem, setting.arguments({}), 0))
    states = {"x": jnp.asarray(0.5), "mood": jnp.asarray(1.0)}
    assert kinds.exact and kinds.combinations == 4 and kinds.pairs(100) == 1
    found = kinds.mean(states, {}, lambda found: found.reward, jax.random.key(0), 1)
    assert float(found) == pytest.approx(0.2 * 0.3 * 3 + 0.8 * 0.1 * 33, rel=1e-12)


def test_draws_of_a_kind_are_those_of_the_distribution_given_it():
    jump = bx.shocks.Jump(intensity=0.8, mean=2.0, sd=0.5)
    given = {"intensity": jnp.asarray(0.8), "mean": jnp.asarray(2.0), "sd": jnp.asarray(0.5)}
    keys = jax.random.split(jax.random.key(0), 20_000)
    some = jax.vmap(lambda key: jump.draw_kind(key, jnp.asarray(1), **given))(keys)
    chances = jump.kinds(**given)
    assert float(jump.draw_kind(keys[0], jnp.asarray(0), **given)) == 0.0
    assert float(chances[1] * some.mean()) == pytest.approx(0.8 * 2.0, rel=0.02)
    assert float(chances[1] * (some**2).mean()) == pytest.approx(0.8 * (4 + 0.25) + (0.8 * 2) ** 2, rel=0.03)


def test_few_paths_have_the_interval_of_student():
    side = Side(1.0, 0.1, "the policy", 3)
    assert side.margin == pytest.approx(0.1 * t.ppf(0.975, 2), rel=1e-12)
    assert Bracket(side, None).interval[0] == pytest.approx(1.0 - 0.1 * t.ppf(0.975, 2), rel=1e-12)
    assert Side(1.0, 0.1, "the policy", 10**6).margin == pytest.approx(0.196, rel=1e-3)
