"""Each family of shocks: its nodes and its draws have the moments of the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

COVARIANCE = np.array([[0.04, 0.018], [0.018, 0.09]])

# family, its parameters, E[x], E[x^2] or E[x x'], and the standard error of one draw of x and of x^2
FAMILIES = {
    "normal": (bx.shocks.Normal(), {"mean": 0.3, "sd": 0.5}, 0.3, 0.34),
    "lognormal": (
        bx.shocks.Lognormal(),
        {"mean": -0.02, "sd": 0.2},
        np.exp(-0.02 + 0.02),
        np.exp(2 * -0.02 + 2 * 0.04),
    ),
    "uniform": (bx.shocks.Uniform(), {"lower": -1.0, "upper": 3.0}, 1.0, 1.0 + 16 / 12),
    "categorical": (
        bx.shocks.Categorical("values", "probabilities"),
        {"values": [1.0, 2.0, 5.0], "probabilities": [0.2, 0.5, 0.3]},
        2.7,
        0.2 + 2.0 + 7.5,
    ),
    # compound Poisson: mean l m, variance l (m^2 + s^2)
    "jump": (
        bx.shocks.Jump("intensity", largest=25),
        {"intensity": 1.2, "mean": -0.1, "sd": 0.3},
        -0.12,
        1.2 * (0.01 + 0.09) + 0.0144,
    ),
    "multivariate": (
        bx.shocks.MultivariateNormal(covariance="covariance", size=2),
        {"mean": [0.1, 0.2], "covariance": COVARIANCE},
        np.array([0.1, 0.2]),
        COVARIANCE + np.outer([0.1, 0.2], [0.1, 0.2]),
    ),
    # sum of p m, and of p (m^2 + s^2): a uniform on [-1, 3] has the second moment 1 + 16/12
    "mixture": (
        bx.shocks.Mixture("weights", (bx.shocks.Normal(), bx.shocks.Normal(), bx.shocks.Uniform())),
        {
            "weights": [0.7, 0.1, 0.2],
            "mean_0": 0.1,
            "sd_0": 0.2,
            "mean_1": -2.0,
            "sd_1": 0.0,
            "lower_2": -1.0,
            "upper_2": 3.0,
        },
        0.07 - 0.2 + 0.2,
        0.7 * 0.05 + 0.1 * 4.0 + 0.2 * (1.0 + 16 / 12),
    ),
}


def expectation(shock, parameters, f, quadrature=None):
    """Sum of weights times f at the nodes, with the parameters in nodes and weights."""
    arrays = {name: jnp.asarray(value) for name, value in parameters.items()}
    rule = shock.rule(quadrature, {name: value.shape for name, value in arrays.items()})
    values = jax.vmap(lambda node: f(shock.realise(node, **arrays)))(rule.nodes)
    weights = jax.vmap(lambda node, weight: shock.weight(node, weight, **arrays))(rule.nodes, rule.weights)
    return jnp.tensordot(weights, values, axes=1)


def square(x):
    return jnp.outer(x, x).squeeze() if x.ndim else x * x


@pytest.mark.parametrize("name", FAMILIES)
def test_nodes_have_the_moments_of_the_closed_form(name):
    shock, parameters, mean, second = FAMILIES[name]
    assert float(expectation(shock, parameters, lambda x: 1.0)) == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(expectation(shock, parameters, lambda x: x), mean, atol=1e-9)
    np.testing.assert_allclose(expectation(shock, parameters, square), second, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_have_the_moments_of_the_closed_form(name):
    """Within four standard errors of 200,000 draws, the error estimated from the draws."""
    shock, parameters, mean, second = FAMILIES[name]
    arrays = {key: jnp.asarray(value) for key, value in parameters.items()}
    keys = jax.random.split(jax.random.key(2024), 200_000)
    draws = jax.vmap(lambda key: shock.draw(key, **arrays))(keys)
    for values, expected in ((draws, mean), (jax.vmap(square)(draws), second)):
        error = np.std(values, axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(np.mean(values, axis=0) - expected) < 4 * error)


def test_independent_shocks_of_a_shape():
    shock = bx.shocks.Normal(shape=2)
    assert shock.shape == (2,)
    moments = expectation(shock, {"mean": [1.0, 2.0], "sd": [0.1, 0.2]}, lambda x: jnp.outer(x, x))
    np.testing.assert_allclose(moments, [[1.01, 2.0], [2.0, 4.04]], atol=1e-12)
    assert shock.rule(5, {}).nodes.shape == (25, 2)


def test_a_pair_of_values_is_drawn_as_one():
    """The permanent and the transitory shock of a table of atoms, in one categorical shock of shape (2,)."""
    shock = bx.shocks.Categorical("values", "probabilities", shape=(2,))
    values = [[0.9, 0.5], [1.0, 1.0], [1.1, 2.0]]
    cross = expectation(shock, {"values": values, "probabilities": [0.25, 0.5, 0.25]}, lambda x: x[0] * x[1])
    assert float(cross) == pytest.approx(0.25 * 0.45 + 0.5 + 0.25 * 2.2)


def test_the_weights_of_a_jump_are_those_of_poisson():
    shock = bx.shocks.Jump(0.3, largest=3)
    rule = shock.rule(1, {})
    weigh = jax.vmap(lambda n, w: shock.weight(n, w, intensity=jnp.array(0.3), mean=jnp.array(0.0), sd=jnp.array(1.0)))
    weights = weigh(rule.nodes, rule.weights)
    poisson = np.exp(-0.3) * np.array([1.0, 0.3, 0.045])
    np.testing.assert_allclose(weights, [*poisson, 1 - poisson.sum()], rtol=1e-12)


def test_no_jumps_where_the_intensity_is_zero():
    shock, parameters = bx.shocks.Jump(0.0), {"intensity": 0.0, "mean": 1.0, "sd": 1.0}
    assert float(expectation(shock, parameters, lambda x: x)) == 0.0
    slope = jax.grad(lambda i: expectation(shock, {**parameters, "intensity": i}, lambda x: x))(0.3)
    assert np.isfinite(float(slope))


@pytest.mark.parametrize(
    ("name", "parameter", "derivative"),
    [
        ("normal", "mean", 1.0),
        ("lognormal", "sd", 0.2),  # d/ds exp(m + s^2/2) = s exp(m + s^2/2), and the mean is one
        ("uniform", "upper", 0.5),
        ("categorical", "probabilities", [1.0, 2.0, 5.0]),
        ("categorical", "values", [0.2, 0.5, 0.3]),
        ("jump", "intensity", -0.1),  # d/dl of l m
        ("jump", "mean", 1.2),
        ("mixture", "weights", [0.1, -2.0, 1.0]),
        ("mixture", "mean_0", 0.7),
    ],
)
def test_the_mean_is_differentiable_in_every_parameter(name, parameter, derivative):
    shock, parameters, _, _ = FAMILIES[name]

    def mean(value):
        return expectation(shock, {**parameters, parameter: value}, lambda x: x)

    np.testing.assert_allclose(jax.grad(mean)(jnp.asarray(parameters[parameter])), derivative, atol=1e-7)


def test_the_law_of_a_multivariate_draw_is_differentiable_in_its_covariance():
    """E[x0 x1] is the covariance itself: its derivative in that symmetric pair is one."""
    shock, parameters, _, _ = FAMILIES["multivariate"]

    def moment(covariance):
        return expectation(shock, {**parameters, "covariance": covariance}, lambda x: x[0] * x[1])

    step = jnp.array([[0.0, 1e-6], [1e-6, 0.0]])
    slope = (moment(COVARIANCE + step) - moment(COVARIANCE - step)) / 2e-6
    assert float(slope) == pytest.approx(1.0, abs=1e-6)
    tangent = jax.jvp(moment, (jnp.asarray(COVARIANCE),), (jnp.array([[0.0, 1.0], [1.0, 0.0]]),))[1]
    assert float(tangent) == pytest.approx(1.0, abs=1e-9)


def test_an_integer_shock_indexes():
    shock = bx.shocks.Categorical(probabilities=[0.3, 0.7])
    table = jnp.array([10.0, 20.0])
    assert float(expectation(shock, {"probabilities": [0.3, 0.7]}, lambda x: table[x])) == pytest.approx(17.0)
    assert shock.draw(jax.random.key(0), probabilities=jnp.array([0.0, 1.0])) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bx.shocks.Categorical(), "needs values=, probabilities="),
        (lambda: bx.shocks.Categorical(probabilities=[1.0], shape=(2,)), "needs values="),
        (lambda: bx.shocks.Jump(0.1, shape=(2,)), "draws one value"),
        (lambda: bx.shocks.Jump(0.1, largest=0), "largest.* is 0"),
        (lambda: bx.shocks.Normal(shape=(0,)), r"shape \(0,\)"),
        (lambda: bx.shocks.MultivariateNormal(), "needs covariance="),
        (lambda: bx.shocks.MultivariateNormal(covariance="c"), "needs size="),
        (lambda: bx.shocks.MultivariateNormal(covariance=np.ones((2, 3))), r"shape \(2, 3\)"),
        (lambda: bx.shocks.Categorical([1.0, 2.0]).rule(5, {"values": (2,)}), "exactly its 2 values"),
        (lambda: bx.shocks.Normal().rule(bx.quadrature.GaussLegendre(3), {}), "rule for uniform shocks"),
        (lambda: bx.shocks.Uniform().rule(bx.quadrature.GaussHermite(3), {}), "rule for normal shocks"),
        (lambda: bx.shocks.Normal().rule("many", {}), "neither a number of nodes nor a rule"),
        (lambda: bx.shocks.Normal().rule(0, {}), "count is 0"),
        (lambda: bx.IID(0.3), "takes a distribution"),
        (lambda: bx.shocks.Mixture([], ()), "no components"),
        (lambda: bx.shocks.Mixture([1.0], (bx.shocks.Jump(0.1),)), "Jump.* is no component"),
        (lambda: bx.shocks.Mixture([0.5, 0.5], (bx.shocks.Normal(), bx.shocks.Normal(shape=2))), "give one shape"),
    ],
)
def test_impossible_distributions(make, message, untyped):
    with pytest.raises(bx.ModelError, match=message):
        make()


@pytest.mark.parametrize(
    ("shock", "message"),
    [
        (bx.shocks.Normal(sd=-1.0), "sd of shock 'z' is -1; it must not be negative"),
        (
            bx.shocks.Normal(mean=[0.0, 1.0]),
            r"mean of shock 'z' has shape \(2,\); it must be a single number",
        ),
        (bx.shocks.Jump(-0.1), "intensity of shock 'z' is -0.1"),
        (bx.shocks.Categorical([1.0, 2.0], [0.5, 0.6]), "probabilities of shock 'z' sums to 1.1"),
        (bx.shocks.Categorical(3.0), "values of shock 'z' has shape"),
        (
            bx.shocks.MultivariateNormal(covariance=[[1.0, 2.0], [2.0, 1.0]]),
            "is indefinite: its least eigenvalue is -1",
        ),
        (bx.shocks.MultivariateNormal(covariance=[[1.0, 0.5], [0.2, 1.0]]), "not symmetric"),
        (bx.shocks.Mixture([0.5, 0.6], [bx.shocks.Normal()] * 2), "weights of shock 'z' sums to 1.1"),
        (bx.shocks.Mixture([1.0], [bx.shocks.Normal()] * 2), r"weights of shock 'z' has shape \(1,\)"),
        (bx.shocks.Mixture([0.5, 0.5], [bx.shocks.Normal(sd=-1.0)] * 2), "sd_0 of shock 'z' is -1"),
    ],
)
def test_impossible_literals_are_refused_at_construction(shock, message):
    with pytest.raises(bx.ModelError, match=message):
        bx.Model(
            states={"x": bx.Continuous(0.0, 1.0)},
            shocks={"z": shock},
            transitions={"x": lambda x, z: x},
            reward="x",
        )


def test_a_state_that_is_a_mixture():
    """A bad year of one wage, and else a normal one, seen before the decision to work: V against its own sum."""
    wage = bx.shocks.Mixture([0.1, 0.9], (bx.shocks.Normal(-3.0, 0.0), bx.shocks.Normal("m", 0.5)))
    model = bx.Model(
        states={"z": bx.IID(wage)},
        actions={"work": bx.Discrete(2)},
        reward=lambda work, z: jnp.where(work == 1, jnp.exp(z), 0.2),
        discount=0.9,
        horizon=2,
    )
    solution = bx.solve(model, {"m": 0.1}, bx.solvers.BackwardInduction(grid={"z": 5}))
    x, weights = np.polynomial.hermite_e.hermegauss(5)
    normal = np.sum(weights / weights.sum() * np.maximum(np.exp(0.1 + 0.5 * x), 0.2))
    expected = 0.1 * 0.2 + 0.9 * normal
    assert float(solution.value(period=0, z=0.0)) == pytest.approx(1.0 + 0.9 * expected, rel=1e-13)
    panel = bx.simulate(solution, agents=20_000, seed=2)
    z = np.asarray(panel.states["z"])
    assert abs(np.mean(z == -3.0) - 0.1) < 0.01 and abs(z[z > -3.0].std() - 0.5) < 0.01
    assert "z" in str(bx.certify(solution, points=40, agents=200))
