"""Nets beside closed forms, and what shows that they are no solution."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.solvers.continuous import core as core_
from bellax.solvers.continuous import flagged
from bellax.solvers.continuous.notebook import Notebook
from bellax.solvers.continuous.trained import DensityEquation

SMALL = {"hidden": (5,), "points": 48, "rounds": 2, "budget": 15, "finish": 20}

reverting = bx.DiffusionModel(
    states={"x": bx.Continuous(-2.0, 2.0)},
    reward=lambda x: x,
    drift={"x": lambda x, kappa: -kappa * x},
    diffusion={"x": "sigma"},
    boundary={"x": bx.Reflecting()},
)
CHAIN = bx.MarkovChain([0.0, 1.0], intensity=[[-1.0, 1.0], [1.0, -1.0]])
PARAMS = {"kappa": 0.5, "sigma": 0.2, "discount": 0.05}


def linear_firm(upper=5.0):
    """A steady state at 10 / 3."""
    return bx.DiffusionModel(
        states={"k": bx.Continuous(0.0, upper)},
        actions={"i": bx.Continuous()},
        policy={"i": lambda marginal_k: marginal_k - 1},
        reward=lambda k, i: 0.2 * k - i - i**2 / 2,
        drift={"k": lambda k, i: i - 0.1 * k},
        discount=0.05,
        boundary={"k": bx.StateConstraint()},
    )


@pytest.fixture(scope="module")
def solved():
    told = []
    solution = bx.solve(reverting, PARAMS, bx.solvers.PINN(**SMALL), progress=lambda n, loss: told.append(n))
    return solution, told


def test_v_and_density_of_a_reverting_state(solved):
    """V = x / (discount + kappa), and a normal of variance sigma^2 / (2 kappa)."""
    solution, told = solved
    assert solution.result == bx.Result.successful
    assert told == sorted(told) and told[-1] == int(solution.stats["steps"])
    x = np.linspace(-0.85, 0.85, 41)
    np.testing.assert_allclose(solution.value(x=x), x / 0.55, atol=2e-3)
    density = bx.stationary(solution)
    nodes, pdf = np.asarray(solution.nodes()["x"]), np.asarray(density.pdf())
    normal = np.exp(-(nodes**2) / 0.08) / np.sqrt(0.08 * np.pi)
    assert np.trapezoid(np.abs(pdf - normal), nodes) < 0.01
    assert float(density.mean(lambda x: x**2)) == pytest.approx(0.04, abs=1e-5)
    assert float(density.mean("x")) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(solution.value(x=0.95)), "beyond the core, of 4.5 standard deviations"
    np.testing.assert_allclose(solution.values.core.box.upper, [1.1], rtol=1e-6)


def test_a_state_without_noise_is_led_farther_away_from_zero(solved):
    """Centre 2, half a side 1: from 1 to 2 e^(1/2), and where noise is its own to 3."""
    core = solved[0].values.core._replace(
        centre=jnp.asarray([2.0]), domain=core_.Box(jnp.asarray([0.2]), jnp.asarray([9.0]))
    )
    for free, upper in ((True, 2 * np.exp(0.5)), (False, 3.0)):
        box = core_.around(core, jnp.ones(1), jnp.asarray([free]))
        np.testing.assert_allclose([box.lower[0], box.upper[0]], [1.0, upper], rtol=1e-12)


def test_a_price_has_one_answer_whatever_was_asked_before(solved):
    solution, _ = solved
    setting, far = solution.setting, dataclasses.replace(solution.values, value=10 * solution.values.value)
    answer = jax.jit(lambda start: setting.solve_from(solution.arguments, start).values)
    for start in (solution.values, far, setting.unknown(solution.arguments)):
        found = answer(start)
        np.testing.assert_allclose(found.value, solution.values.value, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found.density, answer(far).density)


@pytest.fixture(scope="module")
def firm():
    return bx.solve(linear_firm(), {}, bx.solvers.PINN(**SMALL, density=False))


def test_v_of_the_linear_firm_is_on_the_right_branch(firm):
    """V = 4 k / 3 + 10 / 9 and i = 1 / 3."""
    k = np.linspace(0.0, 5.0, 11)
    np.testing.assert_allclose(firm.value(k=k), 4 * k / 3 + 10 / 9, atol=1e-3)
    np.testing.assert_allclose(firm.policy(k=k)["i"], 1 / 3, atol=1e-3)
    with pytest.raises(bx.ModelError, match="density=False"):
        bx.stationary(firm)


def test_mass_that_an_edge_holds_is_refused():
    with pytest.raises(bx.SolveError, match="steady state of 'k' is beyond its upper edge.*an atom, which no density"):
        bx.solve(linear_firm(2.0), {}, bx.solvers.PINN(**SMALL))


@pytest.mark.parametrize(
    ("stats", "words"),
    [
        ({"dependence": 1.0}, "rank correlation 1: they were drawn with one key"),
        ({"quadrature": 0.1}, "the quadrature of its mass moves by 0.1"),
        ({"residual": 1.0}, "its residual at other points than those of the training is 1"),
    ],
)
def test_what_is_flagged(solved, stats, words):
    solution, _ = solved
    wrong = {**solution.stats, **{name: jnp.asarray(value) for name, value in stats.items()}}
    code = flagged.code(solution.setting.flow, wrong, solution.setting.options)
    assert int(code) != int(bx.Result.successful)
    assert re.search(words, solution.setting.explain(dataclasses.replace(solution, stats=wrong, code=code)))


def looked(solution, model=None, density=False, none=False, **changes):
    """What is said of other weights, as if they had been trained, and whether it is a success.

    Args:
        none: whether the net of the density is zero.
    """
    options = dataclasses.replace(solution.setting.options, density=density)
    setting = options.prepare(model or solution.model)
    arguments, table = setting.arguments(solution.params), dataclasses.replace(solution.values, **changes)
    table = dataclasses.replace(table, density=0 * table.density) if none else table
    values = setting.equation(arguments, table.core)
    values.level, values.unit = table.level, table.unit
    densities = DensityEquation(values, table.value, setting.thin, setting.form)
    stats = {**solution.stats, **flagged.stats(values, densities, table, options)}
    code = flagged.code(setting.flow, stats, options)
    found = dataclasses.replace(solution, values=table, stats=stats, code=code, setting=setting)
    return stats, int(code) == int(bx.Result.successful), setting.explain(found)


@pytest.mark.long
def test_what_was_found_is_a_success(solved, firm):
    assert looked(firm)[1] and looked(solved[0], density=True)[1]


def test_a_slope_that_is_too_steep_leads_outward(firm):
    """V_k = 4 and i = 3, so that capital grows at the upper edge, and at the lower one."""
    stats, success, words = looked(firm, unit=3 * firm.values.unit)
    assert not success and (stats["outward:upper:k"], stats["outward:lower:k"]) == (1, 0)
    assert "the drift of 'k' leads outward at 100 % of its upper edge: this is a wrong branch" in words


def test_a_density_of_nobody_is_flagged(firm):
    """Equal everywhere, where the drift is 1/3 - k/10: 1/12 on average, of a size of (1/144 + 1/48)^.5; at the edges as
    large as anywhere."""
    stats, success, words = looked(firm, density=True, none=True)
    assert not success and "the mean drift of 'k' is 0.5 of its size" in words
    assert float(stats["mean_drift:k"]) == pytest.approx(0.5, rel=0.01)
    assert float(stats["piled:lower:k"]) == pytest.approx(1.0) and float(stats["piled:upper:k"]) == pytest.approx(1.0)
    still = {**stats, "mean_drift:k": jnp.zeros(())}
    told = dataclasses.replace(firm, stats=still, code=jnp.int32(int(bx.Result.infeasible)))
    assert re.search("the density of 'k' is 1 of its largest at the lower edge.*an atom", told.setting.explain(told))


def test_a_density_that_is_led_aside_drifts_back(solved):
    """A normal around a standard deviation away: the mean drift is half of the square root of two of its size."""
    table = solved[0].values
    away = table.core._replace(centre=table.core.centre + 0.2)
    stats, success, words = looked(solved[0], density=True, core=away)
    assert not success and "the mean drift of 'x'" in words
    assert float(stats["mean_drift:x"]) == pytest.approx(0.5**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        ({"policy": {"i": lambda marginal_k: 0.5 * (marginal_k - 1)}}, "first_order_gap",
         r"the closed forms of \['i'\] leave the first-order condition by"),
        ({"policy": {"i": 0.0}, "actions": {"i": bx.Discrete([0.0, 0.25])}}, "missed",
         r"other actions than the closed forms of \['i'\] are better"),
        ({"policy": {"i": 0.1}, "actions": {"i": bx.Discrete([0.0, 0.25])}}, "first_order_gap",
         "beyond the bounds of an action at some state, to none of its values"),
    ],
)  # fmt: skip
def test_a_policy_that_is_not_the_best(firm, changes, what, words):
    """At V_k = 4/3 the best investment is 1/3."""
    stats, success, said = looked(firm, dataclasses.replace(firm.model, **changes))
    assert not success and float(stats[what]) > 1e-3 and re.search(words, said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"states": {"x": bx.Continuous(-2.0, 2.0), "e": CHAIN}}, "state 'e' is a chain"),
        ({"stop": 0.0}, "it has `stop`"),
        ({"boundary": {"x": bx.Absorbing(0.0)}}, "is Absorbing"),
        ({"actions": {"a": bx.Continuous(0.0, 1.0)}}, "'a' has no closed form"),
    ],
)  # fmt: skip
def test_what_is_not_solved(changes, words):
    with pytest.raises(bx.ModelError, match=words):
        bx.solvers.PINN().prepare(dataclasses.replace(reverting, **changes))


def test_a_near_edge_is_refused():
    with pytest.raises(bx.ModelError, match="reach is 2 standard deviations, and at least 4"):
        bx.solvers.PINN(reach=2.0)


def test_a_policy_s_derivatives_are_those_of_polynomials():
    """Investment in a k^.35, whose V is no polynomial, beside `Collocation`."""
    curved = dataclasses.replace(
        linear_firm(),
        states={"k": bx.Continuous(0.6, 6.0)},
        reward=lambda k, i: k**0.35 - i - i**2 / 2,
        drift={"k": lambda k, i, delta: i - delta * k},
    )
    k = np.linspace(1.0, 5.0, 9)

    def moves(solver):
        def answer(delta):
            solution = bx.solve(curved, {"delta": delta}, solver)
            return solution.value(k=k), solution.policy(k=k)["i"]

        return jax.jit(jax.jacfwd(answer))(0.1)

    nets, polynomials = (
        moves(bx.solvers.PINN(**{**SMALL, "points": 96}, density=False)),
        moves(bx.solvers.Collocation(grid={"k": 24})),
    )
    for ours, other in zip(nets, polynomials, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-3)


# -- what is asked of a solution, and of a solve that goes on ----------------------------------------------------------


def test_a_solution_is_certified_on_its_core(solved):
    """V is linear: nets are off by 2e-3 of at most 1.6, and the core ends before the domain does, on both sides."""
    certificate = bx.certify(solved[0], points=200)
    assert certificate.residuals["max"] < 0.05 and certificate.undefined == 0
    assert [own["condition"] for own in certificate.edges["x"].values()] == ["Drawn", "Drawn"]
    assert certificate.edges["x"]["upper"]["outward"] == 0
    assert certificate.bound == np.inf and "solve with a larger reach=" in certificate.wider_missing
    assert "no coarser grid" in str(certificate) and np.isnan(certificate.crowd.balance)


def test_agents_stay_where_v_is_known(solved):
    """Who is led beyond the core is put back, and counted."""
    solution, _ = solved
    panel = bx.simulate(solution, agents=40, start={"x": 0.8}, duration=4.0, step=0.1)
    assert np.all(np.isfinite(panel.value)) and np.all(np.abs(panel.states["x"]) < 0.91)
    # exp(-kappa t) of where they began, and a standard deviation of .2 / 40^.5 at most
    assert float(np.mean(panel.states["x"][:, -1])) == pytest.approx(0.8 * np.exp(-2.0), abs=0.13)
    with pytest.raises(bx.ParameterError, match="outside of -0.9 to 0.9, where V is known"):
        bx.simulate(solution, agents=1, start={"x": 1.0}, duration=1.0, step=0.1)
    # to .854 with a standard deviation of .063: a quarter of them would be beyond .9
    near = bx.simulate(solution, agents=200, start={"x": 0.899}, duration=0.1, step=0.1)
    assert np.all(np.isfinite(near.value)) and np.max(near.states["x"]) <= 0.9 + 1e-9
    assert 30 < int(near.clipped["x"]["upper"]) < 65 and int(near.clipped["x"]["lower"]) == 0


def test_other_questions_have_answers(solved, tmp_path):
    solution, _ = solved
    density = bx.stationary(solution)
    assert len(bx.plot(solution, density).axes) == 2
    solution.save(tmp_path / "nets.nc")
    loaded = bx.load(tmp_path / "nets.nc", reverting)
    np.testing.assert_array_equal(loaded.value(x=0.3), solution.value(x=0.3))
    assert solution.policy(x=0.3) == {}


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    """Of the same names and numbers, and another drift; the same model stated anew goes on."""
    other = dataclasses.replace(reverting, drift={"x": lambda x, kappa: -kappa * x**3})
    again = dataclasses.replace(reverting, drift={"x": lambda x, kappa: -kappa * x})
    solver, state = bx.solvers.PINN(**SMALL, checkpoint=tmp_path / "kept"), {"weights": jnp.arange(3.0)}

    def kept(model, solver=solver):
        setting = solver.prepare(model)
        return setting.kept(setting.arguments(PARAMS))

    kept(reverting).save(10, state)
    np.testing.assert_array_equal(kept(again).load(state)["weights"], state["weights"])
    for wrong in (lambda: kept(other), lambda: kept(reverting, dataclasses.replace(solver, seed=1))):
        with pytest.raises(bx.ModelError, match="of another model, of other parameters or of another solver"):
            wrong().load(state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": Notebook(), "rounds": 3}, "'rounds' of the training described here, and recipe= is another one"),
        ({"recipe": Notebook(), "density": False, "reach": 5.0}, "'density', 'reach'"),
        ({"recipe": Notebook(), "budget": 3, "finish": 2}, "'budget', 'finish'"),
        ({"hidden": (12, 0)}, r"hidden\[1\]"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing(options, words):
    with pytest.raises(bx.ModelError, match=words):
        bx.solvers.PINN(**options)
    assert bx.solvers.PINN.notebook(steps=3).recipe.steps == 3


def test_numbers_that_make_no_model_are_no_success():
    """Refused, and NaN where they are traced; loadings may have any sign."""
    solver = bx.solvers.PINN(hidden=(2,), points=8, rounds=1, budget=1, finish=1, density=False, tolerance=1e9)
    asked = jax.jit(lambda params: bx.solve(reverting, params, solver).code)
    for name, words in (("sigma", "the diffusion of 'x' is -0.2"), ("discount", "the discount is -0.05")):
        wrong = {**PARAMS, name: -PARAMS[name]}
        with pytest.raises(bx.ParameterError, match=words):
            bx.solve(reverting, wrong, solver)
        assert int(asked(wrong)) == int(bx.Result.nonfinite)
    assert bx.compile(reverting, solver)({**PARAMS, "sigma": -0.2}).result == bx.Result.nonfinite
    assert int(asked(PARAMS)) == int(bx.Result.successful)
    loaded = dataclasses.replace(reverting, diffusion={"x": lambda sigma: jnp.stack([-sigma, 0.0])})
    solver.prepare(loaded).check(solver.prepare(loaded).arguments(PARAMS))


# -- derivatives -------------------------------------------------------------------------------------------------------


def test_derivatives_are_those_of_the_implicit_function():
    """dV/dkappa = - x / (discount + kappa)^2, at the residual that was trained."""
    solver = bx.solvers.PINN(**SMALL, density=False)
    value = lambda kappa: bx.solve(reverting, {**PARAMS, "kappa": kappa}, solver).value(x=0.3)  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.5), -0.3 / 0.55**2, rtol=1e-3)
    with pytest.raises(bx.ModelError, match="what PINN finds has first derivatives, and no second ones"):
        jax.make_jaxpr(jax.grad(jax.grad(value)))(0.5)
