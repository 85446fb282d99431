"""What a model of continuous time may have besides drifts: its certificate, its agents and its files.

V is a closed form that the certificate and the agents are given, so that all that is wrong is theirs; and then some
share of it is wrong, by which the certificate has to say how much.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.flows import sample
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.table import Local, Representation, Table


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid)


class Given(Representation):
    """V = of(wrong, point), and slopes and bends of `reported`, which may be others."""

    wrong: jax.Array
    of: object = eqx.field(static=True)
    reported: object = eqx.field(static=True)

    def at(self, setting, arguments, point):
        own = {name: point[name] for name in setting.flow.continuous}
        told = lambda x: self.reported(self.wrong, {**point, **x})  # noqa: E731
        slopes = jax.grad(told)(own)
        bends = {n: jax.grad(lambda x, n=n: jax.grad(told)({**own, n: x})[n])(own[n]) for n in setting.flow.risky}
        return Local(self.of(self.wrong, point), slopes, bends)


def given(setting, of, wrong=0.0, reported=None, **params):
    values = Given(jnp.asarray(wrong), of, reported or of)
    return FlowSolution(setting.arguments(params), values, jnp.zeros((), jnp.int32), {}, setting)


def setting_of(model):
    specs = {name: bx.grids.Regular(5) for name, space in model.states.items() if isinstance(space, bx.Continuous)}
    return FlowSetting(model, bx.solvers.FiniteDifference(steps=4), specs)


def sigmas(values, mean):
    """How many standard errors a mean of a sample is off."""
    values = np.asarray(values)
    return abs(values.mean() - mean) / (values.std() / np.sqrt(values.size))


# -- jumps, chains and shared shocks -----------------------------------------------------------------------------------

DEATH, SWITCH, COMMON = 0.1, 0.4, 0.6 * 0.09
# V = a x y + b y + c_z, coefficient by coefficient
A = 1 / (0.05 + 1 + DEATH)
B = 0.3 * DEATH * A / (0.05 + 0.5)
C = np.linalg.solve(
    [[0.05 + SWITCH + DEATH, -SWITCH - DEATH], [-SWITCH, 0.05 + SWITCH]], A * COMMON + np.array([0.0, 1.0])
)


def summed(x, y, z):
    return A * x * y + B * y + jnp.where(z > 0.5, C[1], C[0])


WANDERERS = bx.DiffusionModel(
    states={
        "x": bx.Continuous(-3.0, 3.0),
        "y": bx.Continuous(-3.0, 3.0),
        "z": bx.MarkovChain([0.0, 1.0], intensity=[[-SWITCH, SWITCH], [SWITCH, -SWITCH]]),
    },
    reward=lambda x, y, z: x * y + z,
    drift={"x": lambda x: -0.5 * x, "y": lambda y: -0.5 * y},
    diffusion={"x": lambda: jnp.array([0.3, 0.0]), "y": lambda: 0.3 * jnp.array([0.6, 0.8])},
    resets={"death": bx.Reset(rate=DEATH, to={"x": 0.3, "z": 1.0})},
    discount=0.05,
    boundary={"x": bx.Absorbing(summed), "y": bx.Absorbing(summed)},
)


def wandering(wrong, point):
    covariance, kept = wrong
    return summed(**point) - covariance * A * COMMON / 0.05 - kept * B * point["y"]


@pytest.fixture(scope="module")
def wanderers():
    return setting_of(WANDERERS)


def test_the_equation_has_jumps_and_covariances(wanderers):
    right, alone, forgot = (
        bx.certify(given(wanderers, wandering, wrong), points=200) for wrong in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    )
    assert right.bound < 1e-11
    # without the covariance V is less by what it is worth, and the equation is off by that, and the edges
    assert alone.bound == pytest.approx(2 * A * COMMON / 0.05, rel=1e-9)
    # without what y is worth as it stays where x begins anew
    assert forgot.bound == pytest.approx(0.3 * DEATH * A * 3 / 0.05 + 3 * B, rel=0.05)


def test_agents_jump_together_and_share_shocks(wanderers):
    """E[x y] with y0 = 0 has the rate 1 + DEATH of decay and the source COMMON."""
    panel = bx.simulate(
        given(wanderers, wandering, [0.0, 0.0]),
        duration=3.0, step=0.1, agents=4000, start={"x": 0.5, "y": 0.0, "z": 0.0}, every=30,
    )  # fmt: skip
    x, y, z = (np.asarray(panel.states[name][:, -1]) for name in "xyz")
    assert sigmas(x * y, COMMON / (1 + DEATH) * (1 - np.exp(-3 * (1 + DEATH)))) < 3
    up = SWITCH + DEATH  # of z: up, and down by the chain alone
    assert sigmas(z, up / (up + SWITCH) * (1 - np.exp(-3 * (up + SWITCH)))) < 3
    assert sigmas(panel.present_value(), C[0]) < 3


def test_death_and_rebirth():
    """Volatility .2, death at .02, rebirth at 0: the density is exp(-|x|) / 2."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-30.0, 30.0)},
        reward=lambda x: x,
        drift={"x": 0.0},
        diffusion={"x": 0.2},
        discount=0.05,
        resets={"death": bx.Reset(rate=0.02, to={"x": 0.0})},
    )
    solution = given(setting_of(model), lambda wrong, point: point["x"] / 0.07)
    panel = bx.simulate(solution, duration=200.0, step=1.0, agents=3000, start={"x": 0.0}, every=200)
    x = np.abs(np.asarray(panel.states["x"][:, -1]))
    assert "stopped" not in panel.frame().columns
    assert sigmas(x, 1.0) < 3 and sigmas(x**2, 2.0) < 3 and sigmas(x > 2.0, np.exp(-2.0)) < 3


# -- actions -----------------------------------------------------------------------------------------------------------

EXCESS, SAFE, RISK, RHO = 0.05, 0.02, 0.2, 0.05
SHARE = EXCESS / (2 * RISK**2)
PROPENSITY = (RHO + SAFE + 0.5 * SHARE * EXCESS) / 2
MERTON = bx.DiffusionModel(
    states={"wealth": bx.Continuous(0.2, 5.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-9), "share": bx.Continuous()},
    policy={
        "consumption": lambda marginal_wealth: marginal_wealth**-0.5,
        "share": lambda wealth, marginal_wealth, curvature_wealth: (
            -EXCESS * marginal_wealth / (RISK**2 * wealth * curvature_wealth)
        ),
    },
    reward=lambda consumption: -1 / consumption,
    drift={"wealth": lambda wealth, consumption, share: (SAFE + share * EXCESS) * wealth - consumption},
    diffusion={"wealth": lambda wealth, share: RISK * share * wealth},
    discount=RHO,
    boundary={"wealth": bx.Absorbing(lambda wealth: -(PROPENSITY**-2) / wealth)},
)


def rich(wrong, point):
    return -(PROPENSITY**-2) / point["wealth"]


def bold(wrong, point):
    """With another bend where wealth is one, and the same slope: the share is twice what it should be."""
    away = point["wealth"] - jax.lax.stop_gradient(point["wealth"])
    return rich(wrong, point) + wrong * PROPENSITY**-2 * 0.5 * away**2 / jax.lax.stop_gradient(point["wealth"]) ** 3


@pytest.fixture(scope="module")
def merton():
    return setting_of(MERTON)


def test_an_action_in_the_diffusion(merton):
    right, wrong = (bx.certify(given(merton, rich, how, bold), points=200) for how in (0.0, 1.0))
    assert right.bound < 1e-8 and right.residuals["max"] < 1e-12
    # half of the variance of that much more wealth, by V_ss = 2/(c^2 w^3)
    lost = lambda wealth: (RISK * SHARE) ** 2 / (PROPENSITY**2 * wealth) / RHO  # noqa: E731
    assert wrong.residuals["max"] < 1e-12
    assert wrong.missed["max"] == pytest.approx(lost(0.2) / (1 + PROPENSITY**-2 / 0.2), rel=0.02)


def test_agents_take_the_risk_that_they_chose(merton):
    """Wealth is a geometric Brownian motion."""
    panel = bx.simulate(
        given(merton, rich, 0.0, bold), duration=2.0, step=0.1, agents=3000, start={"wealth": 1.0}, every=20
    )
    wealth, spread = np.log(np.asarray(panel.states["wealth"][:, -1])), RISK * SHARE
    assert sigmas(wealth, 2 * (SAFE + SHARE * EXCESS - PROPENSITY - spread**2 / 2)) < 3
    assert sigmas((wealth - wealth.mean()) ** 2, 2 * spread**2) < 3
    np.testing.assert_allclose(panel.actions["share"], SHARE, rtol=1e-12)


def test_the_lower_of_two_hills():
    """The first-order condition finds a hill of one beside another of 1.5, and V solves the equation with it."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-1.0, 1.0)},
        actions={"hill": bx.Continuous(0.0, 1.0), "way": bx.Discrete([-1, 1])},
        reward=lambda x, hill: x + jnp.exp(-50 * (hill - 0.2) ** 2) + 1.5 * jnp.exp(-50 * (hill - 0.9) ** 2),
        drift={"x": lambda x, way: 0.1 * way - x},
        discount=0.1,
    )
    setting = setting_of(model)

    def lower(wrong, point):
        return (point["x"] + 1) / 1.1 + 10

    # slopes of another sign, with which the discrete action is the wrong one, too
    turned = lambda wrong, point: (1 - wrong) * lower(wrong, point)  # noqa: E731
    found, both = (bx.certify(given(setting, lower, off, turned), points=100) for off in (0.0, 2.0))
    assert found.residuals["max"] < 1e-9 and both.residuals["max"] < 1e-9
    assert found.missed["50%"] * 11 == pytest.approx(0.5 / 0.1, rel=0.1)  # 1 + |V| is about eleven
    assert found.bound == pytest.approx(0.5 / 0.1, rel=1e-3)
    assert both.bound - found.bound == pytest.approx(0.2 / 1.1 / 0.1, rel=1e-3)


def test_two_states_that_are_driven():
    """Two firms with quadratic profits, of which V is the sum: V = A + B k - C k^2/2 each."""
    bent = (-0.25 + np.sqrt(0.25**2 + 0.2)) / 2
    slope = (0.3 + bent) / (0.15 + bent)
    model = bx.DiffusionModel(
        states={"k": bx.Continuous(0.0, 5.0), "m": bx.Continuous(0.0, 5.0)},
        actions={"i": bx.Continuous(-2.0, 2.0), "j": bx.Continuous(-2.0, 2.0)},
        policy={"i": lambda marginal_k: marginal_k - 1, "j": lambda marginal_m: marginal_m - 1},
        reward=lambda k, m, i, j: 0.3 * (k + m) - 0.025 * (k**2 + m**2) - i - j - (i**2 + j**2) / 2,
        drift={"k": lambda k, i: i - 0.1 * k, "m": lambda m, j: j - 0.1 * m},
        discount=0.05,
    )

    def both(wrong, point):
        of = lambda k: slope * k - bent * k**2 / 2 + (slope - 1) ** 2 / 0.1  # noqa: E731
        return of(point["k"]) + of(point["m"])

    tilted = lambda wrong, point: both(wrong, point) + wrong * point["m"]  # noqa: E731
    right, wrong = (bx.certify(given(setting_of(model), both, off, tilted), points=100) for off in (0.0, 0.2))
    assert right.bound < 1e-11
    assert wrong.residuals["max"] < 1e-12
    assert wrong.bound == pytest.approx(0.2**2 / 2 / 0.05, rel=1e-9)  # of (j - its best)^2 / 2


# -- ends --------------------------------------------------------------------------------------------------------------

# invest x - 1 of a geometric Brownian motion, McDonald & Siegel (1986)
GROWTH, VOLATILITY, RATE = 0.02, 0.2, 0.06
POWER = 0.5 - GROWTH / VOLATILITY**2 + np.sqrt((GROWTH / VOLATILITY**2 - 0.5) ** 2 + 2 * RATE / VOLATILITY**2)
THRESHOLD = POWER / (POWER - 1)
INVEST = bx.DiffusionModel(
    states={"x": bx.Continuous(0.01, 8.0, scale=bx.scales.log)},
    reward=0.0,
    drift={"x": lambda x: GROWTH * x},
    diffusion={"x": lambda x: VOLATILITY * x},
    discount=RATE,
    stop=lambda x: x - 1,
    boundary={"x": bx.Natural()},
)


def waiting(x):
    return np.where(x < THRESHOLD, (THRESHOLD - 1) * (x / THRESHOLD) ** POWER, x - 1)


class Option(Representation):
    """The right V, and a border that may be another."""

    border: jax.Array

    def at(self, setting, arguments, point):
        x = point["x"]
        kept = (THRESHOLD - 1) * (x / THRESHOLD) ** POWER
        return Local(jnp.where(x < THRESHOLD, kept, x - 1), {"x": jnp.zeros(())}, {})

    def stops(self, setting, arguments, point):
        return point["x"] >= self.border


@pytest.fixture(scope="module")
def invest():
    return bx.solve(INVEST, {}, by(x=101))


def test_a_border_between_nodes(invest):
    """V_ss jumps there, of which a polynomial on both sides would make a residual that does not shrink."""
    certificate = bx.certify(invest, points=400)
    states, _ = sample(invest.setting, invest.arguments, 400, 0)
    error = float(np.max(np.abs(np.asarray(invest.value(**states)) - waiting(states["x"]))))
    assert error < 3 * certificate.refinement.error["max"] < 100 * error
    assert error < certificate.bound < 10 * error
    assert certificate.stopping["max"] < 1e-3 and "Lost by stopping" in str(certificate)
    assert "agents stop" in certificate.crowd_missing


def test_stopping_where_going_on_is_worth_more_and_the_reverse():
    ends = bx.Absorbing(lambda x: (THRESHOLD - 1) * (x / THRESHOLD) ** POWER)
    setting = setting_of(replace(INVEST, boundary={"x": (ends, bx.Natural())}))  # at the upper one nobody goes on
    of = lambda border: FlowSolution(setting.arguments({}), Option(border), jnp.zeros((), jnp.int32), {}, setting)  # noqa: E731
    right, early, late = (
        bx.certify(of(jnp.asarray(place)), points=800) for place in (THRESHOLD, 0.5 * THRESHOLD, 1.5 * THRESHOLD)
    )
    assert all(own.residuals["max"] < 1e-12 for own in (right, early, late)) and right.stopping["max"] < 1e-12
    x = np.linspace(0.5 * THRESHOLD, THRESHOLD, 1001)
    assert early.stopping["max"] == pytest.approx(np.max((waiting(x) - x + 1) / (1 + waiting(x))), rel=0.02)
    # who waits beyond it has x grow at GROWTH in place of what x - 1 earns at RATE
    x = np.linspace(THRESHOLD, 1.5 * THRESHOLD, 1001)
    assert late.stopping["max"] == pytest.approx(np.max((RATE * (x - 1) - GROWTH * x) / RATE / x), rel=0.02)
    assert late.bound > early.bound > 0.1 > 1e-9 > right.bound
    beyond = FlowSetting(replace(INVEST, boundary={"x": bx.StateConstraint()}), setting.options, setting.specs)
    kept = bx.certify(replace(of(jnp.asarray(THRESHOLD)), setting=beyond, arguments=beyond.arguments({})), points=50)
    assert kept.bound == np.inf and "'x' diffuses at its lower edge, where a constraint" in str(kept)


def test_agents_stop_once():
    setting = setting_of(INVEST)
    solution = FlowSolution(
        setting.arguments({}), Option(jnp.asarray(THRESHOLD)), jnp.zeros((), jnp.int32), {}, setting
    )
    panel = bx.simulate(solution, duration=15.0, step=0.1, agents=3000, start={"x": 1.5}, every=15)
    assert sigmas(panel.present_value(), float(waiting(1.5))) < 3
    frame, stopped = panel.frame(), np.asarray(panel.stopped)
    x = np.asarray(panel.states["x"])
    assert not stopped[:, 0].any() and np.all(np.diff(stopped.astype(int), axis=1) >= 0)
    assert np.all((x >= THRESHOLD) == stopped)
    assert np.all(np.diff(x, axis=1)[stopped[:, :-1]] == 0)  # they stay where they are
    assert np.all(np.asarray(panel.discount)[stopped[:, -1]] == 0)
    assert frame["stopped"].dtype == bool and f"{stopped[:, -1].sum()} of them have stopped" in str(panel)


def leaving(wrong, point):
    """A flow of one until a Brownian motion of volatility .5 leaves [0, 1], and two more at the top."""
    k = np.sqrt(0.2) / 0.5
    x = point["x"]
    return 10 * (1 - jnp.cosh(k * (x - 0.5)) / np.cosh(0.5 * k)) + 2 * jnp.sinh(k * x) / np.sinh(k) + wrong


def test_edges_at_which_the_problem_ends():
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 1.0)},
        reward=1.0,
        drift={"x": 0.0},
        diffusion={"x": 0.5},
        discount=0.1,
        boundary={"x": (bx.Absorbing(0.0), bx.Absorbing(lambda x: 2 * x))},
    )
    setting = setting_of(model)
    right, wrong = (bx.certify(given(setting, leaving, off), points=100) for off in (0.0, 0.1))
    assert right.bound < 1e-12
    assert [wrong.edges["x"][side]["gap"] for side in ("lower", "upper")] == pytest.approx([0.1, 0.1])
    panel = bx.simulate(given(setting, leaving), duration=4.0, step=0.05, agents=6000, start={"x": 0.3}, every=80)
    exact = float(leaving(0.0, {"x": jnp.asarray(0.3)}))
    off = np.asarray(panel.present_value()) - exact
    # without the bridge agents would live longer by a tenth of it
    assert abs(off.mean()) < 3 * off.std() / np.sqrt(off.size) + 0.01
    there = np.asarray(panel.stopped[:, -1])
    assert set(np.unique(np.asarray(panel.states["x"])[there, -1])) == {0.0, 1.0}


ENDING = bx.DiffusionModel(
    states={"x": bx.Continuous(-2.0, 2.0)},
    reward=lambda time: time,
    drift={"x": lambda x: -0.5 * x},
    diffusion={"x": 0.2},
    discount="rate",
    terminal=lambda x: x**2,
    horizon=3.0,
    boundary={"x": bx.Reflecting()},
)


def to_the_end(wrong, point):
    """With a discount of 0.05; `wrong` ends with more."""
    left, time = 3.0 - point["time"], point["time"]
    last = point["x"] ** 2 * jnp.exp(-left) + 0.04 * (1 - jnp.exp(-left)) + wrong
    worn = jnp.exp(-0.05 * left)
    return worn * last + time / 0.05 + 400 - worn * (3.0 / 0.05 + 400)


def test_time_that_ends():
    setting = setting_of(ENDING)
    right, wrong = (bx.certify(given(setting, to_the_end, off, rate=0.05), points=200) for off in (0.0, 0.1))
    assert right.residuals["max"] < 1e-11 and right.end["max"] < 1e-12 and "at the end V is off" in str(right)
    assert wrong.residuals["max"] < 1e-11 and wrong.end["50%"] == pytest.approx(0.1)
    # and V is not reflected: at most by what a wall with a slope of 2 |x| pays to the end
    assert right.edges["x"]["upper"]["gap"] > 0.01 and right.crowd_missing.endswith("it ends.")
    other = bx.certify(given(setting, to_the_end, rate=0.0), points=200)
    # an equation that is off by .05 V, over a time of three
    states, _ = sample(setting, setting.arguments({"rate": 0.0}), 200, 0)
    off = 0.05 * np.abs(to_the_end(0.0, {n: jnp.asarray(v) for n, v in states.items()})) * 3.0
    assert other.bound > np.max(off)
    assert other.residuals["max"] == pytest.approx(np.max(off / (1 + off / 0.15)), rel=0.02)
    assert "time" in other.worst


@pytest.fixture(scope="module")
def ending():
    return bx.solve(ENDING, {"rate": 0.05}, bx.solvers.FiniteDifference(grid={"x": 21}, steps=16))


def test_steps_of_time_are_halved_with_those_of_states(ending):
    certificate = bx.certify(ending, points=200)
    assert certificate.refinement.nodes == ({"x": 11, "time": 9}, {"x": 6, "time": 5})
    assert "an observed order of" in certificate.refinement.words
    states, _ = sample(ending.setting, ending.arguments, 200, 0)
    away = np.abs(states["x"]) < 1.5  # from walls, which the closed form does not have
    states = {name: own[away] for name, own in states.items()}
    exact = to_the_end(0.0, {name: jnp.asarray(own) for name, own in states.items()})
    error = float(np.max(np.abs(np.asarray(ending.value(**states)) - exact)))
    assert error < 2 * certificate.refinement.error["max"] < 20 * error
    assert error < certificate.bound < 100 * error
    alone = bx.solve(ENDING, {"rate": 0.05}, bx.solvers.FiniteDifference(grid={"x": 5}, steps=1))
    assert "no half of it" in bx.certify(alone, points=20).refinement.words


def test_agents_live_to_the_end(ending):
    start = {"x": 0.5}
    panel = bx.simulate(replace(ending, values=Given(jnp.zeros(()), to_the_end, to_the_end)), step=0.1, agents=2000,
                        start=start, every=30)  # fmt: skip
    np.testing.assert_allclose(panel.time, [0.0, 3.0])
    exact = float(to_the_end(0.0, {"x": jnp.asarray(0.5), "time": jnp.zeros(())}))
    off = np.asarray(panel.present_value()) - exact
    # of a step of .1, whose mean of squares has another factor of (1 - .05)^2 in place of e^-.1
    assert abs(off.mean()) < 3 * off.std() / np.sqrt(off.size) + 2e-3
    np.testing.assert_allclose(panel.reward[:, 1], 3.0)
    with pytest.raises(bx.ParameterError, match="duration is 4.0, and the horizon of the model 3"):
        bx.simulate(ending, duration=4.0, step=0.1, start=start)
    with pytest.raises(bx.ParameterError, match="duration=3.0 is no whole number of steps of 0.7"):
        bx.simulate(ending, step=0.7, start=start)


# -- files -------------------------------------------------------------------------------------------------------------


def test_files_have_time_borders_and_bends(ending, invest, tmp_path):
    rich_table = Table(jnp.linspace(-2.0, -1.0, 7), {"wealth": jnp.ones(7)}, {"wealth": -jnp.ones(7)})
    prepared = by(wealth=7).prepare(MERTON)
    bent = FlowSolution(prepared.arguments({}), rich_table, jnp.zeros((), jnp.int32), {}, prepared)
    points = {"ending": {"x": 0.3, "time": 1.7}, "invest": {"x": [2.9, 3.0, 3.1]}, "bent": {"wealth": 1.3}}
    for name, solution in {"ending": ending, "invest": invest, "bent": bent}.items():
        bx.save(solution, tmp_path / f"{name}.nc")
        found = bx.load(tmp_path / f"{name}.nc", solution.model)
        equal = jax.tree.map(lambda a, b: np.array_equal(a, b), solution.values, found.values)
        assert all(jax.tree.leaves(equal))
        ours, theirs = (each.policy(**points[name]) for each in (solution, found))
        assert all(np.array_equal(ours[action], theirs[action]) for action in ours)
    import xarray as xr

    with xr.open_dataset(tmp_path / "ending.nc", engine="scipy") as dataset:
        assert dataset["values:values"].dims == ("time", "x")
        np.testing.assert_allclose(dataset["time"], np.linspace(0.0, 3.0, 17))
    with xr.open_dataset(tmp_path / "invest.nc", engine="scipy") as dataset:
        assert dataset["values:ahead"].dims == ("x",)
