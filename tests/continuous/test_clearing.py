"""Methods that look for prices, told what closed forms say."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.equilibrium.method import Seen, Told

TOLERANCE = jnp.asarray(1e-11)


def found(method, conditions, lower, upper, slopes=None, update=None):
    """The end of the search, and what a method says of it."""
    names = ("x", "y")[: len(lower)]
    state, path, left = method.init(jnp.asarray(lower), jnp.asarray(upper)), [], []
    while not bool(method.done(state, TOLERANCE)):
        x = method.ask(state)
        path.append(x)
        left.append(jnp.stack(conditions(*x)))
        steep = jnp.asarray(slopes(*x)) if slopes else jnp.zeros((x.size, x.size))
        state = method.tell(
            state, x, Told(left[-1], steep, jnp.stack(update(*x)) if update else jnp.zeros(0)), TOLERANCE
        )
    root, good = method.ended(state)
    at_end = np.asarray(jnp.stack(conditions(*root)))
    seen = Seen(names, tuple(f"c{name}" for name in names), np.stack(path), np.stack(left), at_end)
    return root, bool(good), method.explain(state, seen), seen


def test_brackets():
    root, good, wrong, seen = found(bx.clearing.Bracketing(), lambda x: [x**3 - 2.0], [0.0], [5.0])
    np.testing.assert_allclose(root, 2 ** (1 / 3), rtol=1e-10)
    assert good and not wrong and len(seen.path) < 15


def test_newton_in_two_unknowns():
    """Steps that lead nowhere are halved, and brackets kept: without both it leaves them."""
    conditions = lambda x, y: [jnp.arctan(5 * (x - 3.0)), x * y - 6.0]  # noqa: E731
    slopes = lambda x, y: [[5 / (1 + 25 * (x - 3.0) ** 2), 0.0], [y, x]]  # noqa: E731
    root, good, wrong, seen = found(bx.clearing.Newton(), conditions, [1.0, 0.0], [8.0, 9.0], slopes)
    np.testing.assert_allclose(root, [3.0, 2.0], rtol=1e-10)
    assert good and not wrong and np.all((seen.path >= [1.0, 0.0]) & (seen.path <= [8.0, 9.0]))


def test_what_newton_does_not_find():
    newton = bx.clearing.Newton(max_steps=3)
    still = found(
        newton, lambda x, y: [x - 1.0, 2 * x - 3.0], [0.0, 0.0], [4.0, 4.0], lambda x, y: [[1.0, 0.0], [2.0, 0.0]]
    )
    assert not still[1] and "no condition moves with 'y'" in still[2]
    slow = found(newton, lambda x, y: [x**9, y], [-1.0, -1.0], [3.0, 3.0], lambda x, y: [[9 * x**8, 0.0], [0.0, 1.0]])
    assert "not found an equilibrium after 3 solves (max_steps=3)" in slow[2]


def test_damped_logs():
    """P = Y(P)^-1 with Y = P^2 / 8: undamped logs move away from P = 2, by the factor -2."""
    given = (lambda x: [x - 8.0 / x**2], [1.0], [5.0], None, lambda x: [8.0 / x**2])
    root, good, wrong, seen = found(bx.clearing.DampedLogs(update={"x": "y"}, share=0.25), *given)
    np.testing.assert_allclose(root, 2.0, rtol=1e-9)
    assert good and not wrong
    logs = np.log(seen.path[:, 0] / 2)
    np.testing.assert_allclose(logs[1:6] / logs[:5], 0.25, rtol=1e-6)
    undamped = bx.clearing.DampedLogs(update={"x": "y"}, share=1.0, max_steps=20)
    assert "has not come to rest after 20 solves" in found(undamped, *given)[2]


def test_damped_logs_that_rest_elsewhere():
    method = bx.clearing.DampedLogs(update={"x": "y"}, share=1.0)
    _, _, wrong, _ = found(method, lambda x: [x - 1.0], [0.5], [3.0], None, lambda x: [0 * x + 2.0])
    assert "rests where conditions do not hold: at x = 2 the conditions are 'cx' 1" in wrong


@pytest.mark.parametrize(
    ("given", "unknowns", "words"),
    [
        ({"update": {"y": "y"}}, {"x": (1.0, 2.0)}, "update of the unknown 'y' is unknown"),
        ({"update": {"x": "y"}}, {"x": (1.0, 2.0), "y": (1.0, 2.0)}, "no update of the unknown 'y'"),
        ({"update": {"x": "y"}}, {"x": (0.0, 2.0)}, "begins at 0, and DampedLogs takes logarithms"),
        ({"update": {"x": "y"}, "share": 1.5}, {}, "share is 1.5"),
        ({"update": "x"}, {}, "give a dict by name"),
        ({"update": {}, "max_steps": 0}, {}, "max_steps is 0"),
    ],
)  # fmt: skip
def test_what_damped_logs_ask(given, unknowns, words, untyped):
    with pytest.raises(bx.BellaxError, match=words):
        bx.clearing.DampedLogs(**given).check(unknowns)
