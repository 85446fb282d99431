"""Densities and prices: closed forms, published numbers, derivatives, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.crowd import balance
from bellax.errors import SolveError
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.table import Table


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid)


def uneven(low, high, count):
    return bx.grids.Given(low + (high - low) * np.linspace(0.0, 1.0, count) ** 2)


# -- densities ---------------------------------------------------------------------------------------------------------


def even(low, high, count):
    return bx.grids.Given(np.linspace(low, high, count))


REVERTING = bx.DiffusionModel(
    states={"x": bx.Continuous(-1.6, 1.6)},
    reward=0.0,
    drift={"x": lambda x, kappa: -kappa * x},
    diffusion={"x": "sigma"},
    boundary={"x": bx.Reflecting()},
)


def sinh(low, high, count):
    """Denser in the middle."""
    share = np.linspace(-1.0, 1.0, count)
    return bx.grids.Given(0.5 * (low + high) + 0.5 * (high - low) * np.sinh(2 * share) / np.sinh(2.0))


@pytest.mark.parametrize("nodes", [even, sinh])
def test_an_ornstein_uhlenbeck_process_is_normal(nodes):
    """Mean and variance are exact on any nodes: upwinding would give a standard deviation of .204."""
    x, errors = np.linspace(-0.5, 0.5, 1003), []
    for count in (81, 161):
        grid = nodes(-1.6, 1.6, count)
        density = bx.stationary(bx.solve(REVERTING, {"kappa": 0.5, "sigma": 0.2, "discount": 0.05}, by(x=grid)))
        assert balance(density) < 1e-13
        assert float(density.mean("x")) == pytest.approx(0.0, abs=1e-12)
        assert float(density.mean(lambda x, kappa, sigma: 2 * kappa * x**2 / sigma**2)) == pytest.approx(1.0, abs=1e-10)
        assert density.atoms() == []
        errors.append(np.max(np.abs(np.asarray(density.pdf(x=x)) - np.exp(-(x**2) / 0.08) / np.sqrt(0.08 * np.pi))))
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.2


@pytest.mark.parametrize("nodes", [even, uneven])
def test_a_reflected_drift_is_exponential(nodes):
    """Drift -.1, volatility .2: rate 5; second order, in the mean and in the density between nodes."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 6.0)},
        reward=0.0,
        drift={"x": -0.1},
        diffusion={"x": 0.2},
        discount=0.05,
        boundary={"x": bx.Reflecting()},
    )
    x, means, densities = np.linspace(0.0, 1.0, 2003), [], []
    for count in (151, 301):
        density = bx.stationary(bx.solve(model, {}, by(x=nodes(0.0, 6.0, count))))
        assert balance(density) < 1e-13
        means.append(abs(float(density.mean("x")) - 0.2))
        densities.append(np.max(np.abs(np.asarray(density.pdf(x=x)) - 5 * np.exp(-5 * x))))
    assert np.log2(means[0] / means[1]) > 1.8
    assert 1.8 < np.log2(densities[0] / densities[1]) < 2.2
    np.testing.assert_array_equal(density.pdf(x=[-0.1, 6.1]), 0.0)
    line = np.linspace(0.0, 6.0, 20001)
    assert float(np.trapezoid(np.asarray(density.pdf(x=line)), line)) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(bx.ModelError, match="state 'y' is unknown"):
        density.pdf(y=0.0)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"drift": {"x": lambda x: 0.05 * (1.6 - x)}, "boundary": {"x": bx.Natural()}}, SolveError,
         "1 of the mass leaves it through the upper edge of 'x'"),
        ({"boundary": {"x": (bx.Reflecting(), bx.Absorbing(0.0))}}, bx.ModelError, "absorbing edge of 'x'"),
        ({"stop": 0.0}, bx.ModelError, "agents stop, and leave it"),
        ({"horizon": 3.0}, bx.ModelError, "density: it ends"),
    ],
)  # fmt: skip
def test_who_leaves_has_no_density(changes, kind, words):
    """Also where solvers do not solve such models: whoever makes a solution of them."""
    model = replace(REVERTING, **{"drift": {"x": 0.0}, "diffusion": {"x": 0.2}, "discount": 0.05, **changes})
    table = Table(jnp.zeros(21), {"x": jnp.zeros(21)})
    setting = by(x=21).prepare(model) if kind is SolveError else FlowSetting(model, by(x=21), {})
    solution = FlowSolution(setting.arguments({}), table, jnp.zeros((), jnp.int32), {}, setting)
    with pytest.raises(kind, match=words):
        bx.stationary(solution)


def test_where_it_ends_depends_on_where_it_begins():
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-2.0, 2.0)}, reward=0.0, drift={"x": lambda x: x - x**3}, discount=0.05
    )
    with pytest.raises(SolveError, match="depends on where it begins"):
        bx.stationary(bx.solve(model, {}, by(x=42)))


# -- prices ------------------------------------------------------------------------------------------------------------

SAVER = bx.DiffusionModel(
    states={
        "assets": bx.Continuous(-0.15, 5.0),
        "income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.2, 1.2], [1.2, -1.2]]),
    },
    actions={"consumption": bx.Continuous(1e-6)},
    policy={"consumption": lambda marginal_assets: marginal_assets**-0.5},
    reward=lambda consumption: -1 / consumption,
    drift={"assets": lambda assets, income, consumption, interest: income + interest * assets - consumption},
    discount=0.05,
    boundary={"assets": bx.StateConstraint()},
)


def no_bonds(bonds):
    return bonds


def clearing(interest=(0.0, 0.0499), grid=500, model=SAVER, **changes):
    given = {"unknowns": {"interest": interest}, "aggregates": {"bonds": "assets"}, "conditions": {"bonds": no_bonds}}
    return bx.equilibrium(model, {}, **(given | changes), solver=by(assets=grid))


@pytest.fixture(scope="module")
def huggett():
    return clearing(grid=bx.grids.Regular(500))


def test_huggett_on_the_published_grid(huggett):
    """Achdou, Han, Lasry, Lions & Moll (2022): .031917 on 500 points."""
    assert float(huggett.unknowns["interest"]) == pytest.approx(0.031917, abs=5e-6)
    assert abs(float(huggett.residuals["bonds"])) < 1e-10
    assert balance(huggett.density) < 1e-13
    (place, mass), *_ = huggett.density.atoms()
    assert place == {"assets": -0.15, "income": 0.1} and 0.02 < mass < 0.03
    np.testing.assert_allclose(huggett.density.marginal("income")[1], [0.5, 0.5], atol=1e-12)
    assert "Equilibrium at interest = 0.0319" in str(huggett)


def test_the_constrained_consume_what_they_get(huggett):
    at = huggett.solution.policy(assets=-0.15, income=0.1)["consumption"]
    assert float(at) == pytest.approx(0.1 - 0.15 * float(huggett.unknowns["interest"]), abs=1e-12)


@pytest.mark.long
def test_derivatives_of_a_price():
    """d interest / d discount, beside central differences."""
    model = bx.DiffusionModel(
        **{name: getattr(SAVER, name) for name in ("states", "actions", "policy", "reward", "drift", "boundary")}
    )

    def price(discount):
        given = {"unknowns": {"interest": (0.0, 0.0499)}, "aggregates": {"bonds": "assets"}}
        conditions = {"bonds": no_bonds}
        found = bx.equilibrium(
            model, {"discount": discount}, **given, conditions=conditions, solver=by(assets=60), tolerance=1e-13
        )
        return found.unknowns["interest"]

    central = (price(0.0501) - price(0.0499)) / 2e-4
    np.testing.assert_allclose(jax.grad(price)(0.05), central, rtol=1e-5)


def less(assets):
    return assets - 0.1


def excess(bonds, supply):
    return bonds - supply


COMMON = {"grid": 40, "aggregates": {"bonds": "assets", "less": less}}


@pytest.fixture(scope="module")
def none():
    return clearing(**COMMON, conditions={"clearing": "bonds"})


def test_conditions_are_told_apart_and_have_parameters_of_their_own(none):
    """Bonds of .1 in supply, as a name of another aggregate and as a parameter of the condition alone."""
    some = clearing(**COMMON, conditions={"clearing": "less"})
    given = {"unknowns": {"interest": (0.0, 0.0499)}, "aggregates": {"bonds": "assets"}}
    stated = bx.equilibrium(SAVER, {"supply": 0.1}, **given, conditions={"clearing": excess}, solver=by(assets=40))
    assert float(some.unknowns["interest"]) > float(none.unknowns["interest"]) + 1e-3
    np.testing.assert_allclose(stated.unknowns["interest"], some.unknowns["interest"], atol=1e-8)


# -- several prices ----------------------------------------------------------------------------------------------------


def funded(transfer, interest, supply):
    """What bonds cost is what households pay."""
    return transfer + interest * supply


TAXED = bx.DiffusionModel(
    **{name: getattr(SAVER, name) for name in ("states", "actions", "policy", "reward", "boundary", "discount")},
    drift={
        "assets": lambda assets, income, consumption, interest, transfer: (
            income + transfer + interest * assets - consumption
        )
    },
)


def fiscal(supply, interest=(0.0, 0.0499), **changes):
    given = {
        "unknowns": {"interest": interest, "transfer": (-0.05, 0.05)},
        "aggregates": {"bonds": "assets"},
        "conditions": {"clearing": excess, "budget": funded},
    }
    return bx.equilibrium(TAXED, {"supply": supply}, **(given | changes), solver=by(assets=40))


def test_two_prices(none):
    """Without bonds in supply the rate is that of one unknown; with them households pay for them."""
    same, found = fiscal(0.0), fiscal(0.1)
    np.testing.assert_allclose(same.unknowns["interest"], none.unknowns["interest"], atol=1e-9)
    np.testing.assert_allclose(same.unknowns["transfer"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found.unknowns["transfer"], -0.1 * found.unknowns["interest"], atol=1e-12)
    np.testing.assert_allclose(found.density.mean("assets"), 0.1, atol=1e-10)
    assert float(found.path["interest"][0]) == 0.5 * 0.0499 and len(found.path["transfer"]) == int(found.steps)


@pytest.mark.long
def test_derivatives_of_two_prices():
    """In the supply of bonds, beside central differences; where there is no equilibrium they are no numbers."""
    price = lambda supply, **given: jnp.stack(list(fiscal(supply, **given).unknowns.values()))  # noqa: E731
    moved = jax.jvp(price, (0.1,), (1.0,))[1]
    np.testing.assert_allclose(moved, (price(0.1002) - price(0.0998)) / 4e-4, rtol=1e-5)
    none, _ = jax.jvp(lambda supply: price(supply, interest=(-0.2, -0.1)), (0.1,), (1.0,))
    assert np.all(np.isnan(none))


def test_newton_says_where_it_was_stopped():
    with pytest.raises(
        SolveError, match="'interest' stays at the upper end of its bracket: at interest = -0.1,.*'clear"
    ):
        fiscal(0.1, interest=(-0.2, -0.1))


def test_what_several_unknowns_ask(untyped):
    with pytest.raises(bx.ModelError, match="the unknown 'transfer' has no condition: there are 2 unknowns"):
        fiscal(0.1, conditions={"interest": excess})
    with pytest.raises(bx.ModelError, match="one of 'interest', 'transfer' has no condition"):
        fiscal(0.1, conditions={"clearing": excess})
    with pytest.raises(bx.ModelError, match="Bracketing finds one unknown; here are 'interest', 'transfer'"):
        fiscal(0.1, method=bx.clearing.Bracketing())
    with pytest.raises(bx.ModelError, match="method is 'newton'; give one of bx.clearing"):
        fiscal(0.1, method="newton")


@pytest.mark.long
def test_a_failure_inside_a_program_is_no_number():
    wide = {"unknowns": {"interest": (-0.2, -0.1)}, "aggregates": {"bonds": "assets"}, "conditions": {"bonds": "bonds"}}
    compiled = jax.jit(lambda tax: bx.equilibrium(TAXED, {"transfer": tax}, **wide, solver=by(assets=12)).unknowns)
    assert np.isnan(compiled(0.0)["interest"])


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"interest": (-0.2, -0.1)}, bx.SolveError, "no sign change of the condition 'bonds': it is -0.1.* at -0.2"),
        ({"conditions": {"step": lambda bonds, interest: jnp.where(interest < 0.02, -1.0, 1.0) + 0 * bonds}},
         bx.SolveError, "the condition 'step' jumps across zero at interest = 0.02"),
        ({"interest": (0.04, 0.0)}, bx.ParameterError, "give a bracket"),
        ({"conditions": {}}, bx.ModelError, "the unknown 'interest' has no condition"),
        ({"conditions": {"bonds": lambda wages: wages}}, bx.ModelError, "names 'wages'"),
        ({"aggregates": {"bonds": "wealth"}}, bx.ModelError, "names 'wealth', which the model does not have"),
        ({"unknowns": {"wage": (0.0, 1.0)}}, bx.ModelError, "'wage' is no parameter"),
    ],
)  # fmt: skip
def test_what_is_no_equilibrium(changes, kind, words):
    with pytest.raises(kind, match=words):
        clearing(**{"grid": 40, **changes})
