"""Scales: the logarithm of bits is a logarithm, every scale inverts, and its slope is what calculus says."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import scales

WIDE = np.concatenate([np.logspace(-300, 300, 1001), np.linspace(0.5, 2.0, 1001), 1 + np.logspace(-15, -1, 50)])
ALL = {
    "linear": (scales.linear, np.linspace(-5, 5, 41)),
    "log": (scales.log, np.logspace(-6, 6, 41)),
    "quick log": (scales.quick(scales.log), np.logspace(-6, 6, 41)),
    "asinh": (scales.asinh(0.3), np.linspace(-50, 50, 41)),
    "quick asinh": (scales.quick(scales.asinh(0.3)), np.linspace(-50, 50, 41)),
    "power": (scales.power(3.0), np.linspace(0.01, 9, 41)),
    "quick power": (scales.quick(scales.power(3.0)), np.linspace(0.01, 9, 41)),
    "octave": (scales.octave, np.logspace(-6, 6, 41)),
    "pair": (scales.as_scale((jnp.sqrt, jnp.square)), np.linspace(0.01, 9, 41)),
}


def test_the_logarithm_of_bits():
    ours = np.asarray(scales.logarithm(jnp.asarray(WIDE)))
    assert np.max(np.abs(ours - np.log(WIDE)) / np.maximum(1, np.abs(np.log(WIDE)))) < 2e-15
    near_one = np.abs(WIDE - 1) < 1e-3
    assert np.max(np.abs(ours - np.log(WIDE))[near_one]) < 1e-15


def test_its_derivatives():
    x = jnp.asarray([1e-9, 0.3, 1.0, 7.0, 1e12])
    np.testing.assert_allclose(jax.vmap(jax.grad(scales.logarithm))(x), 1 / x, rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(scales.logarithm)))(x), -1 / x**2, rtol=1e-15)


def test_octave_is_log2_at_powers_of_two_and_linear_between():
    powers = 2.0 ** np.arange(-20, 21)
    np.testing.assert_allclose(scales.octave.forward(jnp.asarray(powers)), np.arange(-20, 21), atol=1e-12)
    np.testing.assert_allclose(scales.octave.forward(jnp.asarray(1.5 * powers)), np.arange(-20, 21) + 0.5, atol=1e-12)
    slope = jax.vmap(jax.grad(scales.octave.forward))(jnp.asarray(1.3 * powers))
    np.testing.assert_allclose(slope, 1 / powers, rtol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_inverse_of_forward(name):
    scale, x = ALL[name]
    back = scale.inverse(scale.forward(jnp.asarray(x)))
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-14)
    assert np.all(np.diff(np.asarray(scale.forward(jnp.asarray(x)))) > 0)


@pytest.mark.parametrize("name", ALL)
def test_the_slope_is_that_of_differences(name):
    scale, x = ALL[name]
    x = x[np.abs(x) > 1e-3] * 1.0037  # off the kinks of octave
    h = 1e-5 * np.abs(x)
    both = (np.asarray(scale.forward(jnp.asarray(x + h))) - np.asarray(scale.forward(jnp.asarray(x - h)))) / (2 * h)
    ours = jax.vmap(jax.grad(lambda v: scale.forward(v)))(jnp.asarray(x))
    np.testing.assert_allclose(ours, both, rtol=2e-6)


def test_quick_scales_agree_with_the_others_and_at_zero():
    x = jnp.asarray(np.linspace(0.0, 30, 31))
    for scale in (scales.asinh(2.0), scales.power(2.0)):
        np.testing.assert_allclose(scale.forward(x), scales.quick(scale).forward(x), rtol=1e-13, atol=1e-15)
    assert float(jax.grad(scales.quick(scales.asinh(2.0)).forward)(jnp.asarray(0.0))) == 0.5


def test_scales_that_are_none():
    with pytest.raises(bx.ModelError, match="unit.* -1.0; give a positive"):
        scales.asinh(-1.0)
    with pytest.raises(bx.ModelError, match="exponent is 0.0"):
        scales.power(0.0)
    with pytest.raises(bx.ModelError, match="scale is 'log'.*bx.scales.linear"):
        bx.Continuous(1, 2, scale="log")


@pytest.mark.long
def test_single_precision():
    """In a process of its own: the format of floats is chosen when JAX is imported."""
    program = """
import numpy as np, jax.numpy as jnp, bellax as bx
from bellax.numerics import scales
x = np.logspace(-30, 30, 2001).astype(np.float32)
assert scales.logarithm(jnp.asarray(x)).dtype == jnp.float32
assert np.max(np.abs(np.asarray(scales.logarithm(jnp.asarray(x)), float) - np.log(x.astype(float)))
              / np.maximum(1, np.abs(np.log(x.astype(float))))) < 3e-7
for s in (scales.quick(scales.log), scales.quick(scales.asinh(.3)), scales.octave, scales.quick(scales.power(2.))):
    y = np.logspace(-2, 2, 41).astype(np.float32)
    back = np.asarray(s.inverse(s.forward(jnp.asarray(y))))
    assert back.dtype == np.float32 and np.max(np.abs(back / y - 1)) < 1e-5, s
# cake eating with log utility: c = (1 - b) w in the limit, c = w / (1 + b + ... + b^(T-t-1)) before
m = bx.Model(states={"w": bx.Continuous(1e-2, 10.0, scale=bx.scales.log)},
             actions={"c": bx.Continuous(1e-4, "w")}, transitions={"w": lambda w, c: w - c},
             reward=lambda c: jnp.log(c), terminal=lambda w: jnp.log(w), horizon=2)
for maximiser in (bx.maximise.Newton(), bx.maximise.Golden(), bx.maximise.Enumerate(grid={"c": 2000})):
    s = bx.solve(m, {"discount": 0.9}, bx.solvers.BackwardInduction(grid={"w": 200}, maximiser=maximiser))
    assert s.values.levels.dtype == jnp.float32
    c = float(s.policy(period=0, w=3.0)["c"])
    assert abs(c - 3 / (1 + .9 + .81)) < 5e-3, (maximiser, c)
# a stationary model converges although V is good to 1e-7 only
d = bx.Model(states={"w": bx.Continuous(1.0, 3.0)}, actions={"c": bx.Continuous(0.0, 1.0)},
             transitions={"w": lambda w, c: 1 + 0.5 * (w - 1) + 0.3 * c}, reward=lambda w, c: 100 + w - c**2,
             discount=0.9)
# V = 1000 + 10 + v (w - 1) + k with v = 1/(1-.45): c maximises -c^2 + .9 v .3 c, inside (0, 1)
v = 1 / (1 - .45)
c = .9 * v * .3 / 2
V = 10 * (100 + 1 + c**2) + v * (2.0 - 1)
for solver in (bx.solvers.ValueIteration, bx.solvers.PolicyIteration):
    s = bx.solve(d, {}, solver(grid={"w": 6}))
    assert s.result == 0, (solver, s.result)
    assert abs(float(s.value(w=2.0)) / V - 1) < 1e-5, (solver, s.value(w=2.0), V)
    assert abs(float(s.policy(w=2.0)["c"]) - c) < 1e-3
print("fine")
"""
    env = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout == "fine\n", done.stderr[-3000:]
