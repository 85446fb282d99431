"""What bad input gets: a named exception with the offending name and number, the likely cause, and what to do.

One file, though it is long: nearly all of it are variants of its first model.
"""

import inspect
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.bellman import checks

UNTYPED = inspect.unwrap(bx.solve)
"""`solve` without the types that the tests check and a user's run does not."""

EVEN = [[0.5, 0.5], [0.5, 0.5]]


def model(**slots):
    base = dict(
        states={"w": bx.Continuous(0.5, 4.0), "z": bx.MarkovChain([0.8, 1.2], EVEN)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": lambda w, c, z: w - c + z},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=3,
    )
    for name, value in slots.items():
        base[name] = {**base[name], **value} if isinstance(base.get(name), dict) else value
    return bx.Model(**base)


BACKWARD = bx.solvers.BackwardInduction(grid={"w": 5}, maximiser=bx.maximise.Enumerate(grid={"c": 5}))
VALUE = bx.solvers.ValueIteration(grid={"w": 5}, maximiser=bx.maximise.Enumerate(grid={"c": 5}))


def refused(error, message, m, params=None, solver=BACKWARD, **options):
    with pytest.raises(error, match=message):
        bx.solve(m, params or {}, solver, **options)


# -- runtime: where, and in which period


def test_a_state_without_a_feasible_action():
    m = model(actions={"c": bx.Continuous(lambda period: jnp.where(period == 1, 0.6, 0.1), "w")})
    refused(
        bx.SolveError, r"no action is feasible at z = 0.8, w = 0.5 in period 1 \(2 of 10 states\).*c in \[0.6, 0.5\]", m
    )
    assert bx.solve(m, {}, BACKWARD, throw=False).result.name == "infeasible"
    m = model(constraints={"thrift": lambda c, w: c < 0.05 * w})
    refused(bx.SolveError, "no action is feasible at z = 0.8, w = 0.5 in period 2.*constraints: thrift", m)


@pytest.mark.parametrize("maximiser", [bx.maximise.Enumerate(grid={"c": 5}), bx.maximise.Newton()])
def test_a_reward_that_is_no_number(maximiser):
    solver = bx.solvers.BackwardInduction(grid={"w": 5}, maximiser=maximiser)
    m = model(reward=lambda c, w: jnp.log(c) + jnp.sqrt(w - 1.0))
    refused(bx.SolveError, r"reward gives NaN, at z = 0.8, w = 0.5 in period 2 \(2 of 10 states\)", m, solver=solver)
    assert bx.solve(m, {}, solver, throw=False).result.name == "nonfinite"


@pytest.mark.parametrize("scale", [bx.scales.linear, bx.scales.log, bx.scales.octave, bx.scales.asinh, bx.scales.power])
def test_a_transition_that_is_no_number(scale):
    space = {"w": bx.Continuous(0.5, 4.0, scale=scale)}
    m = model(states=space, transitions={"w": lambda w, c, z: jnp.sqrt(w - c - 0.2) + z})
    refused(bx.SolveError, r"transitions\['w'\] gives NaN, at z = 0.8, w = 0.5 in period 2.*with c = 0", m)


def test_a_function_on_the_way_to_the_reward_is_named():
    m = model(functions={"habit": lambda w: 1.0 / (w - 0.5)}, reward=lambda c, habit: jnp.log(c) + habit)
    refused(bx.SolveError, r"functions\['habit'\] gives infinity, at z = 0.8, w = 0.5", m)


def test_a_terminal_value_that_is_no_number():
    m = model(terminal=lambda w: jnp.log(w - 1.0))
    refused(bx.SolveError, r"terminal gives NaN at z = 0.8, w = 0.5.*\(2 of 10 states\)", m)


def test_a_law_that_leaves_its_categories():
    health = {"h": bx.Discrete(3)}
    m = model(states=health, transitions={"h": lambda h: h + 1})
    refused(bx.SolveError, r"transitions\['h'\] gives 3, which is none of its categories: \[0, 1, 2\], at.*h = 2", m)
    # an action that no constraint allows may point anywhere, and so may a branch of no weight
    m = model(
        states=health,
        actions={"study": bx.Discrete(2)},
        transitions={"h": lambda h, study: h + study},
        constraints={"room": lambda h, study: h + study <= 2},
    )
    assert bx.solve(m, {}, BACKWARD).result.name == "successful"
    m = model(
        states=health,
        shocks={"luck": bx.shocks.Categorical([0, 1], lambda h: jnp.where(h < 2, 0.5, jnp.array([1.0, 0.0])))},
        transitions={"h": lambda h, luck: h + luck.astype(int)},
    )
    assert bx.solve(m, {}, BACKWARD).result.name == "successful"
    m = model(states={"h": bx.Discrete([1.0, 1.5, 4.0])}, transitions={"h": lambda h: jnp.where(h > 1.2, h, 1.4)})
    refused(bx.SolveError, r"gives 1.4, which is none of its categories: \[1.0, 1.5, 4.0\]", m)


def test_probabilities_and_spreads_that_functions_give():
    health = {"h": bx.Discrete(2)}
    m = model(states=health, transitions={"h": bx.Markov(lambda w: jnp.stack([w / 4, 1 - w / 5]))})
    refused(bx.SolveError, r"transitions\['h'\] sums to .*; probabilities sum to one, at", m)
    m = model(states=health, transitions={"h": bx.Markov(lambda w: jnp.stack([w / 3, 1 - w / 3]))})
    refused(bx.SolveError, r"transitions\['h'\] holds the probability -0.04.*none may be negative", m)
    seen = {"w": lambda w, c, next_h: w - c + next_h}
    m = model(states=health, transitions={"h": bx.Markov(lambda w: jnp.stack([w / 3, 1 - w / 3])), **seen})
    refused(bx.SolveError, r"transitions\['h'\] holds the probability", m)
    noisy = {"w": lambda w, c, z, e: w - c + z + 0.01 * e}
    for shock, message in (
        (bx.shocks.Normal(0.0, lambda w: w - 1.0), r"sd of shock 'e' is -0.5; it must not be negative, at"),
        (bx.shocks.Lognormal(0.0, lambda w: w - 1.0), r"sd of shock 'e' is -0.5"),
        (bx.shocks.Jump(lambda w: 1.0 - w), r"intensity of shock 'e' is -0"),
        (bx.shocks.Categorical([0.0, 1.0], lambda w: jnp.stack([w, 0.5])), r"probabilities of shock 'e' sums to"),
    ):
        refused(bx.SolveError, message, model(shocks={"e": shock}, transitions=noisy))
    chance = bx.shocks.Categorical([0, 1], lambda p: jnp.stack([p, 1 - p]))
    m = model(states={"luck": bx.IID(chance)})
    refused(bx.ParameterError, "probabilities of .*'luck'.* holds the probability -0.5", m, {"p": 1.5})
    leaning = bx.shocks.MultivariateNormal(0.0, lambda w: w * jnp.array([[1.0, 0.8], [0.0, 1.0]]), size=2)
    m = model(shocks={"e": leaning}, transitions={"w": lambda w, c, z, e: w - c + z + 0.01 * e[0]})
    refused(bx.SolveError, "covariance of shock 'e' is not symmetric", m)
    m = model(shocks={"e": bx.shocks.Normal(0.0, lambda spread: -spread)}, transitions=noisy)
    refused(bx.ParameterError, "sd of shock 'e' is -0.1; it must not be negative", m, {"spread": 0.1})


def test_numbers_that_make_no_model_under_a_transformation(jitted):
    """Nothing can raise there: V is NaN, the result says so, and the lane beside it is what it is among right ones."""

    def lanes(m, name, right, wrong):
        def asked(x):
            solution = bx.solve(m, {name: x}, BACKWARD)
            return solution.code, solution.value(0, w=2.0, z=0.8)

        run = jitted(jax.vmap(asked))
        codes, values = run(jnp.asarray([right, wrong]))
        _, known = run(jnp.asarray([right, right]))
        assert codes.tolist() == [0, 3]
        np.testing.assert_allclose(values, [known[1], np.nan], rtol=1e-12)

    lanes(model(states={"z": bx.MarkovChain([0.8, 1.2], lambda p: jnp.array([[p, 1 - p], [0.5, 0.5]]))}), "p", 0.3, 1.3)
    lanes(model(states={"z": bx.MarkovChain([0.8, 1.2], "P")}), "P", np.array(EVEN), np.array(EVEN) + 0.1)
    lanes(model(discount="b"), "b", 0.9, -0.1)
    noisy = {"w": lambda w, c, z, e: w - c + z + 0.01 * e}
    lanes(model(shocks={"e": bx.shocks.Normal(0.0, "sd")}, transitions=noisy), "sd", 0.1, -0.1)
    chance = bx.shocks.Categorical([0, 1], lambda p: jnp.stack([p, 1 - p]))
    lanes(model(shocks={"e": chance}, transitions=noisy), "p", 0.3, 1.3)
    logarithmic = {"w": bx.Continuous("least", 4.0, scale=bx.scales.log), "z": bx.MarkovChain([0.8, 1.2], EVEN)}
    lanes(model(states=logarithmic), "least", 0.5, 0.0)
    moving = bx.compile(model(states={"w": bx.Continuous(0.5, "most")}), BACKWARD)
    for most, result in (([4.0, 4.0, 4.0, 4.0], "successful"), ([4.0, 4.0, 4.0, 0.1], "nonfinite")):
        assert (
            moving({"most": bx.by_period(most)}).result.name == result
        )  # the last is the grid after the last decision
    rows = bx.MarkovChain([0.8, 1.2], lambda p: jnp.array([[p, 1.0], [0.5, 0.5]]))
    wrong = bx.compile(model(states={"z": rows}), BACKWARD)({"p": 0.1})
    assert wrong.result.name == "nonfinite"
    assert np.isnan(np.asarray(wrong.values.levels)).all()


def test_a_value_of_minus_infinity_everywhere():
    cake = bx.Model(
        states={"w": bx.Continuous(0.0, 10.0)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: jnp.log(c),
        discount=0.9,
    )
    with pytest.raises(bx.SolveError, match="minus infinity at every node.*Raise the lower bound"):
        bx.solve(cake, {}, VALUE)
    assert bx.solve(cake, {}, VALUE, throw=False).result.name == "successful"


def test_no_action_is_the_answer_where_none_is_allowed():
    found = bx.solve(model(), {}, replace(BACKWARD, outside=bx.outside.Extrapolate()))
    assert np.isnan(np.asarray(found.policy(0, w=[-1.0, 0.05], z=0.8)["c"])).all()
    assert np.asarray(found.value(0, w=-1.0, z=0.8)) == -np.inf


def test_values_and_probabilities_of_different_lengths():
    message = "3 values and 2 probabilities; each value needs one"
    with pytest.raises(bx.ModelError, match=message):
        bx.shocks.Categorical([0, 1, 2], [0.5, 0.5])
    noisy = {"w": lambda w, c, z, e: w - c + z + 0.01 * e}
    m = model(shocks={"e": bx.shocks.Categorical([0, 1, 2], "chances")}, transitions=noisy)
    refused(bx.ModelError, message, m, {"chances": np.array([0.5, 0.5])})
    m = model(shocks={"e": bx.shocks.Categorical([0, 1, 2], lambda p: [p, 1 - p])}, transitions=noisy)
    refused(bx.ModelError, message, m, {"p": 0.5})
    drawn = bx.IID(bx.shocks.Categorical([0.8, 1.0, 1.2], lambda p: jnp.stack([p, 1 - p])))
    refused(bx.ModelError, message, model(states={"z": drawn}), {"p": 0.5})


def test_a_failure_among_candidates_that_are_values():
    m = bx.Model(
        states={"s": bx.Continuous(10.0, 20.0)},
        actions={"a": bx.Continuous(10.0, 20.0)},
        transitions={"s": "a"},
        reward=lambda a: jnp.log(15 - a),
        discount=0.9,
    )
    how = bx.maximise.Enumerate(grid={"a": bx.grids.Given(np.linspace(10, 20, 11))})
    refused(bx.SolveError, "reward gives NaN", m, {}, bx.solvers.ValueIteration(grid={"s": 5}, maximiser=how))


@pytest.mark.parametrize("weight", [1e-120, 1e-180, 1e-300])
def test_a_tiny_probability_of_minus_infinity(weight):
    """It is either minus infinity or nothing: never a huge number between."""
    m = bx.Model(
        states={"z": bx.MarkovChain(2, lambda tiny: jnp.array([[1 - tiny, tiny], [0.0, 1.0]]))},
        reward=lambda z: jnp.where(z == 1, -jnp.inf, 1.0),
        discount=0.5,
        horizon=3,
    )
    found = float(bx.solve(m, {"tiny": weight}).value(0, z=0))
    assert found == (-np.inf if weight > 1e-140 else 1.75)


def test_what_functions_of_the_state_get_wrong():
    refused(bx.ModelError, "reward gives complex numbers", model(reward=lambda c: jnp.log(c) + 5j))
    refused(bx.SolveError, r"discount is -.*; it must not be negative, at", model(discount=lambda w: 1 - w))
    noisy = {"w": lambda w, c, z, e: w - c + z + 0.01 * e}
    m = model(shocks={"e": bx.shocks.Uniform(0.0, lambda w: -w)}, transitions=noisy)
    refused(bx.SolveError, "shock 'e' runs from 0.0 down to -0.5; swap its bounds, at", m)
    m = bx.Model(
        states={"s": bx.Discrete(2)}, transitions={"s": bx.Markov(lambda s: [0.5, 0.5])}, reward=1.0, discount=0.9
    )
    refused(bx.ModelError, r"gives a list, which is no array; give a number or jnp.array", m, solver=None)


def test_a_count_of_categories_beyond_memory():
    with pytest.raises(bx.ModelError, match="1000000000 categories.*beyond memory"):
        bx.Discrete(10**9)


def test_a_law_in_eight_bits():
    m = bx.Model(
        states={"s": bx.Discrete(200)},
        transitions={"s": lambda s: jnp.minimum(s + 1, 100).astype(jnp.int8)},
        reward=lambda s: 1.0 * s,
        discount=0.5,
        horizon=2,
    )
    np.testing.assert_allclose(bx.solve(m, {}).value(0, s=[0, 99, 150]), [0.5, 149.0, 200.0])


def test_a_horizon_for_a_model_that_has_one():
    refused(bx.ModelError, "horizon= is for a model without end.*has horizon=3", model(), horizon=2)


def test_a_value_that_diverges():
    m = model(horizon=np.inf, discount=lambda z: 1.2 * z)
    found = bx.solve(m, {}, VALUE, throw=False)
    assert found.result.name == "nonfinite"
    refused(bx.SolveError, "it diverges. Is the discount below one", m, solver=VALUE)


# -- parameters


def test_rows_that_do_not_sum_to_one():
    bad = [[0.5, 0.5], [0.3, 0.69]]
    m = model(states={"z": bx.MarkovChain([0.8, 1.2], "P")})
    refused(bx.ParameterError, "'P'.*sums to 0.99 in row 1", m, {"P": bad})
    refused(bx.ParameterError, "negative|-0.1", m, {"P": [[1.1, -0.1], [0.5, 0.5]]})
    published = model(states={"z": bx.MarkovChain([0.8, 1.2], "P", row_tolerance=0.02)})
    found = bx.solve(published, {"P": bad}, BACKWARD)
    # used as they are: the weights of the second row are .3 and .69
    last = np.asarray(found.values.levels[2])
    assert np.isfinite(last).all()
    computed = model(states={"z": bx.MarkovChain([0.8, 1.2], lambda p: jnp.array([[p, 1 - p], [0.5, 0.4]]))})
    refused(
        bx.ParameterError, "transition of state 'z' sums to 0.9 in row 1; .*row_tolerance=0.1", computed, {"p": 0.3}
    )


def test_rows_that_are_wrong_in_one_period_only():
    broken = lambda period: jnp.where(period == 1, 0.9, 1.0) * jnp.full((2, 2), 0.5)  # noqa: E731
    m = model(states={"z": bx.MarkovChain([0.8, 1.2], broken)})
    refused(bx.ParameterError, "transition of state 'z' in period 1 sums to 0.9 in row 0", m)


def test_discounts():
    refused(
        bx.ParameterError,
        "discount is 1 and the horizon is infinite",
        model(horizon=np.inf, discount="b"),
        {"b": 1.0},
        VALUE,
    )
    refused(
        bx.ParameterError,
        "discount is 1.05.*below one",
        model(horizon=np.inf, discount=lambda b: b + 0.1),
        {"b": 0.95},
        VALUE,
    )
    with pytest.raises(bx.ModelError, match="discount is 1 and the horizon is infinite"):
        model(horizon=np.inf, discount=1.0)
    refused(bx.ParameterError, "discount is -0.5; it must not be negative", model(discount="b"), {"b": -0.5})
    assert bx.solve(model(discount=1.1), {}, BACKWARD).result.name == "successful"


def test_bounds_and_scales_of_states():
    refused(
        bx.ParameterError, "'w' runs from 3.* to 2", model(states={"w": bx.Continuous("a", "b")}), {"a": 3.0, "b": 2.0}
    )
    log = bx.solvers.BackwardInduction(grid={"w": bx.grids.Scaled(5, bx.scales.log)})
    zero = model(states={"w": bx.Continuous(0.0, 4.0)}, actions={"c": bx.Continuous(0.0, "w")})
    refused(bx.ParameterError, "'w' starts at 0.*logarithm.*asinh", zero, solver=log)
    given = bx.solvers.BackwardInduction(grid={"w": bx.grids.Given((0.0, 1.0, 4.0), bx.scales.log)})
    refused(bx.ParameterError, "'w' starts at 0.*logarithm", zero, solver=given)
    power = bx.solvers.BackwardInduction(grid={"w": bx.grids.Scaled(5, bx.scales.power)})
    below = model(states={"w": bx.Continuous(-1.0, 4.0)}, actions={"c": bx.Continuous(0.1, 0.2)})
    refused(bx.ParameterError, "'w' starts at -1.*power", below, solver=power)
    refused(bx.ParameterError, "rho = 1.*rho", model(states={"z": bx.AR1("rho", 0.1)}), {"rho": 1.0})


def test_parameters_by_name():
    m = model(discount="patience")
    refused(bx.ParameterError, "missing parameters: 'patience'", m)
    refused(bx.ParameterError, "'patiense'.*Did you mean 'patience'", m, {"patience": 0.9, "patiense": 0.9})
    refused(bx.ParameterError, "'patience' contains NaN", m, {"patience": np.nan})


# -- options


def test_grids():
    for count in (1, 0, -3):
        refused(
            bx.ModelError,
            f"grid of 'w' has {count} nodes; its interpolant needs at least 2",
            model(),
            solver=bx.solvers.BackwardInduction(grid={"w": count}),
        )
    refused(
        bx.ModelError,
        "grid: state 'ww' is unknown. Did you mean 'w'",
        model(),
        solver=bx.solvers.BackwardInduction(grid={"ww": 5}),
    )
    refused(
        bx.ModelError,
        "state 'z' is discrete and has exactly its categories",
        model(),
        solver=bx.solvers.BackwardInduction(grid={"z": 5}),
    )
    refused(
        bx.ModelError,
        "AR1 state 'z' has 1 node",
        model(states={"z": bx.AR1(0.5, 0.1)}),
        solver=bx.solvers.BackwardInduction(grid={"z": 1}),
    )


def test_a_grid_beyond_memory(monkeypatch):
    monkeypatch.setattr(checks, "physical_memory", lambda: 2**20)
    solver = bx.solvers.BackwardInduction(grid={"w": 10**6}, interpolant=bx.interpolants.Linear())
    # 2 x a million nodes x (4 periods + a table) x 8 bytes
    refused(bx.ModelError, r"2 x 1000000 = 2e\+06 nodes.*8e\+07 bytes.*ILQG.*PolicyGradient", model(), solver=solver)


def test_quadrature():
    m = model(shocks={"e": bx.shocks.Normal()}, transitions={"w": lambda w, c, e: w - c + 1 + 0.1 * e})
    for given, message in [
        ({"eps": 3}, "quadrature: shock 'eps' is unknown"),
        ({"e": 0}, "shock 'e' has 0 nodes"),
        ({"e": "many"}, "quadrature 'many' is neither"),
        ({"e": bx.quadrature.GaussLegendre(3)}, "rule for uniform shocks"),
    ]:
        refused(bx.ModelError, message, m, solver=bx.solvers.BackwardInduction(grid={"w": 5}, quadrature=given))


def test_misspelt_and_wrong_options():
    with pytest.raises(bx.ModelError, match="'gird' is unknown. Did you mean 'grid'"):
        bx.solvers.ValueIteration(gird={"w": 5})
    refused(bx.ModelError, "BackwardInduction starts from the last period.*PolicyIteration", model(horizon=np.inf))
    refused(bx.ModelError, "ValueIteration.*horizon is finite.*BackwardInduction", model(), solver=VALUE)
    refused(bx.ModelError, "PolicyIteration.*horizon is finite", model(), solver=bx.solvers.PolicyIteration())
    m = model(constraints={"thrift": lambda c, w: c < w})
    refused(
        bx.ModelError,
        "Newton cannot honour.*thrift.*bound of the action",
        m,
        solver=bx.solvers.BackwardInduction(maximiser=bx.maximise.Newton()),
    )
    bx.solve(m, {}, BACKWARD)  # and enumeration masks


def test_terminal_solutions():
    m = model(terminal=lambda w: w)
    last = bx.solve(m, {}, BACKWARD)
    refused(bx.ModelError, "terminal value of its own", m, terminal=last)
    other = bx.Model(states={"k": bx.Discrete(2)}, transitions={"k": bx.fixed}, reward=lambda k: 1.0 * k, discount=0.5)
    refused(bx.ModelError, "state of the terminal solution 'k' is unknown", model(), terminal=bx.solve(other, {}))
    three = model(states={"z": bx.MarkovChain([0.8, 1.0, 1.2], np.eye(3))})
    last = bx.solve(three, {}, BACKWARD)
    refused(bx.ModelError, "state 'z' of the terminal solution has other categories", model(), terminal=last)


def test_a_terminal_solution_that_failed():
    endless = model(horizon=np.inf)
    stopped = bx.solve(
        endless, {}, bx.solvers.ValueIteration(grid={"w": 5}, max_steps=2, maximiser=BACKWARD.maximiser), throw=False
    )
    refused(bx.ModelError, "terminal solution ended as .*max_steps_reached", model(), terminal=stopped)
    diverged = bx.solve(model(horizon=np.inf, discount=lambda z: 1.2 * z), {}, VALUE, throw=False)
    refused(bx.ModelError, "terminal solution ended as .*nonfinite", model(), terminal=diverged)


def test_a_constraint_that_gives_a_number():
    refused(
        bx.ModelError,
        "constraints\\['thrift'\\] gives a number.*write a comparison, or bx.nonnegative",
        model(constraints={"thrift": lambda c, w: w - c}),
    )


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (lambda c, w: c <= w, "constraints\\['thrift'\\] gives True or False, and bx.nonnegative takes a number"),
        (lambda c, w: jnp.stack([c, w]), "constraints\\['thrift'\\] has shape \\(2,\\); it must be a single number"),
        (lambda c, w: w - c + 1j, "constraints\\['thrift'\\] gives complex numbers"),
    ],
)
def test_a_smooth_constraint_that_is_none(constraint, message):
    refused(bx.ModelError, message, model(constraints={"thrift": bx.nonnegative(constraint)}))


def test_where_a_smooth_constraint_does_not_belong():
    with pytest.raises(bx.ModelError, match=r"constraints\['safe'\] names the realised process 'next_z'; it may name"):
        model(constraints={"safe": bx.nonnegative(lambda next_z: next_z)})
    with pytest.raises(bx.ModelError, match="reward is Nonnegative.*neither a number, a name, nor a function"):
        model(reward=bx.nonnegative(lambda c: c))
    with pytest.raises(bx.ModelError, match="stands around another"):
        bx.nonnegative(bx.nonnegative(lambda c: c))


# -- what can be stated and not yet solved


def test_models_that_this_version_does_not_solve():
    regimes = bx.Model(
        regimes={"a": bx.Regime(next_regime=lambda: {"b": 1.0}), "b": bx.Terminal(value=lambda w: w)},
        states={"w": bx.Continuous(0.0, 1.0)},
        transitions={"w": bx.fixed},
        reward=lambda w: w,
        discount=0.9,
        horizon=2,
    )
    refused(bx.ModelError, "PolicyIteration solves models of one regime", regimes, solver=bx.solvers.PolicyIteration())
    endless = replace(regimes, horizon=math.inf)
    refused(bx.ModelError, "BackwardInduction starts from the last period", endless)
    refused(bx.ModelError, "preferences .*expected utility", model(preferences=bx.EpsteinZin(2.0, 0.5)))
    taste = model(actions={"work": bx.Discrete(2)}, taste_shocks=bx.ExtremeValue(0.1, over=("work",)))
    refused(
        bx.ModelError, "taste shocks and `stop`, and does not say whether stopping has one", replace(taste, stop=0.0)
    )
    conditions = bx.Conditions(
        states={"k": bx.Continuous(0.2, 5.0)},
        unknowns={"c": bx.Continuous(0.0, 1.0)},
        transitions={"k": lambda k, c: k - c},
        equations={"euler": lambda c, next_c: c - next_c},
    )
    for statement, name in (
        (conditions, "Conditions"),
        ("merton", "bx.Model, not 'merton'"),
    ):
        for options in ({}, {"horizon": 3}):
            with pytest.raises(bx.ModelError, match=name):
                UNTYPED(statement, {}, **options)
