"""A firm whose capital is costly to reverse, in continuous time: value, policy, density and the price that clears.

    r V = max over i of P Y - i - theta i^2 / (2k) + (i - delta k) V_k - kappa z V_z + sigma^2/2 V_zz,
    Y = e^(x + z) k^alpha,   theta = theta_up + (theta_down - theta_up) / (1 + e^(steepness (V_k - 1))),
    i* = k (V_k - 1) / theta,

with theta held fixed in the maximum: it is dear to disinvest. Many such firms live for ever, their density does not
move, and the price clears a demand of given elasticity, P = E[Y]^(-elasticity).

This is the model as the notebook writes it. Since theta moves with V_k, investment is not the derivative of the
maximised Hamiltonian k (V_k - 1)^2 / (2 theta(V_k)), so that values and capital move with different velocities, and the
equations of value and density are not adjoint. `firm_hamiltonian` has the drift that the Hamiltonian implies, and
`firm_quadratic` a constant theta.

Numbers: P = .73760472, Y = 1.35573969, V(1, 0) = 14.233885 by Chebyshev collocation (`references.firm`). Finite
differences on even nodes of k are first order, P = .73722 with 100 x 60 nodes, .73741 with 200 x 120, .73751 with
400 x 240, and 9e-6 off extrapolated from 51 x 31, 101 x 61 and 201 x 121; E[i] = delta E[k] holds to rounding there. On
even nodes of log k it is
E[i/k] = delta that does, and P is 2e-3 off with 100 nodes. The standard deviation of z is exact from 60 nodes on.
Polynomials on 24 x 20 nodes have P to 2e-9.

At P = 1.65 capital is driven against its bound. The mass at the node k = 5 is .94 with 101 nodes of k, .79 with 201,
.46 with 401 and .08 with 801: no atom, but an artefact of the grid. Capital gathers just below, where i* = delta k and
values would still travel upwards. `PINN` refuses, since the steady state without noise is beyond the bound. In the
other two variants mass does stay at the bound, .98 and .99 of it with 401 nodes, .92 and .95 with 8,000.

Source: the notebook "Minimal stationary HJB-FP x PINN", whose calibration this is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import firm

SOURCE = "Chebyshev collocation in numpy"
GRIDS = ((51, 31), (101, 61), (201, 121))
PLACE = {"k": 1.0, "z": 0.0}
POLYNOMIALS = bx.solvers.Collocation(grid={"k": 24, "z": 20}, bounds={"k": (0.8, None), "z": (-1.1, 1.1)})
NET_SEEDS = (0, 1, 2)
FINE = ((101, 61), (201, 121), (401, 241))
AT = (np.array([1.0]), np.array([0.0]))


def irreversibility(marginal_k, theta_up, theta_down, steepness):
    return theta_up + (theta_down - theta_up) * jax.nn.sigmoid(-steepness * (marginal_k - 1))


def output(k, z, alpha, shifter):
    return jnp.exp(shifter + z) * k**alpha


def profit(k, output, investment, theta, price):
    return price * output - investment - theta * investment**2 / (2 * k)


def best_investment(k, marginal_k, theta):
    return k * (marginal_k - 1) / theta


def clearing(price, output, elasticity):
    return price - output**-elasticity


statement: dict[str, Any] = {
    "states": {"k": bx.Continuous(0.2, 5.0), "z": bx.Continuous(-2.5, 2.5)},
    "actions": {"investment": bx.Continuous()},
    "policy": {"investment": best_investment},
    "functions": {"theta": irreversibility, "output": output},
    "reward": profit,
    "drift": {"k": lambda k, investment, delta: investment - delta * k, "z": lambda z, kappa: -kappa * z},
    "diffusion": {"z": "sigma"},
    "boundary": {"k": bx.StateConstraint(), "z": bx.Reflecting()},
}
model = bx.DiffusionModel(**statement)
params: dict[str, Any] = {
    "theta_up": 2.0,
    "theta_down": 6.0,
    "steepness": 5.0,
    "shifter": 0.0,
    "alpha": 0.35,
    "delta": 0.08,
    "kappa": 0.5,
    "sigma": 0.2,
    "discount": 0.05,
    "elasticity": 1.0,
}
equilibrium: dict[str, Any] = {
    "unknowns": {"price": (0.6, 0.9)},
    "aggregates": {"output": "output", "capital": "k", "investment": "investment"},
    "conditions": {"clearing": clearing},
}
solver = bx.solvers.FiniteDifference(grid={"k": bx.grids.Regular(101), "z": 61})
start = PLACE
periods = None


def reference(given: dict[str, Any], k: Any, z: Any) -> dict[str, Any]:
    """Value, investment and the price of collocation; nothing for another calibration, or at a given price."""
    return known(given, params, k, z)


def known(given: dict[str, Any], own: dict[str, Any], k: Any, z: Any, by_hamiltonian: bool = False) -> dict[str, Any]:
    """What collocation finds for a calibration, if that is the one that is given."""
    if set(given) != set(own) or any(float(given[name]) != value for name, value in own.items()):
        return {}
    exact = firm(own, np.array([float(k)]), np.array([float(z)]), by_hamiltonian)
    answers = {"value": exact.value[0], "investment": exact.investment[0]}
    return answers | {"price": exact.price, "output": exact.output, "capital": exact.capital}


def checks() -> list[Check]:
    """The price by polynomials and on one grid, and what must hold there."""
    exact = firm(params, *AT)
    unknowns = {"price": (0.7, 0.8)}  # at .9 capital is driven out of the box
    smooth = bx.equilibrium(model, params, **{**equilibrium, "unknowns": unknowns}, solver=POLYNOMIALS)
    worn = params["delta"] * float(smooth.aggregates["capital"])
    return [
        comparison.absolute("P, polynomials", smooth.unknowns["price"], 0.73760472, 1e-6, SOURCE),
        comparison.relative("E[i], polynomials", smooth.aggregates["investment"], worn, 1e-6, "capital is stationary"),
        *checked(model, params, exact),
    ]


def long_checks() -> list[Check]:
    """Price, output and value extrapolated over three grids, the price on 400 x 240 nodes, and where capital gathers at
    a price at which it is driven against its bound; the price, V, density and derivatives of nets."""
    found = [cleared(model, params, bx.grids.Regular(k), z) for k, z in GRIDS]
    fine = cleared(model, params, bx.grids.Regular(400), 240)
    by_ratios = cleared(model, params, bx.grids.Scaled(101, scale=bx.scales.log), 61)
    rate, at_bound = by_ratios.density.mean(growth), at_price(1.65, *GRIDS[-1])
    exact, still = firm(params, *AT), "capital is stationary"
    there = extrapolated_density(exact.price)
    return [
        *extrapolated(found, exact),
        comparison.absolute("P, 400 x 240", fine.unknowns["price"], exact.price, 2e-4, SOURCE),
        comparison.absolute("E[i/k], even nodes of log k", rate, params["delta"], 1e-10, still),
        comparison.absolute(
            "mass at the node k = 5, P = 1.65, of this grid alone",
            at_bound.marginal("k")[1][-1],
            0.79,
            0.01,
            "upwind differences, 201 x 121",
        ),
        refused(1.65),
        *(check for seed in NET_SEEDS for check in by_nets(seed, exact, there)),
        *derivatives_by_nets(),
    ]


def refused(price: float) -> Check:
    """Nets refuse a price at which mass gathers at the bound: where the steady state is beyond it is reported."""
    found = bx.solve(model, own_at(price), bx.solvers.PINN(), throw=False)
    code = int(bx.Result.infeasible)
    return comparison.absolute(f"nets, P = {price}, refused", int(found.code), code, 0, "mass at the bound")


def by_nets(seed: int, exact: Any, there: tuple[np.ndarray, ...]) -> list[Check]:
    """The price of nets, their mass, their density, and V at that price on the core, beside polynomials.

    Args:
        there: what `extrapolated_density` says.
    """
    found = bx.equilibrium(model, params, **equilibrium, solver=bx.solvers.PINN(seed=seed), tolerance=1e-5)
    smooth = bx.solve(model, own_at(found.unknowns["price"]), POLYNOMIALS)
    nodes = [np.asarray(values)[::4] for values in found.solution.nodes().values()]
    k, z = np.meshgrid(*nodes, indexing="ij")
    ours, other = (np.asarray(each.value(k=k, z=z)) for each in (found.solution, smooth))
    return [
        comparison.absolute(f"P, nets, seed {seed}", found.unknowns["price"], exact.price, 1e-5, SOURCE),
        comparison.relative(f"V, nets, seed {seed}", ours, other, 1e-5, "Chebyshev collocation"),
        comparison.absolute(f"mass, nets, seed {seed}", np.sum(found.density.mass), 1.0, 1e-12, "a density"),
        comparison.absolute(
            f"density in L1, nets, seed {seed}", density_apart(found.solution, *there), 0.0, 5e-3, "upwind, three grids"
        ),
    ]


def own_at(price: Any) -> dict[str, Any]:
    """Parameters of the model at a given price."""
    return {name: value for name, value in params.items() if name != "elasticity"} | {"price": price}


def extrapolated_density(price: float) -> tuple[np.ndarray, ...]:
    """Nodes of k and z, and the density there without errors of first and second order, by three grids."""
    found = []
    for number, (k, z) in enumerate(FINE):
        density, skip = at_price(price, k, z), 2**number
        nodes = [np.asarray(values)[::skip] for values in density.solution.nodes().values()]
        found.append(np.asarray(density.pdf())[::skip, ::skip])
    coarse, middle, fine = found
    return *nodes, (4 * (2 * fine - middle) - (2 * middle - coarse)) / 3


def density_apart(solution: Any, k: np.ndarray, z: np.ndarray, pdf: np.ndarray) -> float:
    """How far the density of nets is, in L1 over their core, in which both have a mass of one."""
    laid = jnp.stack(jnp.meshgrid(jnp.asarray(k), jnp.asarray(z), indexing="ij"), axis=-1)
    box = solution.values.core.inner
    inside = np.asarray(jnp.all((laid >= box.lower) & (laid <= box.upper), axis=-1))
    log = np.asarray(jax.jit(jax.vmap(jax.vmap(solution.values.log_density)))(laid))
    shares = [np.where(inside, each, 0.0) for each in (np.exp(log - np.max(log[inside])), pdf)]
    ours, other = (each / np.sum(each) for each in shares)
    return float(np.sum(np.abs(ours - other)))


def derivatives_by_nets() -> list[Check]:
    """Derivatives of V and of investment on the core, its corners among the places, beside those of polynomials."""
    k, z = (x.ravel() for x in jnp.meshgrid(jnp.linspace(0.85, 3.95, 5), jnp.linspace(-0.9, 0.9, 5)))
    at = {name: params[name] for name in ("delta", "sigma")}

    def moves(solver: Any) -> Any:
        def answers(given: dict[str, Any]) -> tuple[Any, Any]:
            found = bx.solve(model, own_at(0.7376) | given, solver)
            return found.value(k=k, z=z), found.policy(k=k, z=z)["investment"]

        return jax.jit(jax.jacfwd(answers))(at)

    def price(given: dict[str, Any]) -> Any:
        asked = {**equilibrium, "unknowns": {"price": (0.7, 0.8)}}
        found = bx.equilibrium(model, params | given, **asked, solver=bx.solvers.PINN(), tolerance=1e-5)
        return found.unknowns["price"]

    ours, other, of_price = moves(bx.solvers.PINN(density=False)), moves(POLYNOMIALS), jax.jit(jax.grad(price))(at)
    differences = "central differences of Chebyshev collocation"
    return [
        *(
            comparison.relative(f"dP/d {name}, nets", of_price[name], known, 1e-3, differences)
            for name, known in (("delta", 2.35322291), ("sigma", -0.15506472))
        ),
        *(
            comparison.relative(f"d{what}/d {name}, nets", mine[name], yours[name], 1e-3, "Chebyshev collocation")
            for what, mine, yours in zip(("V", " investment"), ours, other, strict=True)
            for name in at
        ),
    ]


def growth(k, investment):
    return investment / k


def cleared(of: Any, given: dict[str, Any], k: Any, z: int) -> Any:
    """The equilibrium on a grid."""
    on = bx.solvers.FiniteDifference(grid={"k": k, "z": z})
    return bx.equilibrium(of, given, **equilibrium, solver=on)


def at_price(price: float, k: int, z: int) -> Any:
    """The density at a given price."""
    on = bx.solvers.FiniteDifference(grid={"k": bx.grids.Regular(k), "z": z})
    return bx.stationary(bx.solve(model, own_at(price), on))


def checked(of: Any, given: dict[str, Any], exact: Any) -> list[Check]:
    """Price and output beside collocation, of first order, and identities: investment replaces what wears off, mass is
    one, and z is normal."""
    found = cleared(of, given, solver.grid["k"], solver.grid["z"])
    aggregates, spread = found.aggregates, float(found.density.mean(lambda z: z**2)) ** 0.5
    worn = given["delta"] * float(aggregates["capital"])
    return [
        comparison.absolute("P, 101 x 61", found.unknowns["price"], exact.price, 5e-4, SOURCE),
        comparison.absolute("Y, 101 x 61", aggregates["output"], exact.output, 1e-3, SOURCE),
        comparison.relative("E[i]", aggregates["investment"], worn, 1e-10, "capital is stationary"),
        comparison.absolute("mass", np.sum(found.density.mass), 1.0, 1e-12, "a density"),
        comparison.absolute("sd(z)", spread, 0.2, 5e-4, "sigma / sqrt(2 kappa)"),
    ]


def extrapolated(found: Sequence[Any], exact: Any) -> list[Check]:
    """Prices, output and values of three grids whose cells halve, without errors of first and second order."""

    def limit(get: Callable[[Any], Any]) -> float:
        coarse, middle, fine = (float(get(each)) for each in found)
        return (4 * (2 * fine - middle) - (2 * middle - coarse)) / 3

    price, produced = limit(lambda each: each.unknowns["price"]), limit(lambda each: each.aggregates["output"])
    value = limit(lambda each: each.solution.value(**PLACE))
    return [
        comparison.absolute("P, three grids", price, exact.price, 1e-5, SOURCE),
        comparison.absolute("Y, three grids", produced, exact.output, 2e-5, SOURCE),
        comparison.absolute("V(1, 0), three grids", value, exact.value[0], 2e-3, SOURCE),
    ]
