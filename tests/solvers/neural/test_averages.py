"""A period averaged over nodes without a mesh, against loops in numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.problem.averages import Averages
from bellax.solution.gridless import GridlessSetting

LEVELS, CHAIN = np.array([0.9, 1.1]), np.array([[0.8, 0.2], [0.3, 0.7]])


def everything():
    """A model with a chain, an AR1, a vector of normals and a category that moves with an action."""
    return bx.Model(
        states={
            "wealth": bx.Continuous(0.1, 10.0),
            "z": bx.MarkovChain(LEVELS, CHAIN),
            "a": bx.AR1(rho=0.9, sigma=0.1, mean=0.2),
            "health": bx.Discrete(2),
        },
        actions={"consumption": bx.Continuous(0.0, "wealth"), "effort": bx.Continuous(0.0, 1.0)},
        shocks={"e": bx.shocks.Normal(sd="sd", shape=(2,))},
        transitions={
            "wealth": lambda wealth, consumption, next_z, e: (wealth - consumption) * next_z * jnp.exp(jnp.sum(e)),
            "health": bx.Markov(lambda effort: jnp.stack([1 - 0.5 * effort, 0.5 * effort])),
        },
        reward=lambda consumption, next_a, health: jnp.log(consumption) + next_a + health,
    )


@pytest.fixture(scope="module")
def setting():
    return GridlessSetting(everything(), bx.solvers.EulerNet())


def test_means_are_those_of_loops(setting):
    arguments = setting.arguments({"sd": 0.3, "discount": 0.9})
    states = {"wealth": jnp.asarray(2.0), "z": jnp.asarray(1.1), "a": jnp.asarray(0.5), "health": jnp.asarray(1)}
    actions = {"consumption": jnp.asarray(0.5), "effort": jnp.asarray(0.4)}
    found = Averages(setting.problem, arguments, 0).branches(states, actions)
    weights = np.asarray(found.weights)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    wealth = weights @ np.asarray(found.following["wealth"])
    assert wealth == pytest.approx(1.5 * (CHAIN[1] @ LEVELS) * np.exp(2 * 0.3**2 / 2), rel=1e-4)
    assert weights @ np.asarray(found.following["a"]) == pytest.approx(0.2 + 0.9 * 0.3, abs=1e-12)
    spread = weights @ (np.asarray(found.following["a"]) - 0.47) ** 2
    assert spread == pytest.approx(0.1**2, abs=1e-12)
    assert weights @ np.asarray(found.following["health"]) == pytest.approx(0.2, abs=1e-12)
    assert weights @ np.asarray(found.outcome.reward) == pytest.approx(np.log(0.5) + 0.47 + 1, abs=1e-12)
    joint = weights @ (np.asarray(found.following["z"]) * np.asarray(found.following["health"]))
    assert joint == pytest.approx((CHAIN[1] @ LEVELS) * 0.2, abs=1e-12)


def test_a_monomial_rule_serves_all_normals_together(setting):
    arguments = setting.arguments({"sd": 0.3, "discount": 0.9})
    states = {"wealth": jnp.asarray(2.0), "z": jnp.asarray(1.1), "a": jnp.asarray(0.5), "health": jnp.asarray(1)}
    actions = {"consumption": jnp.asarray(0.5), "effort": jnp.asarray(0.4)}
    found = Averages(setting.problem, arguments, 0, degree=3).branches(states, actions)
    assert found.weights.shape == (2 * 3 * 2 * 2,)
    exact = 1.5 * (CHAIN[1] @ LEVELS) * np.exp(2 * 0.3**2 / 2)
    assert float(found.weights @ found.following["wealth"]) == pytest.approx(exact, rel=5e-3)


def test_a_product_of_very_many_is_refused():
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"u": bx.Continuous(0.0, 1.0)},
        shocks={"e": bx.shocks.Normal(shape=(20,))},
        transitions={"x": lambda u, e: u + jnp.sum(e)},
        reward=lambda u: -(u**2),
    )
    setting = GridlessSetting(model, bx.solvers.EulerNet())
    with pytest.raises(bx.ModelError, match="monomial rule: degree=3"):
        Averages(setting.problem, setting.arguments({"discount": 0.9}), 0, degree=0)


def one_of(states, shocks=None, shape=()):
    """Someone who pays for what is random and moves nothing else."""
    return bx.Model(
        states={"x": bx.Continuous(0.0, 1.0), **states},
        actions={"u": bx.Continuous(0.0, 1.0)},
        shocks=shocks or {},
        transitions={"x": lambda u, next_z: u} if states else {"x": lambda u, z: u + 0.01 * jnp.sum(z)},
        reward=lambda x, u: x - u**2,
    )


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (one_of({"z": bx.AR1(0.9, 0.1)}), ()),
        (one_of({"z": bx.VAR(0.5 * np.eye(2), 0.1 * np.eye(2))}), (2,)),
        (one_of({"z": bx.IID(bx.shocks.Normal(0.0, 0.1))}), ()),
        (one_of({"z": bx.IID(bx.shocks.Lognormal(0.0, 0.1, shape=(2,)))}), (2,)),
        (one_of({}, {"z": bx.shocks.Normal(0.0, 0.1)}), ()),
        (one_of({}, {"z": bx.shocks.Uniform(0.0, 0.1)}), ()),
    ],
    ids=["ar1", "var", "iid", "iid vector", "shock", "uniform"],
)
@pytest.mark.parametrize("nodes", [3, 9])
def test_quadrature_by_the_name_of_a_state_is_the_number_of_its_nodes(model, shape, nodes):
    """What is random of a process is its value tomorrow, `next_z`; a user says `z`."""
    for degree in (None, 3):
        solver = bx.solvers.EulerNet(quadrature={"z": nodes}, degree=degree)
        setting = solver.prepare(model)
        arguments = setting.arguments({"discount": 0.9})
        found = Averages(setting.problem, arguments, 0, solver.quadrature, solver.degree)
        assert found.nodes.weights.shape == (nodes ** max(1, sum(shape)),)
