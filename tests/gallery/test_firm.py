"""The firm: its closed forms by computer algebra, its reference, and its variants on a few nodes."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import bellax as bx
from bellax.models import firm_hamiltonian, firm_irreversible, firm_quadratic
from bellax.models.references import firm

SMALL = bx.solvers.FiniteDifference(grid={"k": 21, "z": 13})
NEAR = {"k": bx.Continuous(1.0, 5.0), "z": bx.Continuous(-0.9, 0.9)}


def test_the_best_investment_of_a_constant_theta():
    """i* = k (V_k - 1)/theta maximises -i - theta i^2/(2k) + (i - delta k) V_k; the maximum is k (V_k - 1)^2/(2 theta)
    less delta k V_k. It is the policy of the module, and the reward there."""
    k, theta = sympy.symbols("k theta", positive=True)
    i, p, delta = sympy.symbols("i p delta", real=True)
    flow = -i - theta * i**2 / (2 * k) + (i - delta * k) * p
    (best,) = sympy.solve(sympy.diff(flow, i), i)
    assert sympy.simplify(best - k * (p - 1) / theta) == 0
    assert sympy.diff(flow, i, 2).is_negative
    most = k * (p - 1) ** 2 / (2 * theta) - delta * k * p
    assert sympy.simplify(flow.subs(i, best) - most) == 0
    numbers = {k: 2.0, p: 1.3, theta: 3.0, delta: 0.08}
    ours = firm_irreversible.best_investment(2.0, 1.3, 3.0)
    assert ours == pytest.approx(float(best.subs(numbers)), rel=1e-14)
    kept = firm_irreversible.profit(2.0, 0.0, ours, 3.0, 1.0) + 1.3 * (ours - 0.08 * 2.0)
    assert kept == pytest.approx(float(most.subs(numbers)), rel=1e-14)


def test_the_drift_that_the_hamiltonian_implies():
    """With theta(p): the derivative of k (p - 1)^2 / (2 theta(p)), and what is kept beside p i is that maximum."""
    p, k = sympy.symbols("p k", positive=True)
    theta = 2 + 4 / (1 + sympy.exp(5 * (p - 1)))
    gain = k * (p - 1) ** 2 / (2 * theta)
    at = {p: 0.9, k: 2.0}
    ours = firm_hamiltonian.best_investment(2.0, 0.9, 2.0, 6.0, 5.0)
    assert float(ours) == pytest.approx(float(sympy.diff(gain, p).subs(at)), rel=1e-12)
    kept = firm_hamiltonian.profit(2.0, 0.0, ours, 0.9, firm_hamiltonian.gain(0.9, 2.0, 6.0, 5.0), 1.0)
    assert float(kept + 0.9 * ours) == pytest.approx(float(gain.subs(at)), rel=1e-12)


def test_the_reference():
    """P, Y and V(1, 0) of finite differences and of collocation in another code, whose last digit may move with the
    box; a constant theta leaves nothing between the two drifts."""
    params = firm_irreversible.params
    found = firm(params, *firm_irreversible.AT)
    np.testing.assert_allclose(found.price, 0.73760472, atol=1e-8)
    np.testing.assert_allclose(found.output, 1.35573969, atol=2e-8)
    np.testing.assert_allclose(found.value, 14.233885, atol=1e-6)
    constant = params | {"theta_down": 2.0}
    one, other = (firm(constant, *firm_irreversible.AT, by_hamiltonian=by) for by in (False, True))
    np.testing.assert_allclose(one.price, other.price, rtol=1e-12)
    with pytest.raises(ValueError, match="drifts outward|did not converge"):
        firm(params | {"elasticity": 0.01, "shifter": 1.0}, *firm_irreversible.AT)


@pytest.mark.parametrize("module", [firm_hamiltonian, firm_quadratic], ids=["hamiltonian", "quadratic"])
def test_variants_on_a_few_nodes(module):
    """V at the price of collocation, and a stationary density: what is invested replaces what wears off."""
    known = module.reference(module.params, **firm_irreversible.PLACE)
    own = {name: value for name, value in module.params.items() if name != "elasticity"} | {"price": known["price"]}
    solution = bx.solve(replace(module.model, states=NEAR), own, SMALL)
    assert float(solution.value(**firm_irreversible.PLACE)) == pytest.approx(known["value"], abs=0.05)
    density = bx.stationary(solution)
    worn = own["delta"] * float(density.mean("k"))
    assert float(density.mean("investment")) == pytest.approx(worn, rel=1e-10)
    assert float(density.mean("output")) == pytest.approx(known["output"], rel=2e-3)
    assert float(jnp.sum(density.mass)) == pytest.approx(1.0, abs=1e-12)


def test_nothing_is_said_of_another_calibration():
    for module in (firm_irreversible, firm_hamiltonian, firm_quadratic):
        assert module.reference(module.params | {"delta": 0.1}, 1.0, 0.0) == {}
        assert module.reference(module.params | {"price": 1.65}, 1.0, 0.0) == {}
