"""Interpolants that a user writes: solvers, queries and certificates take them, and files refuse them by name.

Both are exact for quadratics, off the grid too, and the problem is linear-quadratic: Riccati's equations are the truth.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

A, DISCOUNT, PERIODS = 0.9, 0.95, 4
Z, MOVES = np.array([-0.3, 0.2]), np.array([[0.8, 0.2], [0.3, 0.7]])
X = np.array([-2.3, -1.1, 0.05, 0.9, 2.2])  # [-2, 2] is the grid


@dataclass(frozen=True)
class Quadratic(bx.interpolants.Interpolant):
    """On one line: the mean of the parabolas through the cell and the next node on either side."""

    least: ClassVar[int] = 3

    def tables(self, levels, slopes, lines, rough):
        assert slopes == ()
        bends = jnp.diff(levels, 2)
        bends = jnp.concatenate([bends[..., :1], bends, bends[..., -1:]], axis=-1)
        return jnp.stack([levels, bends], axis=-1), lines

    def look_up(self, table, base, cells, steps):
        place, t = base + cells[0].node * steps[0], cells[0].fraction
        (v0, bend0), (v1, bend1) = table[place], table[place + steps[0]]
        return v0 + t * (v1 - v0) - t * (1 - t) * (bend0 + bend1) / 4

    def default_nodes(self, dimensions, kinked, finite):
        return 7


@dataclass(frozen=True)
class Cubic(bx.interpolants.Interpolant):
    """On one line: the cubic of the slopes, which nothing limits."""

    needs_slopes: ClassVar[bool] = True

    def tables(self, levels, slopes, lines, rough):
        return jnp.stack([levels, *slopes], axis=-1), lines

    def look_up(self, table, base, cells, steps):
        place, t = base + cells[0].node * steps[0], cells[0].fraction
        (v0, d0), (v1, d1) = table[place], table[place + steps[0]]
        d0, d1, rise = cells[0].width * d0, cells[0].width * d1, v1 - v0
        return v0 + t * d0 + t**2 * (3 * rise - 2 * d0 - d1) + t**3 * (d0 + d1 - 2 * rise)

    def default_nodes(self, dimensions, kinked, finite):
        return 5


def model(**slots):
    return bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0), "z": bx.MarkovChain(Z, MOVES)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        reward=lambda x, a: -(x**2 + a**2),
        transitions={"x": lambda x, a, z: A * x + a + z},
        discount=DISCOUNT,
        **slots,
    )


def truth(steps):
    """V = -(p x^2 + 2 q_z x + r_z) and the optimal action after so many steps from zero, by z and x."""
    p, q, r = 0.0, np.zeros(2), np.zeros(2)
    for _ in range(steps):
        g, h, rest = DISCOUNT * p, DISCOUNT * MOVES @ q, DISCOUNT * MOVES @ r
        action = -(g * (A * X + Z[:, None]) + h[:, None]) / (1 + g)
        r = (g * Z**2 + 2 * h * Z - h**2) / (1 + g) + rest
        p, q = 1 + g * A**2 / (1 + g), (g * A * Z + h * A) / (1 + g)
    return -(p * X**2 + 2 * np.outer(q, X) + r[:, None]), action


FINITE = model(horizon=PERIODS)


@pytest.mark.parametrize(
    ("own", "lq", "solver", "steps"),
    [
        (Quadratic(), FINITE, bx.solvers.BackwardInduction, PERIODS),
        (Quadratic(), model(), bx.solvers.PolicyIteration, 2000),
        (Cubic(), model(), bx.solvers.PolicyIteration, 2000),
    ],
    ids=["quadratic-finite", "quadratic", "cubic"],
)
@pytest.mark.filterwarnings("ignore::bellax.OutsideWarning")
@pytest.mark.long
def test_an_own_interpolant_that_is_exact_gives_the_exact_answer(own, lq, solver, steps, tmp_path):
    first = {"period": 0} if lq is FINITE else {}
    solution = bx.solve(lq, {}, solver(interpolant=own))
    assert solution.values.levels.shape[-2:] == (2, own.default_nodes(1, False, True))
    states = {"x": X[None, :], "z": Z[:, None]}
    value, action = truth(steps)
    np.testing.assert_allclose(solution.value(**first, **states), value, rtol=1e-9)
    np.testing.assert_allclose(solution.policy(**first, **states)["a"], action, rtol=1e-7, atol=1e-7)
    assert bx.certify(solution, points=20, agents=20).value_error < 1e-8
    solution.save(tmp_path / "own.nc")
    with pytest.raises(bx.ModelError, match="classes of your own.*interpolant of"):
        bx.load(tmp_path / "own.nc", lq)
    loaded = bx.load(tmp_path / "own.nc", lq, solver(interpolant=own))
    np.testing.assert_array_equal(loaded.value(**first, **states), solution.value(**first, **states))


@dataclass(frozen=True)
class Ragged(Quadratic):
    def tables(self, levels, slopes, lines, rough):
        return levels[..., 1:], lines


@dataclass(frozen=True)
class Rows(Quadratic):
    def look_up(self, table, base, cells, steps):
        return table[base]


@dataclass(frozen=True)
class Changing(Quadratic):
    orders: list = field(default_factory=list)


@pytest.mark.parametrize(
    ("interpolant", "message"),
    [
        (Ragged(), r"Ragged.tables gives a table of shape \(2, 6\).*the table needs \(2, 7\) first"),
        (Rows(), r"Rows.look_up gives an array of shape \(2,\) at one point"),
        (Changing(), r"Changing\(orders=\[\]\), which has no hash.*dataclass\(frozen=True\)"),
        (Quadratic, r"derived from bx.interpolants.Interpolant"),
    ],
)
def test_an_own_interpolant_that_cannot_be_is_refused(interpolant, message):
    with pytest.raises(bx.ModelError, match=message):
        bx.solve(FINITE, {}, bx.solvers.BackwardInduction(interpolant=interpolant))


def test_too_few_nodes_for_an_own_interpolant_are_refused():
    with pytest.raises(bx.ModelError, match="has 2 nodes; its interpolant needs at least 3"):
        bx.solve(FINITE, {}, bx.solvers.BackwardInduction(grid={"x": 2}, interpolant=Quadratic()))
