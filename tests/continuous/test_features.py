"""What a model of continuous time may have besides drifts, each beside a closed form."""

import inspect
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.crowd import balance


def by(steps=200, maximiser=None, **grid):
    return bx.solvers.FiniteDifference(grid=grid, steps=steps, maximiser=maximiser)


# -- derivatives -------------------------------------------------------------------------------------------------------


def test_derivatives_in_what_moves_a_state_that_nobody_controls(with_value):
    """A wanderer who is taken back to the middle: drift, volatility, rate and intensity, beside differences."""
    model = bx.DiffusionModel(
        states={
            "x": bx.Continuous(-1.0, "top"),
            "z": bx.MarkovChain([0.0, 1.0], intensity=lambda switch: switch * jnp.array([[-1.0, 1.0], [1.0, -1.0]])),
        },
        reward=lambda x, z: z * jnp.exp(x),
        drift={"x": lambda x, kappa: -kappa * x},
        diffusion={"x": "sigma"},
        resets={"back": bx.Reset(rate="rate", to={"x": "middle"})},
        boundary={"x": bx.Reflecting()},
    )
    params = {"kappa": 0.5, "sigma": 0.3, "discount": 0.05, "rate": 0.1, "middle": 0.23, "switch": 0.4, "top": 1.0}
    solve = jax.jit(lambda params: bx.solve(model, params, by(x=21)).value(x=0.33, z=1.0))
    slopes = jax.jit(jax.grad(solve))(params)
    for name, value in params.items():
        low, high = (solve({**params, name: value + change}) for change in (-1e-4, 1e-4))
        np.testing.assert_allclose(slopes[name], (high - low) / 2e-4, rtol=1e-5, err_msg=name)


# -- actions -----------------------------------------------------------------------------------------------------------


def working(rule):
    """Work moves a state up, at a cost, where its marginal value is more than one; a share of the variance goes to
    zero at both edges."""
    return bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 4.0)},
        actions={"w": bx.Discrete(2)},
        policy={} if rule is None else {"w": rule},
        reward=lambda x, w: jnp.log(1 + x) - 0.1 * w,
        drift={"x": lambda x, w: 0.1 * (1 + w - x)},
        diffusion={"x": lambda x: 0.05 * x * (4 - x)},
        discount=0.05,
        boundary={"x": bx.StateConstraint()},
    )


COLLOCATION = bx.solvers.Collocation(grid={"x": 20})


@pytest.mark.parametrize(
    "solver",
    [pytest.param(by(x=60), id="nodes"), pytest.param(COLLOCATION, id="polynomials", marks=pytest.mark.long)],
)
def test_a_closed_form_of_a_discrete_action(solver):
    """As by comparison; one that is not the best is missed, and one beyond the values refused."""
    x = np.array([0.5, 2.0, 3.5])
    best = bx.solve(working(None), {}, by(x=60))
    found = bx.solve(working(lambda marginal_x: jnp.where(marginal_x > 1.0, 1, 0)), {}, solver)
    np.testing.assert_allclose(found.value(x=x), best.value(x=x), rtol=2e-4)
    np.testing.assert_array_equal(found.policy(x=x)["w"], best.policy(x=x)["w"])
    assert float(bx.certify(found, points=50, grids=0).missed["max"]) < 1e-12
    for rule, words in ((0, r"others? (of )?.*'w'.* better"), (0.5, "none of its values|others? .*'w'.* better")):
        failed = bx.solve(working(rule), {}, solver, throw=False)
        assert failed.result == bx.Result.infeasible and float(failed.stats["missed"]) > 0.1
        assert (rule == 0.5) == np.isinf(failed.stats["first_order_gap"])
        assert re.search(words, failed.setting.explain(failed))


SAVER = {
    "states": {
        "assets": bx.Continuous(-0.15, 3.0),
        "income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.2, 1.2], [1.2, -1.2]]),
    },
    "reward": lambda consumption: -1 / consumption,
    "drift": {"assets": lambda assets, income, consumption: income + 0.03 * assets - consumption},
    "discount": 0.05,
    "boundary": {"assets": bx.StateConstraint()},
}


@pytest.fixture(scope="module")
def closed():
    """Consumption by its closed form."""
    policy = {"consumption": lambda marginal_assets: marginal_assets**-0.5}
    model = bx.DiffusionModel(actions={"consumption": bx.Continuous(1e-6)}, policy=policy, **SAVER)
    return bx.solve(model, {}, by(assets=30))


@pytest.mark.parametrize(
    ("space", "maximiser", "error"),
    [
        pytest.param(bx.Continuous(1e-6), None, 1e-9, id="first-order condition"),
        pytest.param(
            *(bx.Continuous(0.01, 1.0), bx.maximise.Golden(grid={"consumption": 40}), 1e-6),
            id="golden",
            marks=pytest.mark.long,
        ),
    ],
)
def test_actions_without_a_closed_form(closed, space, maximiser, error):
    model = bx.DiffusionModel(actions={"consumption": space}, **SAVER)
    found = bx.solve(model, {}, by(assets=30, maximiser=maximiser))
    assets = np.linspace(-0.15, 3.0, 20)
    for what in ("value", "policy"):
        ours, theirs = (getattr(each, what)(assets=assets, income=0.1) for each in (found, closed))
        ours, theirs = (each if what == "value" else each["consumption"] for each in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=error)


def fishery():
    """Effort is at its bound where there are many fish; found in quick code, beside the closed form."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import bellax as bx

    solver = bx.solvers.FiniteDifference(grid={"x": 100})
    given = {
        "states": {"x": bx.Continuous(0.05, 1.5)},
        "actions": {"e": bx.Continuous(0.0, 1.0)},
        "reward": lambda x, e, p, q, c1, c2: p * q * e * x - c1 * e - c2 / 2 * e**2,
        "drift": {"x": lambda x, e, g, q: g * x * (1 - x) - q * e * x},
        "diffusion": {"x": lambda x, sig: sig * x},
        "discount": "rho",
        "boundary": {"x": bx.Reflecting()},
    }
    params = {"g": 0.5, "q": 0.8, "p": 1.0, "c1": 0.1, "c2": 0.1, "sig": 0.15, "rho": 0.05}
    best = lambda x, marginal_x: jnp.clip((0.8 * x * (1 - marginal_x) - 0.1) / 0.1, 0.0, 1.0)  # noqa: E731
    closed = bx.solve(bx.DiffusionModel(**given, policy={"e": best}), params, solver)
    setting = solver.prepare(bx.DiffusionModel(**given))

    def found(arguments, value, marginal):
        scheme = setting.scheme(arguments)
        selected = scheme.select(value, {"x": marginal}, False)
        tangent = scheme.tangent(value, selected)
        flowing = scheme.flowing(tangent.marginals, {})
        velocity, steep = scheme._velocities(tangent.marginals, {}, False)
        chosen = (selected["x"].marginal, tangent.marginals["x"], selected["x"].kind)
        return flowing.actions["e"], chosen, flowing.reward, velocity, steep, tangent.reward, tangent.generator.up

    arguments = (setting.arguments(params), closed.values.values, closed.values.marginals["x"])
    hasty = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    effort, *_ = jax.jit(found).lower(*arguments).compile(compiler_options=hasty)(*arguments)
    np.testing.assert_allclose(effort, best(closed.nodes()["x"], arguments[2]), atol=1e-10)


def test_code_that_is_compiled_in_haste_finds_the_same_actions():
    """XLA computes a number anew for all that reads it, with other rounding in quick code: a search took an end of its
    bracket for the root, and the effort was none. The options of the tests round otherwise; a process of its own."""
    script = f"{inspect.getsource(fishery)}\nfishery()\n"
    told = {"env": os.environ | {"XLA_FLAGS": ""}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], **told)
    assert done.returncode == 0, done.stderr


TWO_HILLS = {
    "states": {"x": bx.Continuous(-1.0, 1.0)},
    "actions": {"hill": bx.Continuous(0.0, 1.0)},
    "reward": lambda x, hill: x + jnp.exp(-50 * (hill - 0.2) ** 2) + 1.5 * jnp.exp(-50 * (hill - 0.9) ** 2),
    "drift": {"x": lambda x: -x},
    "discount": 0.1,
}


@pytest.mark.parametrize(
    ("changes", "solver", "words"),
    [
        ({}, by(x=5), r"others of 'hill' are better at x = -1, by .*maximiser=bx.maximise.Golden\(\)"),
        ({}, by(x=5, maximiser=bx.maximise.Golden(grid={"hill": 2})), "Give more candidates, bx.maximise.Golden"),
        (
            {"horizon": 1.0, "policy": {"hill": lambda: 0.2}},
            by(x=5, steps=2),
            "leave policy= out, and compare candidates",
        ),
        (
            {"policy": {"hill": lambda: 0.2}},
            bx.solvers.Collocation(grid={"x": 5}),
            "other ..hill.. are better, by 1 of what flows.*Golden",
        ),
    ],
)
def test_the_lower_of_two_hills_is_no_success(changes, solver, words):
    """The first-order condition holds on both."""
    with pytest.raises(bx.SolveError, match=words):
        bx.solve(bx.DiffusionModel(**{**TWO_HILLS, **changes}), {}, solver)


def test_the_higher_of_two_hills():
    """V = x/1.1 + 15, by candidates; and of an action that does not matter no other is better."""
    golden = bx.maximise.Golden(grid={"hill": 15, "idle": 3})
    actions = {**TWO_HILLS["actions"], "idle": bx.Continuous(0.0, 1.0)}
    solution = bx.solve(bx.DiffusionModel(**{**TWO_HILLS, "actions": actions}), {}, by(x=5, maximiser=golden))
    np.testing.assert_allclose(solution.value(x=0.5), 0.5 / 1.1 + 15, rtol=1e-8)


def test_several_actions_discrete_ones_and_a_hamiltonian_that_is_not_concave():
    """Two efforts that move each other, a choice of technology, and a hill beside a higher one.

    The state moves with its age alone, so that the best actions are those of the reward.
    """

    def reward(x, one, two, way, hill):
        both = -((one - 0.3) ** 2) - (two - 0.2) ** 2 + one * two
        return both + way * x + jnp.exp(-50 * (hill - 0.2) ** 2) + 1.5 * jnp.exp(-50 * (hill - 0.8) ** 2)

    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-1.0, 1.0)},
        actions={
            "one": bx.Continuous(-2.0, 2.0),
            "two": bx.Continuous(-2.0, 2.0),
            "way": bx.Discrete([-1, 1]),
            "hill": bx.Continuous(0.0, 1.0),
        },
        reward=reward,
        drift={"x": lambda x: -x},
        discount=0.1,
    )
    golden = bx.maximise.Golden(grid={"one": 5, "two": 5, "hill": 15})
    policy = bx.solve(model, {}, by(x=5, maximiser=golden)).policy(x=np.array([-0.6, 0.6]))
    # 2 (one - .3) = two, 2 (two - .2) = one
    np.testing.assert_allclose(policy["one"], 1.6 / 3, atol=1e-6)
    np.testing.assert_allclose(policy["two"], 1.4 / 3, atol=1e-6)
    np.testing.assert_allclose(policy["hill"], 0.8, atol=1e-6)
    np.testing.assert_array_equal(policy["way"], [-1, 1])


MERTON = {"excess": 0.05, "safe": 0.02, "risk": 0.2, "rho": 0.05}


def test_a_portfolio_share_moves_the_diffusion():
    """Merton (1969), risk aversion two: V = -(c/w)^-2 / w, of the second order in the step."""
    share = MERTON["excess"] / (2 * MERTON["risk"] ** 2)
    propensity = (MERTON["rho"] + MERTON["safe"] + 0.5 * share * MERTON["excess"]) / 2
    model = bx.DiffusionModel(
        states={"wealth": bx.Continuous(0.2, 5.0, scale=bx.scales.log)},
        actions={"consumption": bx.Continuous(1e-9), "share": bx.Continuous()},
        policy={
            "consumption": lambda marginal_wealth: marginal_wealth**-0.5,
            "share": lambda wealth, marginal_wealth, curvature_wealth, excess, risk: (
                -excess * marginal_wealth / (risk**2 * wealth * curvature_wealth)
            ),
        },
        reward=lambda consumption: -1 / consumption,
        drift={
            "wealth": lambda wealth, consumption, share, safe, excess: (safe + share * excess) * wealth - consumption
        },
        diffusion={"wealth": lambda wealth, share, risk: risk * share * wealth},
        discount="rho",
        boundary={"wealth": bx.Absorbing(lambda wealth, A: -A / wealth)},
    )
    wealth, errors = np.geomspace(0.4, 3.0, 9), []
    for nodes in (25, 49):
        solution = bx.solve(model, {**MERTON, "A": propensity**-2.0}, by(wealth=nodes))
        errors.append(np.max(np.abs(solution.value(wealth=wealth) * wealth * propensity**2 + 1)))
        np.testing.assert_allclose(solution.policy(wealth=wealth)["share"], share, rtol=20 / nodes**2)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3) and errors[1] < 1e-3


# -- ends --------------------------------------------------------------------------------------------------------------

GROWTH, RISK, RATE = 0.02, 0.2, 0.06
POWER = 0.5 - GROWTH / RISK**2 + np.sqrt((GROWTH / RISK**2 - 0.5) ** 2 + 2 * RATE / RISK**2)


def test_when_to_invest():
    """McDonald & Siegel (1986): at POWER / (POWER - 1) times the cost; of the second order in the step."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.01, 8.0, scale=bx.scales.log)},
        reward=0.0,
        drift={"x": lambda x: GROWTH * x},
        diffusion={"x": lambda x: RISK * x},
        discount=RATE,
        stop=lambda x, cost: x - cost,
        boundary={"x": bx.Natural()},
    )
    threshold = POWER / (POWER - 1)
    scale = (threshold - 1) / threshold**POWER
    x, errors, places = np.linspace(0.3, 5.0, 40), [], []
    exact = np.where(x < threshold, scale * x**POWER, x - 1)
    near = np.linspace(0.98 * threshold, 1.02 * threshold, 20001)
    for nodes in (100, 200):
        solution = bx.solve(model, {"cost": 1.0}, by(x=nodes))
        stops = np.asarray(solution.policy(x=near)["stop"])
        places.append(abs(near[stops > 0].min() - threshold))
        errors.append(np.max(np.abs(solution.value(x=x) - exact)))
        assert int(solution.stats["steps"]) < 15
    assert max(errors) < 3e-3 and errors[1] < 0.4 * errors[0]
    assert places[0] < 1e-2 and places[1] < 3e-3
    slope = jax.grad(lambda cost: bx.solve(model, {"cost": cost}, by(x=200)).value(x=1.0))(1.0)
    np.testing.assert_allclose(slope, -scale * (POWER - 1), rtol=1e-3)
    with pytest.raises(bx.ModelError, match="agents stop"):
        bx.stationary(solution)


def test_an_edge_at_which_the_problem_ends():
    """A flow of one until a Brownian motion leaves [0, 1]."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 1.0)},
        reward=1.0,
        drift={"x": 0.0},
        diffusion={"x": 0.5},
        discount=0.1,
        boundary={"x": bx.Absorbing(0.0)},
    )
    solution, k = bx.solve(model, {}, by(x=51)), np.sqrt(0.2) / 0.5
    x = np.linspace(0.0, 1.0, 11)
    exact = (1 - np.cosh(k * (x - 0.5)) / np.cosh(0.5 * k)) / 0.1
    np.testing.assert_allclose(solution.value(x=x), exact, atol=5e-5)
    with pytest.raises(bx.ModelError, match="mass leaves it at the absorbing edge of 'x'"):
        bx.stationary(solution)


def test_a_horizon():
    """E of x^2 at its end, of an Ornstein-Uhlenbeck process, and of the time that passes: of first order in steps."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-2.0, 2.0)},
        reward=lambda time: time,
        drift={"x": lambda x: -0.5 * x},
        diffusion={"x": 0.2},
        discount=0.05,
        terminal=lambda x: x**2,
        horizon=3.0,
        boundary={"x": bx.Reflecting()},
    )

    def exact(time):
        left, grid = 3.0 - time, np.linspace(time, 3.0, 20_001)
        last = np.exp(-0.05 * left) * (0.25 * np.exp(-left) + 0.04 * (1 - np.exp(-left)))
        return last + np.trapezoid(grid * np.exp(-0.05 * (grid - time)), grid)

    errors = []
    for steps in (40, 80):
        solution = bx.solve(model, {}, by(steps=steps, x=41))
        errors.append([float(solution.value(x=0.5, time=time)) - exact(time) for time in (0.0, 1.5)])
    np.testing.assert_allclose(np.divide(*errors), 2.0, atol=0.1)
    assert np.max(np.abs(errors[1])) < 0.06
    with pytest.raises(bx.ModelError, match="lacks time="):
        solution.value(x=0.5)
    with pytest.raises(bx.ModelError, match="between 0 and 3"):
        solution.value(x=0.5, time=3.5)
    with pytest.raises(bx.ModelError, match="it ends"):
        bx.stationary(solution)


# -- jumps and correlation ---------------------------------------------------------------------------------------------


def uneven(width, count):
    """Nodes that are denser in the middle."""
    return bx.grids.Given(width * np.sinh(3 * np.linspace(-1.0, 1.0, count)) / np.sinh(3.0))


@pytest.mark.parametrize("grid", [301, uneven(12.0, 302)], ids=["even", "uneven"])
def test_death_and_rebirth(grid):
    """Volatility .2, death at .02, rebirth at 0: the density is exp(-|x|) / 2."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-12.0, 12.0)},
        reward=lambda x: x,
        drift={"x": 0.0},
        diffusion={"x": 0.2},
        discount=0.05,
        resets={"death": bx.Reset(rate=0.02, to={"x": 0.0})},
        boundary={"x": bx.Reflecting()},
    )
    solution = bx.solve(model, {}, by(x=grid))
    density = bx.stationary(solution)
    x = np.asarray(solution.nodes()["x"])
    np.testing.assert_allclose(density.pdf(), np.exp(-np.abs(x)) / 2, atol=5e-4)
    assert balance(density) < 1e-13
    np.testing.assert_allclose(solution.value(x=1.0), 1 / 0.07, atol=1e-6)  # reborn at 0, where V is none


WANDERERS = bx.DiffusionModel(
    states={"x": bx.Continuous(-2.0, 2.0), "y": bx.Continuous(-2.0, 2.0)},
    reward=lambda x, y: x * y,
    drift={"x": lambda x: -0.5 * x, "y": lambda y: -0.5 * y},
    diffusion={
        "x": lambda: jnp.array([0.3, 0.0]),
        "y": lambda rho: 0.3 * jnp.stack([rho, jnp.sqrt(1 - rho**2)]),
    },
    discount=0.05,
    boundary={"x": bx.Reflecting(), "y": bx.Reflecting()},
)


@pytest.mark.long
def test_shocks_that_two_states_share():
    """V = x y / 1.05 + rho .09 / (.05 1.05), and the covariance is rho .09, of which nine nodes make no error."""

    def value(rho):
        return bx.solve(WANDERERS, {"rho": rho}, by(x=21, y=21)).value(x=0.2, y=0.1)

    for rho in (0.6, -0.6):
        np.testing.assert_allclose(value(rho), 0.02 / 1.05 + rho * 0.09 / 0.0525, atol=1e-6)
    np.testing.assert_allclose(jax.grad(value)(0.6), 0.09 / 0.0525, atol=1e-5)
    density = bx.stationary(bx.solve(WANDERERS, {"rho": 0.6}, by(x=21, y=21)))
    np.testing.assert_allclose(density.mean(lambda x, y: x * y), 0.054, atol=1e-5)
    assert balance(density) < 1e-13
    with pytest.raises(bx.SolveError, match="the correlation of shocks is too strong for these nodes"):
        bx.solve(WANDERERS, {"rho": 0.6}, by(x=21, y=6))


# -- statements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resets": {"death": 0.02}}, r"resets\['death'\] is 0.02; it must be bx.Reset"),
        ({"resets": {"death": bx.Reset(rate=0.1, to={})}}, "name the states that jump"),
        ({"resets": {"death": bx.Reset(rate=0.1, to={"w": 0.0})}}, r"resets\['death'\]: state 'w' is unknown"),
        ({"reward": lambda x, curvature_x: x * curvature_x}, "curvature"),
    ],
)
def test_statements_that_make_no_model(changes, words):
    given = {name: getattr(WANDERERS, name) for name in ("states", "reward", "drift", "diffusion", "discount")}
    with pytest.raises(bx.ModelError, match=words):
        bx.DiffusionModel(**{**given, **changes}).template()


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        (by(x=11, y=11, maximiser=bx.maximise.Golden(grid={"c": 5})), "Golden: action without a closed form 'c'"),
        (lambda: by(x=11, maximiser=3), "maximiser is 3; it is bx.maximise.Golden"),
        (lambda: by(steps=0), "steps"),
    ],
)
def test_options_that_are_none(solver, words):
    with pytest.raises(bx.ModelError, match=words):
        bx.solve(WANDERERS, {"rho": 0.0}, solver() if callable(solver) else solver)


@pytest.mark.parametrize(
    ("reset", "words"),
    [
        (bx.Reset(rate=-0.1, to={"x": 0.0}), r"the rate of resets\['death'\] is -0.1"),
        (bx.Reset(rate=0.1, to={"x": 2.5}), r"resets\['death'\] to 'x' leads beyond the bounds of that state, by 0.5"),
    ],
)
def test_resets_that_make_no_sense(reset, words):
    given = {
        name: getattr(WANDERERS, name) for name in ("states", "reward", "drift", "diffusion", "discount", "boundary")
    }
    with pytest.raises(bx.ParameterError, match=words):
        bx.solve(bx.DiffusionModel(**given, resets={"death": reset}), {"rho": 0.1}, by(x=9, y=9))


def test_an_action_does_not_move_loadings_that_are_shared():
    given = {name: getattr(WANDERERS, name) for name in ("states", "reward", "drift", "discount", "boundary")}
    diffusion = {"x": lambda share: share * jnp.array([0.3, 0.0]), "y": lambda: jnp.array([0.2, 0.2])}
    model = bx.DiffusionModel(**given, actions={"share": bx.Continuous(0.0, 1.0)}, diffusion=diffusion)
    with pytest.raises(bx.ModelError, match="its covariance with them is not known in this version"):
        bx.solve(model, {}, by(x=9, y=9))


def test_three_states_and_several_parameters_at_once():
    """A regulated state beside two that move by themselves: V = -a k^2 - sigma^2 a/r + x y/1.05, a^2 + 1.05 a = 1."""
    model = bx.DiffusionModel(
        states={name: bx.Continuous(-1.0, 1.0) for name in ("k", "x", "y")},
        actions={"force": bx.Continuous()},
        policy={"force": lambda marginal_k: marginal_k / 2},
        reward=lambda k, force, x, y: -(k**2) - force**2 + x * y,
        drift={"k": lambda k, force: force - 0.5 * k, "x": lambda x: -0.5 * x, "y": lambda y: -0.5 * y},
        diffusion={"k": "sigma", "x": 0.2, "y": 0.2},
        discount=0.05,
        boundary={name: bx.Reflecting() for name in ("k", "x", "y")},
    )
    solve = bx.compile(model, by(k=31, x=7, y=7))
    value = jax.vmap(lambda sigma: solve({"sigma": sigma}).value(k=0.3, x=0.2, y=0.1))(jnp.array([0.2, 0.25]))
    a = (np.sqrt(1.05**2 + 4) - 1.05) / 2
    exact = [-a * 0.09 - sigma**2 * a / 0.05 + 0.02 / 1.05 for sigma in (0.2, 0.25)]
    np.testing.assert_allclose(value, exact, atol=0.01)


def test_bounds_that_name_an_action_that_is_sought():
    """One after the other, a in [0, 1] and b in [0, 1 - a] would end at a = 1 where b = 1 is worth twice as much."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-1.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0), "b": bx.Continuous(0.0, lambda a: 1 - a)},
        reward=lambda a, b: a + 2 * b,
        drift={"x": lambda x: -x},
        discount=0.1,
    )
    with pytest.raises(bx.ModelError, match="the upper bound of the action 'b' names 'a', and both are sought"):
        bx.solve(model, {}, by(x=5))
