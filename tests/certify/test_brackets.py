"""Brackets of the optimal value against numbers of numpy: whatever V and the policy are, the truth is not outside."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify import penalised, relaxed
from bellax.certify.bracket import Bracket, Side
from bellax.certify.linear_quadratic import matrices
from bellax.errors import ModelError
from bellax.models import liquidation, lqg
from bellax.solution.gridless import Behaviour, GridlessSetting
from bellax.solution.policy import Chosen

PERIODS, RIGHTS = 4, 2
DISCOUNT = 0.95


def _stops(x):
    return jnp.maximum(x, 0.0)


WALK = bx.Model(
    states={"x": bx.Continuous(-6.0, 6.0)},
    shocks={"step": bx.shocks.Categorical([-1.0, 0.0, 1.5], [0.4, 0.3, 0.3])},
    transitions={"x": lambda x, step: x + step},
    reward=-0.05,
    discount=DISCOUNT,
    stop=_stops,
    terminal=_stops,
    horizon=PERIODS,
)
SWING = bx.Model(
    states={"x": bx.Continuous(-6.0, 6.0), "rights": bx.Discrete(RIGHTS + 1)},
    actions={"use": bx.Discrete(2)},
    shocks={"step": bx.shocks.Categorical([-1.0, 0.0, 1.5], [0.4, 0.3, 0.3])},
    transitions={
        "x": lambda x, step: x + step,
        "rights": lambda rights, use: jnp.maximum(rights - use, 0),
    },
    reward=lambda x, use, rights: jnp.where(rights > 0, use * x, 0.0),
    discount=DISCOUNT,
    horizon=PERIODS,
)
STEPS, CHANCES = np.array([-1.0, 0.0, 1.5]), np.array([0.4, 0.3, 0.3])
SOLVER = bx.solvers.RegressionMonteCarlo(degree=3, samples=256, successors=8)


def walk_value(x, t=0):
    """V of the walk by enumeration."""
    if t == PERIODS:
        return max(x, 0.0)
    return max(x, 0.0, -0.05 + DISCOUNT * CHANCES @ [walk_value(x + step, t + 1) for step in STEPS])


def swing_value(x, rights, t=0):
    """V of the rights by enumeration."""
    if t == PERIODS:
        return 0.0
    ways = []
    for use in (0, 1):
        left = max(rights - use, 0)
        after = CHANCES @ [swing_value(x + step, left, t + 1) for step in STEPS]
        ways.append((use * x if rights > 0 else 0.0) + DISCOUNT * after)
    return max(ways)


class Wrong(Behaviour):
    """V that has nothing to do with the model, and a policy that stops or acts at random."""

    seed: jax.Array

    @property
    def smooth(self):
        return True

    def chosen(self, period, number, states):
        x = jnp.sum(jnp.stack([jnp.sum(jnp.asarray(value, float)) for value in states.values()]))
        wave = jnp.sin(13.0 * x + 7.0 * jnp.asarray(number, float) + self.seed)
        ways = 2 if period.plan.choices else 1
        best = jnp.where(wave > 0, ways - 1, 0).astype(jnp.int32)
        stop = jnp.asarray(period.plan.evaluate_stop is not None) & (wave > 0.5)
        q = jnp.where(jnp.arange(ways, dtype=jnp.int32) == best, 1.0, 0.0)
        return Chosen(5.0 * wave * x, period.choices(best), stop, q, q)


@pytest.fixture(scope="module")
def walk():
    return bx.solve(WALK, {}, SOLVER)


@pytest.fixture(scope="module")
def swing():
    return bx.solve(SWING, {}, SOLVER)


def _means(solution, starts, inner, seeds, paths=400):
    """Upper and lower sides of many seeds, shape (seeds, paths) each."""
    run = jax.jit(relaxed.sides(solution.setting, inner))
    rows = {name: jnp.full((paths,), value) for name, value in starts.items()}
    keys = [jax.random.split(jax.random.key(seed), paths) for seed in range(seeds)]
    found = [run(solution.pointwise, rows, key) for key in keys]
    return np.stack([side.upper for side in found]), np.stack([side.lower for side in found])


def _error(sample):
    return sample.std() / np.sqrt(sample.size)


@pytest.mark.parametrize("model, exact, start", [("walk", walk_value(0.3), {"x": 0.3}),
                                                 ("swing", swing_value(0.3, 2), {"x": 0.3, "rights": 2})])  # fmt: skip
def test_a_good_value_has_a_narrow_bracket_around_the_truth(model, exact, start, request):
    solution = request.getfixturevalue(model)
    found = bx.certify(solution, points=40, agents=1500, start=start, seed=3, inner=60).bracket
    low, high = found.interval
    assert low <= exact <= high
    assert found.width < 0.08


@pytest.mark.parametrize("model, exact, start", [("walk", walk_value(0.3), {"x": 0.3}),
                                                 ("swing", swing_value(0.3, 2), {"x": 0.3, "rights": 2})])  # fmt: skip
def test_a_wrong_value_does_not_move_a_bound_across_the_truth(model, exact, start, request):
    """Of many wrong V, few draws and many seeds together: the means are on the right sides."""
    solution = request.getfixturevalue(model)
    for wrong in (0.0, 1.0, 2.5):
        bad = replace(solution, values=Wrong(jnp.asarray(wrong)))
        upper, lower = _means(bad, start, 2, 12)
        assert upper.mean() >= exact - 3 * _error(upper)
        assert lower.mean() <= exact + 3 * _error(lower)


def test_with_the_true_value_both_sides_are_the_truth_on_average(walk):
    """A penalty of mean zero: over forty seeds the mean of the lower side is what the policy earns, by enumeration."""
    bad = replace(walk, values=Wrong(jnp.asarray(0.7)))
    _, lower = _means(bad, {"x": 0.3}, 2, 40)

    def follows(x, t=0):
        if t == PERIODS:
            return max(x, 0.0)
        if np.sin(13.0 * x + 7.0 * t + 0.7) > 0.5:
            return max(x, 0.0)
        return -0.05 + DISCOUNT * CHANCES @ [follows(x + step, t + 1) for step in STEPS]

    assert abs(lower.mean() - follows(0.3)) <= 3 * _error(lower)
    assert _error(lower) < 0.1


def test_a_bad_policy_shows_a_wide_bracket_and_a_loss(walk):
    good = bx.certify(walk, points=40, agents=500, start={"x": 0.3}, inner=20)
    bad = bx.certify(replace(walk, values=Wrong(jnp.asarray(0.7))), points=40, agents=500, start={"x": 0.3}, inner=20)
    assert bad.bracket.width > 5 * good.bracket.width
    assert bad.lost["path"]["max"] > 10 * max(good.lost["path"]["max"], 0.01)
    assert bad.bracket.interval[0] <= walk_value(0.3) <= bad.bracket.interval[1]


def test_losses_of_a_wrong_policy_are_those_of_numpy(walk):
    """At a state of the last period: the best of stopping and going on, less what the policy does."""
    bad = replace(walk, values=Wrong(jnp.asarray(0.7)))
    panel = bx.simulate(bad, 300, {"x": 0.3}, seed=2)
    found = bx.certify(bad, points=10_000, panel=panel, inner=2)
    x = np.asarray(panel.states["x"])[:, 0]
    value = lambda x, t: 5.0 * np.sin(13.0 * x + 7.0 * t + 0.7) * x  # noqa: E731
    losses = []
    for t in range(PERIODS):
        x = np.asarray(panel.states["x"])[np.asarray(panel.active)[:, t], t]
        after = np.stack([np.maximum(x + s, 0) if t == PERIODS - 1 else value(x + s, t + 1) for s in STEPS])
        q = -0.05 + DISCOUNT * CHANCES @ after
        payoff = np.maximum(x, 0.0)
        own = np.where(np.sin(13.0 * x + 7.0 * t + 0.7) > 0.5, payoff, q)
        losses.append(np.maximum(payoff, q) - own)
    assert found.lost["path"]["max"] == pytest.approx(np.concatenate(losses).max(), rel=1e-9)


# -- linear-quadratic control


@pytest.fixture(scope="module")
def one_asset():
    """One asset with bounds, by ILQG and on a grid; states at which something may be done."""
    model = replace(
        liquidation.constrained(1),
        states={"inventory": bx.Continuous(0.0, 1.0, shape=(1,)), "signal": bx.Continuous(-3.0, 3.0, shape=(1,))},
    )
    given, begin = liquidation.calibration(1), liquidation.beginning(1)
    grid = bx.solvers.BackwardInduction(
        grid={"inventory": (15,), "signal": (21,)}, quadrature={"factor": 7}, outside=bx.outside.Extrapolate()
    )
    exact = float(bx.solve(model, given, grid).value(0, **begin))
    return bx.solve(model, given, bx.solvers.ILQG(start=begin)), begin, exact


def test_a_penalty_brackets_the_value_of_a_grid(one_asset):
    solution, begin, exact = one_asset
    found = bx.certify(solution, points=20, agents=2000).bracket
    low, high = found.interval
    assert low <= exact <= high
    assert found.width < 0.006


def test_where_starts_differ_both_sides_are_of_the_same_ones(one_asset, monkeypatch):
    """Fewer paths are solved for the best than are simulated, and starts are in order: the first are worth less."""
    solution, _, _ = one_asset
    monkeypatch.setattr(penalised, "_WORK", 1.0)
    starts = {"inventory": np.linspace(0.05, 1.0, 600)[:, None], "signal": np.zeros((600, 1))}
    found = bx.certify(solution, points=20, start=starts, agents=600, seed=2).bracket
    assert found.lower.paths == found.upper.paths == 200
    rest = found.upper.mean - found.lower.mean  # per path the sides have starts and noise in common
    assert 0 <= rest < 0.01
    assert found.interval[0] < found.interval[1]


def test_sides_that_contradict_each_other_are_no_bracket():
    side = lambda mean: Side(mean, 0.001, "the policy", 100)  # noqa: E731
    found = Bracket(side(1.0), side(0.9))
    assert found.interval == (-np.inf, np.inf)
    assert "no bracket, as the side from below ends at 0.998016, above 0.901984" in "\n".join(found.lines())
    assert found.as_dict()["contradiction"]
    exact = Bracket(Side(1.0, 0.0, "the policy", 2), Side(1.0 - 1e-12, 0.0, "dual", 2))
    assert exact.interval == (1.0 - 1e-12, 1.0) and not exact.contradiction


def test_a_wrong_value_makes_no_upper_bound_below_the_truth(one_asset):
    solution, begin, exact = one_asset
    wrong = replace(solution, values=jax.tree.map(lambda leaf: leaf * 1.7 + 0.1, solution.values))
    starts = {name: np.broadcast_to(value, (300, 1)) for name, value in begin.items()}
    upper = [penalised.sides(s.setting, s.pointwise, starts, seed)[0].upper for s in (wrong,) for seed in range(8)]
    upper = np.concatenate(upper)
    assert upper.mean() >= exact - 3 * _error(upper)


@pytest.mark.long
def test_without_bounds_both_sides_are_the_riccati_value_on_every_path():
    given, begin = liquidation.calibration(3), {"inventory": np.array([0.6, 0.5, 0.4]), "signal": np.zeros(3)}
    solution = bx.solve(liquidation.liquidation(3), given, bx.solvers.ILQG(start=begin))
    exact = liquidation.reference(given, **begin)["value"]
    found = bx.certify(solution, points=10, agents=20, start=begin).bracket
    assert found.interval == pytest.approx((exact, exact), rel=1e-9)


# -- where there is none


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"terminal": lambda inventory, signal, penalty: -penalty * jnp.sum(jnp.cosh(inventory))}, "terminal value"),
        ({"transitions": {"inventory": liquidation.next_inventory, "signal": lambda signal, factor, persistence:
                          persistence * signal * jnp.exp(0.1 * factor)}}, "noise that is added"),
        ({"discount": lambda signal: 1.0 - 0.01 * jnp.sum(signal**2)}, "the discount is not the same"),
        ({"reward": lambda sold, inventory: -jnp.sum(sold**4)}, "the reward is not quadratic"),
        ({"reward": lambda sold, factor: -jnp.sum(sold**2) * factor}, "the reward is random"),
        ({"reward": lambda sold: -jnp.sum(jnp.abs(sold))}, "kinks"),
        ({"actions": {"sold": bx.Continuous(0.0, lambda inventory: 1 + inventory**2, shape=(1,))}}, "bound or a"),
        ({"constraints": {"some": lambda sold: jnp.all(sold > 0)}}, "is true or false"),
    ],
)  # fmt: skip
def test_what_is_not_linear_quadratic_is_named(changes, why):
    model = replace(liquidation.liquidation(1), **changes)
    setting = GridlessSetting(model, bx.solvers.ILQG())
    used = set(model.template()["name"])
    given = {name: value for name, value in liquidation.calibration(1).items() if name in used}
    found, missing = matrices(setting, setting.arguments(given), liquidation.beginning(1))
    assert found is None
    assert why in missing


def _store(**changes):
    """A store that is filled by ten and emptied at a cost, far from anything that is not quadratic."""
    given = {
        "states": {"x": bx.Continuous(0.0, 200.0)},
        "actions": {"a": bx.Continuous(0.0, 12.0)},
        "shocks": {"w": bx.shocks.Normal()},
        "transitions": {"x": lambda x, a, w: x + 10.0 - a + 0.5 * w},
        "reward": lambda x, a: -0.05 * a**2,
        "discount": 1.0,
        "terminal": lambda x: -0.01 * x**2,
        "horizon": 3,
    }
    return bx.Model(**{**given, **changes})


def _matrices(model, params=None, x=20.0):
    setting = GridlessSetting(model, bx.solvers.ILQG())
    return matrices(setting, setting.arguments({} if params is None else params), {"x": np.array(x)})


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"reward": lambda x, a: -0.05 * a**2 - jnp.exp(0.5 * (x - 100.0))}, "the reward is not quadratic: exp reads"),
        ({"reward": lambda x, a: a - 1e-6 * a**2 - 1e-18 * a**4}, "the reward is not quadratic: a power of 4 reads"),
        ({"reward": lambda x, a: -0.05 * a**2 - 1e-30 * x * x * x}, "the reward is not quadratic: a product of three"),
        ({"terminal": lambda x: -jax.nn.sigmoid(x - 150.0)}, "the terminal value is not quadratic: logistic reads"),
        ({"transitions": {"x": lambda x, a, w: x - a + w * (1.0 + 1e-12 * x)}}, "a law is not linear"),
        ({"transitions": {"x": lambda x, a, w: x - a + w + jnp.tanh(1e-9 * x)}}, "a law is not linear .* tanh reads"),
        ({"actions": {"a": bx.Continuous(0.0, lambda x: 12.0 + jnp.exp(x - 900.0))}}, "a bound or a .* exp reads"),
        ({"reward": lambda x, a: -(a**2.5)}, "the reward is not quadratic: pow reads"),
        ({"reward": lambda x, a: -(jax.lax.stop_gradient(a) ** 2)}, "stop_gradient reads"),
    ],
)
def test_a_degree_is_read_off_operations_and_not_off_points(changes, why):
    """What differs from a quadratic function far away, or by little in these units, is none."""
    found, missing = _matrices(_store(**changes))
    assert found is None
    assert re.search(why, missing), missing


@jax.custom_jvp
def _twice(x):
    return 2.0 * x


_twice.defjvp(lambda primals, tangents: (_twice(*primals), 2.0 * tangents[0]))
_HALF = np.array([[0.5, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    "reward",
    [
        lambda x, a: -(a**2.0),
        lambda x, a, power: -(a**power),
        lambda x, a: -jnp.dot(jnp.stack([x, a]), _HALF @ jnp.stack([x, a])),
        lambda x, a: -jnp.sum(jnp.square(jnp.linalg.solve(_HALF, jnp.stack([x, a])))),
        lambda x, a: -jax.jit(lambda y: _twice(y) ** 2)(a) / 4.0,
        lambda x, a, power: -jnp.where(power > 1.0, a * a, x * a),
        lambda x, a: -jnp.mean(jnp.cumsum(jnp.stack([x, a])) ** 2),
        lambda x, a, period: -jax.lax.cond(period > 1, lambda y: y * y, lambda y: 2.0 * y * y, a),
        lambda x, a: -(jax.lax.fori_loop(0, 3, lambda k, y: y + k * a, x) ** 2),
        lambda x, a: -jnp.var(jnp.stack([x, a, 0.0 * a])),
    ],
)
def test_a_quadratic_function_is_known_however_it_is_written(reward):
    powers = "power" in reward.__code__.co_varnames
    found, missing = _matrices(_store(reward=reward), {"power": 2.0} if powers else {})
    assert missing == ""
    x, a, given = 7.0, 3.0, {"power": 2.0, "period": 2}
    wanted = reward(x, a, **{name: given[name] for name in reward.__code__.co_varnames[2:] if name in given})
    z = np.array([x, a])
    said = found.level[2] + found.slope[2] @ z + 0.5 * z @ found.curvature[2] @ z
    assert said == pytest.approx(float(wanted), rel=1e-12)


def test_a_power_that_a_parameter_gives_is_asked_for_its_number():
    assert "pow reads" in _matrices(_store(reward=lambda x, a, power: -(a**power)), {"power": 2.2})[1]


def test_derivatives_that_are_not_their_own_make_no_matrices():
    """A rule of a user's own that says of a square that it does not bend."""

    @jax.custom_jvp
    def square(y):
        return y * y

    square.defjvp(lambda primals, tangents: (square(*primals), 0.0 * tangents[0]))
    found, missing = _matrices(_store(reward=lambda x, a: -square(a)))
    assert found is None and "derivatives are not its own" in missing


def test_a_barrier_far_from_the_start_leaves_no_wrong_bracket():
    """V of a store that runs over within the horizon, against sums over nodes in numpy."""
    over = lambda x: np.exp(0.5 * (x - 40.0))  # noqa: E731
    change = {
        "reward": lambda x, a: -0.05 * a**2 - jnp.exp(0.5 * (x - 40.0)),
        "terminal": lambda x: -jnp.exp(0.5 * (x - 40.0)),
    }
    x, exact = np.linspace(-10, 80, 901), None
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    exact = -over(x)
    for _ in range(3):
        ways = [np.interp((x + 10.0 - a)[:, None] + 0.5 * nodes, x, exact) @ (weights / weights.sum()) - 0.05 * a * a
                for a in np.linspace(0.0, 12.0, 121)]  # fmt: skip
        exact = np.max(ways, axis=0) - over(x)
    solution = bx.solve(_store(**change), {}, bx.solvers.ILQG(start={"x": 20.0}), throw=False)
    found = bx.certify(replace(solution, code=jnp.zeros((), jnp.int32)), points=16, agents=500, start={"x": 20.0})
    low, high = found.bracket.interval
    assert low <= np.interp(20.0, x, exact) <= high
    assert found.bracket.upper is None


@pytest.mark.parametrize("sums", [1.0, 2.0])
def test_without_noise_the_bracket_is_the_value(sums):
    """Nothing is random: V of a store is that of the normal equations in numpy, and both sides are it."""
    model = _store(
        shocks={}, transitions={"x": lambda x, a: x + 10.0 - a}, actions={"a": bx.Continuous(-50.0, 50.0)},
        reward=lambda x, a, sums: -sums * (a**2 + 0.1 * x**2),
    )  # fmt: skip
    solution = bx.solve(model, {"sums": sums}, bx.solvers.ILQG(start={"x": 20.0}))
    moved = np.tril(-np.ones((3, 3)))  # x_1, x_2, x_3 of the actions
    rest = 20.0 + 10.0 * np.arange(1, 4)
    weight = np.diag([0.1 * sums, 0.1 * sums, 0.01])
    a = np.linalg.solve(sums * np.eye(3) + moved.T @ weight @ moved, -moved.T @ weight @ rest)
    exact = -sums * a @ a - sums * 0.1 * 20.0**2 - (rest + moved @ a) @ weight @ (rest + moved @ a)
    found = bx.certify(solution, points=10, agents=5, start={"x": 20.0})
    assert found.bracket.interval == pytest.approx((exact, exact), rel=1e-9)


def test_what_is_paid_on_paths_is_compared_with_the_matrices(one_asset):
    """Matrices of another model have no bracket: the lower side is the model's own."""
    solution, begin, _ = one_asset
    starts = {name: np.broadcast_to(value, (100, 1)) for name, value in begin.items()}
    own = penalised.matrices
    other = lambda *given: (own(*given)[0]._replace(level=own(*given)[0].level + 0.01), "")  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penalised, "matrices", other)
        found, missing = penalised.sides(solution.setting, solution.pointwise, starts, 0)
    assert found is None and "are not those of the matrices" in missing


@pytest.mark.long
def test_a_missing_upper_bound_is_named(one_asset):
    solution, begin, _ = one_asset
    model = replace(solution.model, terminal=lambda inventory, penalty: -penalty * jnp.sum(jnp.cosh(inventory)))
    other = bx.solve(model, solution.params, bx.solvers.ILQG(start=begin), throw=False)
    other = replace(other, code=jnp.zeros((), jnp.int32))
    found = bx.certify(other, points=10, agents=50, start=begin)
    assert found.bracket.upper is None and found.bracket.lower is not None
    assert "from above: none, as the action 'sold' is continuous" in str(found)
    assert "the terminal value is not quadratic" in str(found)


def test_words_and_tables(walk):
    found = bx.certify(walk, points=40, agents=300, start={"x": 0.3}, inner=20)
    assert "The optimal value there, with a confidence of 95 %" in str(found)
    assert set(found.table()["quantity"]) >= {"Bellman residual", "lost by the policy", "optimal value"}
    assert found.as_dict()["bracket"]["upper"]["paths"] == 300


def test_options_of_other_certificates_are_refused(walk):
    with pytest.raises(ModelError, match="inner is 1; give a whole number of at least 2"):
        bx.certify(walk, inner=1)
    with pytest.raises(ModelError, match="grids= is of continuous time"):
        bx.certify(walk, grids=2)


def test_the_spectral_radius_is_that_of_the_regulator():
    solution = bx.solve(lqg.stationary, lqg.stationary_params, bx.solvers.ILQG())
    found = bx.certify(solution, points=20, agents=50, start=lqg.start, periods=10)
    p, gain = lqg.params, np.asarray(lqg.regulator(None).gain[0]).reshape(1, 2)
    law = np.array([[1.0, p["step"]], [-p["step"] * p["spring"], 1.0]]) - np.array([[0.0], [p["step"]]]) @ gain
    assert found.steady.radius == pytest.approx(np.abs(np.linalg.eigvals(law)).max(), rel=1e-8)
    assert found.bracket.lower is None and "the horizon is infinite" in found.bracket.lower_missing
    assert found.residuals["box"]["max"] < 1e-8 and found.lost["path"]["max"] < 1e-8
