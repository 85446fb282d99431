"""Models of several regimes against plain recursions in numpy, on common grids."""

import dataclasses
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

import bellax as bx
from bellax.cli.run import Request, run
from bellax.models import health_regimes


def linear(values, x):
    """Linear interpolation, and straight lines beyond the ends."""
    cell = np.clip(np.searchsorted(NODES, x, side="right") - 1, 0, len(NODES) - 2)
    share = (x - NODES[cell]) / (NODES[cell + 1] - NODES[cell])
    return values[cell] + share * (values[cell + 1] - values[cell])


NODES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 50.0])
SHARES = np.linspace(0.0, 1.0, 15)
ON_A_GRID = bx.solvers.BackwardInduction(
    grid={"wealth": bx.grids.Given(NODES)},
    maximiser=bx.maximise.Enumerate(grid={"consumption": len(SHARES)}),
    interpolant=bx.interpolants.Linear(extrapolation="linear"),
)


@pytest.fixture(scope="module")
def health():
    """The model of health and retirement from 62 to 68, and its solution."""
    model, by_candidates = health_regimes.coarse()
    return model, health_regimes.params, bx.solve(model, health_regimes.params, by_candidates)


@pytest.fixture(scope="module")
def mortality():
    """Alive pays 1, survival .9, dead is worth nothing: no state at all."""
    alive = bx.Regime(reward=1.0, next_regime=lambda survival: {"alive": survival, "dead": 1 - survival})
    return bx.Model(regimes={"alive": alive, "dead": bx.Terminal()}, horizon=3)


def test_a_regime_without_any_state(mortality):
    params = {"survival": 0.9, "discount": 0.95}
    solution = bx.solve(mortality, params)
    assert float(solution["alive"].value(period=0)) == pytest.approx(1 + 0.855 + 0.855**2, abs=1e-14)  # 2.586025
    assert float(solution["dead"].value(period=1)) == 0.0
    panel = bx.simulate(solution, 40_000, {"regime": "alive"}, seed=1)
    np.testing.assert_allclose(panel.share("alive"), [1.0, 0.9, 0.81], atol=0.01)
    assert float(panel.present_value().mean()) == pytest.approx(2.586025, abs=0.01)
    frame = panel.frame()
    assert set(frame["regime"]) == {"alive", "dead"}
    assert len(frame) == int(np.sum(np.asarray(panel.regime) >= 0))


def test_derivatives_pass_through_regimes(mortality, jitted):
    def value(survival):
        return bx.solve(mortality, {"survival": survival, "discount": 0.95})["alive"].value(period=0)

    found, slopes = jitted(jax.vmap(jax.value_and_grad(value)))(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(found, [1 + 0.475 + 0.475**2, 2.586025], rtol=1e-12)
    np.testing.assert_allclose(slopes, [0.95 + 2 * 0.5 * 0.95**2, 0.95 + 2 * 0.9 * 0.95**2], rtol=1e-12)


# -- processes and mappings across a boundary


PARAMS = {
    "discount": 0.95,
    "rho": 0.8,
    "sigma": 0.3,
    "spread": 0.4,
    "working": {"growth": 1.02},
    "retired": {"growth": 1.1, "pension": 0.5},
}


def _growing(wealth, income, consumption, growth):
    return growth * (wealth + income - consumption)


def _saving(**slots):
    """An AR1 that goes on in retirement, luck of workers, and wealth that grows at the rate of the regime reached."""
    ar1, iid = bx.AR1("rho", "sigma"), bx.IID(bx.shocks.Normal(0.0, "spread"))
    working = bx.Regime(
        states={"z": ar1, "luck": iid},
        functions={"income": lambda z, luck: jnp.exp(z + luck)},
        next_regime=lambda z: {"working": 1 / (1 + jnp.exp(-z)), "retired": 1 - 1 / (1 + jnp.exp(-z))},
    )
    retired = bx.Regime(
        states={"z": ar1},
        functions={"income": lambda pension, z: pension * jnp.exp(z)},
        entry={
            "wealth": {"working": lambda wealth, income, consumption, growth: growth * (wealth + income - consumption)}
        },
        **slots,
    )
    return bx.Model(
        regimes={"working": working, "retired": retired},
        states={"wealth": bx.Continuous(0.0, 50.0)},
        actions={"consumption": bx.Continuous(0.01, lambda wealth, income: wealth + 0.9 * income)},
        transitions={"wealth": _growing},
        reward=lambda consumption: jnp.log(consumption),
        horizon=4,
    )


def _rouwenhorst():
    p = 0.9
    nodes = 0.3 / np.sqrt(1 - 0.8**2) * np.sqrt(2) * np.array([-1.0, 0.0, 1.0])
    chain = [[p * p, 2 * p * (1 - p), (1 - p) ** 2], [p * (1 - p), p * p + (1 - p) ** 2, p * (1 - p)]]
    return nodes, np.array([*chain, chain[0][::-1]])


def _best(wealth, income, chances):
    """The best of all shares, given probability, growth and expected V at the nodes of each regime."""
    c = (1 - SHARES) * 0.01 + SHARES * (wealth + 0.9 * income)
    left = wealth + income - c
    return np.max(np.log(c) + 0.95 * sum(p * linear(expected, growth * left) for p, growth, expected in chances))


def _saving_in_numpy():
    nodes, chain = _rouwenhorst()
    luck, weights = np.polynomial.hermite_e.hermegauss(3)
    luck, weights = 0.4 * luck, weights / weights.sum()
    working, retired = np.zeros((5, 3, 3, len(NODES))), np.zeros((5, 3, len(NODES)))
    for t in range(3, -1, -1):
        at_work = np.einsum("zy,ylk,l->zk", chain, working[t + 1], weights)
        at_rest = chain @ retired[t + 1]
        for k, wealth in enumerate(NODES):
            for j, z in enumerate(nodes):
                stay = 1 / (1 + np.exp(-z))
                chances = [(stay, 1.02, at_work[j]), (1 - stay, 1.1, at_rest[j])]
                working[t, j, :, k] = [_best(wealth, np.exp(z + e), chances) for e in luck]
                retired[t, j, k] = _best(wealth, 0.5 * np.exp(z), [(1.0, 1.1, at_rest[j])])
    return {"working": working, "retired": retired}


def test_processes_go_on_or_are_drawn_afresh_and_parameters_belong_to_their_owner():
    solution = bx.solve(_saving(), PARAMS, dataclasses.replace(ON_A_GRID, grid={**ON_A_GRID.grid, "z": 3, "luck": 3}))
    for regime, known in _saving_in_numpy().items():
        np.testing.assert_allclose(solution.values[regime].levels, known, rtol=1e-12, atol=1e-12)
    middle = solution["working"].value(period=1, wealth=3.0, z=0.1, luck=0.2)
    assert np.isfinite(float(middle))


def test_a_process_that_the_target_has_otherwise_is_read_between_its_nodes():
    """The chain of the source, V of the target at its own nodes: put on them with the same mean and variance."""
    wide = _saving(shocks={})
    grid = {"working": {"z": 3}, "retired": {"z": 5}, "luck": 3, **ON_A_GRID.grid}
    solution = bx.solve(wide, PARAMS, dataclasses.replace(ON_A_GRID, grid=grid))
    nodes, chain = _rouwenhorst()
    five = 0.3 / np.sqrt(1 - 0.8**2) * 2 * np.linspace(-1, 1, 5)
    retired, working = np.asarray(solution.values["retired"].levels), np.asarray(solution.values["working"].levels)
    luck, weights = np.polynomial.hermite_e.hermegauss(3)
    at = CubicSpline(five, retired[3])(nodes)  # which a smooth V hardly tells from that
    stayed = np.einsum("zy,ylk,l->zk", chain, working[3], weights / weights.sum())
    income, stay = np.exp(nodes[2] + 0.4 * luck[0]), 1 / (1 + np.exp(-nodes[2]))
    known = _best(NODES[4], income, [(stay, 1.02, stayed[2]), (1 - stay, 1.1, (chain @ at)[2])])
    assert working[2, 2, 0, 4] == pytest.approx(known, rel=2e-4)


# -- when regimes exist


def _career(**working):
    job = bx.Regime(reward=1.0, active=lambda age: age < 62, **working)
    rest = bx.Regime(reward=0.5, active=lambda age: age >= 61)
    return bx.Model(regimes={"job": job, "rest": rest}, discount=0.9, horizon=bx.Ages(60, 63))


def test_periods_of_several_kinds():
    """Work at 60 and 61, rest from 62 on: a regime is worth a number where it is active, and raises elsewhere."""
    model = _career(next_regime=lambda age: {"job": 1.0 * (age < 61), "rest": 1.0 * (age >= 61)})
    solution = bx.solve(model, {})
    rest = [0.5 * (1 + 0.9), 0.5]
    assert float(solution["rest"].value(age=62)) == pytest.approx(rest[0], abs=1e-15)
    assert float(solution["job"].value(age=60)) == pytest.approx(1 + 0.9 * (1 + 0.9 * rest[0]), abs=1e-15)
    with pytest.raises(bx.ParameterError, match="'job' is not active at age 62"):
        solution["job"].value(age=62)
    with pytest.raises(bx.ParameterError, match="agent 0 starts in the regime 'rest' at age 60, which is not active"):
        bx.simulate(solution, 3, {"regime": "rest"})
    panel = bx.simulate(solution, 3, {"regime": "job"})
    assert [panel.regimes[k] for k in np.asarray(panel.regime)[0]] == ["job", "job", "rest", "rest"]
    np.testing.assert_allclose(panel.present_value(), float(solution["job"].value(age=60)), rtol=1e-14)


def test_derivatives_where_a_regime_does_not_exist(with_value):
    """In both modes: what is not active is worth no number, and its derivative is none either."""
    job = bx.Regime(
        states={"x": bx.Continuous(0.0, 4.0)},
        transitions={"x": lambda x, gain: x * gain},
        reward="x",
        active=lambda age: age < 62,
        next_regime=lambda age: {"job": 1.0 * (age < 61), "rest": 1.0 * (age >= 61)},
    )
    rest = bx.Regime(states={"x": bx.Continuous(0.0, 4.0)}, transitions={"x": bx.fixed}, reward="x")
    model = bx.Model(
        regimes={"job": job, "rest": dataclasses.replace(rest, active=lambda age: age >= 62)},
        discount=0.5,
        horizon=bx.Ages(60, 62),
    )
    value = lambda gain: bx.solve(model, {"gain": gain})["job"].value(age=60, x=1.0)  # noqa: E731
    for derivative in (jax.grad, jax.jacfwd):
        slope, found = with_value(value, derivative)(1.1)
        assert float(found) == pytest.approx(1 + 0.5 * 1.1 + 0.25 * 1.1**2, rel=1e-12)
        assert float(slope) == pytest.approx(0.5 + 0.5 * 1.1, rel=1e-9)


def test_a_process_does_not_become_a_number_by_itself():
    a = bx.Regime(states={"z": bx.AR1(0.5, 0.1)}, reward="z", next_regime=lambda: {"b": 1.0})
    laws = {"z": bx.fixed}
    b = bx.Regime(states={"z": bx.Continuous(-1.0, 1.0)}, transitions=laws, reward="z")
    with pytest.raises(bx.ModelError, match="'z' is a bx.AR1 in 'a' and a bx.Continuous in 'b'"):
        bx.solve(bx.Model(regimes={"a": a, "b": b}, discount=0.9, horizon=2), {})
    b = dataclasses.replace(b, entry={"z": {"a": "next_z"}})
    solution = bx.solve(bx.Model(regimes={"a": a, "b": b}, discount=0.9, horizon=2), {})
    assert float(solution["a"].value(period=0, z=0.2)) == pytest.approx(0.2 + 0.9 * 0.1, abs=1e-12)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (lambda: {"job": 0.0, "rest": 1.0}, "gives the probability 1 to the regime 'rest', which is not active"),
        (lambda: {"job": 0.5, "rest": 0.6}, "sums to 1.1; probabilities sum to one"),
        (lambda: {"job": 1.5, "rest": -0.5}, "holds the probability -0.5"),
    ],
)
def test_probabilities_of_regimes_that_are_none(law, message):
    job = bx.Regime(reward=1.0, next_regime=law)
    rest = bx.Regime(reward=0.5, active=lambda age: age < 61, next_regime=lambda: {"job": 1.0})
    model = bx.Model(regimes={"job": job, "rest": rest}, discount=0.9, horizon=bx.Ages(60, 63))
    with pytest.raises(bx.SolveError, match=message):
        bx.solve(model, {})


def test_what_is_a_matter_of_all_regimes_takes_the_whole_solution(health):
    _, _, solution = health
    for asked in (bx.simulate, bx.certify):
        with pytest.raises(bx.ModelError, match="takes the whole solution"):
            asked(solution["working"])
    with pytest.raises(bx.ModelError, match=r"solution\['working'\].policy"):
        solution.policy(age=62, wealth=1.0)
    with pytest.raises(bx.ModelError, match="no regime 'retird'. Did you mean 'retired'"):
        solution["retird"]
    with pytest.raises(bx.ModelError, match="ends the problem"):
        solution["dead"].policy(age=62, wealth=1.0)


@pytest.mark.long
def test_the_certificate_sees_a_coarse_grid_and_a_simulation_agrees(health):
    model, params, coarse = health
    fine = bx.solve(model, params, bx.solvers.BackwardInduction(grid={"wealth": 60}))
    at = {"age": 62, "health": "good", "wealth": 5.0}
    promised = float(fine["working"].value(**at))
    start = {"regime": "working", "health": "good", "wealth": 5.0}
    found = bx.certify(coarse, points=200, agents=100, start=start)
    assert found.value_error > abs(float(coarse["working"].value(**at)) - promised)
    assert set(found.regimes) == {"working", "retired"}
    assert "working" in str(found) and "worst at" in str(found)
    paid = np.asarray(bx.simulate(fine, 4000, start).present_value())
    assert abs(paid.mean() - promised) < 4 * paid.std() / 4000**0.5


def test_leaving_the_grid_of_another_regime_is_counted():
    narrow = bx.Regime(states={"wealth": bx.Continuous(0.0, 1.0)}, transitions={"wealth": bx.fixed}, reward="wealth")
    wide = bx.Regime(
        states={"wealth": bx.Continuous(0.0, 4.0)},
        transitions={"wealth": bx.fixed},
        reward="wealth",
        next_regime=lambda: {"narrow": 1.0},
    )
    model = bx.Model(regimes={"wide": wide, "narrow": narrow}, discount=0.9, horizon=2)
    solution = bx.solve(model, {})
    assert float(solution["wide"].stats["above:narrow.wealth"]) > 0
    assert "above narrow.wealth" in solution.leaving()
    assert "narrow.wealth" in str(bx.certify(solution, points=50, agents=10))


# -- in words, in a figure, on the command line


def test_a_model_is_described(health):
    model, params, _ = health
    words = model.describe(model.parameters(params))
    assert "working -> working, retired, dead" in words
    collapsed = "working -> retired, health: collapse(next_health, robust_from); entry of 'retired' for 'working'"
    assert f"{collapsed}; parameters of retired" in words
    assert "known with the parameters" in model.describe()
    assert "active from age 60 to 61" in _career().describe()


def test_a_regime_is_drawn(health):
    _, _, solution = health
    assert len(bx.plot(solution["retired"]).axes) >= 2
    figure = bx.plot(solution)
    rows = [place.get_title(loc="left") for place in figure.axes if place.get_title(loc="left")]
    assert rows == ["working", "retired"]
    labels = [place.get_ylabel() for place in figure.axes if place.get_visible()]
    assert labels == ["value", "consumption", "labor", "value", "consumption"]


def test_the_command_line_runs_regimes(tmp_path, capsys):
    run(Request("mortality", (), None, (), tmp_path / "out", 0, 500, False), as_json=False)
    assert "2.586025" in capsys.readouterr().out
    shares = (tmp_path / "out" / "shares.csv").read_text().splitlines()
    assert shares[0] == "age,alive,dead" and len(shares) == 4
    assert (tmp_path / "out" / "certificate.json").is_file()


# -- without end


def _employment():
    """Work and unemployment, back and forth; wealth of a worker grows by saving. Nobody dies."""
    law = lambda wealth, consumption, income: jnp.minimum(wealth - consumption + income, 50.0)  # noqa: E731
    job = bx.Regime(functions={"income": lambda wage: wage}, next_regime=lambda lost: {"job": 1 - lost, "out": lost})
    back = lambda found: {"job": found, "out": 1 - found}  # noqa: E731
    out = bx.Regime(functions={"income": lambda benefit: benefit}, next_regime=back)
    return bx.Model(
        regimes={"job": job, "out": out},
        states={"wealth": bx.Continuous(0.0, 50.0)},
        actions={"consumption": bx.Continuous(0.01, lambda wealth: wealth + 0.01)},
        transitions={"wealth": law},
        reward=lambda consumption: jnp.log(consumption),
    )


SEARCH = {"lost": 0.1, "found": 0.4, "wage": 1.0, "benefit": 0.3, "discount": 0.9}


def test_regimes_without_end_are_the_limit_of_many_periods():
    options = {option: getattr(ON_A_GRID, option) for option in ("grid", "maximiser", "interpolant")}
    iterated = bx.solvers.ValueIteration(**options)
    solution = bx.solve(_employment(), SEARCH, iterated)
    chances, incomes = np.array([[0.9, 0.1], [0.4, 0.6]]), (1.0, 0.3)
    value = np.zeros((2, len(NODES)))
    for _ in range(400):
        new = np.zeros_like(value)
        for r in range(2):
            expected = chances[r] @ value
            for k, wealth in enumerate(NODES):
                c = (1 - SHARES) * 0.01 + SHARES * (wealth + 0.01)
                new[r, k] = np.max(np.log(c) + 0.9 * linear(expected, np.minimum(wealth - c + incomes[r], 50.0)))
        value = new
    for place, regime in enumerate(("job", "out")):
        np.testing.assert_allclose(solution.values[regime].levels, value[place], rtol=1e-6)
    panel = bx.simulate(solution, 4000, {"regime": "job", "wealth": 2.0}, periods=60)
    assert float(panel.share("job")[-1]) == pytest.approx(0.8, abs=0.03)
    with pytest.raises(bx.ModelError, match="say how many periods"):
        bx.simulate(solution, 10, {"regime": "job", "wealth": 2.0})


def test_without_end_derivatives_are_implicit_and_the_solver_is_chosen(with_value):
    model = bx.Model(
        regimes={
            "a": bx.Regime(reward="pay", next_regime=lambda p: {"a": 1 - p, "b": p}),
            "b": bx.Regime(reward=0.0, next_regime=lambda p: {"b": 1 - p, "a": p}),
        },
        discount=0.9,
    )

    def value(p):
        return bx.solve(model, {"p": p, "pay": 2.0})["a"].value()

    known = lambda p: (2.0 * (1 - 0.9 * (1 - p))) / ((1 - 0.9 * (1 - p)) ** 2 - (0.9 * p) ** 2)  # noqa: E731
    slope, found = with_value(value, jax.grad)(0.3)
    assert float(found) == pytest.approx(known(0.3), rel=1e-6)
    assert float(slope) == pytest.approx(float(jax.grad(known)(0.3)), rel=1e-5)
    assert bx.choose_solver(model)[0] == bx.solvers.ValueIteration()
    found = bx.certify(bx.solve(model, {"p": 0.3, "pay": 2.0}), agents=500)
    assert found.value_error < 1e-5 and abs(found.simulated["z"]) < 4


# -- what was wrong in silence


def _two(a, b, laws=None, **slots):
    """From `a` for sure to `b`, one decision in each."""
    a = bx.Regime(**{"reward": 0.0, "next_regime": lambda: {"b": 1.0}, **a})
    return bx.Model(regimes={"a": a, "b": bx.Regime(**b)}, discount=0.9, horizon=2, **slots)


class Up(IntEnum):
    bad = 0
    good = 1


class Down(IntEnum):
    good = 0
    bad = 1


@pytest.mark.parametrize("shared", [False, True])
def test_labels_are_those_of_the_regime_that_reads_the_table(shared):
    fixed = {"health": bx.fixed}
    reward = lambda pay, health: pay[health]  # noqa: E731
    a = {"states": {"health": bx.Discrete(Up)}, "transitions": fixed, "reward": reward}
    b = {"states": {"health": bx.Discrete(Down)}, "transitions": fixed, "reward": reward}
    model = _two(a, {**b, "entry": {"health": {"a": lambda health: 1 - health}}})
    pay = pd.Series({"bad": 10.0, "good": 20.0})
    found = bx.solve(model, {"pay": pay} if shared else {"a": {"pay": pay}, "b": {"pay": pay}})
    for regime in ("a", "b"):
        assert float(found[regime].value(period=1, health="bad")) == 10.0
    assert float(found["a"].value(period=0, health="good")) == pytest.approx(20 + 0.9 * 20)


def test_mappings_have_the_shape_of_their_state():
    b = {"states": {"x": bx.Discrete(2)}, "transitions": {"x": bx.fixed}, "reward": "x"}
    entry = {"x": {"a": bx.Markov(lambda: jnp.array([0.2, 0.3, 0.5]))}}
    with pytest.raises(bx.ModelError, match=r"the mapping of 'x' from 'a' to 'b' has shape \(3,\)"):
        bx.solve(_two({}, {**b, "entry": entry}), {})


def test_parameters_of_two_owners_are_told_apart():
    law = {"x": bx.fixed}
    ends = {"states": {"x": bx.Continuous(0.0, 9.0)}, "transitions": law, "reward": "x"}
    a = bx.Regime(reward=0.0, next_regime=lambda: {"b": 0.5, "b_c": 0.5})
    regimes = {
        "a": a,
        "b": bx.Regime(**ends, entry={"x": {"a": "c_z"}}),
        "b_c": bx.Regime(**ends, entry={"x": {"a": "z"}}),
    }
    found = bx.solve(bx.Model(regimes=regimes, discount=0.9, horizon=2), {"c_z": 1.0, "z": 3.0})
    assert float(found["a"].value(period=0)) == pytest.approx(1.8, rel=1e-12)


def test_who_is_in_a_regime_that_ceases_goes_somewhere():
    job = bx.Regime(reward=1.0, active=lambda age: age < 62)
    model = bx.Model(regimes={"job": job, "rest": bx.Regime(reward=0.0)}, discount=0.9, horizon=bx.Ages(60, 63))
    with pytest.raises(bx.ModelError, match="'job' is not active at age 62, and has no next_regime"):
        bx.solve(model, {})
    for active, name in ((lambda period: period < 2, "period"), (lambda wealth: wealth < 62, "wealth")):
        with pytest.raises(
            bx.ModelError, match=f"active of regime 'job' reads '{name}', and it is decided by age alone"
        ):
            dataclasses.replace(model, regimes={"job": dataclasses.replace(job, active=active)})
    with pytest.raises(bx.ModelError, match="grid: there is no regime 'jbo'. Did you mean 'job'"):
        bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"jbo": {"wealth": 10}}))


def test_a_chain_whose_categories_differ_does_not_go_on():
    chain = {"states": {"z": bx.MarkovChain("levels", [[0.5, 0.5], [0.5, 0.5]])}, "reward": "z"}
    levels = {"a": {"levels": [0.0, 1.0]}, "b": {"levels": [1.0, 10.0]}}
    with pytest.raises(bx.ModelError, match="'z' has other categories in 'a' than in 'b'"):
        bx.solve(_two(chain, chain), levels)


def test_a_process_that_reaches_beyond_its_nodes_elsewhere_is_refused():
    process = lambda sigma: {"states": {"z": bx.AR1(0.5, sigma)}, "reward": lambda z: jnp.exp(z)}  # noqa: E731
    with pytest.raises(bx.ModelError, match="the nodes of 'z' reach from .* Give more nodes there"):
        bx.solve(_two(process(1.0), process(0.5)), {})
    far = {**process(0.01), "entry": {"z": {"a": 1.0}}}
    with pytest.raises(bx.SolveError, match="regime 'a'"):
        bx.solve(_two({}, far), {})
    afresh = {"states": {"e": bx.IID(bx.shocks.Normal())}, "reward": "e", "entry": {"e": {"a": 1.0}}}
    with pytest.raises(bx.ModelError, match="drawn afresh in every period: remove its mapping"):
        bx.solve(_two({}, afresh), {})


def test_a_kink_of_another_regime_has_its_candidates():
    """Buy for 3 what is worth 6: V of `b` is the best of two lines, and saving in `a` has two peaks."""
    wealth = {"states": {"w": bx.Continuous(0.0, 10.0)}}
    a = {
        **wealth,
        "actions": {"c": bx.Continuous(0.0, "w")},
        "transitions": {"w": lambda w, c: w - c},
        "reward": lambda c: jnp.sqrt(c),
    }
    b = {
        **wealth,
        "actions": {"buy": bx.Discrete(2)},
        "transitions": {"w": bx.fixed},
        "reward": lambda w, buy: jnp.where(buy == 1, jnp.where(w >= 3, 3.0, -9.0), 0.0),
    }
    found = bx.solve(_two(a, b), {})
    assert found["a"].setting.plan.rugged
    c = np.linspace(0, 5.2, 200_001)
    known = np.max(np.sqrt(c) + 0.9 * np.where(5.2 - c >= 3, 3.0, 0.0))
    assert float(found["a"].value(period=0, w=5.2)) == pytest.approx(known, abs=0.05)


@pytest.mark.parametrize(
    ("start", "agents", "message"),
    [
        ({"regime": ["job"] * 3}, 2, "start of 'regime' has 3 rows, and there are 2 agents"),
        ({"regime": [["job"]]}, None, "regime has shape"),
        ({"regime": []}, None, "regime has shape"),
    ],
)
def test_starts_that_make_no_sense(start, agents, message):
    model = _career(next_regime=lambda age: {"job": 1.0 * (age < 61), "rest": 1.0 * (age >= 61)})
    with pytest.raises(bx.ParameterError, match=message):
        bx.simulate(bx.solve(model, {}), agents, start)


def test_a_table_by_age_may_reach_the_age_after_the_last_decision():
    worth = pd.Series({60: 1.0, 61: 2.0, 62: 50.0})
    a = bx.Regime(reward=0.0, next_regime=lambda: {"b": 1.0})
    model = bx.Model(regimes={"a": a, "b": bx.Terminal("k")}, discount=0.9, horizon=bx.Ages(60, 61))
    found = bx.solve(model, {"k": bx.by_age(worth)})
    assert float(found["a"].value(age=61)) == pytest.approx(45.0)
    assert float(bx.solve(model, {"k": bx.by_age(worth[:2])})["a"].value(age=61)) == pytest.approx(1.8)


def test_names_of_regimes():
    for name in ("period", "next_job"):
        with pytest.raises(bx.ModelError, match="reserved"):
            bx.Model(regimes={name: bx.Regime(reward=1.0)}, horizon=2)
    with pytest.raises(bx.ModelError, match="regime 'jb' is unknown. Did you mean 'job'"):
        _career(next_regime=lambda: {"rest": 1.0}).template("jb")


def test_a_process_that_widens_with_age_is_refused_too():
    spread = bx.by_period([0.1, 0.1, 3.0])
    wide = {"states": {"z": bx.AR1(0.5, spread)}, "reward": "z", "next_regime": lambda: {"a": 0.5, "b": 0.5}}
    narrow = {"states": {"z": bx.AR1(0.5, 0.1)}, "reward": "z"}
    model = bx.Model(regimes={"a": bx.Regime(**wide), "b": bx.Regime(**narrow)}, discount=0.9, horizon=3)
    with pytest.raises(bx.ModelError, match="the nodes of 'z' reach from"):
        bx.solve(model, {})


def test_a_seed_that_is_none():
    model = _career(next_regime=lambda age: {"job": 1.0 * (age < 61), "rest": 1.0 * (age >= 61)})
    with pytest.raises(bx.ParameterError, match="seed is -1"):
        bx.certify(bx.solve(model, {}), seed=-1)


def test_a_grid_of_what_is_no_state_is_refused():
    job = bx.Regime(
        states={"x": bx.Continuous(0.0, 1.0)}, shocks={"z": bx.shocks.Normal()}, transitions={"x": bx.fixed}, reward="z"
    )
    model = bx.Model(regimes={"job": job, "rest": bx.Regime(reward=0.0)}, discount=0.9, horizon=2)
    with pytest.raises(bx.ModelError, match="grid: state 'z' is unknown"):
        bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"z": 5}))
