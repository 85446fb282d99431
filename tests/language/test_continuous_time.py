"""Continuous time: the irreversible firm, with a marginal value in its cost, and Poisson income."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def irreversibility(marginal_k, theta_up, theta_down, steepness):
    """Cost of adjustment: theta_up where capital is worth more than its price, else theta_down."""
    return theta_up + (theta_down - theta_up) / (1 + jnp.exp(steepness * (marginal_k - 1)))


def profit(k, z, investment, theta, price, shifter, alpha):
    return price * jnp.exp(shifter + z) * k**alpha - investment - theta * investment**2 / (2 * k)


firm = bx.DiffusionModel(
    states={"k": bx.Continuous(0.2, 5.0, scale=bx.scales.log), "z": bx.Continuous(-2.5, 2.5)},
    actions={"investment": bx.Continuous()},
    policy={"investment": lambda k, marginal_k, theta: k * (marginal_k - 1) / theta},
    functions={"theta": irreversibility},
    reward=profit,
    drift={"k": lambda k, investment, delta: investment - delta * k, "z": lambda z, kappa: -kappa * z},
    diffusion={"z": "sigma"},
    discount="r",
    boundary={"k": bx.StateConstraint(), "z": bx.Reflecting()},
)

FIRM = {
    "theta_up": 2.0,
    "theta_down": 6.0,
    "steepness": 5.0,
    "price": 0.7376,
    "shifter": 0.0,
    "alpha": 0.35,
    "delta": 0.08,
    "kappa": 0.5,
    "sigma": 0.2,
    "r": 0.05,
}

saver = bx.DiffusionModel(
    states={
        "assets": bx.Continuous("borrowing_limit", 20.0),
        "income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.2, 1.2], [1.2, -1.2]]),
    },
    actions={"consumption": bx.Continuous(1e-6)},
    policy={"consumption": lambda marginal_assets, risk_aversion: marginal_assets ** (-1 / risk_aversion)},
    reward=lambda consumption, risk_aversion: consumption ** (1 - risk_aversion) / (1 - risk_aversion),
    drift={"assets": lambda assets, income, consumption, interest: income + interest * assets - consumption},
    boundary={"assets": (bx.StateConstraint(), bx.Natural())},
)


def test_templates(template):
    assert list(template(firm)) == [
        "theta_up", "theta_down", "steepness", "delta", "kappa", "sigma", "price", "shifter", "alpha", "r",
    ]  # fmt: skip
    assert template(firm)["sigma"] == ("diffusion['z']", "", "")
    assert template(saver) == {
        "borrowing_limit": ("lower bound of state 'assets'", "", ""),
        "risk_aversion": ("policy['consumption'], reward", "", ""),
        "interest": ("drift['assets']", "", ""),
        "discount": ("discount", "", ""),
    }


def test_parameters():
    assert set(firm.parameters(FIRM)) == set(FIRM)
    with pytest.raises(bx.ParameterError, match="Did you mean 'kappa'"):
        firm.parameters({**FIRM, "kapa": 1.0})
    given = {"borrowing_limit": -0.15, "risk_aversion": 2.0, "interest": 0.03, "discount": 0.05}
    assert float(saver.parameters(given)["borrowing_limit"]) == -0.15
    with pytest.raises(bx.ParameterError, match="missing parameters: 'interest'"):
        saver.parameters({k: v for k, v in given.items() if k != "interest"})


def test_the_closed_form_is_the_first_order_condition_of_the_flow(evaluate):
    """d/di of profit + V_k (i - delta k) is zero at the policy, theta held fixed."""
    graph, step = firm.graphs[""], 1e-5
    investment = float(evaluate(graph, "policy:investment", k=2.0, marginal_k=1.3, **FIRM))
    theta = float(evaluate(graph, "theta", marginal_k=1.3, **FIRM))
    assert theta == pytest.approx(2 + 4 / (1 + np.exp(1.5)))

    def hamiltonian(i):
        flow = evaluate(graph, "slot:reward", k=2.0, z=0.1, investment=i, marginal_k=1.3, **FIRM)
        return float(flow) + 1.3 * (i - 0.08 * 2.0)

    slope = (hamiltonian(investment + step) - hamiltonian(investment - step)) / (2 * step)
    assert slope == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drift": {"k": 0.0}}, "state 'z' has no drift"),
        ({"drift": {"k": 0.0, "z": 0.0, "q": 0.0}}, "drift of the continuous state 'q' is unknown"),
        ({"policy": {"invest": 0.0}}, "policy of the action 'invest' is unknown.*Did you mean 'investment'"),
        ({"policy": {"investment": lambda marginal_q: marginal_q}}, "'marginal_q', which is reserved"),
        (
            {"diffusion": {"z": lambda marginal_z: marginal_z}},
            "diffusion.*names the marginal value 'marginal_z'",
        ),
        ({"boundary": {"k": "reflect"}}, "boundary.'k'. is 'reflect'"),
        ({"boundary": {"k": (bx.Natural(),)}}, "a pair of them"),
        ({"discount": 0.0}, "discount is 0 and the horizon is infinite"),
        ({"terminal": 0.0}, "terminal is given and the horizon is infinite"),
        ({"horizon": -1.0}, "horizon is -1.0"),
        ({"functions": {"theta": lambda time, theta_up: theta_up}}, "^$"),
        (
            {"states": {"k": bx.Continuous(0.2, 5.0), "z": bx.AR1(0.5, 0.1)}},
            "'z'.*must be bx.Continuous, bx.MarkovChain",
        ),
    ],
)
def test_wrong_statements_are_refused(change, message, untyped):
    given = {name: getattr(firm, name) for name, own in firm.__dataclass_fields__.items() if own.init}
    if message == "^$":  # without a horizon `time` is a name like any other: a parameter
        assert "time" in set(bx.DiffusionModel(**{**given, **change}).template()["name"])
        return
    with pytest.raises(bx.ModelError, match=message):
        bx.DiffusionModel(**{**given, **change})


def test_intensities_whose_rows_do_not_sum_to_zero():
    with pytest.raises(bx.ModelError, match="intensity of state 'income' sums to 0.1 in row 0; rates sum to zero"):
        bx.DiffusionModel(
            states={"income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.1, 1.2], [1.2, -1.2]])},
            reward="income",
            drift={},
        )
    with pytest.raises(bx.ModelError, match="holds the rate -1"):
        bx.DiffusionModel(
            states={"income": bx.MarkovChain([0.1, 0.2], intensity=[[1.0, -1.0], [1.0, -1.0]])},
            reward="income",
            drift={},
        )


def test_an_absorbing_value_is_a_quantity():
    m = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 1.0)},
        reward=0.0,
        drift={"x": "mu"},
        diffusion={"x": "sigma"},
        boundary={"x": (bx.Absorbing("scrap"), bx.Reflecting())},
    )
    assert dict(m.template().set_index("name")["used in"])["scrap"] == "value at the lower boundary of 'x'"


def output(k, z, alpha):
    return jnp.exp(z) * k**alpha


def squared(z):
    return z**2


def clearing(price, output):
    return price - 1 / output


def test_the_firm_as_written_clears_at_the_price_of_collocation():
    """Cost names the marginal value by itself, so that values and capital travel with different velocities. First order
    in the step: P = .73760472 by Chebyshev collocation, beside the extrapolation of two grids."""
    prices = []
    for count in (26, 51):
        found = bx.equilibrium(
            firm,
            {name: value for name, value in FIRM.items() if name != "price"},
            unknowns={"price": (0.7, 0.8)},
            aggregates={"output": output, "variance": squared},
            conditions={"clearing": clearing},
            solver=bx.solvers.FiniteDifference(grid={"k": bx.grids.Regular(count), "z": 31}),
        )
        prices.append(float(found.unknowns["price"]))
        assert float(jnp.sum(found.density.mass)) == pytest.approx(1.0, abs=1e-12)
    assert float(found.aggregates["variance"]) == pytest.approx(0.04, abs=5e-5)
    assert 2 * prices[1] - prices[0] == pytest.approx(0.73760472, abs=3e-4)
    assert abs(prices[1] - 0.73760472) < 2e-3
