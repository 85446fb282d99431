"""What `print(solution)` says: the numbers that were used, whoever chose them."""

import jax
import jax.numpy as jnp
import pytest

import bellax as bx

SEARCH = bx.Model(
    states={
        "wealth": bx.Continuous(0.5, 4.0, shape=(2,)),
        "offer": bx.IID(bx.shocks.Uniform(0.0, 1.0)),
        "z": bx.AR1(0.5, 0.1),
        "weather": bx.Discrete(2),
    },
    actions={"save": bx.Continuous(0.0, 0.5), "accept": bx.Discrete(2)},
    shocks={"e": bx.shocks.Normal(shape=(2,)), "unseen": bx.shocks.Normal()},
    transitions={
        "wealth": lambda wealth, save, e: 2.0 + 0.1 * wealth * save + 0.01 * e,
        "weather": bx.fixed,
    },
    reward=lambda wealth, save, offer, z, accept: jnp.sum(wealth) - save**2 + accept * offer + z,
    discount="discount",
    horizon=1,
)


@pytest.mark.parametrize(
    ("grid", "nodes"),
    [
        ({}, "offer 7, z 17, weather 2, wealth 4 x 4"),
        ({"offer": 3, "z": 5}, "offer 3, z 5, weather 2, wealth 4 x 4"),
        (
            {
                "offer": bx.quadrature.GaussLegendre(4),
                "z": bx.grids.Tauchen(3),
                "wealth": (bx.grids.Given((0.5, 1.0, 4.0)), bx.grids.Scaled(6)),
            },
            "offer 4, z 3, weather 2, wealth 3 x 6",
        ),
        ({"z": bx.grids.Rouwenhorst(2), "wealth": bx.grids.Regular(5)}, "offer 7, z 2, weather 2, wealth 5 x 5"),
    ],
)
def test_the_numbers_that_were_used(grid, nodes):
    maximiser = bx.maximise.Enumerate(grid={"save": 3})
    solver = bx.solvers.BackwardInduction(grid={"wealth": 4} | grid, maximiser=maximiser)
    solve, said = bx.compile(SEARCH, solver), []
    jax.eval_shape(lambda params: said.append(str(solve(params))), {"discount": 0.9})
    assert said[0] == (
        "Solution by BackwardInduction (1 periods): traced. Maximiser Enumerate (candidates: save 3), interpolant "
        f"Linear, nodes: {nodes}, of shocks: e 9."
    )


def test_defaults_and_batches():
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": lambda w, c: w - c + 0.5},
        reward=lambda c: jnp.log(c),
        horizon=2,
    )
    text = str(bx.solve(model, {"discount": 0.9}))
    assert "successful. Maximiser Newton (candidates: c 15), interpolant Hermite, nodes: w 100." in text
    batch = jax.vmap(lambda discount: bx.solve(model, {"discount": discount}))(jnp.array([0.8, 0.9]))
    assert "a batch of shape (2,)" in str(batch) and "nodes: w 100." in str(batch)
