"""Quadrature rules against closed-form moments, the theory of their errors, and adaptive integration."""

import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from bellax.errors import ModelError
from bellax.numerics import quadrature, rules

NORMAL = NormalDist()
DENSITY_AT_ZERO = 1.0 / math.sqrt(2.0 * math.pi)


def expectation(rule, function):
    nodes, weights = rule
    return float(jnp.sum(weights * function(nodes)))


def normal_moment(degree):
    """E[x^k] of a standard normal: (k - 1)!! for even k, else zero."""
    return 0.0 if degree % 2 else math.factorial(degree) / (2 ** (degree // 2) * math.factorial(degree // 2))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_gauss_hermite_is_exact_to_degree_2n_minus_1(count):
    nodes, weights = (np.asarray(part) for part in quadrature.gauss_hermite(count))
    for degree in range(2 * count):
        scale = normal_moment(degree + degree % 2)
        assert weights @ nodes**degree == pytest.approx(normal_moment(degree), abs=1e-13 * scale)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_gauss_hermite_misses_degree_2n_by_n_factorial(count):
    """The error at x^(2n) is E[He_n(x)^2] = n!."""
    rule = quadrature.gauss_hermite(count)
    expected = normal_moment(2 * count) - math.factorial(count)
    found = expectation(rule, lambda x: x ** (2 * count))
    assert found == pytest.approx(expected, abs=1e-13 * normal_moment(2 * count))


@pytest.mark.parametrize("count", [20, 150, 151, 400, 800])
def test_gauss_hermite_with_many_nodes(count):
    rule = quadrature.gauss_hermite(count)
    nodes, weights = rule
    assert nodes.shape == weights.shape == (count,)
    assert nodes.dtype == weights.dtype == jnp.float64
    assert bool(jnp.all(jnp.diff(nodes) > 0)) and bool(jnp.all(weights >= 0))
    assert expectation(rule, lambda x: x**4) == pytest.approx(3.0, rel=1e-13)
    assert expectation(rule, lambda x: jnp.exp(2.0 * x)) == pytest.approx(math.exp(2.0), rel=1e-13)
    assert expectation(rule, lambda x: jnp.cos(2.0 * x)) == pytest.approx(math.exp(-2.0), rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_gauss_legendre_is_exact_to_degree_2n_minus_1_and_no_further(count):
    """The error at x^(2n) is the squared norm of the monic Legendre polynomial on [0, 1]."""
    rule = quadrature.gauss_legendre(count)
    for degree in range(2 * count):
        assert expectation(rule, lambda x, k=degree: x**k) == pytest.approx(1.0 / (degree + 1), rel=1e-14)
    error = math.factorial(count) ** 4 / ((2 * count + 1) * math.factorial(2 * count) ** 2)
    found = expectation(rule, lambda x: x ** (2 * count))
    assert 1.0 / (2 * count + 1) - found == pytest.approx(error, rel=1e-8)


def test_gauss_legendre_with_many_nodes():
    rule = quadrature.gauss_legendre(300)
    assert 0.0 < float(rule[0][0]) < float(rule[0][-1]) < 1.0
    assert expectation(rule, jnp.exp) == pytest.approx(math.e - 1.0, rel=1e-14)
    assert expectation(rule, lambda x: jnp.cos(200.0 * x)) == pytest.approx(math.sin(200.0) / 200.0, rel=1e-11)


@pytest.mark.parametrize(("count", "width"), [(3, 5.5), (12, 5.5), (31, 5.5), (401, 5.5), (31, 4.0), (64, 8.0)])
def test_equispaced_normal_has_the_moments_of_a_normal_to_degree_three(count, width):
    nodes, weights = (np.asarray(part) for part in quadrature.equispaced_normal(count, width))
    assert nodes[0] == -width and nodes[-1] == width
    assert np.diff(nodes) == pytest.approx(2.0 * width / (count - 1), rel=1e-13)
    assert np.all(weights > 0)
    for degree in range(4):
        assert weights @ nodes**degree == pytest.approx(normal_moment(degree), abs=1e-14)


@pytest.mark.parametrize(("count", "found"), [(1, 3), (8, 9), (10, 11), (12, 12), (31, 31)])
def test_fewer_nodes_have_positive_weights_or_are_one_or_two_more(count, found):
    rule = rules.recounted(rules.Equispaced(31), count)
    assert rule.count == found and np.all(np.asarray(rule.normal().weights) > 0)
    assert rules.recounted(rules.GaussHermite(7), count) == rules.GaussHermite(count)


@pytest.mark.parametrize("count", [21, 31, 401])
def test_equispaced_normal_weighs_by_the_density_and_puts_the_tails_at_the_ends(count):
    nodes, weights = (np.asarray(part) for part in quadrature.equispaced_normal(count))
    density = np.array([NORMAL.pdf(node) for node in nodes[1:-1]])
    np.testing.assert_allclose(weights[1:-1], density * 11.0 / (count - 1), rtol=1e-6)
    assert NORMAL.cdf(-5.5) < weights[0] < NORMAL.cdf(-5.5) + NORMAL.pdf(5.5) * 11.0 / (count - 1)


@pytest.mark.parametrize(("width", "tolerance"), [(5.5, 5e-7), (8.0, 2e-13)])
def test_equispaced_normal_misses_only_what_lies_beyond_its_width(width, tolerance):
    rule = quadrature.equispaced_normal(101, width)
    assert expectation(rule, jnp.exp) == pytest.approx(math.exp(0.5), rel=tolerance)


@pytest.mark.parametrize("kink", [0.0, 0.11, -0.37, 1.6])
@pytest.mark.parametrize("count", [31, 101])
def test_equispaced_normal_at_a_kink(count, kink):
    """E max(x - k, 0) = phi(k) - k (1 - Phi(k)), a call under Bachelier's law.

    The trapezoidal rule errs by h^2 phi(k) (theta (1 - theta) / 2 - 1/12), theta the place of k in its cell.
    """
    found = expectation(quadrature.equispaced_normal(count), lambda x: jnp.maximum(x - kink, 0.0))
    spacing = 11.0 / (count - 1)
    place = ((kink + 5.5) / spacing) % 1.0
    error = spacing**2 * NORMAL.pdf(kink) * (place * (1.0 - place) / 2.0 - 1.0 / 12.0)
    exact = NORMAL.pdf(kink) - kink * (1.0 - NORMAL.cdf(kink))
    assert found - exact == pytest.approx(error, abs=0.05 * spacing**3 + 1e-6)


def test_at_a_kink_equal_spacing_has_order_two_and_gauss_hermite_order_one():
    def order(rule):
        errors = [abs(expectation(rule(n), lambda x: jnp.maximum(x, 0.0)) - DENSITY_AT_ZERO) for n in (51, 201)]
        return math.log(errors[0] / errors[1], 200 / 50)

    assert order(quadrature.equispaced_normal) == pytest.approx(2.0, abs=0.02)
    assert order(quadrature.gauss_hermite) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("count", "width"), [(0, 5.5), (1, 5.5), (2, 5.5), (4, 5.5), (10, 5.5), (31, 1.0)])
def test_equispaced_normal_refuses_what_cannot_have_variance_one(count, width):
    with pytest.raises(ModelError, match=rf"equispaced_normal\({count}, width={width}\).*odd count"):
        quadrature.equispaced_normal(count, width)


@pytest.mark.parametrize("rule", ["gauss_hermite", "gauss_legendre", "equiprobable_normal"])
def test_a_rule_has_at_least_one_node(rule):
    with pytest.raises(ModelError, match=f"{rule} was asked for 0 nodes"):
        getattr(quadrature, rule)(0)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_equiprobable_normal_nodes_are_the_means_of_the_bins(count):
    nodes, weights = quadrature.equiprobable_normal(count)
    inner = [NORMAL.inv_cdf(i / count) for i in range(1, count)]
    edges = [-math.inf, *inner, math.inf]
    means = [
        count * quad(lambda x: x * NORMAL.pdf(x), low, high, epsabs=1e-13)[0]
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    np.testing.assert_allclose(nodes, means, atol=1e-11)
    np.testing.assert_allclose(weights, 1.0 / count, rtol=1e-15)


def test_equiprobable_normal_of_two_bins():
    nodes, _ = quadrature.equiprobable_normal(2)
    np.testing.assert_allclose(nodes, [-math.sqrt(2.0 / math.pi), math.sqrt(2.0 / math.pi)], rtol=1e-15)


def test_tensor_varies_the_last_factor_fastest():
    slow = jnp.array([1.0, 2.0]), jnp.array([0.25, 0.75])
    fast = jnp.array([10.0, 20.0, 30.0]), jnp.array([0.5, 0.25, 0.25])
    nodes, weights = quadrature.tensor(slow, fast)
    np.testing.assert_array_equal(nodes, [[1, 10], [1, 20], [1, 30], [2, 10], [2, 20], [2, 30]])
    np.testing.assert_array_equal(weights, [0.125, 0.0625, 0.0625, 0.375, 0.1875, 0.1875])


def test_tensor_integrates_a_function_that_is_not_a_product():
    """E[(x + y u)^4] for x, y standard normal and u uniform is 3 E[(1 + u^2)^2] = 3 (1 + 2/3 + 1/5)."""
    normal, uniform = quadrature.gauss_hermite(3), quadrature.gauss_legendre(3)
    nodes, weights = quadrature.tensor(normal, normal, uniform)
    assert nodes.shape == (27, 3)
    x, y, u = nodes.T
    assert float(weights @ (x + y * u) ** 4) == pytest.approx(5.6, rel=1e-14)


def test_tensor_takes_products_as_factors_and_no_factor_at_all():
    """E[(x + y + z)^2] = 3 with x, y already a product; the empty product is the certain event."""
    normal = quadrature.gauss_hermite(2)
    nodes, weights = quadrature.tensor(quadrature.tensor(normal, normal), normal)
    assert float(weights @ jnp.sum(nodes, axis=1) ** 2) == pytest.approx(3.0, rel=1e-14)
    nodes, weights = quadrature.tensor()
    assert nodes.shape == (1, 0) and float(weights[0]) == 1.0


@pytest.mark.parametrize(
    ("rule", "tolerance"),
    [(lambda: quadrature.gauss_hermite(20), 1e-12), (lambda: quadrature.equispaced_normal(61, 8.0), 1e-12)],
)
def test_derivatives_of_a_lognormal_mean(rule, tolerance):
    """d/d sigma E[exp(mu + sigma x)] = sigma exp(mu + sigma^2 / 2), through jit and vmap."""

    def mean(mu, sigma):
        nodes, weights = rule()
        return jnp.sum(weights * jnp.exp(mu + sigma * nodes))

    sigma = jnp.array([0.1, 0.4, 1.0])
    found = jax.jit(jax.vmap(jax.grad(mean, argnums=1), in_axes=(None, 0)))(0.3, sigma)
    np.testing.assert_allclose(found, sigma * jnp.exp(0.3 + sigma**2 / 2.0), rtol=tolerance)


def test_tensor_is_differentiable_in_nodes_that_depend_on_parameters():
    """d/d sigma E[(sigma x)^2 + u] = 2 sigma."""

    def mean(sigma):
        nodes, weights = quadrature.gauss_hermite(2)
        nodes, weights = quadrature.tensor((sigma * nodes, weights), quadrature.gauss_legendre(2))
        return jnp.sum(weights * (nodes[:, 0] ** 2 + nodes[:, 1]))

    assert float(jax.jit(jax.grad(mean))(0.7)) == pytest.approx(1.4, rel=1e-14)
