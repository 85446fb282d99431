"""Polynomials: closed forms, geometric convergence, derivatives; and what no polynomial is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.crowd import balance
from bellax.certify.refinement import coarser, refinement
from bellax.models import lqg_ct, merton_ct
from bellax.numerics import chebyshev


def by(bounds=None, **grid):
    return bx.solvers.Collocation(grid=grid, bounds=bounds or {})


def reverting(reward, boundary, **changes):
    """A process that reverts to zero, with a standard deviation of .2."""
    statement = {
        "states": {"x": bx.Continuous(-2.0, 2.0)},
        "reward": reward,
        "drift": {"x": lambda x, kappa: -kappa * x},
        "diffusion": {"x": 0.2},
        "discount": 0.05,
        "boundary": {"x": boundary},
    }
    return bx.DiffusionModel(**(statement | changes))


def exp(x):
    return jnp.exp(x)


SQUARE = reverting(lambda x: -(x**2), bx.Natural())
KAPPA = {"kappa": 0.5}


def test_matrices_know_the_exponential():
    nodes = chebyshev.nodes(20)
    np.testing.assert_allclose(chebyshev.differentiation(20) @ np.exp(nodes), np.exp(nodes), atol=1e-12)
    np.testing.assert_allclose(chebyshev.integration(20) @ np.exp(nodes), np.exp(nodes) - np.exp(-1), atol=1e-13)
    assert chebyshev.weights(20) @ np.exp(nodes) == pytest.approx(np.e - 1 / np.e, abs=1e-14)
    at = lambda x: chebyshev.cardinal(x, 20) @ jnp.exp(jnp.asarray(nodes))  # noqa: E731
    for x in jnp.asarray([0.3, nodes[4]]):
        np.testing.assert_allclose([at(x), jax.grad(at)(x), jax.grad(jax.grad(at))(x)], np.exp(x), 1e-11)


def test_a_quadratic_is_solved_to_rounding_and_derivatives_are_those_of_the_closed_form(with_value):
    """V = -x^2/(r + 2 kappa) - sigma^2/(r (r + 2 kappa)); variance sigma^2/(2 kappa)."""
    x = np.linspace(-1.0, 1.0, 5)
    exact = lambda kappa: -(x**2) / (0.05 + 2 * kappa) - 0.04 / (0.05 * (0.05 + 2 * kappa))  # noqa: E731

    def of(kappa):
        solution = bx.solve(SQUARE, {"kappa": kappa}, by(x=12))
        return solution.value(x=x)

    slope, value = with_value(of)(0.5)
    np.testing.assert_allclose(value, exact(0.5), rtol=1e-10)
    np.testing.assert_allclose(slope, jax.jacfwd(exact)(0.5), rtol=1e-9)
    bend = jax.jit(jax.grad(jax.grad(lambda kappa: of(kappa)[0])))(0.5)
    np.testing.assert_allclose(bend, jax.jacfwd(jax.jacfwd(exact))(0.5)[0], rtol=1e-9)
    several = jax.vmap(bx.compile(SQUARE, by(x=12)))({"kappa": jnp.asarray([0.4, 0.5])})
    np.testing.assert_allclose(several.values.values[1], bx.solve(SQUARE, KAPPA, by(x=12)).values.values, rtol=1e-9)
    assert np.isnan(bx.solve(SQUARE, KAPPA, by(x=12)).value(x=2.1))


def test_means_are_those_of_the_normal_distribution():
    density = bx.stationary(bx.solve(SQUARE, KAPPA, by(x=12)))
    assert balance(density) < 1e-12
    assert float(density.mean(lambda x: x**2)) == pytest.approx(0.04, abs=1e-13)
    assert float(density.mean(lambda x: x**4)) == pytest.approx(3 * 0.04**2, abs=1e-13)
    assert float(density.negative) < -1e-3 and "is negative" in str(density)


def test_convergence_is_geometric():
    """A wall at zero, drift -.1, volatility .2: V of x, and the exponential density of rate 5, cut at 2."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 2.0)},
        reward="x",
        drift={"x": -0.1},
        diffusion={"x": 0.2},
        discount=0.05,
        boundary={"x": bx.Reflecting()},
    )
    high, low = np.roots([0.02, -0.1, -0.05])  # exponents of the solutions without a reward
    edges = [[high, low], [high * np.exp(2 * high), low * np.exp(2 * low)]]
    free = np.linalg.solve(edges, [-20.0, -20.0])
    x = np.linspace(0.0, 2.0, 7)
    exact = 20 * x - 40 + free @ np.exp(np.outer([high, low], x))
    errors = []
    for count in (10, 14, 18):
        solution = bx.solve(model, {}, by(x=count), throw=False)
        errors.append(float(np.max(np.abs(solution.value(x=x) - exact))))
        assert float(solution.stats["error"]) * np.max(np.abs(exact)) > errors[-1]
    assert errors[0] / errors[1] > 30 and errors[1] / errors[2] > 30 and errors[2] < 1e-6
    density = bx.stationary(bx.solve(model, {}, by(x=24)))
    cut = np.exp(-10.0)
    assert float(density.mean("x")) == pytest.approx(0.2 - 2 * cut / (1 - cut), abs=1e-9)
    x = np.array([0.111, 0.222])
    np.testing.assert_allclose(density.pdf(x=x), 5 * np.exp(-5 * x) / (1 - cut), rtol=1e-3)
    np.testing.assert_allclose(density.pdf()[:4], 5 * np.exp(-5 * density.solution.nodes()["x"][:4]) / (1 - cut), 1e-2)


def test_a_regulator():
    """Beside the Riccati and Lyapunov equations."""
    x = np.array([[0.5, -0.2], [-1.0, 1.0]])
    at = {"position": x[:, 0], "velocity": x[:, 1]}
    solution = bx.solve(lqg_ct.model, lqg_ct.params, lqg_ct.solver)
    exact = lqg_ct.reference(lqg_ct.params, **at)
    np.testing.assert_allclose(solution.value(**at), exact["value"], rtol=1e-10)
    np.testing.assert_allclose(solution.policy(**at)["force"], exact["force"], atol=1e-10)
    variance = lqg_ct.regulator(lqg_ct.params).covariance[0, 0]
    assert float(bx.stationary(solution).mean(lambda position: position**2)) == pytest.approx(variance, rel=1e-8)


def test_a_share_that_moves_the_diffusion():
    wealth = np.array([0.5, 1.3, 5.0])
    solution = bx.solve(merton_ct.model, merton_ct.params, by(wealth=20))
    exact = merton_ct.reference(merton_ct.params, wealth)
    np.testing.assert_allclose(solution.value(wealth=wealth), exact["value"], rtol=1e-12)
    np.testing.assert_allclose(solution.policy(wealth=wealth)["share"], exact["share"], rtol=1e-9)


def test_shocks_that_are_shared_and_resets():
    """x is sent to .3 at the rate .1: V = a x y + b y + c, where a = 1/(r + 1.1), b = .03 a/(r + .5), c = a rho .09/r;
    and 1.1 E[x y] = rho .09. No monotone scheme has a correlation of -.99."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-2.0, 2.0), "y": bx.Continuous(-2.0, 2.0)},
        reward=lambda x, y: x * y,
        drift={"x": lambda x: -0.5 * x, "y": lambda y: -0.5 * y},
        diffusion={
            "x": lambda: jnp.array([0.3, 0.0]),
            "y": lambda rho: 0.3 * jnp.stack([rho, jnp.sqrt(1 - rho**2)]),
        },
        discount=0.05,
        resets={"back": bx.Reset(rate=0.1, to={"x": 0.3})},
        boundary={"x": bx.Natural(), "y": bx.Natural()},
    )

    def together(rho):
        solution = bx.solve(model, {"rho": rho}, by(x=4, y=5))
        return bx.stationary(solution).mean(lambda x, y: x * y), solution.value(x=0.4, y=0.7)

    a, rho = 1 / 1.15, jnp.array([-0.99, 0.5])
    (found, value), slopes = jax.vmap(jax.value_and_grad(together, has_aux=True))(rho)
    np.testing.assert_allclose(found, rho * 0.09 / 1.1, rtol=1e-10)
    np.testing.assert_allclose(slopes, 0.09 / 1.1, rtol=1e-9)
    np.testing.assert_allclose(value, a * 0.28 + 0.03 * a / 0.55 * 0.7 + a * rho * 0.09 / 0.05, rtol=1e-10)


def test_fewer_nodes_say_what_the_error_is():
    """V of e^x is the integral of e^(-t/20 + x e^(-t/2) + (1 - e^-t)/50)."""
    solution, x = bx.solve(reverting(exp, bx.Natural()), KAPPA, by(x=20)), np.linspace(-1.5, 1.5, 9)
    share, weight = np.polynomial.legendre.leggauss(200)
    time = 600 * ((share + 1) / 2) ** 3
    discounted = np.exp(-0.05 * time + 0.02 * (1 - np.exp(-time))) * weight * 900 * ((share + 1) / 2) ** 2
    value = solution.value(x=x)
    error = np.max(np.abs(value - np.exp(x[:, None] * np.exp(-0.5 * time)) @ discounted))
    found = refinement([solution, *coarser(solution, 2)[0]], "", {"x": x}, np.asarray(value))
    assert found.nodes == ({"x": 10}, {"x": 5}) and found.order > 6
    assert error < found.error["max"] < 1e-3 and error < 1e-6
    setting, arguments = solution.setting.wider(solution.arguments, [("x", 0)], 0.25)
    wide = setting.solve(arguments)
    assert float(wide.nodes()["x"][0]) == -3.0 and float(wide.nodes()["x"][-1]) == 2.0
    np.testing.assert_allclose(wide.value(x=x), value, atol=1e-6)
    with pytest.raises(bx.ModelError, match="no coarser version"):
        by(x=4).prepare(SQUARE).coarser()


# -- what must not be called successful --------------------------------------------------------------------------------


def saver(**changes):
    statement = {
        "states": {"a": bx.Continuous(0.0, 5.0)},
        "actions": {"c": bx.Continuous(1e-6)},
        "policy": {"c": lambda marginal_a: marginal_a**-0.5},
        "reward": lambda c: -1 / c,
        "drift": {"a": lambda a, c: 1 + 0.03 * a - c},
        "discount": 0.05,
        "boundary": {"a": (bx.StateConstraint(), bx.Natural())},
    }
    return bx.DiffusionModel(**(statement | changes))


@pytest.mark.parametrize(
    ("model", "solver", "words"),
    [
        (reverting(lambda x: jnp.abs(x - 0.3), bx.Natural()), by(x=24), "not resolved"),
        (reverting(lambda x: -(x**2), bx.Reflecting()), by(x=16), "a layer at an edge"),
        (reverting(lambda x: jnp.abs(x - 0.3), bx.Natural()), by({"x": (None, 0.29)}, x=12), "paths leave bounds"),
        (reverting(exp, bx.Natural(), drift={"x": 0.1}, diffusion={}), by(x=10), "does not say what V is"),
        (reverting(exp, bx.StateConstraint(), drift={"x": 0.1}, diffusion={}), by(x=10), "leads outward at its up"),
        (reverting(exp, bx.Natural(), drift={"x": 0.0}), by(x=10), "does not say what V is"),
        (reverting(lambda x: x, bx.StateConstraint()), by(x=10), "diffuses at its lower edge"),
        (saver(), by(a=16), "a constraint binds at 1 nodes"),
        (SQUARE, by({"x": (-2.0, None)}, x=12), "not inside those of the state"),
    ],
)  # fmt: skip
def test_what_is_no_success(model, solver, words):
    needed = set(model.template()["name"])
    with pytest.raises((bx.SolveError, bx.ParameterError), match=words):
        bx.solve(model, {name: value for name, value in KAPPA.items() if name in needed}, solver)


def test_a_linear_firm_takes_the_right_root():
    """V = 4k/3 + 10/9; the other root of the quadratic, V_k = 1.7, solves the equation, too."""
    firm = bx.DiffusionModel(
        states={"k": bx.Continuous(0.0, 5.0)},
        actions={"i": bx.Continuous()},
        policy={"i": lambda marginal_k: marginal_k - 1},
        reward=lambda k, i: 0.2 * k - i - i**2 / 2,
        drift={"k": lambda k, i: i - 0.1 * k},
        discount=0.05,
        boundary={"k": bx.StateConstraint()},
    )
    k = np.linspace(0.0, 5.0, 7)
    solution = bx.solve(firm, {}, by(k=6))
    np.testing.assert_allclose(solution.value(k=k), 4 * k / 3 + 10 / 9, rtol=1e-10)
    assert float(bx.stationary(solution).mean("k")) == pytest.approx(10 / 3, abs=1e-8)


def test_another_root_is_looked_for_where_there_is_something_to_compare_with():
    """A search that begins with a V says that nothing was compared, and ends as well as one that does not; what is far
    from finite differences is no success."""
    solution = bx.solve(SQUARE, KAPPA, by(x=12))
    assert 0 <= float(solution.stats["moved"]) < 0.1
    setting = solution.setting
    warm = jax.jit(lambda start: setting.solve_from(solution.arguments, start))
    again, cold = warm(solution.values), warm(setting.unknown(solution.arguments))
    assert np.isnan(again.stats["moved"]) and int(again.code) == int(bx.Result.successful)
    assert again.setting.explain(again) == ""
    np.testing.assert_allclose(cold.stats["moved"], solution.stats["moved"], rtol=1e-6)
    failed = replace(
        solution, code=jnp.int32(int(bx.Result.infeasible)), stats={**solution.stats, "moved": jnp.asarray(0.5)}
    )
    assert "0.5 of its range away from that of finite differences" in setting.explain(failed)


def test_an_atom_is_no_polynomial():
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 2.0)}, reward="x", drift={"x": lambda x: -x}, discount=0.05
    )
    with pytest.raises(bx.SolveError, match="may be an atom"):
        bx.stationary(bx.solve(model, {}, by(x=8)))


def test_models_and_options_that_are_refused():
    for changes, words in (
        ({"stop": 0.0}, "it has `stop`"),
        ({"horizon": 3.0}, "infinite horizon"),
    ):
        with pytest.raises(bx.ModelError, match=words):
            bx.solve(replace(SQUARE, **changes), KAPPA, by(x=8))
    with pytest.raises(bx.ModelError, match="5000 nodes at most"):
        bx.solve(SQUARE, KAPPA, by(x=5001))
    with pytest.raises(bx.ModelError, match="bounds: continuous state 'y' is unknown"):
        bx.solve(SQUARE, KAPPA, by({"y": (0.0, 1.0)}))


@pytest.mark.parametrize("constant", [0.0, 1e7])
def test_a_constant_hides_no_kink(constant):
    """What is off is a share of the range of V, and not of what all states earn alike."""
    kinked = replace(SQUARE, reward=lambda x, constant: constant - jnp.abs(x - 0.123))
    with pytest.raises(bx.SolveError, match="not resolved|has a kink"):
        bx.solve(kinked, {**KAPPA, "constant": constant}, by(x=16))
