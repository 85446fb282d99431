"""Chunks within a budget of bytes: whatever the model is made of, and however little fits, the answer is the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

import bellax as bx
from bellax.bellman.chunks import in_chunks, in_parts, lay, once_more

X = bx.Continuous(0.5, 2.0)
UP = {"up": bx.Discrete(5)}
MOVE = {"move": bx.Continuous(0.0, 0.4)}
ROWS = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.0, 0.3, 0.7]])


def climbing(s, up):
    return jnp.minimum(s + up, 12)


# states, actions, transitions, reward: every kind of axis and of choice, alone and together
SHAPES = {
    "nothing to choose": ({"x": X}, {}, {"x": lambda x: 0.9 * x + 0.1}, lambda x: jnp.log(x)),
    "a discrete action": (
        {"s": bx.Discrete(13)}, UP, {"s": climbing}, lambda s, up: jnp.sqrt(1.0 * s) - 0.3 * up,
    ),
    "a continuous action": ({"x": X}, MOVE, {"x": lambda x, move: 0.8 * x + move}, lambda x, move: x - move**2),
    "both actions": (
        {"x": X, "s": bx.Discrete(13)}, UP | MOVE, {"x": lambda x, move: 0.8 * x + move, "s": climbing},
        lambda x, s, up, move: x * jnp.sqrt(1.0 * s) - 0.3 * up - move**2,
    ),
    "a chain alone": ({"z": bx.MarkovChain([1.0, 2.0, 4.0], ROWS)}, UP, {}, lambda z, up: z * up - 0.6 * up**2),
    "processes and a line": (
        {"x": X, "z": bx.AR1(rho=0.8, sigma=0.1), "e": bx.IID(bx.shocks.Normal(0.0, 0.1))}, MOVE,
        {"x": lambda x, move, z: 0.8 * x + move * jnp.exp(z)}, lambda x, move, e: x - move**2 + e * move,
    ),
    "a law of rows": (
        {"h": bx.Discrete(3), "x": X}, UP,
        {"h": bx.Markov(lambda h, up: 0.4 * ROWS[h] + 0.12 * up * jnp.eye(3)[2] + (0.6 - 0.12 * up) / 3),
         "x": lambda x: 0.9 * x + 0.1},
        lambda h, x, up: x * h - 0.1 * up,
    ),
    "one node": ({"s": bx.Discrete(1)}, UP, {"s": bx.fixed}, lambda up: up - 0.3 * up**2),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_however_little_fits_the_value_is_the_same(shape):
    states, actions, transitions, reward = SHAPES[shape]
    m = bx.Model(states=states, actions=actions, transitions=transitions, reward=reward, discount=0.9, horizon=2)
    counts = {name: 5 for name, space in states.items() if isinstance(space, bx.Continuous | bx.AR1 | bx.IID)}
    options = {"grid": counts}
    if "move" in actions:
        options["maximiser"] = bx.maximise.Enumerate(grid={"move": 4})
    whole, *pieces = (
        bx.solve(m, {}, bx.solvers.BackwardInduction(memory=memory, **options)).values.levels
        for memory in (2**28, 1, 700)
    )
    for piece in pieces:
        np.testing.assert_allclose(piece, whole, rtol=1e-12)


@pytest.mark.parametrize("solver", [bx.solvers.ValueIteration, bx.solvers.PolicyIteration])
def test_a_stationary_model_of_discrete_states_and_actions(solver):
    """Fifty states by five actions in 4,000 bytes, and in one."""
    m = bx.Model(
        states={"s": bx.Discrete(50)},
        actions=UP,
        transitions={"s": lambda s, up: jnp.minimum(s + up, 49)},
        reward=lambda s, up: jnp.sqrt(1.0 * s) - 0.3 * up,
        discount=0.9,
    )
    whole, *pieces = (bx.solve(m, {}, solver(memory=memory)).values.levels for memory in (2**28, 4000, 1))
    for piece in pieces:
        np.testing.assert_allclose(piece, whole, rtol=1e-12)


@pytest.mark.parametrize("fits", [1, 2, 3, 4, 6, 7, 100])
def test_every_entry_is_seen_once_and_in_order(fits):
    batch = (jnp.arange(7.0), jnp.zeros((7, 0)), jnp.arange(14).reshape(7, 2))
    found = in_chunks(lambda entry: (entry[0] ** 2, entry[1], entry[2][::-1]), batch, fits)
    for got, expected in zip(found, (batch[0] ** 2, batch[1], batch[2][:, ::-1]), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("budget", [1, 2, 5, 11, 24, 60, 1000])
def test_axes_of_every_length_within_any_budget(budget):
    axes = [jnp.arange(3.0), jnp.arange(1.0), jnp.arange(5.0), jnp.arange(2.0)]
    found, nothing = lay(lambda a, b, c, d: (1000 * a + 100 * b + 10 * c + d, jnp.zeros(0)), axes, 2, budget)
    numbers = [1000 * a + 10 * c + d for a in range(3) for c in range(5) for d in range(2)]
    np.testing.assert_array_equal(found.reshape(-1), numbers)
    assert nothing.shape == (3, 1, 5, 2, 0)


def test_no_more_than_the_budget_is_in_flight():
    """The largest array of a program of 4,000 points that hold 100 numbers each is what fits, not 400,000."""
    program = jax.make_jaxpr(lambda x: in_chunks(lambda y: jnp.sum(y * jnp.arange(100.0)), x, 50))(jnp.zeros(4000))

    assert max(sizes(program.jaxpr)) == 50 * 100


def sizes(jaxpr, only=None):
    """Of the results of every equation of a program, or of those of one primitive."""
    for equation in jaxpr.eqns:
        if only in (None, equation.primitive.name):
            yield from (variable.aval.size for variable in equation.outvars)
        yield from (size for inner in jaxprs_in_params(equation.params) for size in sizes(inner, only))


def test_what_sees_one_discrete_action_is_worked_out_once_for_the_others():
    """exp(up) in six categories, cosh(turn move) in five and at seven candidates, and neither for pairs or nodes."""
    m = bx.Model(
        states={"x": X},
        actions={"up": bx.Discrete(6), "turn": bx.Discrete(5)} | MOVE,
        transitions={"x": lambda x, move: 0.8 * x + move},
        reward=lambda x, up, turn, move: x * (up - 0.1 * jnp.exp(up)) - jnp.cosh(turn * move),
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"x": 4}, maximiser=bx.maximise.Enumerate(grid={"move": 7}))
    run = bx.compile(m, solver)
    program = jax.make_jaxpr(lambda discount: run({"discount": discount}).values.levels)(0.9).jaxpr
    assert max(sizes(program, "exp")) == 6
    assert max(sizes(program, "cosh")) == 5 * 7


TABLE = np.random.default_rng(0).dirichlet(np.ones(300), (300, 40))
LAWS = {
    "a function": (lambda s, a, e: jnp.clip(s + a - e, 0, 299), {}),
    "a table": (bx.Markov("table", over=("s", "a")), {"table": TABLE}),
    "a table in another order": (bx.Markov("table", over=("a", "s")), {"table": np.swapaxes(TABLE, 0, 1)}),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_plane_of_a_finite_model_is_held_to_the_budget(law):
    """300 states by 40 actions by 20 nodes; XLA counts what the program needs beside its arguments and results."""
    m = bx.Model(
        states={"s": bx.Discrete(300)},
        actions={"a": bx.Discrete(40)},
        transitions={"s": LAWS[law][0]},
        shocks={"e": bx.shocks.Categorical(list(range(20)), [0.05] * 20)},
        reward=lambda s, a: jnp.sqrt(1.0 * s) - 0.3 * a,
        discount=0.6,
    )

    def solved(memory):
        found = bx.solve(m, LAWS[law][1], bx.solvers.ValueIteration(memory=memory))
        (program,) = [kept for name, kept in found.setting.programs.items() if name[0] == "solve"]
        compiled = jax.jit(program).lower(found.arguments, None, np.asarray(0), np.asarray(True)).compile()
        return found.values.levels, compiled.memory_analysis().temp_size_in_bytes

    (whole, much), (pieces, little) = solved(2**28), solved(2**17)
    np.testing.assert_allclose(pieces, whole, rtol=1e-12)
    assert little < 2**17 + 2**16 < much  # the budget, and what does not grow with the pairs


@pytest.mark.parametrize(("count", "most"), [(12, 4), (13, 4), (3, 8), (7, 1)])
def test_parts_keep_rows_and_count_each_of_them_once(count, most):
    """Rows come back in their order; what fills up the last part counts in no total."""
    lengths = []

    def part(rows, real):
        lengths.append(rows["x"].shape[0])
        return 2 * rows["x"], jnp.sum(jnp.where(real[:, None], rows["x"], 0.0))

    x = np.arange(2.0 * count).reshape(count, 2)
    rows, total = in_parts(part, {"x": jnp.asarray(x)}, most)
    np.testing.assert_array_equal(rows, 2 * x)
    assert float(total) == x.sum()
    assert max(lengths) <= most


@pytest.mark.parametrize("wrong", [[], [3], list(range(200)), [0, 7, 8, 150, 199]])
def test_what_is_wrong_is_done_once_more(wrong):
    """Few of them or all: each has what the function gives, and the others keep what they have."""
    x = np.arange(200.0)
    bad = np.isin(np.arange(200), wrong)
    again = jax.jit(lambda found, bad: once_more(lambda rows: {"y": rows**2}, jnp.asarray(x), found, bad))
    np.testing.assert_array_equal(again({"y": -jnp.asarray(x)}, jnp.asarray(bad))["y"], np.where(bad, x**2, -x))
