"""EulerNet: closed forms, other methods, what it refuses, and what must not pass for a solution."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.learning import training
from bellax.learning.levenberg import residuals
from bellax.models import rbc
from bellax.models.references import partial_depreciation
from bellax.solvers.neural.doubts import Sides, sides_left, sizes_of
from bellax.solvers.neural.euler import is_static
from bellax.solvers.neural.euler_net import PreparedEuler
from bellax.solvers.neural.untrained import untrained

SMALL = {"hidden": (8,), "points": 128, "rounds": 1, "budget": 20, "finish": 40}
AT = {"capital": np.linspace(0.1, 0.26, 9)[:, None], "productivity": rbc.LEVELS}


@pytest.fixture(scope="module")
def growth():
    """The growth model by a small net."""
    return bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**SMALL))


def test_full_depreciation_is_the_closed_form(growth):
    exact = (1 / 3) * 0.95 * rbc.LEVELS * AT["capital"] ** (1 / 3)
    np.testing.assert_allclose(growth.policy(**AT)["capital_next"], exact, rtol=1e-4)
    grid = bx.solve(rbc.model, rbc.params, rbc.solver)
    np.testing.assert_allclose(growth.value(**AT), grid.value(**AT), atol=1e-4)
    assert growth.result == bx.Result.successful
    assert float(growth.stats["path_leaving"]) == 0


def test_it_is_simulated_kept_in_a_file_and_drawn(growth, tmp_path):
    panel = bx.simulate(growth, 50, {"capital": rbc.STEADY}, periods=20)
    assert float(panel.present_value().mean()) == pytest.approx(float(growth.value(**AT).mean()), rel=0.05)
    growth.save(tmp_path / "growth.nc")
    again = bx.load(tmp_path / "growth.nc", rbc.model)
    np.testing.assert_array_equal(again.value(**AT), growth.value(**AT))
    np.testing.assert_array_equal(again.policy(**AT)["capital_next"], growth.policy(**AT)["capital_next"])
    assert bx.plot(growth, panel).axes
    assert "EulerNet" in str(growth)


@pytest.mark.long
def test_conditions_with_slopes_of_v_find_the_same():
    """The general way, by a net for V beside that of the policy, where the short one would do, too."""
    steady = rbc.steady_state(1 / 3, 0.95, 0.9)
    solver = bx.solvers.EulerNet(hidden=(8,), points=192, rounds=2, budget=25, finish=60, costates=True)
    found = bx.solve(rbc.growth(0.6 * steady, 1.4 * steady), rbc.params | {"depreciation": 0.9}, solver)
    capital = np.linspace(0.7 * steady, 1.3 * steady, 7)
    exact = partial_depreciation(
        1 / 3, 0.95, 0.9, rbc.LEVELS, rbc.TRANSITION, (0.5 * steady, 1.5 * steady)
    ).consumption(capital)
    saved = found.policy(capital=capital[:, None], productivity=rbc.LEVELS)["capital_next"]
    wealth = capital[:, None] ** (1 / 3) * rbc.LEVELS + 0.1 * capital[:, None]
    np.testing.assert_allclose(wealth - saved, exact, rtol=2e-3)


def test_what_needs_no_v_is_read_off_the_names():
    assert is_static(bx.solvers.EulerNet().prepare(rbc.model).plan)
    assert not is_static(bx.solvers.EulerNet().prepare(SPRING).plan)


SPRING = bx.Model(
    states={"x": bx.Continuous(-1.0, 1.0)},
    actions={"u": bx.Continuous()},
    transitions={"x": lambda x, u: 0.9 * x + u},
    reward=lambda x, u: -(x**2) - u**2,
)
BY_SLOPES = {"hidden": (6,), "points": 96, "rounds": 2, "budget": 25, "finish": 60, "visited": 0.0}


def test_a_linear_quadratic_model_by_slopes_of_v():
    """The Riccati equation in one dimension, solved by hand."""
    found = bx.solve(SPRING, {"discount": 0.9}, bx.solvers.EulerNet(**BY_SLOPES))
    p = 1.0
    for _ in range(200):
        p = 1 + 0.9 * p * 0.81 / (1 + 0.9 * p)
    x = np.linspace(-0.9, 0.9, 7)
    np.testing.assert_allclose(found.policy(x=x)["u"], -0.9 * 0.9 * p / (1 + 0.9 * p) * x, atol=5e-4)
    np.testing.assert_allclose(found.value(x=x), -p * x**2, atol=5e-4)
    assert float(found.stats["value_left"]) < 1e-3 and float(found.stats["slopes_left"]) < 1e-3


def test_conditions_alone_are_no_success_where_v_stands_in_them():
    """A V that is too large everywhere by a tenth has the slopes of the right one, and the same policy."""
    setting = bx.solvers.EulerNet(**BY_SLOPES).prepare(SPRING)
    arguments = setting.arguments({"discount": 0.9})

    @jax.jit
    def trained(arguments):
        begun, fit = setting.begin(arguments, None)
        return begun, training.run(setting.method(arguments, begun), fit)

    @jax.jit
    def judged(arguments, begun, fit, shift):
        found = setting.finish(arguments, begun._replace(level=begun.level + shift), fit, False)
        return found.code, found.stats, found.behaviour.worth(0, {"x": jnp.asarray(0.5)})

    begun, fit = trained(arguments)
    code, stats, value = judged(arguments, begun, fit, 0.0)
    assert code == int(bx.Result.successful) and np.isfinite(value)
    wrong, off, withheld = judged(arguments, begun, fit, 0.1)
    assert wrong == int(bx.Result.max_steps_reached) and np.isnan(withheld)
    for name in ("condition_mean", "path_mean", "slopes_left"):
        np.testing.assert_allclose(off[name], stats[name], rtol=1e-6)
    message = untrained(bx.Result.max_steps_reached, off, 1e-3, False)
    assert f"V's own equation by {float(off['value_left']):.3g} of its spread" in message


def test_what_is_left_of_v_and_its_slopes():
    """V off by a tenth at one of two points, of a spread of one; a slope of two that should be 2.2."""
    left = jnp.asarray([[1.0, 2.0], [-1.0, 2.0]])
    right = jnp.asarray([[1.1, 2.0], [-1.0, 2.2]])
    sides = Sides(left, right)
    np.testing.assert_allclose(sizes_of(sides), [1.0 + 1e-3, 2.05])
    value, slopes = sides_left(sides, sizes_of(sides))
    np.testing.assert_allclose(value, 0.1 / 1.001 / np.sqrt(2))
    np.testing.assert_allclose(slopes, 0.2 / (2.1 + 0.205) / np.sqrt(2))


def test_a_path_that_grows_for_ever_is_no_solution():
    """In a box from which paths leave the conditions hold on a wrong branch, too."""
    steady = rbc.steady_state(1 / 3, 0.95, 0.1)
    model = rbc.growth(0.5 * steady, 0.9 * steady)  # capital wants to grow beyond
    with pytest.raises(bx.SolveError, match="leave the box"):
        bx.solve(model, rbc.params | {"depreciation": 0.1}, bx.solvers.EulerNet(**SMALL))


def test_too_few_steps_are_no_success():
    solver = bx.solvers.EulerNet(hidden=(4,), points=64, rounds=1, budget=1, finish=1, tolerance=1e-6)
    with pytest.raises(bx.SolveError, match="conditions are off by"):
        bx.solve(rbc.model, rbc.params, solver)


def test_derivatives_by_the_implicit_function_theorem():
    solver = bx.solvers.EulerNet(**SMALL)

    def answers(alpha):
        found = bx.solve(rbc.model, {**rbc.params, "alpha": alpha}, solver)
        at = {"capital": 0.15, "productivity": 1.0}
        return jnp.stack([found.policy(**at)["capital_next"], found.value(**at)])

    slope = jax.jacrev(answers)(1 / 3)

    def exact(alpha):
        grid = bx.solve(rbc.model, {**rbc.params, "alpha": alpha}, rbc.solver)
        return np.array([alpha * 0.95 * 0.15**alpha, float(grid.value(capital=0.15, productivity=1.0))])

    differences = (exact(1 / 3 + 1e-4) - exact(1 / 3 - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, differences, rtol=1e-3)


def test_warm_starts():
    solver = dict(SMALL, rounds=1, budget=2, finish=8)
    near = {"capital_next": lambda resources, share=0.31: share * resources}
    found = bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**solver, warm_start=near))
    exact = (1 / 3) * 0.95 * rbc.LEVELS * AT["capital"] ** (1 / 3)
    np.testing.assert_allclose(found.policy(**AT)["capital_next"], exact, rtol=1e-3)


@pytest.mark.parametrize(
    ("start", "match"),
    [
        ({"capital": lambda resources: resources}, "action 'capital' is unknown"),
        ({"capital_next": lambda wealth: wealth}, "warm_start names 'wealth'"),
        ({"capital_next": lambda resources: jnp.log(-resources)}, "no number for 'capital_next'"),
        (3, "give a dict of functions"),
    ],
)
def test_warm_starts_that_are_none(start, match):
    with pytest.raises((bx.ModelError, bx.ParameterError), match=match):
        bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**SMALL, warm_start=start))


def test_what_it_does_not_solve():
    choice = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"work": bx.Discrete(2)},
        transitions={"x": bx.fixed},
        reward=lambda x, work: x * work,
    )
    with pytest.raises(bx.ModelError, match="'work' is not; use bx.solvers"):
        bx.solve(choice, {"discount": 0.9}, bx.solvers.EulerNet())
    with pytest.raises(bx.ModelError, match="degree is 4"):
        bx.solvers.EulerNet(degree=4)
    for pair in ((5, 5), (3, 4), (3, 5, 5)):
        with pytest.raises(bx.ModelError, match="or two that differ"):
            bx.solvers.EulerNet(degree=pair)
    with pytest.raises(bx.ModelError, match="give 3 or 5"):
        bx.solvers.NeuralValueIteration(degree=(3, 5))
    with pytest.raises(bx.ModelError, match="lower end must be below"):
        bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(box={"capital": (2.0, 1.0)}))
    with pytest.raises(bx.ModelError, match="no continuous action"):
        bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(shares={"saving": bx.shares.Clipped()}))
    with pytest.raises(bx.ModelError, match="leave them out"):
        solver = bx.solvers.EulerNet(**SMALL, warm_start={"capital_next": 0.1})
        jax.grad(
            lambda a: bx.solve(rbc.model, {**rbc.params, "alpha": a}, solver).value(capital=0.15, productivity=1.0)
        )(1 / 3)


def test_a_training_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path):
    class Enough(Exception):
        pass

    def stop(steps, left):
        if steps >= 20:
            raise Enough

    whole = bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**SMALL))
    kept = bx.solvers.EulerNet(**SMALL, checkpoint=str(tmp_path / "kept"))
    with pytest.raises(Enough):
        bx.solve(rbc.model, rbc.params, kept, progress=stop)
    again = bx.solve(rbc.model, rbc.params, kept)
    np.testing.assert_array_equal(again.values.actor, whole.values.actor)
    with pytest.raises(bx.ModelError, match="another model, of other parameters"):
        bx.solve(rbc.model, rbc.params | {"alpha": 0.3}, kept)


def test_a_checkpoint_of_another_warm_start_is_refused(tmp_path):
    """One that began with nothing, too; a function that says the same is no other one."""

    def begun(share=None, worth=None):
        prior = {} if share is None else {"capital_next": lambda resources: share * resources}
        prior |= {} if worth is None else {"value": lambda capital: worth * capital}
        given = dict(SMALL, hidden=(3,), points=32, rounds=1, budget=2, finish=2)
        solver = bx.solvers.EulerNet(**given, warm_start=prior or None, checkpoint=tmp_path / "kept")
        return bx.solve(rbc.model, rbc.params, solver, throw=False).values.actor

    first = begun(0.3)
    np.testing.assert_array_equal(begun(0.3), first)
    for other in ((0.2,), (), (0.3, 1.0)):
        with pytest.raises(bx.ModelError, match="began with another warm_start="):
            begun(*other)


def test_warm_starts_and_checkpoints_share_their_programs_and_are_not_kept(tmp_path, monkeypatch):
    traced, begin = [], PreparedEuler.begin
    monkeypatch.setattr(PreparedEuler, "begin", lambda *given: traced.append(1) or begin(*given))
    tiny, kept = dict(SMALL, hidden=(2,), points=32, rounds=1, budget=2, finish=2), []
    for share in (0.31, 0.3, 0.2):
        rule = {"capital_next": lambda resources, own=share: own * resources}
        kept.append(weakref.ref(rule["capital_next"]))
        solver = bx.solvers.EulerNet(**tiny, warm_start=rule, checkpoint=tmp_path / str(share))
        found = bx.solve(rbc.model, rbc.params, solver, throw=False)
        assert abs(float(found.policy(**AT)["capital_next"][4, 2]) - 0.3 * 0.18 ** (1 / 3)) < 0.1
    assert len(traced) == 1
    again = bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**tiny, warm_start=found), throw=False)
    assert len(traced) == 2  # of V, too, of which the others say nothing
    del rule, solver, found
    gc.collect()
    assert again.setting.options.warm_start is None and not any(each() for each in kept)


def test_constraints_are_not_passed_over():
    model = bx.Model(
        states={"wealth": bx.Continuous(0.1, 10.0)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        constraints={"enough": lambda consumption: consumption >= 0.05},
        transitions={"wealth": lambda wealth, consumption: 1.02 * (wealth - consumption) + 0.1},
        reward=lambda consumption: jnp.log(consumption),
    )
    with pytest.raises(bx.ModelError, match="knows no constraints; the model has 'enough'"):
        bx.solve(model, {"discount": 0.9}, bx.solvers.EulerNet())


@pytest.mark.parametrize("costates", [None, True])
def test_a_minimum_is_no_solution(costates):
    """The conditions hold at u = 1/2, where the reward is least."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"u": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda u: u},
        reward=lambda x, u: (u - 0.5) ** 2 + 0.1 * x,
    )
    solver = bx.solvers.EulerNet(hidden=(6,), points=96, rounds=1, budget=20, finish=40, costates=costates)
    with pytest.raises(bx.SolveError, match="where Q is least|conditions are off by"):
        bx.solve(model, {"discount": 0.9}, solver)


def test_what_is_no_category_is_no_solution():
    """A law that leads to a third category of two, and chances that do not sum to one in some states."""
    law = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0), "d": bx.Discrete(2)},
        actions={"u": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda u: u, "d": lambda d: d + 1},
        reward=lambda x, u, d: jnp.log(1 + x - 0.5 * u) + d,
    )
    chances = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"u": bx.Continuous(0.0, 1.0)},
        shocks={"k": bx.shocks.Categorical([0.0, 1.0], probabilities=lambda x: jnp.stack([x, 1.5 - x]))},
        transitions={"x": lambda u: u},
        reward=lambda x, u, k: jnp.log(1 + x - 0.5 * u) + k,
    )
    for model in (law, chances):
        found = bx.solve(model, {"discount": 0.9}, bx.solvers.EulerNet(**SMALL), throw=False)
        assert found.result == bx.Result.nonfinite


def test_options_that_cannot_be_honoured():
    with pytest.raises(bx.ModelError, match="need the slopes of V"):
        bx.solvers.EulerNet(costates=False).prepare(SPRING)
    with pytest.raises(bx.ModelError, match="visited is 2.0"):
        bx.solvers.EulerNet(visited=2.0)
    with pytest.raises(bx.ModelError, match="'produktivity' is unknown"):
        bx.solvers.EulerNet(quadrature={"produktivity": 3}).prepare(rbc.model)
    with pytest.raises(bx.ModelError, match="'value' is 1.0; give a function"):
        bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(**SMALL, warm_start={"value": 1.0}))


RISKY = bx.Model(
    states={"wealth": bx.Continuous(0.5, 6.0)},
    actions={"saved": bx.Continuous(0.0, lambda wealth: 0.95 * wealth)},
    shocks={"shock": bx.shocks.Normal(0.0, 0.5, shape=(2,))},
    transitions={"wealth": lambda saved, shock: saved + jnp.sum(jnp.exp(shock))},
    reward=lambda wealth, saved: -1 / (wealth - saved),
)


@pytest.mark.parametrize("costates", [pytest.param(None, marks=pytest.mark.long), True])
def test_a_rule_is_corrected_by_a_better_one(costates):
    """What is left of the conditions, at weights at which a round begins, is what the better rule alone leaves."""

    def left(degree, corrected=False):
        solver = bx.solvers.EulerNet(hidden=(6,), points=40, rounds=1, degree=degree, costates=costates)
        setting = solver.prepare(RISKY)
        arguments = setting.arguments({"discount": 0.9})
        begun, fit = setting.begin(arguments, None)
        method = setting.method(arguments, begun)
        rows = fit.frozen._replace(size=jnp.ones_like(fit.frozen.size))
        rows = method.corrected(fit.weights, rows) if corrected else rows
        return np.asarray(residuals(method.groups(rows, jnp.asarray(1)), fit.weights))

    np.testing.assert_allclose(left((3, 5), True), left(5), rtol=1e-9, atol=1e-11)
    assert np.max(np.abs(left(3) - left(5))) > 1e-3


@pytest.mark.parametrize("costates", [None, pytest.param(True, marks=pytest.mark.long)])
def test_what_was_corrected_moves_with_parameters_by_the_better_rule(costates):
    """With the discount, at weights with which a training begins."""
    wealth = jnp.linspace(1.0, 5.0, 9)

    def moves(degree):
        solver = bx.solvers.EulerNet(hidden=(6,), points=40, rounds=1, degree=degree, costates=costates)
        setting = solver.prepare(RISKY)
        arguments = setting.arguments({"discount": 0.9})
        begun, fit = setting.begin(arguments, None)

        def outputs(discount):
            found = setting.finish(arguments | {"discount": discount}, begun, fit).behaviour
            return jax.vmap(lambda wealth: found.outputs(0, {"wealth": wealth}))(wealth)[:, 0]

        if degree == (3, 5):  # in batches, and backwards
            return np.asarray(jax.jit(jax.jacrev(outputs))(jnp.asarray(0.9)))
        return np.asarray(jax.jit(lambda x: jax.jvp(outputs, (x,), (jnp.ones(()),))[1])(jnp.asarray(0.9)))

    better = moves(5)
    size = np.max(np.abs(better))
    np.testing.assert_allclose(moves((3, 5)), better, atol=1e-4 * size)
    assert np.max(np.abs(moves(3) - better)) > 5e-3 * size


@pytest.mark.long
def test_what_was_corrected_is_judged_by_the_better_rule():
    found = {
        degree: bx.solve(
            RISKY,
            {"discount": 0.9},
            bx.solvers.EulerNet(**SMALL, box={"wealth": (1.0, 5.0)}, degree=degree),
            throw=False,
        )
        for degree in (3, 5, (3, 5))
    }
    wealth = np.linspace(1.5, 4.5, 7)
    saved = {degree: np.asarray(one.policy(wealth=wealth)["saved"]) for degree, one in found.items()}
    apart = np.max(np.abs(saved[3] - saved[5]))
    assert np.max(np.abs(saved[3, 5] - saved[5])) < 0.05 * apart
    assert float(found[3, 5].stats["condition_mean"]) < 2 * float(found[5].stats["condition_mean"])


@pytest.mark.long
def test_many_parameters_at_once_are_what_each_of_them_gives():
    """A training under vmap: of discounts, with codes, and with derivatives of each."""
    solver = bx.solvers.EulerNet(**SMALL)

    def saved(discount):
        found = bx.solve(rbc.model, rbc.params | {"discount": discount}, solver)
        return found.policy(capital=0.18, productivity=rbc.LEVELS[0])["capital_next"]

    discounts = jnp.asarray([0.94, 0.95])
    together, slopes = jax.vmap(jax.value_and_grad(saved))(discounts)
    exact = (1 / 3) * discounts * rbc.LEVELS[0] * 0.18 ** (1 / 3)
    np.testing.assert_allclose(together, exact, rtol=1e-4)
    np.testing.assert_allclose(slopes, exact / discounts, rtol=1e-2)
    np.testing.assert_allclose(together[1], saved(0.95), rtol=1e-6)
