"""Certificates in continuous time: true errors beside what is estimated, and what each part alone can see.

The question of every test is on which model a certificate would flatter and say nothing.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.crowd import balance
from bellax.certify.flows import sample
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.table import Local, Representation, Table
from bellax.solvers.continuous.finite_difference import FiniteDifference


def by(**grid):
    return FiniteDifference(grid=grid)


def made(setting, values, **params):
    """A solution whose V somebody else made."""
    stats = {"residual": jnp.zeros(())}
    return FlowSolution(setting.arguments(params), values, jnp.zeros((), jnp.int32), stats, setting)


def true_error(solution, exact, points=400):
    states, _ = sample(solution.setting, solution.arguments, points, 0)
    return float(np.max(np.abs(np.asarray(solution.value(**states)) - exact(**states))))


# -- true errors beside certificates -----------------------------------------------------------------------------------

OU = bx.DiffusionModel(
    states={"x": bx.Continuous("lower", "upper")},
    reward=lambda x: -(x**2),
    drift={"x": lambda x: -0.5 * x},
    diffusion={"x": 0.2},
    discount=0.05,
    boundary={"x": bx.Natural()},
)


def quadratic(x):
    return -(x**2) / 1.05 - 0.04 / (0.05 * 1.05)


# V = A + B k - C k^2/2 of a firm with quadratic profits: ((B - 1)^2/2 = .05 A, and so on, coefficient by coefficient)
C = (-0.25 + np.sqrt(0.25**2 + 0.2)) / 2
B = (0.3 + C) / (0.15 + C)
FIRM = bx.DiffusionModel(
    states={"k": bx.Continuous(0.0, 5.0)},
    actions={"i": bx.Continuous(-2.0, 2.0)},
    policy={"i": lambda marginal_k: jnp.clip(marginal_k - 1, -2.0, 2.0)},
    reward=lambda k, i: 0.3 * k - 0.025 * k**2 - i - i**2 / 2,
    drift={"k": lambda k, i: i - 0.1 * k},
    discount=0.05,
    boundary={"k": bx.StateConstraint()},
)


def concave(k):
    return (B - 1) ** 2 / 0.1 + B * k - C * k**2 / 2


@pytest.fixture(scope="module")
def firm():
    return bx.solve(FIRM, {}, by(k=41))


@pytest.fixture(scope="module")
def certified(firm):
    return bx.certify(firm, points=400)


def test_an_estimate_is_neither_flattering_nor_idle(firm, certified):
    """Upwinding of first order: what three grids say, and what residuals bound."""
    error = true_error(firm, concave)
    assert error < 3 * certified.refinement.error["max"] < 100 * error
    assert 0.7 < certified.refinement.order < 1.5
    assert error < certified.bound < 100 * error
    assert certified.refinement.nodes == ({"k": 21}, {"k": 11})
    assert certified.crowd.balance < 1e-13 and "the forward equation leaves" in str(certified)
    assert certified.wider == {} and certified.undefined == 0
    mean = certified.crowd.means["k"]  # all end where B - C k - 1 = .1 k
    off = abs(mean["mean"] - (B - 1) / (C + 0.1))
    assert off < 3 * mean["error"] < 100 * off


def test_an_estimate_of_second_order():
    """Central differences, and straight lines between nodes."""
    solution = bx.solve(OU, {"lower": -1.6, "upper": 1.6}, by(x=81))
    certificate = bx.certify(solution, points=400)
    error = true_error(solution, quadratic)
    assert error < 3 * certificate.refinement.error["max"] < 100 * error
    assert error < certificate.bound < 100 * error
    assert certificate.wider["max"] < 3 * error


def test_a_mass_that_moves_is_told():
    """Of the density of one model the flow of another, whose drift is twice as fast: half of what flows is left, where
    most flows. The mass sums to one and is nowhere negative."""
    solution = bx.solve(OU, {"lower": -1.6, "upper": 1.6}, by(x=81))
    other = bx.solve(replace(OU, drift={"x": lambda x: -x}), {"lower": -1.6, "upper": 1.6}, by(x=81))
    density, moving = bx.stationary(solution), bx.stationary(other)
    assert balance(density) < 1e-13 and balance(moving) < 1e-13
    # at x the drift takes -(b p)' away, b = x/2 more than is balanced: p/2 at zero, of a flow of 0.04/h^2 p out of it
    h = 3.2 / 80
    assert balance(replace(density, solution=other)) == pytest.approx(0.5 * h**2 / 0.04, rel=0.05)


def test_what_is_printed(certified):
    text = str(certified)
    for words in ("HJB residual at 400 points", "k 21 and k 11: an observed order", "k, lower (StateConstraint)"):
        assert words in text
    table = certified.table()
    assert table["value"][table["quantity"] == "value error, bound"].item() == certified.bound
    assert certified.as_dict()["edges"]["k"]["upper"]["condition"] == "StateConstraint"


def test_exact_grids_are_no_order():
    """V = 4k/3 + 10/9 is exact on every grid: differences are rounding, and of no order."""
    linear = replace(FIRM, reward=lambda k, i: 0.2 * k - i - i**2 / 2)
    k = np.linspace(0.0, 5.0, 41)
    setting = by(k=41).prepare(linear)
    solution = made(setting, Table(jnp.asarray(4 * k / 3 + 10 / 9), {"k": jnp.full(41, 4 / 3)}))
    certificate = bx.certify(solution, points=200)
    assert "agree up to the tolerance" in certificate.refinement.words
    assert certificate.bound < 1e-9 and certificate.missed["max"] < 1e-9


# -- what flatters -----------------------------------------------------------------------------------------------------


def test_a_wrong_branch_has_no_residual_and_leads_outward():
    """The equation of the linear firm is quadratic in V_k, and whoever follows its upper root from another V(0) leaves
    at the top."""
    linear = replace(FIRM, reward=lambda k, i: 0.2 * k - i - i**2 / 2)
    k, steps = np.linspace(0.0, 5.0, 41), 50
    slope = lambda k, v: 1 + 0.1 * k + np.sqrt((1 + 0.1 * k) ** 2 - 1 - 0.4 * k + 0.1 * v)  # noqa: E731
    values = [3.0]
    for start in k[:-1]:
        v, h = values[-1], 0.125 / steps
        for step in range(steps):  # Runge and Kutta's
            x = start + step * h
            one = slope(x, v)
            two = slope(x + h / 2, v + h / 2 * one)
            three = slope(x + h / 2, v + h / 2 * two)
            v += h / 6 * (one + 2 * two + 2 * three + slope(x + h, v + h * three))
        values.append(v)
    values = np.array(values)
    table = Table(jnp.asarray(values), {"k": jnp.asarray(slope(k, values))})
    certificate = bx.certify(made(by(k=41).prepare(linear), table), points=200, grids=0)
    assert certificate.residuals["max"] < 1e-6
    assert certificate.edges["k"]["upper"]["outward"] > 0.1
    assert certificate.bound > np.max(np.abs(values - 4 * k / 3 - 10 / 9))


def test_a_condition_that_is_ignored():
    """The quadratic solves the equation and is not reflected: at a wall V is off by V_s times the reach of it."""
    walled = replace(OU, boundary={"x": bx.Reflecting()})
    x = np.linspace(-2.0, 2.0, 81)
    setting = by(x=81).prepare(walled)
    table = Table(jnp.asarray(quadratic(x)), {"x": jnp.asarray(-2 * x / 1.05)})
    certificate = bx.certify(made(setting, table, lower=-2.0, upper=2.0), points=200, grids=0)
    assert certificate.residuals["max"] < 1e-8
    # of a constant drift of -1 toward the middle; that of the model is within a tenth of it over the reach of .02
    reach = (np.sqrt(1 + 2 * 0.05 * 0.04) - 1) / 0.1
    for side in ("lower", "upper"):
        assert certificate.edges["x"][side]["gap"] == pytest.approx(4 / 1.05 * reach, rel=1e-6)


def test_a_box_that_is_cut():
    """An edge that is reached, and said not to be: V satisfies what its solver takes there, on every grid alike."""
    solution = bx.solve(OU, {"lower": -0.3, "upper": 1.6}, by(x=81))
    certificate = bx.certify(solution, points=400)
    error = true_error(solution, quadratic)
    assert certificate.refinement.error["max"] < 0.1 * error  # it flatters
    assert error < certificate.bound < 3 * error
    assert certificate.crowd is None and "of the mass is at the lower edge of 'x'" in certificate.crowd_missing
    asked = bx.certify(solution, points=400, grids=0, wider=0.0)
    assert asked.bound == np.inf and "not known: a wider box was not asked for" in str(asked)


def test_a_policy_that_is_the_best_near_by():
    """Two hills: the closed form stands on the lower one, where the first-order condition holds. A solve says so, and
    so does a certificate of what it found."""
    tilt = 0.1 / 1.05  # V = A + x/1.05, and what the action moves x by is worth this
    lower, higher = (float(np.sort(np.roots([-4.0, 0.0, 1.0, tilt]).real)[place]) for place in (0, 2))
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(-1.0, 1.0)},
        policy={"a": lower},
        reward=lambda x, a: x - (a**2 - 0.25) ** 2,
        drift={"x": lambda x, a: 0.5 - x + 0.1 * a},
        discount=0.05,
        boundary={"x": bx.StateConstraint()},
    )
    solution = bx.solve(model, {}, by(x=11), throw=False)
    assert solution.result == bx.Result.infeasible and float(solution.stats["missed"]) > 0.01
    certificate = bx.certify(replace(solution, code=jnp.zeros_like(solution.code)), points=100, grids=0)
    earned = lambda a: (-((a**2 - 0.25) ** 2) + tilt * a) / 0.05  # noqa: E731
    lost = earned(higher) - earned(lower)
    assert certificate.residuals["max"] < 1e-9
    # 1 + |V| is between 9.6 and 10.6, and the scan finds all but the distance of its candidates
    assert 0.98 * lost / 11 < certificate.missed["50%"] < lost / 9
    assert 0.98 * lost < certificate.bound < 1.01 * lost
    assert "Lost by the policy" in str(certificate)


def test_marginal_values_that_are_not_those_of_v(firm):
    """V as it was, and a policy that answers other slopes."""
    wrong = Table(firm.values.values, {"k": 1.2 * firm.values.marginals["k"]})
    certificate = bx.certify(replace(firm, values=wrong), points=400, grids=0)
    # the Hamiltonian is (p - 1)^2/2 at its best: off by (.2 p)^2/2
    k = np.linspace(0.0, 5.0, 1001)
    lost = (0.2 * (B - C * k)) ** 2 / 2 / 0.05
    assert certificate.missed["50%"] == pytest.approx(np.median(lost / (1 + concave(k))), rel=0.1)
    assert certificate.bound > 0.9 * np.max(lost)


class Formula(Representation):
    """V of an Ornstein-Uhlenbeck process, whose derivatives autodiff knows, and a share of it that is wrong."""

    wrong: jnp.ndarray

    def at(self, setting, arguments, point):
        x = point["x"]
        return Local(quadratic(x) + self.wrong * x**3, {"x": -2 * x / 1.05 + 3 * self.wrong * x**2}, {})

    def stops(self, setting, arguments, point):
        return jnp.asarray(False)


def test_a_representation_without_nodes():
    """Residuals of a formula by autodiff; what it does not have is said by name."""
    specs = {"x": bx.grids.Regular(3)}
    setting = FlowSetting(OU, FiniteDifference(), specs)
    found = [
        bx.certify(made(setting, Formula(jnp.asarray(wrong)), lower=-1.0, upper=1.0)) for wrong in (0.0, 0.01, np.nan)
    ]
    assert found[0].residuals["max"] < 1e-14 and found[0].crowd is None
    assert "no coarser grid" in str(found[0]) and "makes no density" in str(found[0])
    # .05 * w x^3 + .5 x * 3 w x^2 - .02 * 6 w x, by the discount
    assert found[1].residuals["max"] == pytest.approx(0.01 * (1.55 - 0.12) / 0.05 / (1 + abs(quadratic(1))), rel=0.02)
    assert all(own.bound == np.inf for own in found)  # V beyond the edges is not known
    assert found[2].undefined == 1 and "nothing is known of them" in str(found[2])


PUT = bx.DiffusionModel(
    states={"price": bx.Continuous(0.2, 3.0)},
    reward=0.0,
    drift={"price": lambda price: 0.05 * price},
    diffusion={"price": lambda price: 0.2 * price},
    discount=0.05,
    stop=lambda price: 1 - price,
    boundary={"price": bx.StateConstraint()},
)


class Put(Representation):
    """A perpetual put that is exercised below a threshold, at best 2.5/3.5: above it V falls with the power
    2 r/sigma^2 = 2.5 of the price."""

    threshold: jnp.ndarray

    def at(self, setting, arguments, point):
        price = point["price"]
        kept = (1 - self.threshold) * (price / self.threshold) ** -2.5
        return Local(jnp.where(price < self.threshold, 1 - price, kept), {"price": jnp.zeros(())}, {})

    def stops(self, setting, arguments, point):
        return point["price"] < self.threshold


def test_an_obstacle():
    """Merton (1973): no residual where stopping is right; exercised too late, V is below what stopping pays."""
    setting = FlowSetting(PUT, FiniteDifference(), {"price": bx.grids.Regular(3)})
    right, late = (bx.certify(made(setting, Put(jnp.asarray(threshold))), points=400) for threshold in (2.5 / 3.5, 0.6))
    assert right.residuals["max"] < 1e-13 and "agents stop, and leave it" in right.crowd_missing
    price = np.linspace(0.6, 2.5 / 3.5, 1001)
    below = np.max((1 - price - 0.4 * (price / 0.6) ** -2.5) / (2 - price))
    assert late.residuals["max"] > 0.8 * below


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_has_no_certificate(firm, untyped):
    failed = replace(firm, code=jnp.asarray(int(bx.Result.infeasible), jnp.int32))
    with pytest.raises(bx.ModelError, match="nothing to certify"):
        bx.certify(failed)
    with pytest.raises(bx.ModelError, match="being traced"):
        jax.jit(lambda code: bx.certify(replace(firm, code=code)))(firm.code)
    with pytest.raises(bx.ModelError, match="wider is -1.0"):
        bx.certify(firm, wider=-1.0)
    with pytest.raises(bx.ModelError, match="agents= is of discrete time"):
        bx.certify(firm, agents=10)
    with pytest.raises(bx.ModelError, match="grids is -1"):
        bx.certify(firm, grids=-1)
    with pytest.raises(bx.ModelError, match="a batch of solutions"):
        bx.certify(replace(firm, code=jnp.zeros(2, jnp.int32)))
    discrete = bx.solve(bx.Model(reward=1.0, horizon=2, discount=0.9), {})
    with pytest.raises(bx.ModelError, match="grids= is of continuous time"):
        bx.certify(discrete, grids=1)
