"""One net for members who are exchangeable: what it finds, and that members who are not are refused."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import multi_country
from bellax.models.multi_country import economy, params, trained

GROUP = ("capital", "productivity", "capital_next")
SHORT = {"hidden": (10,), "points": 60, "rounds": 4, "budget": 15, "finish": 30}


@pytest.fixture(scope="module")
def four():
    """Four countries who share a small net."""
    return bx.solve(economy(4), params, trained(symmetric=GROUP, **SHORT))


def test_euler_errors_of_four_countries(four):
    """By numpy, with another rule than that of the training."""
    panel = bx.simulate(four, 20, {"capital": np.full(4, multi_country.STEADY)}, seed=1, periods=60)
    states = {name: np.asarray(panel.states[name])[:, 40::10].reshape(-1, 4) for name in panel.states}
    size = np.abs(multi_country.euler_errors(four, params, states)).max(axis=1)
    assert np.mean(np.log10(size)) < -4.5


def test_who_changes_places_takes_capital_along(four):
    capital = multi_country.STEADY * np.array([0.9, 1.0, 1.05, 1.1])
    productivity = np.array([-0.02, 0.03, 0.0, 0.01])
    order = np.array([2, 0, 3, 1])
    here = four.policy(capital=capital, productivity=productivity)["capital_next"]
    there = four.policy(capital=capital[order], productivity=productivity[order])["capital_next"]
    np.testing.assert_allclose(there, np.asarray(here)[order], rtol=1e-12)
    values = [
        four.value(capital=k, productivity=a)
        for k, a in ((capital, productivity), (capital[order], productivity[order]))
    ]
    np.testing.assert_allclose(*values, rtol=1e-12)


def unequal_law():
    """A country whose shocks are larger."""
    model = economy(3)
    cover = lambda sigma: sigma**2 * jnp.diag(jnp.array([1.0, 1.0, 1.5]))  # noqa: E731
    own = bx.VAR(rho=lambda persistence: persistence * jnp.eye(3), covariance=cover, size=3)
    return replace(model, states={**model.states, "productivity": own})


def unequal_reward():
    """A country whose capital depreciates a little more."""
    more = lambda productivity, capital, alpha, depreciation: jnp.sum(  # noqa: E731
        jnp.exp(productivity) * capital**alpha + (1 - depreciation * jnp.array([1.0, 1.0, 1.2])) * capital
    )
    return replace(economy(3), functions={"resources": more})


@pytest.mark.parametrize("model", [unequal_law(), unequal_reward()], ids=["law", "reward"])
def test_who_is_not_alike_is_refused(model):
    with pytest.raises(bx.ModelError, match="not exchangeable"):
        bx.solve(model, params, trained(symmetric=GROUP, **SHORT))


@pytest.mark.long
def test_what_differs_too_little_to_be_refused_shows_in_the_euler_errors(monkeypatch):
    """Were it not refused, the conditions of the whole model would not hold, and no success would be claimed."""
    monkeypatch.setattr("bellax.solvers.neural.euler_net._ASYMMETRIC", 10.0)
    found = bx.solve(unequal_reward(), params, trained(symmetric=GROUP, **SHORT), throw=False)
    assert found.result != bx.Result.successful
    assert float(found.stats["path_mean"]) > 1e-3


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("capital", "nobody", "capital_next"), "'nobody'"),
        (("capital", "productivity"), "'capital_next' is left out"),
        (("capital_next",), "no state"),
    ],
)
def test_groups_that_are_none_are_refused(names, why):
    with pytest.raises(bx.ModelError, match=why):
        trained(symmetric=names).prepare(economy(2))


def test_members_do_not_begin_with_what_is_known_of_all():
    rule = {"capital_next": lambda capital: 0.95 * capital}
    with pytest.raises(bx.ModelError, match="give one of the two"):
        trained(symmetric=GROUP, warm_start=rule).prepare(economy(2))
