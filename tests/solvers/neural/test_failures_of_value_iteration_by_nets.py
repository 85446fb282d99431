"""Actors and critics that find no solution say so, and what they cannot be asked is refused by name."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import puterman, rbc
from bellax.solvers.neural.judged import explained, outcome

Solver = bx.solvers.NeuralValueIteration
TINY: dict[str, Any] = {"hidden": (3,), "points": 64}


def static(reward: Any, **more: Any) -> bx.Model:
    """A state that stays, and an action that is paid for."""
    return bx.Model(
        states={"s": bx.Continuous(-1.0, 1.0)},
        actions={"a": more.pop("a", bx.Continuous(-2.0, 2.0))},
        transitions={"s": lambda s: s},
        reward=reward,
        **more,
    )


def failed(model: bx.Model, params: dict[str, Any], **options: Any) -> tuple[bx.Result, str]:
    """How a solve ends, and what it says."""
    found = bx.solve(model, params, Solver(**TINY | options), throw=False)
    assert np.isnan(np.asarray(found.value(**dict.fromkeys(model.states, 0.5)))).all()
    return found.result, found.setting.explain(found)


def test_an_optimum_that_jumps_is_a_lesser_maximum_somewhere() -> None:
    """The best of -(a^2 - 1)^2 + s a jumps from -1 to 1 where s is zero; an actor passes through what is in between."""
    model = static(lambda s, a: -((a**2 - 1) ** 2) + 0.5 * s * a)
    result, said = failed(model, {"discount": 0.5})
    assert result == bx.Result.trapped
    assert "other actions are better by" in said


def test_the_better_of_two_maxima_is_found() -> None:
    """Of -(a^2 - 1)^2 + .3 a + s the better maximum is near 1; what begins at a = 0 climbs to it, and not to -1."""
    found = bx.solve(static(lambda s, a: -((a**2 - 1) ** 2) - 0.3 * a + s), {"discount": 0.5}, Solver(**TINY))
    exact = min(np.roots([-4, 0, 4, -0.3]).real)
    assert abs(float(found.policy(s=0.2)["a"]) - exact) < 1e-5


def test_shares_that_reach_no_bound_are_trapped_at_one() -> None:
    """Where all that can be had is best, a logistic share goes on for ever; a clipped one has it."""
    model = static(lambda s, a: a + 0.1 * s, a=bx.Continuous(0.0, 1.0))
    result, said = failed(model, {"discount": 0.5})
    assert result == bx.Result.trapped
    assert "is at a bound" in said
    assert "Clipped" in said
    found = bx.solve(model, {"discount": 0.5}, Solver(**TINY, shares={"a": bx.shares.Clipped()}))
    assert float(found.policy(s=0.3)["a"]) == 1.0
    assert abs(float(found.value(s=0.3)) - 2.06) < 1e-6


def test_what_has_no_value_diverges() -> None:
    """x doubles and is paid with a discount of .9: the sum of (1.8)^t is infinite, and -1.25 x is no value either."""
    model = bx.Model(
        states={"x": bx.Continuous(0.5, 2.0)},
        actions={"a": bx.Continuous(-1.0, 1.0)},
        transitions={"x": lambda x: 2 * x},
        reward=lambda x, a: x - a**2,
    )
    found = bx.solve(model, {"discount": 0.9}, Solver(**TINY), throw=False)
    assert found.result != bx.Result.successful


def test_a_rate_that_is_too_large_diverges() -> None:
    trainer = bx.solvers.Gradients(rate=1e9, steps=200, batch=8, decay=1.0, clip=1e9)
    result, said = failed(static(lambda s, a: -((a - s) ** 2)), {"discount": 0.9}, trainer=trainer)
    assert result == bx.Result.diverged
    assert "the critic diverges" in said


def test_too_few_steps_are_said_to_be() -> None:
    trainer = bx.solvers.LeastSquares(alternations=1, evaluation=1, improvement=1, candidates=3)
    result, said = failed(static(lambda s, a: -((a - s) ** 2)), {"discount": 0.9}, trainer=trainer, tolerance=1e-6)
    assert result in (bx.Result.max_steps_reached, bx.Result.trapped)
    assert "tolerance=1e-06" in said


def test_a_plateau_is_told_by_its_numbers() -> None:
    stats = {
        name: jnp.asarray(0.0)
        for name in ("better_elsewhere", "at_a_bound", "leaving_the_box", "infeasible", "value_to_all_paid")
    }
    names = ("value_error", "condition", "euler_error")
    names += tuple(f"{name}_on_paths" for name in names)
    stats |= {name: jnp.asarray(0.02) for name in names}
    assert int(outcome(stats, jnp.asarray(True), 0.01)) == bx.Result.max_steps_reached
    assert int(outcome(stats, jnp.asarray(True), 0.03)) == bx.Result.successful
    assert "ended before its equations hold" in explained(bx.Result.max_steps_reached, stats, 0.01, "X")


@pytest.mark.long
def test_no_number_and_nothing_feasible_are_said() -> None:
    result, said = failed(static(lambda s, a: jnp.log(s - 5.0) - a**2), {"discount": 0.5})
    assert (result, "no number" in said) == (bx.Result.nonfinite, True)
    crossed = static(lambda s, a: -(a**2), a=bx.Continuous(1.0, "s"))
    result, said = failed(crossed, {"discount": 0.5})
    assert (result, "nothing may be done" in said) == (bx.Result.infeasible, True)


def test_a_failed_solve_raises() -> None:
    model = static(lambda s, a: jnp.log(s - 5.0) - a**2)
    with pytest.raises(bx.SolveError, match="no number"):
        bx.solve(model, {"discount": 0.5}, Solver(**TINY))


def square(s: Any, a: Any) -> Any:
    return -((a - s) ** 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Solver(trainer="Adam"), r"trainer is 'Adam'.*LeastSquares"),
        (lambda: Solver(advantage=3), r"advantage is 3.*Quadratic"),
        (lambda: Solver(advantage=bx.solvers.Quadratic(), trainer=bx.solvers.Gradients()), "leave trainer= out"),
        (lambda: bx.solvers.LeastSquares(candidates=1), "LeastSquares: candidates"),
        (lambda: bx.solvers.Gradients(decay=2.0), r"decay is 2.0.*at most 1"),
        (lambda: bx.solvers.Quadratic(closer=1.0), "farther than spread"),
        (lambda: bx.solvers.Gradients(rates=1.0), "Did you mean 'rate'"),
        (lambda: Solver(advantage=bx.solvers.Quadratic()).prepare(puterman.model), "leave advantage= out"),
        (lambda: Solver().prepare(static(square, constraints={"few": lambda a: a < 1})), "constraint 'few' is on 'a'"),
        (
            lambda: Solver().prepare(
                bx.Model(states={"s": bx.Continuous(0.0, 1.0)}, transitions={"s": lambda s: s}, reward=lambda s: s)
            ),
            "nothing is decided",
        ),
        (lambda: Solver(shares={"b": bx.shares.Clipped()}).prepare(rbc.model), "'b' is no continuous action"),
    ],
)
def test_what_cannot_be_honoured_is_refused(make: Any, message: str) -> None:
    with pytest.raises(bx.ModelError, match=message):
        make()
