"""Points of a certificate where V bends most: kinks are found, and quantiles stay those of points spread evenly."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.aim import hardest
from bellax.certify.common import quantiles_of

R, BETA = 1.03, 0.9
LINE = np.linspace(0.0, 1.0, 11)


class TestHardest:
    @pytest.mark.parametrize("order", [2, 4])
    def test_a_kink_is_in_one_of_the_cells_around_it(self, order):
        levels = np.maximum(0.0, LINE - 0.63)
        assert hardest(levels, [LINE], order, 1)[0, 0] in (5, 6, 7)
        assert 6 in hardest(levels, [LINE], order, 4)[0]

    def test_in_two_dimensions_and_one_category(self):
        x, y = np.meshgrid(LINE, LINE, indexing="ij")
        levels = np.stack([x + y, np.maximum(0.0, x + y - 0.95), x * y])
        codes, *cells = hardest(levels, [LINE, LINE], 4, 8)
        assert codes.tolist() == [1] * 8
        assert np.abs(np.sum(cells, axis=0) / 10 + 0.1 - 0.95).max() < 0.25

    def test_what_a_polynomial_has_exactly_is_passed_over(self):
        assert hardest(1 + LINE**3, [LINE], 4, 5).shape == (1, 0)
        assert hardest(1 + LINE**3, [LINE], 2, 5)[0, 0] in (8, 9)

    def test_minus_infinity_is_passed_over(self):
        levels = np.where(LINE < 0.25, -np.inf, np.maximum(0.0, LINE - 0.85))
        assert hardest(levels, [LINE], 2, 1)[0, 0] in (7, 8, 9)
        assert hardest(np.full(11, -np.inf), [LINE], 2, 5).shape == (1, 0)


def test_quantiles_but_the_largest_are_of_points_that_were_not_aimed():
    found = quantiles_of(np.array([[1.0, 1.0, 1.0, 9.0], [1.0, np.nan, 1.0, 7.0]]), 3)
    assert found == {"50%": 1.0, "90%": 1.0, "99%": 1.0, "max": 9.0}


def _last(w, y):
    """V with one decision left: log utility, of today's and of tomorrow's consumption."""
    c = np.minimum(w, (w + y / R) / (1 + BETA))
    return np.log(c) + BETA * np.log(R * (w - c) + y)


def _first(w, y):
    c = w[:, None] * np.linspace(1e-3, 1, 2001)
    return np.max(np.log(c) + BETA * _last(R * (w[:, None] - c) + y[:, None], 1 + 0.5 * y[:, None]), axis=1)


@pytest.mark.long
def test_few_points_see_where_a_borrowing_limit_begins_to_bind():
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 8.0), "income": bx.Continuous(0.5, 3.0)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        transitions={
            "wealth": lambda wealth, consumption, income: R * (wealth - consumption) + income,
            "income": lambda income: 1 + 0.5 * income,
        },
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda wealth: jnp.log(wealth),
        discount=BETA,
        horizon=2,
    )
    solution = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"wealth": 14, "income": 14}))
    wealth, income = map(np.ravel, np.meshgrid(np.linspace(0.5, 8, 76), np.linspace(0.5, 3, 26)))
    found = np.asarray(solution.value(period=0, wealth=wealth, income=income))
    true = np.abs(found - _first(wealth, income)).max()
    for seed in range(6):
        error = bx.certify(solution, points=40, seed=seed, agents=5).value_error
        assert true < error < 8 * true
