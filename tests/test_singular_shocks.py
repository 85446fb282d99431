"""Shocks whose covariance is singular, and probabilities that rounding left below zero: each is a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

COVARIANCES = {
    "literal": lambda a, b: np.outer([a, b], [a, b]),
    "parameter": lambda a, b: "covariance",
    "function": lambda a, b: lambda covariance: covariance,
}


def pays_a_square(covariance):
    """One period that pays (e_1 + 2 e_2)^2, whose mean is w' S w with w = (1, 2)."""
    return bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        shocks={"e": bx.shocks.MultivariateNormal(covariance=covariance, size=2)},
        transitions={"x": bx.fixed},
        reward=lambda e: (e[0] + 2 * e[1]) ** 2,
        discount=0.9,
        horizon=1,
    )


@pytest.fixture(scope="module")
def computed():
    return pays_a_square(lambda covariance: covariance)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_perfectly_correlated_shocks(kind):
    m = pays_a_square(COVARIANCES[kind](0.2, -0.3))
    params = {} if kind == "literal" else {"covariance": np.outer([0.2, -0.3], [0.2, -0.3])}
    solution = bx.solve(m, params)
    assert float(solution.value(period=0, x=0.5)) == pytest.approx(0.16, rel=1e-12)
    reward = np.asarray(bx.simulate(solution, 2000, {"x": 0.5}).reward)
    assert abs(reward.mean() - 0.16) < 4 * 0.16 * np.sqrt(2 / 2000)  # a square of a normal: variance 2 S^2


def test_an_indefinite_covariance_is_refused(computed):
    wrong = np.array([[1.0, 1.001], [1.001, 1.0]])
    with pytest.raises(bx.ModelError, match="is indefinite: its least eigenvalue is -0.001"):
        pays_a_square(wrong)
    for m in (pays_a_square("covariance"), computed):
        with pytest.raises(bx.ParameterError, match="is indefinite: its least eigenvalue is -0.001"):
            bx.solve(m, {"covariance": wrong})


def test_inside_a_program_an_indefinite_covariance_is_nan_and_a_singular_one_is_not(computed):
    run = bx.compile(computed)
    value = lambda r: run({"covariance": jnp.array([[1.0, 0.0], [0.0, 1.0]]) + r * (1 - jnp.eye(2))}).value(  # noqa: E731
        period=0, x=0.5
    )
    found = jax.vmap(value)(jnp.array([-1.0, -0.5, 1.0, 1.001]))
    np.testing.assert_allclose(found, [1.0, 3.0, 9.0, np.nan], rtol=1e-12)  # 5 + 4 r


# -- probabilities that rounding left below zero


NEARLY = np.array([1.0, -8.9e-16, 8.9e-16])
BARELY = np.array([0.5, -8.9e-16, 0.5 + 8.9e-16])


def with_chances(kind, p):
    """Whether the middle category, which would be worth minus infinity, is reached with a probability of zero."""
    states, shocks, law = {"s": bx.Discrete(3)}, {}, lambda s: 0 * s
    params, reward = {}, lambda s: jnp.where(s == 1, -jnp.inf, 1.0)
    if kind == "shock":
        shocks, law, params = {"k": bx.shocks.Categorical(probabilities="p")}, lambda k: k, {"p": p}
    elif kind == "moving shock":
        shocks = {"k": bx.shocks.Categorical(probabilities=lambda s, p: p + 0.0 * s)}
        law, params = lambda k: k, {"p": p}
    elif kind == "law":
        law, params = bx.Markov(lambda s, p: p + 0.0 * s), {"p": p}
    elif kind == "table":
        law, params = bx.Markov("p", over=("s",)), {"p": np.stack([p] * 3)}
    elif kind == "literal table":
        law = bx.Markov(np.stack([p] * 3), over=("s",))
    elif kind == "chain":
        states, law = {"s": bx.MarkovChain(range_of(3), "p")}, None
        params = {"p": np.stack([p] * 3)}
    elif kind == "computed chain":
        states, law = {"s": bx.MarkovChain(range_of(3), lambda p: p)}, None
        params = {"p": np.stack([p] * 3)}
    m = bx.Model(
        states=states, shocks=shocks, transitions={} if law is None else {"s": law}, reward=reward, discount=0.5
    )
    return m, params


def range_of(count):
    return [float(k) for k in range(count)]


KINDS = ("shock", "moving shock", "law", "table", "literal table", "chain", "computed chain")


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_below_zero_is_zero(kind):
    m, params = with_chances(kind, BARELY)
    solution = bx.solve(m, params, bx.solvers.ValueIteration(tolerance=1e-12))
    np.testing.assert_allclose(solution.value(s=jnp.array([0, 2])), [2.0, 2.0], rtol=1e-10)
    panel = bx.simulate(solution, 50, {"s": 0}, periods=6)
    assert not np.any(np.asarray(panel.states["s"]) == 1)


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_rounding_is_refused(kind):
    with pytest.raises(bx.BellaxError, match="-1e-06|probabilit|negative|sum"):
        bx.solve(*with_chances(kind, np.array([0.5, -1e-6, 0.5 + 1e-6])), bx.solvers.ValueIteration())


@pytest.mark.parametrize("kind", ["shock", "law", "table", "chain"])
def test_rounding_below_zero_inside_a_program(kind):
    m, params = with_chances(kind, BARELY)
    run = bx.compile(m, bx.solvers.ValueIteration(tolerance=1e-12))
    found = jax.jit(lambda p: run(p).value(s=0.0 if "chain" in kind else 0))(params)
    assert float(found) == pytest.approx(2.0, rel=1e-10)


def test_a_probability_of_rounding_keeps_its_derivative():
    """d/dp of the mean of (0, 1, 5) is (0, 1, 5), at -8.9e-16 too."""
    shock = bx.shocks.Categorical("v", "p")
    rule = shock.rule(None, {"values": (3,), "probabilities": (3,)})
    v = jnp.array([0.0, 1.0, 5.0])
    weigh = lambda p: jax.vmap(lambda n, w: shock.weight(n, w, v, p))(rule.nodes, rule.weights)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(lambda p: weigh(p) @ v)(jnp.asarray(NEARLY)), v)
    assert float(weigh(jnp.asarray(NEARLY))[1]) == 0.0
