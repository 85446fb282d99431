"""What numbers must be is said once: one demand makes the message for known numbers and the NaN inside programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.model.demands import broken, discount, fulfilled
from bellax.model.distribution import Distribution
from bellax.model.spaces import PROCESSES

EVEN = [[0.5, 0.5], [0.5, 0.5]]
NEGATIVE, HALF = "it must not be negative", {"lower": 1.0, "upper": 2.0}
PROBABILITIES = [
    ([1.5, -0.5], "holds the probability -0.5; none may be negative"),
    ([0.5, 0.4], "sums to 0.9; probabilities sum to one"),
]
CROSSED = ({"lower": 2.0, "upper": 1.0}, "'e' runs from 2.0 down to 1.0; swap its bounds")

# what has parameters, given their Quantities by name; numbers that are right; and for each of its demands, in order,
# numbers that break this one first, and what is said of them
CASES = {
    "normal": (
        lambda q: bx.shocks.Normal(q("mean"), q("sd")),
        {"mean": 0.0, "sd": 1.0},
        [({"sd": -1.0}, f"sd .*is -1; {NEGATIVE}")],
    ),
    "lognormal": (
        lambda q: bx.shocks.Lognormal(q("mean"), q("sd")),
        {"mean": 0.0, "sd": 0.0},
        [({"sd": -1.0}, f"sd .*{NEGATIVE}")],
    ),
    "multivariate": (
        lambda q: bx.shocks.MultivariateNormal(q("mean"), q("covariance"), size=2),
        {"mean": [0.0, 0.0], "covariance": [[1.0, 1.0], [1.0, 1.0]]},
        [({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "covariance .*is indefinite: its least eigenvalue is -1")],
    ),
    "uniform": (lambda q: bx.shocks.Uniform(q("lower"), q("upper")), HALF, [CROSSED]),
    "categorical": (
        lambda q: bx.shocks.Categorical(q("values"), q("probabilities")),
        {"values": [1.0, 2.0], "probabilities": [0.25, 0.75]},
        [
            ({"values": 3.0}, r"values .*has shape \(\); it must have one entry"),
            ({"probabilities": 1.0}, r"probabilities .*has shape \(\); it must have one entry"),
            *(({"probabilities": value}, f"probabilities .*{message}") for value, message in PROBABILITIES),
        ],
    ),
    "jump": (
        lambda q: bx.shocks.Jump(q("intensity"), q("mean"), q("sd")),
        {"intensity": 0.1, "mean": 0.0, "sd": 1.0},
        [
            ({"intensity": -0.5}, f"intensity .*is -0.5; {NEGATIVE}"),
            ({"sd": -1.0}, f"sd .*is -1; {NEGATIVE}"),
            ({"intensity": 8.0}, "intensity .*is 8: more than largest=6 jumps have the probability 0.69"),
        ],
    ),
    "mixture": (
        lambda q: bx.shocks.Mixture(q("weights"), (bx.shocks.Normal(0.0, q("sd_0")), bx.shocks.Normal(1.0, q("sd_1")))),
        {"weights": [0.25, 0.75], "sd_0": 1.0, "sd_1": 0.0},
        [
            *(({"weights": value}, f"weights .*{message}") for value, message in PROBABILITIES),
            ({"sd_0": -1.0}, f"sd_0 .*is -1; {NEGATIVE}"),
            ({"sd_1": -1.0}, f"sd_1 .*is -1; {NEGATIVE}"),
        ],
    ),
    "chain": (
        lambda q: bx.MarkovChain(q("values"), q("transition")),
        {"values": [1.0, 2.0], "transition": EVEN},
        [
            ({"transition": [0.5, 0.5]}, r"transition .*has shape \(2,\); it must be \(n, n\)"),
            ({"transition": np.eye(3)}, r"'e' has a transition of shape \(3, 3\); with 2 categories"),
            ({"transition": [[0.5, 0.5], PROBABILITIES[0][0]]}, f"transition .*{PROBABILITIES[0][1]}"),
            ({"transition": [[0.5, 0.5], [0.5, 0.4]]}, "transition .*sums to 0.9 in row 1;.* row_tolerance=0.1"),
        ],
    ),
    "rates": (
        lambda q: bx.MarkovChain([1.0, 2.0], intensity=q("intensity")),
        {"intensity": [[-1.0, 1.0], [2.0, -2.0]]},
        [
            ({"intensity": [0.5, 0.5]}, r"has shape \(2,\); it must be \(n, n\)"),
            ({"intensity": [[1.0, -1.0], [2.0, -2.0]]}, "holds the rate -1 off the diagonal"),
            ({"intensity": [[-1.0, 1.0], [2.0, -1.0]]}, "sums to 1 in row 1; rates sum to zero"),
        ],
    ),
    "AR1": (
        lambda q: bx.AR1(q("rho"), q("sigma"), q("mean")),
        {"rho": 0.9, "sigma": 0.1, "mean": 0.0},
        [
            ({"rho": np.inf}, "rho .*is inf; it must be a number"),
            ({"rho": -1.0}, r"'e' has rho = -1; a chain needs \|rho\| < 1"),
            ({"sigma": -1.0}, f"sigma .*is -1; {NEGATIVE}"),
        ],
    ),
    "AR1 from a start": (
        lambda q: bx.AR1(q("rho"), q("sigma"), start=bx.shocks.Normal(0.0, q("start_sd"))),
        {"rho": 1.0, "sigma": 0.1, "start_sd": 0.0},
        [
            ({"rho": np.inf}, "rho .*is inf; it must be a number"),
            ({"sigma": -1.0}, f"sigma .*is -1; {NEGATIVE}"),
            ({"start_sd": -1.0}, f"start_sd .*is -1; {NEGATIVE}"),
        ],
    ),
    "VAR": (
        lambda q: bx.VAR(q("rho"), q("covariance"), size=2),
        {"rho": [[0.5, 0.4], [0.0, 0.9]], "covariance": [[1.0, 0.5], [0.5, 1.0]]},
        [
            ({"rho": [[0.5, 0.4], [0.0, 1.25]]}, "rho .*has an eigenvalue of size 1.25; all must be below one"),
            ({"covariance": [[1.0, 1.0], [1.0, 1.0]]}, "covariance .*it must be symmetric and positive definite"),
        ],
    ),
    "IID": (lambda q: bx.IID(bx.shocks.Uniform(q("lower"), q("upper"))), HALF, [CROSSED]),
    "box": (
        lambda q: bx.Continuous(q("lower"), q("upper")),
        HALF,
        [({"lower": 2.0}, "'e' runs from 2.0 to 2.0; the lower bound must be below the upper")],
    ),
}
ROWS = [(name, row) for name, (_, _, wrong) in CASES.items() for row in range(len(wrong))]


def arrays(numbers):
    return {name: np.asarray(value, float) for name, value in numbers.items()}


def test_every_demand_has_a_row_here():
    owners = {name: make(str) for name, (make, _, _) in CASES.items()}
    kinds = {*PROCESSES, *(getattr(bx.shocks, name) for name in bx.shocks.__all__)}
    assert {type(owner) for owner in owners.values()} >= kinds
    for name, owner in owners.items():
        assert len(owner.demands()) == len(CASES[name][2])


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_numbers_and_programs_are_told_the_same(name, row):
    make, right, wrong = CASES[name]
    right = arrays({"period": 0, **right})
    demands, bad = make(str).demands(), right | arrays(wrong[row][0])
    asked = jax.jit(lambda numbers: fulfilled(demands, numbers))
    assert broken(demands, right) is None and bool(asked(right))
    assert broken(demands, bad) is demands[row] and not bool(asked(bad))
    held = demands[row].holds(*(bad[own] for own in demands[row].names))
    assert isinstance(held, bool | np.bool_)  # what numpy said: an operation of jax would compile a program of its own


def shapes(numbers, names):
    return [np.shape(numbers[name]) for name in names]


def by_function(name):
    """A function of one parameter, named so."""
    return eval(f"lambda {name}: {name} * 1.0")


def prepared(owner):
    """One period that pays what has the parameters."""
    states = {} if isinstance(owner, Distribution) else {"e": owner}
    model = bx.Model(
        states={"x": bx.Discrete(2), **states},
        shocks={} if states else {"e": owner},
        transitions={"x": bx.fixed} | ({"e": bx.fixed} if isinstance(owner, bx.Continuous) else {}),
        reward=lambda e: jnp.sum(e),
        discount=0.9,
        horizon=1,
    )
    return bx.solvers.BackwardInduction().prepare(model)


MODELS = [name for name in CASES if name != "rates"]  # these are for continuous time, which no solver has yet


@pytest.mark.parametrize("quantity", [str, by_function])
@pytest.mark.parametrize("name", MODELS)
def test_known_numbers_are_refused_by_name(name, quantity):
    make, right, wrong = CASES[name]
    solver = prepared(make(quantity))
    solver.check(solver.arguments(right))
    for change, message in wrong:
        if np.isfinite([np.max(value) for value in change.values()]).all():  # infinity is no parameter at all
            with pytest.raises(
                bx.BellaxError, match=message if shapes(change, change) == shapes(right, change) else "shape"
            ):
                solver.check(solver.arguments(right | change))


@pytest.mark.parametrize("name", MODELS)
def test_a_program_knows_that_numbers_make_no_model(name):
    make, right, wrong = CASES[name]
    solver = prepared(make(str))
    lanes = [right, *(right | change for change, _ in wrong if shapes(change, change) == shapes(right, change))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(arrays, lanes))
    found = jax.vmap(lambda numbers: solver.sound(solver.arguments(numbers)))(stacked)
    assert found.tolist() == [True, *([False] * (len(lanes) - 1))]


def test_uniform_bounds_that_cross_inside_a_program():
    """E[e] = (lower + upper) / 2 where they do not; NaN, and a result that says so, where they do."""
    run = bx.compile(prepared(CASES["uniform"][0](str)).model)

    @jax.vmap
    def solved(lower):
        value = lambda low: run({"lower": low, "upper": 1.0}).value(0, x=0)  # noqa: E731
        return run({"lower": lower, "upper": 1.0}).code, *jax.value_and_grad(value)(lower)

    codes, values, slopes = jax.jit(solved)(jnp.array([0.5, 1.0, 2.0]))
    assert [bx.Result(int(code)).name for code in codes] == ["successful", "successful", "nonfinite"]
    np.testing.assert_allclose(values, [0.75, 1.0, np.nan], rtol=1e-12)
    np.testing.assert_allclose(slopes, [0.5, 0.5, np.nan], rtol=1e-12)


def test_rows_of_a_chain_may_be_off_by_a_difference_in_a_program_alone():
    solver = prepared(CASES["chain"][0](str))
    off = lambda size: {"values": [1.0, 2.0], "transition": [[0.5, 0.5 + size], [0.5, 0.5]]}  # noqa: E731
    asked = jax.jit(lambda numbers: solver.sound(solver.arguments(numbers)))
    assert bool(asked(arrays(off(9e-4)))) and not bool(asked(arrays(off(1.1e-3))))
    with pytest.raises(bx.ParameterError, match="sums to 1.0009 in row 0"):
        solver.arguments(off(9e-4))


def test_a_moving_rho_may_be_one_after_the_first_period():
    demands = bx.AR1("rho", "sigma").demands()
    numbers = lambda period: {"rho": np.ones(()), "sigma": np.ones(()), "period": np.asarray(period)}  # noqa: E731
    asked = jax.jit(lambda numbers: fulfilled(demands, numbers))
    assert [broken(demands, numbers(period)) is None for period in (0, 1)] == [False, True]
    assert [bool(asked(numbers(period))) for period in (0, 1)] == [False, True]


@pytest.mark.parametrize("finite", [True, False])
def test_discounts(finite):
    for value, message in ((-0.5, f"is -0.5; {NEGATIVE}"), (1.0, "is 1 and the horizon is infinite")):
        demand = broken(discount(finite), {"discount": value})
        inside = jax.jit(lambda b: fulfilled(discount(finite), {"discount": b}))(value)
        assert bool(inside) == (demand is None) == (finite and value == 1)
        assert demand is None or demand.complaint({"discount": value}).startswith(message)
