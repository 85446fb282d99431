"""Where Q has several peaks Newton follows the highest, or else the certificate says what was missed."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.problem.plan import Plan


def gains(y):
    return 3 * y / (1 + 0.3 * y)


def above(w):
    return gains(jnp.maximum(w - 6.0, 0.0))


def spender(**slots):
    """Eat, or keep more than 6 for what that is worth in the end."""
    base = dict(
        states={"w": bx.Continuous(0.1, 10.0)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: 2 * jnp.sqrt(c + 0.01),
        discount=1.0,
        horizon=1,
    )
    return bx.Model(**{**base, **slots})


def best(terminal, wealth):
    """max over c of the reward and the terminal value, by brute force."""
    c = wealth[:, None] * np.linspace(0.0, 1.0, 20001)
    return np.max(2 * np.sqrt(c + 0.01) + np.asarray(terminal(wealth[:, None] - c)), axis=1)


WEALTH = np.linspace(8.5, 10.0, 40)


def test_a_convex_kink_in_the_terminal_value():
    solution = bx.solve(spender(terminal=above), {})
    c = np.asarray(solution.policy(period=0, w=WEALTH)["c"])
    earned = 2 * np.sqrt(c + 0.01) + np.asarray(above(WEALTH - c))
    np.testing.assert_allclose(earned, best(above, WEALTH), atol=1e-6)


def test_a_convex_kink_in_what_tomorrow_pays():
    model = spender(reward=lambda w, c, last: 2 * jnp.sqrt(c + 0.01) * (1 - last) + above(w) * last, horizon=2)
    solution = bx.solve(model, {"last": bx.by_period([0.0, 1.0])})
    c = np.asarray(solution.policy(period=0, w=WEALTH)["c"])
    earned = 2 * np.sqrt(c + 0.01) + np.asarray(above(WEALTH - c))
    np.testing.assert_allclose(earned, best(above, WEALTH), atol=1e-6)


@pytest.mark.parametrize(
    ("slots", "rugged"),
    [
        ({}, False),
        ({"terminal": lambda w: jnp.log(w)}, False),
        ({"terminal": lambda w: jnp.minimum(w, 5.0)}, True),
        ({"terminal": lambda w, knots: jnp.interp(w, knots, knots**2)}, True),
        ({"reward": lambda w, c: jnp.sqrt(c) + jnp.abs(w - 3)}, True),
        ({"actions": {"c": bx.Continuous(0.0, lambda w: jnp.minimum(w, 2.0))}}, True),
        ({"discount": lambda w: jnp.where(w > 3, 0.9, 0.8)}, True),
        ({"reward": lambda c, top: jnp.sqrt(c + jnp.maximum(top, 0.0))}, False),
    ],
)
def test_what_may_make_several_peaks(slots, rugged):
    assert Plan(spender(**slots).graph).rugged == rugged


@pytest.mark.long
def test_a_smooth_convex_value_is_found_out():
    """No operation tells that there are two peaks; with few candidates one is missed, and the certificate says so."""

    def terminal(w):
        return gains(jnp.log1p(jnp.exp(8 * (w - 6))) / 8)

    model = spender(terminal=terminal)
    assert not Plan(model.graph).rugged
    solution = bx.solve(model, {})
    error = np.max(best(terminal, WEALTH) - np.asarray(solution.value(period=0, w=WEALTH)))
    found = bx.certify(solution, points=400, agents=10)
    assert error > 0.02 and found.value_error > error and "the maximiser missed" in str(found)
