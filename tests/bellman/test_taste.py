"""The log-sum over groups of combinations, against formulas written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from bellax.bellman.taste import smoothed

GROUPS = (0, 1, 0, 1, 2, 2)
VALUES = np.array([1.0, -2.0, 1.3, 0.4, 0.9, -np.inf])


def by_hand(values, scale):
    """Mean-zero log-sum of the best of each group, and the probabilities of the best."""
    pairs = list(zip(values, GROUPS, strict=True))
    best = {g: max(v for v, own in pairs if own == g) for g in set(GROUPS)}
    total = sum(np.exp(m / scale) for m in best.values())
    shares = [np.exp(v / scale) / total if v == best[g] else 0.0 for v, g in pairs]
    return scale * np.log(total), np.array(shares)


def test_it_is_the_log_sum_of_the_best_of_each_group():
    value, probabilities = by_hand(VALUES, 0.7)
    found = smoothed(jnp.asarray(VALUES), jnp.asarray(0.7), GROUPS)
    np.testing.assert_allclose(found.value, value, rtol=1e-15)
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-14)


def test_derivatives_are_probabilities_and_the_entropy_and_may_be_taken_twice():
    values, scale = jnp.asarray(VALUES), jnp.asarray(0.7)
    first = jax.grad(lambda v, s: smoothed(v, s, GROUPS).value, argnums=(0, 1))
    _, p = by_hand(VALUES, 0.7)
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    by_value, by_scale = first(values, scale)
    np.testing.assert_allclose(by_value, p, rtol=1e-14)
    np.testing.assert_allclose(by_scale, entropy, rtol=1e-14)
    # d2V/dv dv' = (diag(p) - p p') / s, and dp/ds by central differences of the formula
    second = jax.jacobian(lambda v: first(v, scale)[0])(values)
    np.testing.assert_allclose(second, (np.diag(p) - np.outer(p, p)) / 0.7, atol=1e-14)
    moved = jax.jacfwd(lambda s: smoothed(values, s, GROUPS).probabilities)(scale)
    step = 1e-6
    central = (by_hand(VALUES, 0.7 + step)[1] - by_hand(VALUES, 0.7 - step)[1]) / (2 * step)
    np.testing.assert_allclose(moved, central, atol=1e-9)


def test_a_scale_that_goes_to_zero_gives_the_maximum_and_nothing_overflows():
    for size in (1.0, 1e200):
        values = jnp.asarray(VALUES) * size
        for scale in (0.0, 1e-300, 1e-12):
            found, slopes = jax.value_and_grad(lambda v, s: smoothed(v, s, GROUPS).value)(values, jnp.asarray(scale))
            assert found == 1.3 * size
            np.testing.assert_array_equal(slopes, [0, 0, 1, 0, 0, 0])
    tie = smoothed(jnp.asarray([2.0, 2.0]), jnp.asarray(0.0), (0, 1))
    assert tie.value == 2.0
    np.testing.assert_array_equal(tie.probabilities, [1, 0])
    np.testing.assert_array_equal(
        smoothed(jnp.asarray([2.0, 2.0]), jnp.asarray(1e-9), (0, 1)).probabilities, [0.5, 0.5]
    )


def test_where_nothing_is_feasible_it_is_minus_infinity_and_has_no_slope():
    nothing = jnp.full(6, -jnp.inf)
    for scale in (0.0, 0.5):
        found, slopes = jax.value_and_grad(lambda v, s: smoothed(v, s, GROUPS).value)(nothing, jnp.asarray(scale))
        assert found == -jnp.inf
        np.testing.assert_array_equal(slopes, 0.0)
        assert jnp.sum(smoothed(nothing, jnp.asarray(scale), GROUPS).probabilities) == 1.0


def test_what_is_no_number_is_none_with_its_derivatives():
    for values, scale in (([1.0, np.nan], 0.5), ([1.0, 2.0], np.nan), ([1.0, 2.0], -0.5)):
        function = jax.value_and_grad(lambda v, s: smoothed(v, s, (0, 1)).value, argnums=(0, 1))
        for leaf in jax.tree.leaves(function(jnp.asarray(values), jnp.asarray(scale))):
            assert np.isnan(leaf).all()
