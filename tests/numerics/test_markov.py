"""Markov chains against published tables, the known properties of Rouwenhorst's chain, and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from bellax.errors import ModelError
from bellax.numerics import markov


@jax.jit
def moments(chain):
    """Mean, standard deviation and autocorrelation in the stationary distribution."""
    values, transition = chain
    weights = markov.stationary(transition)
    mean = jnp.sum(weights * values)
    centred = values - mean
    variance = jnp.sum(weights * centred**2)
    return mean, jnp.sqrt(variance), jnp.sum(weights * centred * (transition @ centred)) / variance


@pytest.mark.parametrize("chain", [markov.rouwenhorst, markov.tauchen])
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.98, 0.9999])
@pytest.mark.parametrize("count", [2, 21, 200])
def test_rows_are_probabilities(chain, rho, count):
    values, transition = chain(count, rho, 0.1)
    assert values.shape == (count,) and values.dtype == transition.dtype == jnp.float64
    assert bool(jnp.all(transition >= 0)) and bool(jnp.all(jnp.diff(values) > 0))
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("chain", [markov.rouwenhorst, markov.tauchen])
def test_one_value_stays_at_the_mean(chain):
    values, transition = chain(1, 0.9, 0.1, 2.0)
    assert values.tolist() == [2.0] and transition.tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["rouwenhorst", "tauchen"])
def test_a_chain_has_at_least_one_value(name):
    with pytest.raises(ModelError, match=f"{name} was asked for 0 values"):
        getattr(markov, name)(0, 0.9, 0.1)


@pytest.mark.parametrize("count", [2, 7, 60])
@pytest.mark.parametrize("rho", [-0.7, 0.3, 0.98])
def test_rouwenhorst_has_the_conditional_moments_of_the_process_everywhere(count, rho):
    """Mean and variance of z' given any z: Kopecky and Suen (2010)."""
    values, transition = markov.rouwenhorst(count, rho, 0.2, mean=1.5)
    mean = transition @ values
    np.testing.assert_allclose(mean, (1.0 - rho) * 1.5 + rho * values, atol=1e-12)
    np.testing.assert_allclose(transition @ values**2 - mean**2, 0.04, rtol=1e-9)


def farmer_toda(count, rho, sigma, moments=2, width=None):
    """The chain of an AR1 with mean zero."""
    units, transition = markov.standard_farmer_toda(count, rho, moments, width)
    unit = np.sqrt(count - 1) if width is None else width
    return unit * sigma / jnp.sqrt(1 - rho**2) * units, transition


@pytest.mark.parametrize(("count", "width"), [(2, None), (9, None), (41, None), (9, 4.0)])
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.3, 0.95, 0.999])
def test_farmer_toda_has_the_conditional_moments_of_the_process_where_it_can(count, width, rho):
    """The mean everywhere; the variance where that of the two nodes around the mean is less, and else this one."""
    values, transition = (np.asarray(x) for x in farmer_toda(count, rho, 0.2, width=width))
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, rtol=1e-14)
    assert np.all(transition >= 0)
    mean = transition @ values
    np.testing.assert_allclose(mean, rho * values, atol=1e-12)
    below = np.clip(np.searchsorted(values, rho * values, side="right") - 1, 0, count - 2)
    least = (rho * values - values[below]) * (values[below + 1] - rho * values)
    assert width is not None or np.all(least <= 0.04 * (1 + 1e-9))
    np.testing.assert_allclose(transition @ values**2 - mean**2, np.maximum(least, 0.04), rtol=1e-10)


def test_farmer_toda_of_four_moments():
    """The kurtosis of a normal where the nodes can have it, as in the middle of a fine grid; two moments elsewhere."""
    values, transition = (np.asarray(x) for x in farmer_toda(15, 0.9, 0.2, moments=4))
    centred = values[None, :] - 0.9 * values[:, None]
    two, three, four = ((transition * centred**k).sum(axis=1) / 0.2**k for k in (2, 3, 4))
    np.testing.assert_allclose(two, 1.0, rtol=1e-10)
    np.testing.assert_allclose(three[2:-2], 0.0, atol=1e-9)
    np.testing.assert_allclose(four[2:-2], 3.0, rtol=1e-9)


def test_farmer_toda_is_nearer_to_the_process_than_tauchen():
    """rho .95 and 9 values: errors of the unconditional deviation and of the autocorrelation."""
    exact = 0.1 / np.sqrt(1 - 0.95**2), 0.95
    ours, theirs = ([float(x) for x in moments(f(9, 0.95, 0.1))[1:]] for f in (farmer_toda, markov.tauchen))
    np.testing.assert_allclose(ours, exact, rtol=1e-9)
    assert abs(theirs[0] / exact[0] - 1) > 0.1 and abs(theirs[1] / exact[1] - 1) > 1e-3


@pytest.mark.parametrize("number", [2, 4])
def test_farmer_toda_is_differentiable(number):
    check_grads(lambda rho: farmer_toda(5, rho, 0.2, number)[1], (0.6,), order=1, modes=("fwd", "rev"), eps=1e-5)


@pytest.mark.parametrize("count", [2, 7, 60])
@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.3, 0.999])
def test_rouwenhorst_has_the_unconditional_moments_of_the_process(count, rho):
    mean, deviation, autocorrelation = moments(markov.rouwenhorst(count, rho, 0.2, mean=1.5))
    assert float(mean) == pytest.approx(1.5, rel=1e-11)
    assert float(deviation) == pytest.approx(0.2 / math.sqrt(1.0 - rho**2), rel=1e-11)
    assert float(autocorrelation) == pytest.approx(rho, abs=1e-12)


@pytest.mark.parametrize("count", [2, 9, 40])
def test_rouwenhorst_is_binomial_in_the_long_run(count):
    """Binomial with n - 1 trials and probability 1/2: Kopecky and Suen (2010)."""
    weights = markov.stationary(markov.rouwenhorst(count, 0.9, 0.1)[1])
    binomial = [math.comb(count - 1, k) / 2 ** (count - 1) for k in range(count)]
    np.testing.assert_allclose(weights, binomial, rtol=1e-12, atol=1e-15)


def test_rouwenhorst_of_three_values_is_the_matrix_of_the_paper():
    p = 0.95
    expected = [
        [p**2, 2 * p * (1 - p), (1 - p) ** 2],
        [p * (1 - p), p**2 + (1 - p) ** 2, p * (1 - p)],
        [(1 - p) ** 2, 2 * p * (1 - p), p**2],
    ]
    values, transition = markov.rouwenhorst(3, 0.9, 0.1)
    np.testing.assert_allclose(transition, expected, rtol=1e-14)
    deviation = 0.1 / math.sqrt(1.0 - 0.9**2)
    np.testing.assert_allclose(values, np.array([-1.0, 0.0, 1.0]) * math.sqrt(2.0) * deviation, rtol=1e-14)


def test_rouwenhorst_has_the_powers_of_rho_as_eigenvalues():
    eigenvalues = np.linalg.eigvals(np.asarray(markov.rouwenhorst(8, 0.8, 0.1)[1]))
    np.testing.assert_allclose(np.sort(eigenvalues.real)[::-1], 0.8 ** np.arange(8), rtol=1e-10)


def test_two_steps_of_rouwenhorst_are_one_step_with_rho_squared():
    once, twice = markov.rouwenhorst(12, 0.7, 0.1)[1], markov.rouwenhorst(12, 0.49, 0.1)[1]
    np.testing.assert_allclose(once @ once, twice, rtol=1e-12)


@pytest.mark.parametrize(
    ("count", "rho", "autocorrelation", "deviation"),
    [(9, 0.1, 0.100, 0.103), (9, 0.8, 0.798, 0.176), (9, 0.9, 0.898, 0.253), (5, 0.9, 0.932, 0.291)],
)
def test_tauchen_reproduces_its_paper(count, rho, autocorrelation, deviation):
    """Tauchen (1986), table 1: sigma .1, width 3, three decimals."""
    _, found_deviation, found_autocorrelation = moments(markov.tauchen(count, rho, 0.1))
    assert float(found_deviation) == pytest.approx(deviation, abs=5e-4)
    assert float(found_autocorrelation) == pytest.approx(autocorrelation, abs=5e-4)


@pytest.mark.parametrize(("chain", "deviation"), [(markov.tauchen, 0.5390), (markov.rouwenhorst, 0.5031)])
def test_a_persistent_process_with_21_values(chain, deviation):
    """Published deviations for rho .98, sigma .1. They are good to .001: Rouwenhorst's is exactly .50252."""
    assert float(moments(chain(21, 0.98, 0.1))[1]) == pytest.approx(deviation, abs=1e-3)


def test_tauchen_keeps_its_relative_accuracy_in_both_tails():
    """From one end to the other at rho 0: the mass beyond 3 - h / 2 deviations; at width 8 it is 7e-15."""
    for width in (3.0, 8.0):
        _, transition = markov.tauchen(41, 0.0, 0.1, width=width)
        tail = 0.5 * math.erfc((width - width / 40.0) / math.sqrt(2.0))
        np.testing.assert_allclose(transition[:, 0], tail, rtol=1e-12)
        np.testing.assert_allclose(transition[:, -1], tail, rtol=1e-12)


def test_tauchen_converges_to_the_process_at_order_two():
    """Rounding to values h apart adds h^2 / 12 to the variance of the innovation (Sheppard)."""
    rho, sigma, width = 0.6, 0.1, 7.0
    for count in (61, 121):
        values, transition = markov.tauchen(count, rho, sigma, width=width)
        spacing = float(values[1] - values[0])
        variance = (sigma**2 + spacing**2 / 12.0) / (1.0 - rho**2)
        assert float(moments((values, transition))[1]) == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_tauchen_is_centred_on_the_unconditional_mean():
    values, transition = markov.tauchen(9, 0.9, 0.1, mean=-2.0)
    deviation = 0.1 / math.sqrt(0.19)
    np.testing.assert_allclose(values[jnp.array([0, 8])], [-2.0 - 3.0 * deviation, -2.0 + 3.0 * deviation], rtol=1e-14)
    assert float(moments((values, transition))[0]) == pytest.approx(-2.0, rel=1e-13)


def test_stationary_distribution_of_two_states_and_its_derivative():
    """Leaving with probabilities a and b: p = (b, a) / (a + b), dp_1 / da = b / (a + b)^2."""

    def second(a, b):
        return markov.stationary(
            jnp.array([[1.0, 0.0], [0.0, 1.0]]) + jnp.outer(jnp.stack([a, -b]), jnp.array([-1.0, 1.0]))
        )[1]

    assert float(second(0.2, 0.3)) == pytest.approx(0.4, rel=1e-15)
    assert float(jax.grad(second)(0.2, 0.3)) == pytest.approx(0.3 / 0.25, rel=1e-14)


def test_stationary_distribution_of_a_periodic_chain():
    """Iteration never converges here."""
    np.testing.assert_allclose(markov.stationary(jnp.array([[0.0, 1.0], [1.0, 0.0]])), 0.5, rtol=1e-15)


@pytest.mark.parametrize("up", [0.5, 0.4, 0.1])
def test_stationary_distribution_leaves_transient_states_empty_with_the_right_derivative(up):
    """State 0 is left for good. If state 1 led there with probability e, p_0 = 2 e p_1 to first order."""

    def transition(e):
        rows = jnp.array([[0.5, 0.25, 0.25], [0.0, 1.0 - up, up], [0.0, 0.5, 0.5]])
        return rows + e * jnp.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])

    occupied = 0.5 / (0.5 + up)
    weights = markov.stationary(transition(0.0))
    np.testing.assert_allclose(weights, [0.0, occupied, 1.0 - occupied], rtol=1e-14, atol=1e-15)
    assert bool(jnp.all(weights >= 0))
    slope = jax.grad(lambda e: markov.stationary(transition(e))[0])(0.0)
    assert float(slope) == pytest.approx(2.0 * occupied, rel=1e-13)


def test_stationary_distribution_of_a_birth_and_death_chain():
    """Detailed balance: up with .3, down with .2, reflected at the ends: geometric with ratio 1.5."""
    count = 12
    transition = 0.3 * np.eye(count, k=1) + 0.2 * np.eye(count, k=-1)
    transition += np.diag(1.0 - transition.sum(axis=1))
    expected = 1.5 ** np.arange(count)
    found = markov.stationary(jnp.asarray(transition))
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_derivatives_of_rouwenhorst_moments():
    """sd = sigma / sqrt(1 - rho^2): derivatives by rho and sigma in closed form, under jit and vmap."""

    def deviation(rho, sigma):
        return moments(markov.rouwenhorst(9, rho, sigma))[1]

    rho = jnp.array([0.0, 0.5, 0.95])
    by_rho, by_sigma = jax.jit(jax.vmap(jax.grad(deviation, argnums=(0, 1)), in_axes=(0, None)))(rho, 0.1)
    np.testing.assert_allclose(by_rho, 0.1 * rho * (1.0 - rho**2) ** -1.5, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(by_sigma, (1.0 - rho**2) ** -0.5, rtol=1e-10)


@pytest.mark.parametrize("chain", [markov.rouwenhorst, markov.tauchen])
@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.9])
def test_derivatives_agree_with_differences(chain, rho):
    def law(rho, sigma, mean):
        values, transition = chain(7, rho, sigma, mean)
        return values, transition, markov.stationary(transition)

    check_grads(law, (rho, 0.1, 0.3), order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6, eps=1e-5)


@pytest.mark.parametrize("chain", [markov.rouwenhorst, markov.tauchen])
def test_derivatives_are_finite_where_probabilities_underflow(chain):
    slopes = jax.jit(jax.jacfwd(lambda rho: chain(61, rho, 0.1)[1]))(0.9999)
    assert bool(jnp.all(jnp.isfinite(slopes)))
    np.testing.assert_allclose(slopes.sum(axis=1), 0.0, atol=1e-9)


def test_numbers_of_every_kind_are_taken_in_64_bit():
    for one in (1, 1.0, np.float64(1.0), jnp.float32(1.0), jnp.ones(())):
        values, transition = markov.rouwenhorst(3, 0.5, one, mean=one)
        assert values.dtype == transition.dtype == jnp.float64
        np.testing.assert_allclose(values[1:], [1.0, 1.0 + math.sqrt(2.0 / 0.75)], rtol=1e-14)


RHOS, SIGMAS, MEANS = np.array([0.8, 1.0, -0.4, 0.95]), np.array([0.3, 0.2, 0.5, 0.0]), np.array([1.0, 2.0, 0.0, 3.0])


def test_moments_of_a_law_that_moves_with_time():
    """z_t as the sum of all innovations since period 0, each with the product of the rhos after it."""
    centre, spread = markov.moments(jnp.asarray(RHOS), jnp.asarray(SIGMAS), jnp.asarray(MEANS))
    loads = [np.prod(RHOS[k:4]) for k in range(5)]  # on z_0 and on the four innovations
    first = SIGMAS[0] ** 2 / (1 - RHOS[0] ** 2)
    variance = loads[0] ** 2 * first + sum(load**2 * sigma**2 for load, sigma in zip(loads[1:], SIGMAS, strict=True))
    drift = sum(load * (1 - rho) * mean for load, rho, mean in zip(loads[1:], RHOS, MEANS, strict=True))
    assert float(centre[4]) == pytest.approx(loads[0] * MEANS[0] + drift, rel=1e-14)
    assert float(spread[4]) == pytest.approx(math.sqrt(variance), rel=1e-14)


@pytest.mark.parametrize("count", [2, 9])
def test_rouwenhorst_between_dates_has_the_conditional_moments_of_the_law(count):
    """Fella, Gallipoli and Pan (2019): mean and variance of z' given any z, at every date."""
    centre, spread = markov.moments(jnp.asarray(RHOS), jnp.asarray(SIGMAS), jnp.asarray(MEANS))
    for t, (rho, sigma, mean) in enumerate(zip(RHOS, SIGMAS, MEANS, strict=True)):
        units, transition = markov.standard_rouwenhorst(count, markov.correlation(rho, sigma, spread[t]))
        today, tomorrow = (np.asarray(centre[k] + math.sqrt(count - 1) * spread[k] * units) for k in (t, t + 1))
        found = np.asarray(transition) @ tomorrow
        np.testing.assert_allclose(found, (1 - rho) * mean + rho * today, atol=1e-13)
        variance = (np.asarray(transition) * (tomorrow - found[:, None]) ** 2).sum(axis=1)
        np.testing.assert_allclose(variance, sigma**2, atol=1e-13)


def test_tauchen_between_dates_is_its_definition():
    """Probabilities of the intervals around tomorrow's nodes, with a unit root on the way."""
    centre, spread = markov.moments(jnp.asarray(RHOS), jnp.asarray(SIGMAS), jnp.asarray(MEANS))
    units, transition = markov.standard_tauchen(7, markov.correlation(RHOS[1], SIGMAS[1], spread[1]), 3.0)
    today, tomorrow = (np.asarray(centre[k] + 3 * spread[k] * units) for k in (1, 2))
    edges = [-math.inf, *(0.5 * (tomorrow[1:] + tomorrow[:-1])), math.inf]
    below = [[0.5 * math.erfc((z - edge) / 0.2 / math.sqrt(2)) for edge in edges] for z in today]
    np.testing.assert_allclose(transition, np.diff(below, axis=1), atol=1e-15)


def test_moments_of_a_process_that_does_not_move_and_their_derivatives():
    def last(rho, sigma):
        centre, spread = markov.moments(*(jnp.full(3, x) for x in (rho, sigma, 0.3)))
        return spread[-1], markov.correlation(rho, sigma, spread[-1])

    np.testing.assert_allclose(last(0.9, 0.2), [0.2 / math.sqrt(0.19), 0.9], rtol=1e-14)
    spread, correlation = jax.jacfwd(last, argnums=(0, 1))(0.9, 0.2)
    np.testing.assert_allclose(spread, [0.2 * 0.9 * 0.19**-1.5, 0.19**-0.5], rtol=1e-12)
    np.testing.assert_allclose(correlation, [1.0, 0.0], atol=1e-12)
    still = jax.jacfwd(last, argnums=(0, 1))(0.0, 0.0)
    assert all(bool(jnp.isfinite(slope)) for slope in jax.tree.leaves(still))
