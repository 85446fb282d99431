"""Solving to an accuracy, beside closed forms and plain numpy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.refined import resized
from bellax.certify.scanned import scanned
from bellax.certify.sources import DRAWS
from bellax.models import merton_crra
from bellax.solution.solution import Result

OFFERS = bx.Model(
    states={"wage": bx.IID(bx.shocks.Uniform(0.0, 1.0))}, reward=0.0, stop=lambda wage, discount: wage / (1 - discount)
)
"""Waiting for a wage that is uniform on [0, 1]."""

SAVER = bx.Model(
    states={"wealth": bx.Continuous(0.1, 10.0)},
    actions={"consumption": bx.Continuous(1e-6, "wealth")},
    shocks={"income": bx.shocks.Lognormal(0.0, 0.5)},
    transitions={"wealth": lambda wealth, consumption, income: 1.02 * (wealth - consumption) + income},
    reward=lambda consumption: -1 / consumption,
    horizon=3,
)


def waiting(discount: float) -> float:
    """V at a wage that is turned down: v = b ((1 - r^2) / 2 / (1 - b) + r v), v = r / (1 - b)."""
    r = (1 - math.sqrt(1 - discount**2)) / discount
    return r / (1 - discount)


@pytest.fixture(scope="module")
def offers() -> bx.Solution:
    return bx.solve(OFFERS, {"discount": 0.95}, accuracy=1e-4)


def test_a_kink_in_what_is_drawn_is_met_as_asked(offers: bx.Solution) -> None:
    assert offers.result == Result.successful
    assert abs(float(offers.value(wage=0.2)) / waiting(0.95) - 1) < 1e-4
    refinement = offers.refinement
    assert refinement is not None and bool(refinement.reached) and refinement.error <= 1e-4
    # one thing alone had more nodes from round to round, and V changed by less
    assert list(refinement.nodes) == ["wage"] and np.all(np.diff(np.asarray(refinement.nodes["wage"])) > 0)
    assert np.all(np.diff(np.asarray(refinement.change)) < 0)
    assert "Accuracy 0.0001 reached" in str(offers) and len(refinement.table()) == len(refinement.change)


def test_waiting_is_right_by_default() -> None:
    """The reservation wage is .723947, and waiting is worth 14.4789: with few nodes .72 was accepted."""
    solution = bx.solve(OFFERS, {"discount": 0.95})
    assert abs(float(solution.value(wage=0.1)) - waiting(0.95)) < 1e-3
    assert not bool(solution.policy(wage=0.7234)["stop"]) and bool(solution.policy(wage=0.7245)["stop"])


def saved(wealth: np.ndarray) -> np.ndarray:
    """V of `SAVER` by backward induction over savings, on dense nodes, with the integral by many nodes."""
    z = np.linspace(-7, 7, 401)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    income, nodes = np.exp(0.5 * z), np.geomspace(1e-2, 60, 1500)
    future = np.zeros_like(nodes)
    shares = np.linspace(1e-4, 1, 1200) ** 1.5
    for _ in range(3):
        savings = np.geomspace(1e-6, 60, 1200) - 1e-6
        reached = 1.02 * savings[:, None] + income
        ahead = 0.9 * (-1 / np.interp(reached, nodes, _inverse(future))) @ weights
        ahead = ahead if np.any(future) else np.zeros_like(savings)
        consumed = nodes[:, None] * shares
        future = (-1 / consumed + np.interp(nodes[:, None] - consumed, savings, ahead)).max(axis=1)
    return -1 / np.interp(wealth, nodes, _inverse(future))


def _inverse(value: np.ndarray) -> np.ndarray:
    """Of V below zero what is nearly a straight line."""
    return -1 / np.where(value == 0, -1e12, value)


def test_lines_that_paths_leave_become_longer_and_draws_more() -> None:
    solver: Any = bx.solvers.BackwardInduction(maximiser=bx.maximise.Newton())
    solution = bx.solve(SAVER, {"discount": 0.9}, solver, accuracy=1e-4, seconds=100)
    wealth = np.linspace(0.15, 9.9, 40)
    off = np.abs(solution.value(period=0, wealth=wealth) / saved(wealth) - 1)
    assert off.max() < 2e-4  # of which the other method may have half
    nodes = solution.refinement.nodes
    assert int(nodes["income"][-1]) > 7 and int(nodes["wealth"][-1]) > 199
    # a solve under a transformation takes the solver that was found
    again = jax.jit(lambda b: bx.solve(SAVER, {"discount": b}, solution.setting.options).value(period=0, wealth=2.0))
    assert abs(float(again(0.9)) - float(solution.value(period=0, wealth=2.0))) < 1e-12


NARROW = bx.Model(
    states={"level": bx.Continuous(0.5, 1.0)},
    actions={"aim": bx.Continuous(0.0, 1.0)},
    transitions={"level": bx.fixed},
    reward=lambda level, aim: level * aim + 2 * jnp.exp(-(((aim - 0.315) / 0.01) ** 2)),
    horizon=1,
)
"""A second peak that is smooth and lies between the candidates."""


def test_a_peak_between_candidates_is_found() -> None:
    plain = float(bx.solve(NARROW, {"discount": 1.0}).value(period=0, level=0.8))
    truth = max(0.8 * a + 2 * math.exp(-(((a - 0.315) / 0.01) ** 2)) for a in np.linspace(0.3, 0.33, 30001))
    assert abs(plain - truth) > 1  # what would be wrong otherwise
    found = bx.solve(NARROW, {"discount": 1.0}, accuracy=1e-4)
    assert abs(float(found.value(period=0, level=0.8)) - truth) < 2e-6
    assert int(found.refinement.nodes["aim"][-1]) > 15


def test_what_is_not_reached_is_no_success() -> None:
    with pytest.raises(bx.SolveError, match="accuracy=1e-08 was not reached"):
        bx.solve(OFFERS, {"discount": 0.95}, accuracy=1e-8, seconds=1e-3)
    solution = bx.solve(OFFERS, {"discount": 0.95}, accuracy=1e-8, seconds=1e-3, throw=False)
    assert solution.result == Result.inaccurate and not bool(solution.refinement.reached)
    assert math.isfinite(float(solution.value(wage=0.5)))
    assert "not reached after 0 rounds" in str(solution)


OVERDRAWN = bx.Model(
    states={"wealth": bx.Continuous(0.0, 2.0)},
    actions={"spending": bx.Continuous(0.0, "wealth")},
    shocks={"loss": bx.shocks.Normal(0.0, 0.3)},
    transitions={"wealth": lambda wealth, spending, loss: wealth - spending + loss},
    reward=lambda spending: jnp.sqrt(spending + 0.01),
    horizon=2,
)
"""Wealth may fall below zero, where nothing can be done."""


def test_what_stands_in_the_way_is_said() -> None:
    with pytest.raises(bx.SolveError, match="leaves the grid below wealth at .*, and no action was found"):
        bx.solve(OVERDRAWN, {"discount": 0.9}, accuracy=1e-4)


def test_a_line_that_goes_on_a_little_is_not_one_that_goes_on() -> None:
    """Beyond -.02 nothing is feasible, and half of the paths go there: V is minus infinity."""
    model = bx.Model(
        states={"wealth": bx.Continuous(0.0, 2.0)},
        actions={"spending": bx.Continuous(0.0, lambda wealth: wealth + 0.02)},
        shocks={"loss": bx.shocks.Normal(0.0, 0.3)},
        transitions={"wealth": lambda wealth, spending, loss: wealth - spending + loss},
        reward=lambda spending: spending,
        horizon=2,
    )
    with pytest.raises(bx.SolveError, match="leaves the grid below wealth at .*, and no action was found"):
        bx.solve(model, {"discount": 0.9}, bx.solvers.BackwardInduction(maximiser=bx.maximise.Newton()), accuracy=1e-4)


ARRIVING = bx.Model(
    regimes={
        "before": bx.Regime(
            states={"x": bx.Continuous(0.0, 1.0)},
            transitions={"x": bx.fixed},
            reward=0.0,
            next_regime=lambda: {"after": 1.0},
        ),
        "after": bx.Regime(
            states={"z": bx.AR1(0.5, 0.8)},
            reward=lambda z: jnp.maximum(z - 0.6, 0.0),
            entry={"z": {"before": bx.shocks.Normal(0.0, 1.0)}},
        ),
    },
    horizon=2,
)
"""z ~ N(0, 1) on arrival, where max(z - .6, 0) is paid: .1687 on average."""


def test_what_is_drawn_at_a_boundary_has_more_nodes_too() -> None:
    solution = bx.solve(ARRIVING, {"discount": 1.0})
    finer: Any = resized(solution, {DRAWS: 2.0}, {})
    assert finer.quadrature["before"]["z"] == 14


@pytest.mark.long
def test_an_accuracy_of_what_is_drawn_at_a_boundary() -> None:
    solution = bx.solve(ARRIVING, {"discount": 1.0}, accuracy=1e-3)
    truth = math.exp(-0.18) / math.sqrt(2 * math.pi) - 0.6 * 0.5 * math.erfc(0.6 / math.sqrt(2))
    assert abs(float(solution["before"].value(period=0, x=0.5)) - truth) < 1e-3


def test_a_scale_may_end_before_a_line_does() -> None:
    """On minus one over the square of wealth, which ends at zero, a quarter of the line is more than all wealth."""
    gallery = merton_crra
    solution = bx.solve(gallery.model, gallery.params, accuracy=1e-5)
    assert solution.result == Result.successful
    for wealth in (0.06, 1.0, 150.0):
        exact = gallery.reference(gallery.params, wealth)["value"]
        assert abs(float(solution.value(period=0, wealth=wealth)) / float(exact) - 1) < 1e-5


CAREER = bx.Model(
    regimes={
        "working": bx.Regime(
            states={"wealth": bx.Continuous(0.5, 20.0)},
            actions={"consumption": bx.Continuous(1e-3, "wealth")},
            transitions={"wealth": lambda wealth, consumption: wealth - consumption + 1.0},
            reward=lambda consumption: jnp.log(consumption),
            next_regime=lambda age: {"working": age < 1, "retired": age >= 1},
        ),
        "retired": bx.Terminal(value=lambda wealth: 3 * jnp.log(wealth)),
    },
    horizon=2,
)


def test_several_regimes() -> None:
    solution = bx.solve(CAREER, {"discount": 1.0}, accuracy=1e-4)
    assert solution.result == Result.successful and bool(solution.refinement.reached)
    # total resources w + 2 are split 1 : 1 : 3
    value = math.log(8 / 5) + math.log(8 / 5) + 3 * math.log(24 / 5)
    assert abs(float(solution["working"].value(period=0, wealth=6.0)) - value) < 1e-6
    assert "Accuracy 0.0001 reached" in str(solution)


@pytest.mark.parametrize("accuracy", [0, 0.0, -1e-5, math.nan, math.inf, True, "1e-5"])
def test_an_accuracy_is_a_positive_number(accuracy: object) -> None:
    with pytest.raises(bx.ModelError, match="accuracy is .*; give a positive number"):
        bx.solve(OFFERS, {"discount": 0.95}, accuracy=accuracy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 3.0}, "the budget of accuracy="),
        ({"accuracy": 1e-3, "seconds": 0.0}, "seconds is 0.0"),
        ({"accuracy": 1e-3, "solver": bx.solvers.PolicyIteration(grid={"wage": 9})}, "fixes them by grid="),
        (
            {"accuracy": 1e-3, "solver": bx.solvers.PolicyIteration(maximiser=bx.maximise.Newton(grid={"a": 9}))},
            "fixes them by maximiser=",
        ),
        ({"accuracy": 1e-3, "solver": bx.solvers.ILQG()}, "ILQG has none"),
    ],
)
def test_what_accuracy_cannot_honour(options: dict, message: str) -> None:
    with pytest.raises(bx.ModelError, match=message):
        bx.solve(OFFERS, {"discount": 0.95}, **options)


def test_numbers_that_are_traced_cannot_be_looked_at() -> None:
    with pytest.raises(bx.ModelError, match="these parameters are traced"):
        jax.jit(lambda b: bx.solve(OFFERS, {"discount": b}, accuracy=1e-3).value(wage=0.5))(0.9)


PUSHED = bx.Model(
    states={"place": bx.Continuous(-1.0, 1.0), "speed": bx.Continuous(-1.0, 1.0)},
    actions={"force": bx.Continuous(-20.0, 20.0)},
    transitions={"place": lambda place, speed: place + 0.5 * speed, "speed": lambda speed, force: speed + 0.5 * force},
    reward=lambda place, speed, force: -(place**2) - 0.1 * speed**2 - 0.1 * force**2,
    horizon=3,
)


def pushed(states: np.ndarray) -> np.ndarray:
    """V of `PUSHED` by the Riccati recursion, discount .9."""
    a, b = np.array([[1, 0.5], [0, 1]]), np.array([[0], [0.5]])
    p = np.zeros((2, 2))
    for _ in range(3):
        gain = np.linalg.solve(0.1 + 0.9 * b.T @ p @ b, 0.9 * b.T @ p @ a)
        p = np.diag([1.0, 0.1]) + 0.9 * a.T @ p @ (a - b @ gain)
    return -np.einsum("ni,ij,nj->n", states, p, states)


@pytest.mark.long
def test_several_lines_go_on_by_themselves(caplog: pytest.LogCaptureFixture) -> None:
    corners = np.array([[1.0, 1.0], [-1.0, -1.0], [0.97, 0.93], [0.2, -0.4]])
    with caplog.at_level("INFO", logger="bellax"):
        found = bx.solve(PUSHED, {"discount": 0.9}, accuracy=1e-5)
    value = found.value(period=0, place=corners[:, 0], speed=corners[:, 1])
    assert np.abs(np.asarray(value) - pushed(corners)).max() < 1e-5
    assert "longer lines alone: V changes by" in caplog.text and np.all(np.asarray(found.refinement.change) < 1e-12)


def test_what_both_grids_overlook_shows_in_bellmans_equation() -> None:
    """A peak in a state that lies between the nodes: two grids agree, and V is off by its height."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0)},
        reward=lambda x, a: -((a - x) ** 2) + jnp.exp(-(((x - 0.31234) / 0.004) ** 2)),
        transitions={"x": bx.fixed},
        horizon=1,
    )
    found = scanned(bx.solve(model, {"discount": 1.0}), {})
    assert found.residual > 0.1 and not found.agrees(1e-3)
    assert "Bellman's equation is off by" in found.words(1e-3)
    # of a line that has become longer what lay on it before is looked at alone
    assert scanned(bx.solve(model, {"discount": 1.0}), {"": {"x": {"below": 1.0}}}).residual < 1e-6
