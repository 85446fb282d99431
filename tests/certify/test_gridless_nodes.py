"""Over what certificates without a grid average: more than the solver did, and what that finds."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.nodes import finer, nodes_of

SMALL = {"hidden": (8,), "points": 96, "rounds": 1, "budget": 20, "finish": 60, "box": {"wealth": (0.15, 2.2)}}


def risky(shape=(), size=0.3):
    """Growth with a lognormal productivity, or the mean of such, and a risk aversion of two."""
    return bx.Model(
        states={"wealth": bx.Continuous(0.01, 9.0)},
        actions={"saved": bx.Continuous(0.0, lambda wealth: 0.95 * wealth)},
        shocks={"e": bx.shocks.Normal(0.0, size, shape=shape)},
        transitions={"wealth": lambda saved, e: saved**0.3 * jnp.mean(jnp.exp(e))},
        reward=lambda wealth, saved: -1 / (wealth - saved),
    )


def test_a_solution_by_one_node_is_not_certified_by_that_node():
    """Whoever sees no risk saves too little: by hand, 1 - beta c^2 E[1 / c'^2] on the path is what is printed."""
    solution = bx.solve(risky(), {"discount": 0.95}, bx.solvers.EulerNet(**SMALL, quadrature={"e": 1}))
    panel = bx.simulate(solution, 20, {"wealth": 0.6}, seed=3, periods=20)
    found = bx.certify(solution, points=400, panel=panel)
    assert (found.nodes, found.solver_nodes) == (7, 1)
    assert "over 7 nodes of what is random, the solver's own 1" in str(found)
    assert "powers of ten, over the same 7 nodes" in str(found)
    wealth = np.asarray(panel.states["wealth"])[:, 10:].reshape(-1)
    nodes = np.linspace(-5, 5, 101)
    weights = np.exp(-0.5 * nodes**2)
    saved = np.asarray(solution.policy(wealth=wealth)["saved"])
    then = saved[:, None] ** 0.3 * np.exp(0.3 * nodes)
    eaten = then - np.asarray(solution.policy(wealth=then)["saved"])
    slopes = 0.3 * then / saved[:, None] * eaten**-2.0
    error = 1 - 0.95 * (wealth - saved) ** 2 * (slopes @ (weights / weights.sum()))
    exact = np.log10(np.max(np.abs(error)))
    assert found.euler["path"]["max"] == pytest.approx(exact, abs=0.1)
    assert exact > -2 > -2.5 > np.log10(float(solution.stats["path_max"]))


@pytest.mark.parametrize(
    ("shape", "given", "own", "more"),
    [
        ((), {}, 7, 17),
        ((), {"quadrature": {"e": 1}}, 1, 7),
        ((), {"quadrature": {"e": 20}}, 20, 43),
        ((), {"quadrature": {"e": bx.quadrature.Equispaced(31)}}, 31, 65),
        ((2,), {}, 25, 169),
        ((2,), {"degree": 3}, 4, 169),
        ((2,), {"degree": (3, 5)}, 9, 169),
        ((3,), {}, 125, 343),
        ((4,), {}, 33, 625),
        ((10,), {"degree": 3}, 20, 201),
        ((10,), {}, 201, 201),
        ((15,), {}, 30, 451),
        ((30,), {}, 60, 60),
    ],
)
def test_nodes_are_more_than_the_solver_has_where_there_is_a_rule(shape, given, own, more):
    setting = bx.solvers.EulerNet(**SMALL, **given).prepare(risky(shape))
    arguments = setting.arguments({"discount": 0.9})
    rules = finer(setting, arguments)
    assert nodes_of(setting, arguments, setting.rules) == own
    assert nodes_of(setting, arguments, rules) == more
