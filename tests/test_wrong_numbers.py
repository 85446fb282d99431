"""Numbers that mean nothing, each refused by name where it is given: once they were taken in silence, or raw errors."""

import inspect
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx
from bellax.bellman import checks
from bellax.cli.failure import Refusal
from bellax.cli.options import with_settings

EVEN = [[0.5, 0.5], [0.5, 0.5]]


OPTIONS = {
    "a negative width": (lambda: bx.grids.Tauchen(9, width=-3), "grids.Tauchen: width is -3; give a positive number"),
    "no width": (lambda: bx.grids.Tauchen(9, width=0), "grids.Tauchen: width is 0"),
    "a width in words": (lambda: bx.grids.Tauchen(9, width="x"), "grids.Tauchen: width is 'x'"),
    "a width that is no number": (lambda: bx.grids.Tauchen(9, width=np.nan), "grids.Tauchen: width is nan"),
    "an infinite width": (lambda: bx.grids.Tauchen(9, width=np.inf), "grids.Tauchen: width is inf"),
    "half a node": (lambda: bx.grids.Tauchen(2.5), "grids.Tauchen: count is 2.5; give a whole number"),
    "three moments": (lambda: bx.grids.FarmerToda(9, moments=3), "grids.FarmerToda: moments is 3; give 2 or 4"),
    "a narrow grid": (lambda: bx.grids.FarmerToda(9, width=0.5), "grids.FarmerToda: width is 0.5; nodes within one"),
    "True nodes": (lambda: bx.grids.Rouwenhorst(True), "grids.Rouwenhorst: count is True"),
    "nodes in words": (lambda: bx.grids.Scaled("9"), "grids.Scaled: count is '9'"),
    "no nodes": (lambda: bx.grids.Regular(0), "grids.Regular: count is 0"),
    "given words": (lambda: bx.grids.Given(["1", "2"]), "grids.Given is .'1', '2'.; give the nodes"),
    "given infinity": (lambda: bx.grids.Given([0.0, np.inf]), "all finite"),
    "a rule of half a node": (lambda: bx.quadrature.GaussHermite(2.5), "quadrature.GaussHermite: count is 2.5"),
    "a rule in words": (lambda: bx.quadrature.GaussLegendre("7"), "quadrature.GaussLegendre: count is '7'"),
    "a rule of no node": (lambda: bx.quadrature.Equiprobable(0), "quadrature.Equiprobable: count is 0"),
    "a rule without width": (lambda: bx.quadrature.Equispaced(31, 0), "quadrature.Equispaced: width is 0"),
    "a unit in words": (lambda: inspect.unwrap(bx.scales.asinh)("x"), "scales.asinh: unit.* is 'x'"),
    "an infinite exponent": (lambda: bx.scales.power(np.inf), "scales.power: exponent is inf"),
    "half a jump": (lambda: bx.shocks.Jump(0.1, largest=2.5), "Jump: largest.* is 2.5"),
    "half a size": (lambda: bx.shocks.MultivariateNormal(covariance="s", size=2.5), "MultivariateNormal: size is 2.5"),
    "half a shape": (lambda: bx.shocks.Normal(shape=2.5), "Normal has shape 2.5; every length must be a whole number"),
    "a shape in words": (lambda: bx.shocks.Normal(shape="ab"), "Normal has shape 'ab'"),
    "a bound that is no number": (lambda: bx.Continuous(np.nan, 1), "Continuous space: lower contains NaN"),
    "a bound of a vector": (lambda: bx.Continuous(0, [1.0, np.nan], shape=2), "Continuous space: upper contains NaN"),
    "from infinity": (lambda: bx.Continuous(np.inf, np.inf), "lower bound inf, and so no point"),
    "to minus infinity": (lambda: bx.Continuous(-np.inf, -np.inf), "upper bound -inf, and so no point"),
    "a true bound": (lambda: bx.Continuous(False, True), "Continuous space: lower is False"),
    "bounds in words": (lambda: bx.Continuous(["0", "1"], 2.0, shape=2), "Continuous space: lower is .'0', '1'."),
    "a negative tolerance": (lambda: bx.MarkovChain(2, EVEN, row_tolerance=-1), "row_tolerance is -1; give a number"),
    "no tolerance": (lambda: bx.MarkovChain(2, EVEN, row_tolerance=np.nan), "row_tolerance is nan"),
    "a tolerance in words": (lambda: bx.MarkovChain(2, EVEN, row_tolerance="1e-4"), "row_tolerance is '1e-4'"),
    "categories in words": (lambda: bx.Discrete(["1", "2"]), "the values must be numbers"),
    "a period in words": (lambda: bx.by_period(["1", "2"]), "by_period is .'1', '2'."),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_an_option_that_means_nothing(what):
    make, message = OPTIONS[what]
    with pytest.raises(bx.ModelError, match=message):
        make()


def test_what_stays_a_number():
    assert bx.grids.Tauchen(np.int64(9), width=3).width == 3
    assert bx.MarkovChain(2, EVEN, row_tolerance=0).row_tolerance == 0
    assert bx.Continuous(-np.inf, np.inf).lower == -np.inf


@pytest.fixture(scope="module")
def saving():
    return bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        transitions={"w": lambda w, growth: growth * w},
        reward=lambda w: w,
        discount=0.9,
        horizon=2,
    )


@pytest.fixture(scope="module")
def solution(saving):
    return bx.solve(saving, {"growth": 1.0})


@pytest.mark.parametrize(
    "value",
    ["1.03", True, np.True_, ["1.03"], [True, False], np.array([1, 0], bool), jnp.array([True]), b"1"]
    + [np.array([1.0, "2"], dtype=object), pd.Series([True, False]), 1.0 + 2.0j, bx.by_period(jnp.array([True, True]))],
    ids=str,
)
def test_a_parameter_that_is_no_number(saving, value):
    with pytest.raises(bx.ParameterError, match="parameter 'growth' is .*no number or array of numbers"):
        saving.parameters({"growth": value})


def test_a_parameter_of_true_and_false_inside_a_program(saving):
    with pytest.raises(bx.ParameterError, match="parameter 'growth' is an array of True and False"):
        jax.jit(lambda p: saving.parameters({"growth": p})["growth"])(jnp.array(True))


def test_a_parameter_that_is_a_number(saving):
    for value in (1, np.float32(1.0), Decimal("1.0"), jnp.bfloat16(1.0), np.array([1], dtype=object)[0]):
        assert float(saving.parameters({"growth": value})["growth"]) == 1.0


def test_a_setting_of_the_command_line_that_is_true(saving):
    for text in ("growth=True", "growth=['1.03']"):
        with pytest.raises(Refusal, match="is no number or list of numbers"):
            with_settings(saving, {"growth": 1.0}, [text])


@pytest.mark.parametrize("literal", ["discount", "reward"])
def test_a_literal_that_is_true(literal):
    slots = {"reward": 1.0, "discount": 0.9, literal: True}
    with pytest.raises(bx.ModelError, match=f"{literal} is True, which is neither a number"):
        bx.Model(states={"w": bx.Continuous(0.5, 4.0)}, transitions={"w": bx.fixed}, horizon=2, **slots)


@pytest.mark.parametrize("seed", [-1, np.int64(-5), True, 1.5, 2**63])
def test_a_seed_that_is_none(solution, seed):
    with pytest.raises(bx.ParameterError, match="seed is .*; give a whole number from 0"):
        inspect.unwrap(bx.simulate)(solution, 2, {"w": 1.0}, seed=seed)


def test_more_agents_than_memory(solution, monkeypatch):
    """Each is 8 bytes for w, reward, discount and value, and one for whether it is there: 33 in each of two periods."""
    with pytest.raises(bx.ParameterError, match=r"a panel of 1000000000000 agents over 2 periods takes 6.6e\+13 bytes"):
        bx.simulate(solution, 10**12, {"w": 1.0})
    monkeypatch.setattr("bellax.problem.starts.physical_memory", lambda: 66 * 100)
    bx.simulate(solution, 100, {"w": 1.0})
    with pytest.raises(bx.ParameterError, match="a panel of 101 agents.*'w', reward, discount and value"):
        bx.simulate(solution, 101, {"w": 1.0})
    assert checks.physical_memory() > 2**28


def test_a_picture_of_a_batch(saving):
    batch = jax.vmap(lambda g: bx.compile(saving)({"growth": g}))(jnp.array([1.0, 1.1]))
    with pytest.raises(bx.ModelError, match=r"this is a batch of solutions, shape \(2,\)"):
        bx.plot(batch)
