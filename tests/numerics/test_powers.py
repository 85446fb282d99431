"""Powers as exponentials: numpy's, and their derivatives by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellax.numerics.powers import power, with_quick_powers


@pytest.mark.parametrize("x", [0.0, 1e-8, 0.7, 1.0, 3.0, 1e8, -2.0, -0.5])
@pytest.mark.parametrize("y", [0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -1.7])
def test_value_and_derivative(x, y):
    with np.errstate(all="ignore"):
        value = np.power(x, y)
        slope = 0.0 if y == 0 else y * np.power(x, y - 1)
    x, y = jnp.asarray(x), jnp.asarray(y)
    np.testing.assert_allclose(power(x, y), value, rtol=1e-13)
    np.testing.assert_allclose(jax.grad(power)(x, y), slope, rtol=1e-13)


def test_derivative_in_the_exponent():
    np.testing.assert_allclose(jax.grad(power, 1)(jnp.asarray(3.0), jnp.asarray(-1.7)), 3.0**-1.7 * np.log(3.0))
    assert jax.grad(power, 1)(jnp.asarray(0.0), jnp.asarray(2.0)) == 0


@pytest.mark.parametrize("y", [0.0, 1.0, -0.5])
def test_marginal_values_move_with_the_exponent(y):
    """d/dy of y x^(y - 1) is x^(y - 1) (1 + y log x), where y is zero, too."""
    x, y = jnp.asarray(0.3), jnp.asarray(y)
    found = jax.grad(lambda y: jax.grad(power)(x, y))(y)
    np.testing.assert_allclose(found, 0.3 ** (y - 1) * (1 + y * np.log(0.3)), rtol=1e-14)


def test_single_precision_stays():
    found = power(jnp.asarray(-2.0, jnp.float32), jnp.asarray(3.0, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, -8.0, rtol=1e-6)


def test_functions_of_powers():
    """Every power of a function, inside of what it calls, too, and nothing else."""

    def utility(leaves):
        c, risk_aversion = leaves["c"], leaves["risk_aversion"]
        return jax.jit(lambda c: c ** (1 - risk_aversion))(c) / (1 - risk_aversion) + jnp.log(c) - c**2 + jax.nn.relu(c)

    given = {"c": jnp.asarray(1.3), "risk_aversion": jnp.asarray(2.5)}
    quick = lambda given: with_quick_powers(utility, given)  # noqa: E731
    primitives = str(jax.make_jaxpr(quick)(given))
    assert " pow " not in primitives and "integer_pow" in primitives
    np.testing.assert_allclose(quick(given), 1.3**-1.5 / -1.5 + np.log(1.3) - 1.3**2 + 1.3, rtol=1e-14)
    np.testing.assert_allclose(jax.grad(quick)(given)["c"], 1.3**-2.5 + 1 / 1.3 - 1.6, rtol=1e-14)
