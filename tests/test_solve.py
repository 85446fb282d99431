"""The front door: programs compile once, transformations go through, questions are answered."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import programs
from bellax.solve import prepare


def model(horizon=math.inf, **slots):
    return bx.Model(
        states={
            "w": bx.Continuous(0.5, 6.0, scale=bx.scales.log),
            "h": bx.Discrete([1.0, 3.0]),
            "z": bx.AR1(0.7, 0.1),
        },
        actions={"work": bx.Discrete(2), "c": bx.Continuous(0.05, "w")},
        transitions={"w": lambda w, c, z, work, h: w - c + 0.5 + 0.1 * h * work * jnp.exp(z), "h": bx.fixed},
        reward=lambda c, work, effort: jnp.log(c) - effort * work,
        horizon=horizon,
        **slots,
    )


PARAMS = {"effort": 0.1, "discount": 0.9}
SOLVER = bx.solvers.BackwardInduction(grid={"w": 15, "z": 3})


@pytest.fixture(scope="module")
def finite():
    return bx.solve(model(3), PARAMS, SOLVER)


# -- programs


class Compilations:
    """Counts what XLA compiles, by jax's own events."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event, duration, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def compilations():
    return Compilations()


def test_a_second_solve_and_a_second_question_compile_nothing(compilations):
    m = model(2)

    def ask(solution):
        return (
            solution.value(period=0, w=1.0, h=3.0, z=0.0),
            solution.policy(period=1, w=2.0, h=1.0, z=0.1),
            solution.choice_values(period=0, w=1.0, h=1.0, z=0.0),
        )

    before = compilations.count
    ask(bx.solve(m, PARAMS, SOLVER))
    first = compilations.count
    assert first > before  # so that the counter is known to count
    again = bx.solvers.BackwardInduction(grid={"z": 3, "w": 15})  # equal, and another object
    ask(bx.solve(m, {"effort": 0.3, "discount": 0.8}, again))
    assert compilations.count == first
    assert prepare(m, SOLVER) is prepare(m, again)
    assert prepare(m, SOLVER).programs["traces"] == 1
    bx.solve(m, PARAMS, bx.solvers.BackwardInduction(grid={"z": 3, "w": 16}))
    assert prepare(m, SOLVER).programs["traces"] == 1
    assert compilations.count > first


def test_compile_is_a_pure_function_of_parameters(finite):
    run = bx.compile(finite.model, SOLVER)
    found = run(PARAMS)
    # the first solves run in quick code, which rounds in other places
    np.testing.assert_allclose(found.values.levels, finite.values.levels, rtol=1e-12)
    traces = finite.setting.programs["traces"]
    run({"effort": 0.2, "discount": 0.9})
    assert finite.setting.programs["traces"] == traces


# -- transformations


def test_vmap_is_a_loop_and_jit_changes_nothing(finite):
    efforts = jnp.asarray([0.0, 0.1, 0.4])
    f = lambda e: bx.solve(finite.model, {"effort": e, "discount": 0.9}, SOLVER).value(period=0, w=1.3, h=3.0, z=0.05)  # noqa: E731
    alone = [f(e) for e in efforts]
    np.testing.assert_allclose(jax.vmap(f)(efforts), alone, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(f)(efforts[1]), alone[1], rtol=1e-12)
    # parameters that are concrete inside a program that is not
    inside = jax.jit(lambda shift: f(0.1) + shift)(1.0)
    np.testing.assert_allclose(inside, alone[1] + 1.0, rtol=1e-12)


def test_a_failed_lane_is_nan_with_its_result():
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.1, "most")},
        transitions={"w": lambda w, c: 0.5 * w + c},
        reward=lambda c, w, power: jnp.log(c) + (w - 1.0) ** power,
    )
    solver = bx.solvers.ValueIteration(grid={"w": 5}, max_steps=400)
    # fine; crossed bounds; a root of a negative number; a discount that never converges
    lanes = {"most": [0.5, 0.05, 0.5, 0.5], "power": [2.0, 2.0, 0.5, 2.0], "discount": [0.9, 0.9, 0.9, 0.9999]}
    lanes = {name: jnp.asarray(values) for name, values in lanes.items()}

    def run(p):
        solution = bx.solve(m, p, solver)
        panel = bx.simulate(solution, 2, {"w": 1.0}, periods=2)
        return solution, solution.value(w=1.0), solution.policy(w=1.0)["c"], panel.states["w"][0, 1]

    solutions, values, *others = jax.jit(jax.vmap(run))(lanes)
    for found in others:
        assert np.isnan(np.asarray(found)).tolist() == [False, True, True, True]
    names = ["successful", "infeasible", "nonfinite", "max_steps_reached"]
    from bellax.solution.solution import Result

    assert [Result(int(code)).name for code in solutions.result] == names
    assert np.isnan(np.asarray(values)).tolist() == [False, True, True, True]
    assert np.isnan(np.asarray(solutions.values.levels)).all(axis=1).tolist() == [False, True, True, True]
    alone = bx.solve(m, {name: x[0] for name, x in lanes.items()}, solver)
    np.testing.assert_allclose(values[0], alone.value(w=1.0), rtol=1e-12)


def test_progress_reaches_the_one_who_asked(finite):
    heard = {"a": [], "b": []}
    for told in heard.values():
        bx.solve(finite.model, PARAMS, SOLVER, progress=lambda done, residual, told=told: told.append((done, residual)))
    for told in heard.values():
        assert [done for done, _ in told] == [1, 2, 3]
    endless = model()
    residuals = []
    stationary = bx.solvers.ValueIteration(grid=SOLVER.grid)
    bx.solve(endless, PARAMS, stationary, progress=lambda done, r: residuals.append(r))
    assert len(residuals) > 20
    assert residuals[-1] <= 1e-8 < residuals[-2]

    def interrupt(done, residual):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        bx.solve(finite.model, PARAMS, SOLVER, progress=interrupt)
    with pytest.raises(bx.ModelError, match="progress= .* under a transformation"):
        jax.vmap(lambda e: bx.solve(finite.model, {**PARAMS, "effort": e}, SOLVER, progress=interrupt).code)(
            jnp.ones(2)
        )


def test_an_explosive_discount_is_never_a_number():
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.1, 0.5)},
        transitions={"w": lambda w, c: 0.5 * w + c},
        reward=lambda c: jnp.log(c) + 3.0,
        discount=lambda w, level: level * jnp.where(w > 1.9, 1.2, 0.8),
    )
    for options in ({}, {"evaluation_steps": 10}):
        solver = bx.solvers.PolicyIteration(grid={"w": 8}, interpolant=bx.interpolants.Linear(), **options)
        run = bx.compile(m, solver)
        explosive, fine = run({"level": 1.5}), run({"level": 1.0})
        assert explosive.result.name == "nonfinite"
        assert np.isnan(np.asarray(explosive.values.levels)).all()
        assert fine.result.name == "successful"  # above one at some states, and never twice in a row: w' <= 1.5
    with pytest.raises(bx.SolveError, match="diverges. Is the discount below one"):
        bx.solve(m, {"level": 1.5}, bx.solvers.PolicyIteration(grid={"w": 8}))


# -- questions


def test_a_batch_of_solutions_is_asked_together(finite):
    params = {"effort": jnp.asarray([0.0, 0.4]), "discount": jnp.asarray([0.9, 0.9])}
    batch = jax.vmap(lambda p: bx.solve(finite.model, p, SOLVER))(params)
    with pytest.raises(bx.ModelError, match=r"batch of solutions, shape \(2,\).*jax.vmap"):
        batch.value(period=0, w=1.0, h=1.0, z=0.0)
    asks = [
        lambda: bx.certify(batch),
        lambda: bx.simulate(batch, 2, {"w": 1.0, "h": 1.0}),
        batch.tabulate,
        lambda: batch.save("batch.nc"),
    ]
    for ask in asks:
        with pytest.raises(bx.ModelError, match="batch of solutions"):
            ask()
    assert "a batch of shape (2,)" in str(batch)
    found = jax.vmap(lambda s: s.value(period=0, w=1.0, h=1.0, z=0.0))(batch)
    alone = bx.solve(finite.model, {"effort": 0.4, "discount": 0.9}, SOLVER)
    np.testing.assert_allclose(found[1], alone.value(period=0, w=1.0, h=1.0, z=0.0), rtol=1e-12)


def test_a_query_at_what_is_no_category_is_no_number():
    """Under a transformation, and where a parameter gives the categories, nothing can raise."""
    for chain, params, there, elsewhere in (
        (bx.MarkovChain([1.0, 2.0], np.eye(2)), {}, 1.0, [1.4, 7.0]),
        (bx.MarkovChain(2, np.eye(2)), {}, 1, [0.4, 7.0]),
        (bx.MarkovChain("levels", np.eye(2)), {"levels": jnp.array([1.0, 2.0])}, 2.0, [1.4, 77.0]),
        (bx.Discrete(2), {}, 1, [0.4, 7.0]),
    ):
        laws = {"transitions": {"z": bx.fixed}} if isinstance(chain, bx.Discrete) else {}
        m = bx.Model(
            states={"z": chain}, actions={"a": bx.Discrete([0.5, 1.5])}, reward=lambda z, a: z + a, discount=0.5,
            horizon=1, **laws,
        )  # fmt: skip
        solution = bx.solve(m, params)
        table = solution.tabulate()

        @jax.jit
        def ask(z):
            exact, tabulated = (s.policy(0, z=z)["a"] for s in (solution, table))  # noqa: B023
            return solution.value(0, z=z), exact, tabulated  # noqa: B023

        assert float(ask(jnp.asarray(1.0 * there))[0]) == there + 1.5
        for z in map(jnp.asarray, elsewhere):
            assert np.isnan(ask(z)).all()


def test_a_table_has_no_action_where_none_is_allowed():
    m = bx.Model(
        states={"w": bx.Continuous(0.2, 3.0)},
        actions={"a": bx.Discrete([0.5, 2.5])},
        constraints={"afford": lambda w, a: a <= w},
        transitions={"w": lambda w, a: w - a + 1.0},
        reward=lambda a: a,
        discount=0.5,
        horizon=2,
    )
    solution = bx.solve(m, {}, throw=False)
    for asked in (solution, solution.tabulate()):
        np.testing.assert_array_equal(asked.policy(0, w=[0.2, 0.8])["a"], [np.nan, 0.5])


def test_a_period_may_be_traced(finite):
    ask = lambda period: finite.value(period=period, w=1.3, h=3.0, z=0.05)  # noqa: E731
    found = jax.vmap(ask)(jnp.arange(-1, 5))
    alone = [ask(period) for period in range(4)]
    np.testing.assert_allclose(found[1:5], alone, rtol=1e-12)
    assert np.isnan(found[0]) and np.isnan(found[5])
    chosen = jax.vmap(lambda period: finite.policy(period=period, w=1.3, h=3.0, z=0.05)["c"])(jnp.arange(-1, 5))
    assert np.isnan(np.asarray(chosen)).tolist() == [True, False, False, False, True, True]
    each = jax.vmap(lambda period: finite.choice_values(period=period, w=1.3, h=3.0, z=0.05))(jnp.arange(-1, 5))
    assert np.isnan(np.asarray(each)).all(axis=1).tolist() == [True, False, False, False, True, True]


def test_a_whole_number_with_rounding_is_that_number():
    m = bx.Model(
        states={"s": bx.Discrete(100)}, transitions={"s": bx.fixed}, reward=lambda s: 1.0 * s, discount=1.0, horizon=1
    )
    found = bx.solve(m, {})
    assert float(found.value(0, s=0.29 * 100)) == 29.0
    assert float(bx.simulate(found, 1, {"s": 0.29 * 100}).reward[0, 0]) == 29.0
    assert np.isnan(jax.jit(lambda s: found.value(0, s=s))(2.7))


def test_scalars_and_arrays_broadcast(finite):
    w, h = np.linspace(1, 3, 4), np.array([[1.0], [3.0]])
    both = finite.value(period=1, w=w, h=h, z=0.0)
    assert both.shape == (2, 4)
    for i, j in np.ndindex(2, 4):
        one = finite.value(period=1, w=w[j], h=h[i, 0], z=0.0)
        assert one.shape == ()
        np.testing.assert_allclose(both[i, j], one, rtol=1e-14)
    chosen = finite.policy(period=1, w=w, h=h, z=0.0)
    assert {name: x.shape for name, x in chosen.items()} == {"work": (2, 4), "c": (2, 4)}
    assert finite.choice_values(period=1, w=w, h=h, z=0.0).shape == (2, 4, 2)
    assert finite.value(period=1, w=np.zeros(0), h=1.0, z=0.0).shape == (0,)
    many = np.linspace(0.6, 5.0, 5000)
    np.testing.assert_allclose(
        finite.value(period=1, w=many, h=1.0, z=0.0)[4321], finite.value(period=1, w=many[4321], h=1.0, z=0.0)
    )


def test_values_at_nodes_and_after_the_last_decision(finite):
    levels = np.asarray(finite.values.levels)
    w = np.exp(np.linspace(np.log(0.5), np.log(6.0), 15))
    spread = np.sqrt(2) * 0.1 / np.sqrt(1 - 0.49)
    found = finite.value(
        period=0, w=w, h=np.array([1.0, 3.0])[:, None], z=np.array([-spread, 0, spread])[:, None, None]
    )
    np.testing.assert_allclose(found, levels[0], rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(finite.value(period=3, w=w, h=1.0, z=0.0), 0.0)


def test_choice_values_explain_the_choice(finite):
    state = dict(w=np.linspace(0.6, 5, 7), h=3.0, z=0.02)
    choices = finite.choice_values(period=0, **state)
    assert finite.combinations == [{"work": "0"}, {"work": "1"}]
    np.testing.assert_allclose(choices.max(-1), finite.value(period=0, **state), rtol=1e-12)
    np.testing.assert_array_equal(choices.argmax(-1), finite.policy(period=0, **state)["work"])


def test_questions_that_make_no_sense(finite):
    state = dict(w=1.0, h=1.0, z=0.0)
    ask = finite.value
    for wrong, error, message in [
        (dict(period=0, w=1.0, h=1.0), bx.ModelError, "lacks the states 'z'"),
        (dict(period=0, w=1.0, h=1.0, zz=0.0), bx.ModelError, "'zz' is unknown. Did you mean 'z'"),
        (dict(period=0, **{**state, "h": 2.0}), bx.ParameterError, r"'h'.*none of its categories: \[1.0, 3.0\]"),
        (dict(period=4, **state), bx.ParameterError, "period 4 does not exist.*0 to 2"),
        (dict(period=-1, **state), bx.ParameterError, "period -1 does not exist"),
        (dict(period=0.5, **state), bx.ParameterError, "one whole number"),
        (dict(period=[0, 1], **state), bx.ParameterError, "one whole number"),
        (dict(**state), bx.ParameterError, "give period="),
        (dict(period=0, age=0.0, **state), bx.ParameterError, "one of them"),
        (dict(period=0, w=np.ones(3), h=1.0, z=np.zeros(2)), bx.ModelError, "do not broadcast"),
    ]:
        with pytest.raises(error, match=message):
            ask(**wrong)
    with pytest.raises(bx.ParameterError, match="period 3 does not exist"):
        finite.policy(period=3, **state)


def test_an_infinite_horizon_takes_no_period():
    m = bx.Model(states={"s": bx.Discrete(2)}, transitions={"s": bx.fixed}, reward=lambda s: 1.0 * s, discount=0.5)
    found = bx.solve(m, {})
    np.testing.assert_allclose(found.value(s=[0, 1]), [0.0, 2.0], rtol=1e-9)
    with pytest.raises(bx.ParameterError, match="horizon is infinite.*no period"):
        found.value(period=0, s=0)
    with pytest.raises(bx.ParameterError, match="none of its categories"):
        found.value(s=2)


def test_vector_states_have_their_axes_last():
    m = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0, shape=(2,))},
        transitions={"x": bx.fixed},
        reward=lambda x: x[0] + 2 * x[1],
        discount=0.5,
        horizon=2,
    )
    found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"x": 3}))
    x = np.array([[0.1, 0.2], [0.5, 0.9], [1.0, 0.0]])
    np.testing.assert_allclose(found.value(period=0, x=x), 1.5 * (x[:, 0] + 2 * x[:, 1]), rtol=1e-13)
    with pytest.raises(bx.ModelError, match=r"'x' has shape \(3,\); its last axes must be \(2,\)"):
        found.value(period=0, x=np.ones(3))
    with pytest.raises(bx.ModelError, match="grid of 'x' has 3 entries, and the state is 2 numbers"):
        bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"x": (3, 3, 3)}))


def test_a_tabulated_policy(finite):
    table = finite.tabulate()
    w = np.exp(np.linspace(np.log(0.5), np.log(6.0), 15))
    exact, ours = finite.policy(period=0, w=w, h=3.0, z=0.0), table.policy(period=0, w=w, h=3.0, z=0.0)
    np.testing.assert_allclose(ours["c"], exact["c"], rtol=1e-9)
    np.testing.assert_array_equal(ours["work"], exact["work"])
    between = np.linspace(0.55, 5.9, 101)
    exact, ours = finite.policy(period=0, w=between, h=3.0, z=0.03), table.policy(period=0, w=between, h=3.0, z=0.03)
    assert jnp.issubdtype(ours["work"].dtype, jnp.integer) and set(np.asarray(ours["work"]).tolist()) <= {0, 1}
    same = np.asarray(ours["work"]) == np.asarray(exact["work"])
    assert same.mean() > 0.9  # they may differ next to the switch
    np.testing.assert_allclose(ours["c"][same], exact["c"][same], rtol=0.03)


def test_an_iid_state_between_and_at_nodes_in_no_order():
    m = bx.Model(
        states={
            "w": bx.Continuous(0.5, 3.0),
            "e": bx.IID(bx.shocks.Categorical([2.0, 0.0, 1.0])),
            "k": bx.AR1(0.5, 0.0),
        },
        actions={"c": bx.Continuous(0.01, lambda w: w)},
        transitions={"w": lambda w, c, e, k: w - c + e + 0.5 + k},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=2,
    )
    found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 8, "k": 2}))
    e = np.array([0.0, 1.0, 2.0])
    exact, table = (
        found.policy(period=0, w=1.5, e=e, k=0.0)["c"],
        found.tabulate().policy(period=0, w=1.5, e=e, k=0.0)["c"],
    )
    np.testing.assert_allclose(table, exact, rtol=0.05)
    assert np.isfinite(np.asarray(exact)).all()
    np.testing.assert_array_equal(found.value(period=2, w=1.5, e=e, k=0.0), 0.0)


def test_a_solution_says_how_many_nodes_it_has():
    m = bx.Model(
        states={"w": bx.Continuous([0.5, 0.5], [2.0, 2.0], shape=(2,)), "e": bx.IID(bx.shocks.Uniform(0.0, 1.0))},
        transitions={"w": bx.fixed},
        reward=lambda w, e: jnp.sum(w) + e,
        discount=0.9,
        horizon=1,
    )
    for grid, words in (({}, "e 7"), ({"w": (3, 4), "e": 5}, "e 5, w 3 x 4")):
        assert words in str(bx.solve(m, {}, bx.solvers.BackwardInduction(grid=grid)))


def test_a_program_is_compiled_well_once_it_has_run_a_few_times(compilations, monkeypatch):
    """Quick code answers first; good code says the same to rounding, and what follows compiles nothing more."""
    monkeypatch.setattr(programs, "HASTE", 3)
    once = programs.quickly_at_first(lambda x: jnp.sum(jnp.exp(jnp.sin(x)) / (1 + x)), little=True)
    x = np.linspace(0.0, 3.0, 100)
    known = np.sum(np.exp(np.sin(x)) / (1 + x))
    counts = []
    for _ in range(5):
        before = compilations.count
        np.testing.assert_allclose(once(x), known, rtol=1e-14)
        counts.append(compilations.count - before)
    assert counts == [1, 0, 0, 1, 0]
    np.testing.assert_allclose(jax.vmap(once)(jnp.stack([x, x])), [known, known], rtol=1e-14)
