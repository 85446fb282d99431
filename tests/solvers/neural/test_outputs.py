"""Actions as a function of what a net puts out: a closed form, a bound that binds, and what is refused."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.models import multi_country, rbc
from bellax.solvers.neural.framed import Frame, folded

SHORT = {"hidden": (8,), "points": 96, "rounds": 3, "budget": 15, "finish": 40, "visited": 1.0}


def growing(capital, output):
    """Towards .18, where the output is zero."""
    return 0.18 * (capital / 0.18) ** 0.3 * jnp.exp(0.1 * output)


def test_full_depreciation_is_the_closed_form_where_paths_lead():
    found = bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(outputs={"capital_next": growing}, **SHORT))
    panel = bx.simulate(found, 50, {"capital": rbc.STEADY}, periods=60)
    capital, productivity = (np.asarray(panel.states[name])[:, 30:] for name in ("capital", "productivity"))
    exact = (1 / 3) * 0.95 * productivity * capital ** (1 / 3)
    apart = np.abs(np.asarray(panel.actions["capital_next"])[:, 30:] / exact - 1)
    assert apart.mean() < 5e-5
    assert apart.max() < 5e-3  # where hardly anybody comes


@pytest.mark.long
def test_euler_errors_of_two_countries(tmp_path):
    """Small, and far better than tolerance: numpy's Euler equations with seven nodes in each dimension."""
    solver = multi_country.trained(hidden=(12,), points=128, rounds=4, budget=15, finish=40)
    found = bx.solve(multi_country.model, multi_country.params, solver)
    panel = bx.simulate(found, 20, multi_country.start, seed=1, periods=60)
    states = {name: np.asarray(panel.states[name])[:, 40::10].reshape(-1, 2) for name in panel.states}
    size = np.abs(multi_country.euler_errors(found, multi_country.params, states)).max(axis=1)
    assert np.mean(np.log10(size)) < -4.5
    assert multi_country.radius(found, 2) < 1
    found.save(tmp_path / "countries.nc")
    with pytest.raises(bx.ModelError, match="of your own.*outputs.*Give the solver"):
        bx.load(tmp_path / "countries.nc", multi_country.model)
    loaded = bx.load(tmp_path / "countries.nc", multi_country.model, solver)
    np.testing.assert_array_equal(loaded.policy(**states)["capital_next"], found.policy(**states)["capital_next"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"capital": growing}, "no continuous action"),
        ({"capital_next": 2.0}, "give a function"),
        ({"capital_next": lambda capital: capital}, "does not name `output`"),
    ],
)
def test_what_is_no_head_is_refused(given, why):
    with pytest.raises(bx.ModelError, match=why):
        bx.solvers.EulerNet(outputs=given).prepare(rbc.model)


def test_what_is_no_dict_is_refused():
    with pytest.raises(bx.ModelError, match="give a dict"):
        bx.solvers.EulerNet(outputs=growing)


def test_unknown_names_two_heads_and_a_prior_are_refused():
    nobody = bx.solvers.EulerNet(outputs={"capital_next": lambda output, nobody: output + nobody})
    with pytest.raises(bx.ModelError, match="'nobody'"):
        bx.solve(rbc.model, rbc.params, nobody)
    random = bx.solvers.EulerNet(outputs={"capital_next": lambda reward_of, output: reward_of + output})
    spent = replace(rbc.model, functions={**rbc.model.functions, "reward_of": lambda capital_next: 2 * capital_next})
    with pytest.raises(bx.ModelError, match="'reward_of', which needs 'capital_next'"):
        bx.solve(spent, rbc.params, random)
    twice = bx.solvers.EulerNet(outputs={"capital_next": growing}, shares={"capital_next": bx.shares.Clipped()})
    with pytest.raises(bx.ModelError, match="shares"):
        twice.prepare(rbc.model)
    prior = {"capital_next": lambda capital: 0.5 * capital}
    with pytest.raises(bx.ModelError, match="warm_start"):
        bx.solve(rbc.model, rbc.params, bx.solvers.EulerNet(outputs={"capital_next": growing}, warm_start=prior))


def test_a_checkpoint_knows_functions_by_what_they_do(tmp_path):
    """Not by where they are in memory, which the next process does not know."""

    def described(factor):
        rule = {"capital_next": lambda capital, output: factor * capital * jnp.exp(0.01 * output)}
        prepared = bx.solvers.EulerNet(outputs=rule, checkpoint=tmp_path).prepare(rbc.model)
        return prepared._described(prepared.arguments(rbc.params), None)

    assert described(1.0) == described(1.0) != described(0.9)


def test_a_net_in_other_coordinates_is_one_of_these():
    """Weights of a net that sees M (u - c), folded into those of one that sees u."""
    shape = Shape(3, (4,), 2)
    draws = np.random.default_rng(0)
    weights = jnp.asarray(draws.normal(size=shape.weights))
    frame = Frame(jnp.asarray(draws.normal(size=(3, 3))), jnp.asarray(draws.normal(size=3)))
    u = jnp.asarray(draws.normal(size=3))
    there = nets.forward(nets.layers(shape, weights), frame.matrix @ (u - frame.centre))
    here = nets.forward(nets.layers(shape, folded(shape, weights, frame)), u)
    np.testing.assert_allclose(here, there, rtol=1e-11)
