"""Processes that enter a regime by a distribution, or by their stationary one: against recursions in numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import bellax as bx

RHO, SIGMA, MEAN, COUNT, DISCOUNT = 0.6, 0.2, 0.1, 9, 0.9
SPREAD = SIGMA / np.sqrt(1 - RHO**2)
ROWS = np.array([[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
LEVELS = np.array([0.5, 1.0, 3.0])
GIVEN = {"rho": RHO, "sigma": SIGMA, "spread": 0.15, "odds": np.array([0.2, 0.5, 0.3])}
TARGETS = ("fixed", "moving", "still", "odd", "settled", "paid", "promised")


SOLVER = bx.solvers.BackwardInduction(
    grid={name: {"z": bx.grids.Rouwenhorst(COUNT)} for name in ("fixed", "moving", "still")}
)


def _model():
    """School has a talent and no wage: it ends in one of seven ways, in each of which a wage enters in its own way."""
    ar1, chain = bx.AR1("rho", "sigma", MEAN), bx.MarkovChain(LEVELS, ROWS)
    normal = bx.shocks.Normal(0.05, "spread")
    moving = bx.shocks.Normal(lambda talent: 0.2 * talent, lambda talent, spread: spread * (1 + talent) / 2)

    def working(space, entry):
        return bx.Regime(states={"z": space}, reward=lambda z: jnp.exp(z), entry={"z": entry})

    def ending(entry):
        return bx.Terminal(lambda z: jnp.exp(2 * z), states={"z": ar1}, entry={"z": entry})

    school = bx.Regime(
        states={"talent": bx.Discrete(2)},
        transitions={"talent": bx.fixed},
        reward=1.0,
        next_regime=lambda: {"school": 0.3, **dict.fromkeys(TARGETS, 0.1)},
    )
    regimes = {
        "school": school,
        "fixed": working(ar1, normal),
        "moving": working(ar1, {"school": moving}),
        "still": working(ar1, bx.ergodic),
        "odd": working(chain, bx.shocks.Categorical(probabilities="odds")),
        "settled": working(chain, bx.ergodic),
        "paid": ending(normal),
        "promised": ending(moving),
    }
    return bx.Model(regimes=regimes, discount=DISCOUNT, horizon=3)


@pytest.fixture(scope="module")
def solved():
    return bx.solve(_model(), GIVEN, SOLVER)


def _nodes():
    return MEAN + SPREAD * np.sqrt(COUNT - 1) * np.linspace(-1, 1, COUNT)


def _rouwenhorst():
    p, matrix = 0.5 * (1 + RHO), np.ones((1, 1))
    for n in range(2, COUNT + 1):
        larger = np.zeros((n, n))
        for row, column, weight in ((0, 0, p), (0, 1, 1 - p), (1, 0, 1 - p), (1, 1, p)):
            larger[row : row + n - 1, column : column + n - 1] += weight * matrix
        larger[1:-1] /= 2
        matrix = larger
    return matrix


def _worth(values, rows):
    """V of work in periods 0 to 3."""
    worth = [np.zeros(len(values))]
    for _ in range(3):
        worth.insert(0, np.exp(values) + DISCOUNT * rows @ worth[0])
    return worth


def _normal(mean, sd, f):
    x, weights = np.polynomial.hermite_e.hermegauss(7)
    return np.sum(weights / weights.sum() * f(mean + sd * x))


def _settled():
    return np.linalg.matrix_power(ROWS, 200)[0]


def test_the_value_is_that_of_a_recursion_on_the_same_nodes(solved):
    nodes, ar1, chain = _nodes(), _worth(_nodes(), _rouwenhorst()), _worth(LEVELS, ROWS)
    binomial = np.array([math.comb(COUNT - 1, k) for k in range(COUNT)]) / 2.0 ** (COUNT - 1)
    for talent in (0, 1):
        own = 0.2 * talent, 0.15 * (1 + talent) / 2
        school = 0.0
        for t in (2, 1, 0):
            between = CubicSpline(nodes, ar1[t + 1])
            ways = [
                _normal(0.05, 0.15, between),
                _normal(*own, between),
                binomial @ ar1[t + 1],
                GIVEN["odds"] @ chain[t + 1],
                _settled() @ chain[t + 1],
                _normal(0.05, 0.15, lambda x: np.exp(2 * x)),
                _normal(*own, lambda x: np.exp(2 * x)),
            ]
            school = 1 + DISCOUNT * (0.3 * school + 0.1 * sum(ways))
            # what enters between nodes is put on them with its mean and variance, which V sees in third order
            assert float(solved["school"].value(period=t, talent=talent)) == pytest.approx(school, rel=1e-4)


def test_simulated_agents_enter_by_the_distribution_itself(solved):
    panel = bx.simulate(solved, 60_000, {"regime": "school", "talent": 1}, seed=3)
    regime = np.asarray(panel.regime)[:, 1]
    moments = {
        "fixed": (0.05, 0.15),
        "started": ((bx.AR1(0.5, 0.1, start=0.0), bx.ergodic), "its distribution moves with time"),
        "moving": (0.2, 0.15),
        "still": (MEAN, SPREAD),
        "paid": (0.05, 0.15),
        "promised": (0.2, 0.15),
    }
    for place, name in enumerate(panel.regimes):
        if name == "school":
            continue
        here = regime == place
        z = np.asarray(panel.states[name]["z"])[here, 1]
        error = 4 / np.sqrt(here.sum())
        if name in moments:
            mean, sd = moments[name]
            assert abs(z.mean() - mean) < error * sd and abs(z.std() / sd - 1) < error
            assert len(np.unique(z)) > 1000
        else:
            shares = [np.mean(z == level) for level in LEVELS]
            np.testing.assert_allclose(shares, GIVEN["odds"] if name == "odd" else _settled(), atol=error)


@pytest.mark.long
def test_the_certificate_names_what_it_takes_from_the_solver(solved):
    found = bx.certify(solved, points=60, agents=4000, start={"regime": "school", "talent": 0})
    assert found.value_error < 1e-12
    assert set(found.regimes["school"].own_nodes) == {f"{name}.z" for name in TARGETS if name != "odd"}
    assert abs(found.simulated["z"]) < 4


@pytest.mark.long
def test_derivatives_pass_through_a_distribution(solved, with_value):
    def value(spread):
        found = bx.solve(solved.model, GIVEN | {"spread": spread}, SOLVER)
        return found["school"].value(period=0, talent=1)

    step, both = 1e-6, with_value(value, jax.grad)
    difference = (both(0.15 + step)[1] - both(0.15 - step)[1]) / (2 * step)
    assert float(both(0.15)[0]) == pytest.approx(float(difference), rel=1e-6)


def test_the_quadrature_of_a_distribution_is_an_option():
    """Enough equally spaced nodes have the mean and the variance of the distribution."""
    model = _two(bx.AR1(RHO, SIGMA, MEAN), bx.shocks.Normal(0.05, 0.15), reward=lambda z: jnp.exp(z))
    quadrature = {"z": bx.quadrature.Equispaced(2001)}
    solver = bx.solvers.BackwardInduction(grid={"z": bx.grids.Rouwenhorst(COUNT)}, quadrature=quadrature)
    found = bx.solve(model, {}, solver)
    exact = np.exp(0.05 + 0.15**2 / 2)
    assert float(found["a"].value(period=0)) == pytest.approx(DISCOUNT * exact, rel=3e-5)
    with pytest.raises(bx.ModelError, match="quadrature: shock 'y'"):
        bx.solve(model, {}, bx.solvers.BackwardInduction(quadrature={"y": 3}))


def test_a_model_says_how_processes_enter(solved):
    told = solved.model.describe()
    assert "school -> fixed, z: drawn from Normal(mean 0.05, sd spread); entry of 'fixed' for 'school'" in told
    assert "school -> still, z: its stationary distribution" in told
    assert set(solved.model.template("fixed")["name"]) == {"rho", "sigma", "spread"}


# -- laws for every source


def test_a_law_for_every_source():
    """Two sources, of which the second only lacks what the law reads, and does not reach the regime."""
    a = bx.Regime(
        states={"x": bx.Continuous(0.0, 4.0)},
        transitions={"x": bx.fixed},
        reward=0.0,
        next_regime=lambda: {"b": 0.5, "c": 0.5},
    )
    end = bx.Terminal(lambda z: z, states={"z": bx.Continuous(0.0, 9.0)}, entry={"z": lambda x, more: x + more})
    b = bx.Regime(reward=1.0)
    model = bx.Model(regimes={"a": a, "b": b, "c": end}, discount=1.0, horizon=1)
    solution = bx.solve(model, {"more": 2.0})
    assert float(solution["a"].value(period=0, x=1.0)) == pytest.approx(1.5)
    assert set(model.template("c")["name"]) == {"more"}
    lost = {"a": a, "b": bx.Regime(reward=1.0, next_regime=lambda: {"c": 1.0}), "c": end}
    with pytest.raises(bx.ModelError, match="from 'b' to 'c' by a law that reads 'x', which 'b' does not have"):
        bx.Model(regimes=lost, discount=1.0, horizon=1)


# -- what is refused


def _two(space, entry, reward="z", **slots):
    """From `a`, which has no state, for sure to `b`."""
    a = bx.Regime(reward=0.0, next_regime=lambda: {"b": 1.0})
    b = bx.Regime(states={"z": space}, reward=reward, entry={} if entry is None else {"z": entry}, **slots)
    return bx.Model(regimes={"a": a, "b": b}, discount=0.9, horizon=2)


ISLANDS = [[1.0, 0.0], [0.0, 1.0]]
AR1 = bx.AR1(0.5, 0.1)
REFUSED = {
    "nothing said": ((AR1, None), "'z' has no value on the way from 'a' to 'b'.*bx.ergodic"),
    "two islands": ((bx.MarkovChain(2, ISLANDS), bx.ergodic), "the chain 'z', which enters 'b' from 'a' by bx.ergodic"),
    "too far": ((AR1, bx.shocks.Normal(3.0, 0.1)), "lies beyond its nodes, from -0.4619 to 0.4619, by 2.5"),
    "a number": (
        (bx.Continuous(0.0, 1.0), bx.shocks.Normal(), {"transitions": {"z": bx.fixed}}),
        "a distribution, and the state is a bx.Continuous; that is for processes. Declare a shock in 'a'",
    ),
    "no process": (
        (bx.Discrete(2), bx.ergodic, {"transitions": {"z": bx.fixed}}),
        "is bx.ergodic, and the state is a bx.Discrete",
    ),
    "a chain of numbers": ((bx.MarkovChain(2, ISLANDS), bx.shocks.Normal()), "Give probabilities in the order"),
    "several numbers": ((AR1, bx.shocks.Normal(shape=2)), "Give a distribution of single numbers"),
    "a negative spread": ((AR1, bx.shocks.Normal(0.0, "s")), "'a' to 'b' .sd. is -1; it must not be negative"),
    "too many odds": (
        (bx.MarkovChain(2, ISLANDS), bx.shocks.Categorical(probabilities=[0.2, 0.3, 0.5])),
        r"has shape \(3,\); it must have shape \(2,\)",
    ),
    "drawn afresh": ((bx.IID(bx.shocks.Normal()), bx.ergodic), "drawn afresh in every period: remove its mapping"),
    "started": ((bx.AR1(0.5, 0.1, start=0.0), bx.ergodic), "its distribution moves with time"),
    "moving": (
        (bx.AR1(0.5, lambda period: 0.1 + 0.1 * period), bx.ergodic),
        "by bx.ergodic, and its distribution moves with time, so that there is no stationary one",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_way_to_enter(case):
    (space, entry, *slots), message = REFUSED[case]
    params = {"s": -1.0} if case == "a negative spread" else {}
    solver = bx.solvers.BackwardInduction(grid={"z": 7} if isinstance(space, bx.AR1) else {})
    with pytest.raises((bx.ModelError, bx.ParameterError), match=message):
        bx.solve(_two(space, entry, **(slots[0] if slots else {})), params, solver)


def test_a_distribution_that_leaves_the_nodes_in_some_state_is_an_error():
    a = bx.Regime(states={"x": bx.Discrete(2)}, transitions={"x": bx.fixed}, reward=0.0, next_regime=lambda: {"b": 1.0})
    b = bx.Regime(states={"z": AR1}, reward="z", entry={"z": bx.shocks.Normal(lambda x: 5.0 * x, 0.1)})
    model = bx.Model(regimes={"a": a, "b": b}, discount=0.9, horizon=1)
    with pytest.raises(bx.SolveError, match="x = 1 in period 0.*a mapping lead beyond the nodes of a process"):
        bx.solve(model, {})


@pytest.mark.parametrize(("spread", "nodes"), [(0.2, 7), (0.3, 11)])
def test_what_enters_between_nodes_keeps_its_variance(spread, nodes):
    """Rewards of z and of its square: what is only shared out to the two nodes around it spreads."""
    entering = bx.Regime(reward=lambda: 0.0 * jnp.ones(()), next_regime=lambda: {"b": 1.0})
    model = bx.Model(
        regimes={
            "a": entering,
            "b": bx.Regime(
                states={"z": bx.AR1(0.9, 0.2)},
                entry={"z": {"a": bx.shocks.Normal("mean", "spread")}},
                reward=lambda z: z + z**2,
            ),
        },
        horizon=2,
        discount=0.5,
    )
    solver = bx.solvers.BackwardInduction(grid={"z": nodes})
    solve = lambda spread: bx.solve(model, {"b": {"mean": 0.1, "spread": spread}}, solver)["a"].value(0)  # noqa: E731
    value, slope = jax.value_and_grad(solve)(spread)
    assert float(value) == pytest.approx(0.5 * (0.1 + 0.1**2 + spread**2), rel=1e-9)
    assert float(slope) == pytest.approx(spread, rel=1e-6)
