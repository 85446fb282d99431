"""Growth in many countries whose consumption a planner shares out: one capital and one productivity for each.

    max E sum_t beta^t log C_t / N,    C + sum_j k_j' = sum_j (e^a_j k_j^alpha + (1 - delta) k_j),
    a_j' = rho a_j + sigma (e_j + e),    e_j and e standard normal, e common to all

Utility is logarithmic and weights are equal, so that all countries consume the same. Capital of tomorrow is between
nine and eleven tenths of today's: where countries have been for long those bounds do not bind. In `irreversible` it is
at least what depreciation leaves: investment is not negative, and where that binds is a matter of all the 2 N states.
Nets say by how much capital is off a rule that leads back to the steady state: a constant share of resources, divided
so that capital is worth the same wherever it is (`divided`). Where investment is irreversible they say by how much
capital grows beside another rule (`growing`), and what falls below a bound is the multiplier.

There is no closed form. The reference are the Euler equations of the planner in plain numpy, averaged over another rule
than any of the training: a product of Gauss-Hermite nodes, and of more than three countries a quasi-random sequence.

Calibration: alpha = .36, beta = .99, delta = .025, rho = .95, sigma = .01; .04 where investment is irreversible.
Source: Den Haan, Judd & Juillard (2011), "Computational suite of models with heterogeneous agents II: multi-country
real business cycle models", Journal of Economic Dynamics and Control 35; Maliar & Maliar (2013), Quantitative
Economics 4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

import bellax as bx
from bellax.models.check import Check

SOURCE = "Euler equations in numpy, averaged over another rule than that of the training"
_QUASI = 11  # the power of two of the quasi-random nodes, each of which has a twin
_BATCH = 32  # nodes that are asked for at once
REACH = 0.45  # by how much capital leaves the steady state, relative to it; .3 is left by one country in a thousand


def resources(productivity, capital, alpha, depreciation):
    return jnp.sum(jnp.exp(productivity) * capital**alpha + (1 - depreciation) * capital)


def utility(resources, capital_next):
    return jnp.log((resources - jnp.sum(capital_next)) / capital_next.shape[0])


def least(capital):
    return 0.9 * capital


def most(capital):
    return 1.1 * capital


def left_over(capital, depreciation):
    return (1 - depreciation) * capital


def covariance(countries: int):
    """Of innovations: each its own, and one that is common."""
    return lambda sigma: sigma**2 * (jnp.eye(countries) + jnp.ones((countries, countries)))


def steady_state(alpha=0.36, discount=0.99, depreciation=0.025):
    """Capital of a country that stays where it is without shocks."""
    return (alpha / (1 / discount - 1 + depreciation)) ** (1 / (1 - alpha))


STEADY = steady_state()


def economy(countries: int, irreversible: bool = False) -> bx.Model:
    """The model of so many countries."""
    shape = (countries,)
    return bx.Model(
        states={
            "capital": bx.Continuous((1 - REACH) * STEADY, (1 + REACH) * STEADY, scale=bx.scales.log, shape=shape),
            "productivity": bx.VAR(
                rho=lambda persistence: persistence * jnp.eye(countries),
                covariance=covariance(countries),
                size=countries,
            ),
        },
        actions={"capital_next": bx.Continuous(left_over if irreversible else least, most, shape=shape)},
        functions={"resources": resources},
        transitions={"capital": lambda capital_next: capital_next},
        reward=utility,
    )


params: dict[str, Any] = {"alpha": 0.36, "discount": 0.99, "depreciation": 0.025, "persistence": 0.95, "sigma": 0.01}
rough_params: dict[str, Any] = params | {"sigma": 0.04}

COUNTRIES = 2
model = economy(COUNTRIES)
irreversible = economy(COUNTRIES, irreversible=True)


def growing(capital, productivity, output, alpha, discount, depreciation):
    """Capital of tomorrow by an output of a net: towards the steady state where the output is zero."""
    away = jnp.log(capital / steady_state(alpha, discount, depreciation))
    return capital * jnp.exp(0.002 * output - 0.05 * away + 0.1 * productivity)


def divided(resources, productivity, output, alpha, discount, depreciation, persistence):
    """Capital of tomorrow by an output of a net: where that is zero, a constant share of resources, and the more in a
    country the more productive it is expected to be."""
    capital = steady_state(alpha, discount, depreciation)
    share = capital / (capital**alpha + (1 - depreciation) * capital)
    claims = jnp.exp(persistence * productivity / (1 - alpha))
    return share * resources * claims / jnp.sum(claims) * jnp.exp(0.002 * output)


def trained(**options: Any) -> bx.solvers.EulerNet:
    """A net on points where paths lead, averaged over the shortest rule, corrected by the next one."""
    asked = {"visited": 1.0, "rounds": 4, "degree": (3, 5), "outputs": {"capital_next": divided}}
    return bx.solvers.EulerNet(**{**asked, **options})


solver = trained(hidden=(24,), points=400, budget=5, finish=100)
plain = trained(hidden=(16,), points=1200, combined=3, budget=5, finish=60)  # of ten countries
group = ("capital", "productivity", "capital_next")
shared = trained(symmetric=group, hidden=(24,), points=300, budget=5, finish=100)
wide = {"capital": (0.2 * STEADY, 4 * STEADY)}  # where shocks are larger, and capital is
limited = bx.solvers.EulerNet(
    visited=1.0,
    rounds=10,
    hidden=(32,),
    points=600,
    budget=20,
    finish=150,
    box=wide,
    tolerance=0.01,
    outputs={"capital_next": growing},
)
start = {"capital": np.full(COUNTRIES, STEADY)}
periods = 200


def product_rule(countries: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes of so many standard normal numbers, and their weights."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.meshgrid(*[points] * countries, indexing="ij")
    chances = np.meshgrid(*[weights / weights.sum()] * countries, indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, countries), np.prod(np.stack(chances, axis=-1), axis=-1).ravel()


def quasi_rule(countries: int, power: int = _QUASI, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal numbers from a scrambled sequence of Sobol' and their negatives, with the moments to the third that they
    should have, and their weights, all alike."""
    uniform = qmc.Sobol(countries, scramble=True, rng=np.random.default_rng(seed)).random_base2(power)
    half = ndtri(uniform)
    half = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
    return np.concatenate([half, -half]), np.full(2 * len(half), 0.5 / len(half))


def euler_errors(solution: Any, given: dict[str, Any], states: dict[str, Any], nodes: int = 7) -> np.ndarray:
    """What is left of the planner's Euler equations, without units, by numpy; shape (states, countries).

    Args:
        states: capital and productivity, shape (states, countries) each.
        nodes: of the product rule, in each dimension; of more than three countries the rule is quasi-random.
    """
    alpha, discount, depreciation, persistence, sigma = (float(given[name]) for name in params)
    capital, productivity = (np.asarray(states[name]) for name in ("capital", "productivity"))
    countries = capital.shape[1]
    grid, chances = product_rule(countries, nodes) if countries <= 3 else quasi_rule(countries)
    spread = np.linalg.cholesky(sigma**2 * (np.eye(countries) + np.ones((countries, countries))))

    def produced(k: np.ndarray, a: np.ndarray) -> np.ndarray:
        return np.sum(np.exp(a) * k**alpha + (1 - depreciation) * k, axis=-1)

    later = np.asarray(solution.policy(capital=capital, productivity=productivity)["capital_next"])
    consumed = produced(capital, productivity) - later.sum(axis=-1)
    left = np.zeros_like(capital)
    shocks = grid @ spread.T
    for first in range(0, len(shocks), _BATCH):
        own, chance = shocks[first : first + _BATCH, None], chances[first : first + _BATCH]
        after = persistence * productivity + own
        then = np.broadcast_to(later, after.shape)
        beyond = np.asarray(solution.policy(capital=then, productivity=after)["capital_next"])
        consumed_then = produced(then, after) - beyond.sum(axis=-1)
        returns = alpha * np.exp(after) * then ** (alpha - 1) + 1 - depreciation
        left += np.einsum("q,qnj->nj", chance, discount * returns * (consumed / consumed_then)[..., None])
    return left - 1


def radius(solution: Any, countries: int) -> float:
    """Of the closed loop at its own steady state, by differences in logs: the largest modulus of an eigenvalue."""
    still = np.zeros((1, countries))

    def following(logs: np.ndarray) -> np.ndarray:
        away = np.broadcast_to(still, logs.shape)
        return np.log(np.asarray(solution.policy(capital=np.exp(logs), productivity=away)["capital_next"]))

    rest = np.full((1, countries), np.log(STEADY))
    for _ in range(400):
        rest = following(rest)
    step = 1e-4 * np.eye(countries)
    slopes = (following(rest + step) - following(rest - step)) / 2e-4
    return float(max(np.abs(np.linalg.eigvals(slopes.T)).max(), params["persistence"]))


def checks() -> list[Check]:
    """Euler errors where simulated paths lead, two countries."""
    return of_countries(COUNTRIES, solver, (-6.0, -4.5))


def long_checks() -> list[Check]:
    """Ten countries by a net that all share and by a plain one, and investment that is not negative."""
    return [*of_countries(10, shared, (-6.0, -4.5)), *of_countries(10, plain, (-5.0, -3.5)), *of_limits()]


def of_countries(countries: int, own: Any, asked: tuple[float, float]) -> list[Check]:
    """Euler errors of so many countries on simulated paths.

    Args:
        asked: of all equations, powers of ten which the mean of logs and the largest may not exceed.
    """
    solution = bx.solve(economy(countries), params, own)
    panel = bx.simulate(solution, 200, {"capital": np.full(countries, STEADY)}, seed=1, periods=150)
    states = {name: np.asarray(panel.states[name])[:, 100::10].reshape(-1, countries) for name in panel.states}
    size = np.abs(euler_errors(solution, params, states))
    mean, most, stable = 10 ** float(np.mean(np.log10(size))), float(size.max()), radius(solution, countries)
    how = f"{countries} countries{', one net for each' if own.symmetric else ''}"
    return [
        Check(f"spectral radius of the closed loop, {how}", stable, 0.0, stable, 0.999, SOURCE),
        Check(f"Euler errors, {how}, mean of logs", mean, 0.0, mean, 10 ** asked[0], SOURCE),
        Check(f"Euler errors, {how}, largest", most, 0.0, most, 10 ** asked[1], SOURCE),
    ]


def of_limits() -> list[Check]:
    """What investment that cannot be undone leaves of the conditions at states of fresh paths.

    They are the solver's own conditions, since what is expected of later multipliers is known by the policy alone:
    where nothing is invested, by how much it would have been less is the multiplier.
    """
    solution = bx.solve(irreversible, rough_params, limited)
    panel = bx.simulate(solution, 400, start, seed=1, periods=150)
    states = {name: np.asarray(panel.states[name])[:, 100::10].reshape(-1, COUNTRIES) for name in panel.states}
    saved = np.asarray(panel.actions["capital_next"])[:, 100::10].reshape(-1, COUNTRIES)
    binds = float(np.mean(np.any(saved <= (1 - params["depreciation"]) * states["capital"] * (1 + 1e-9), axis=1)))
    left = solution.setting.conditions(solution.arguments, solution.values)
    size = np.abs(np.asarray(jax.jit(jax.vmap(lambda own: left(0, own)))(states))).max(axis=1)
    mean, high = 10 ** float(np.mean(np.log10(size))), float(np.quantile(size, 0.99))
    source = "conditions at fresh states"
    return [
        Check(
            "irreversible: share of states where investment is nothing, distance to .2",
            binds,
            0.2,
            abs(binds - 0.2),
            0.18,
            source,
        ),
        Check("irreversible: conditions, mean of logs", mean, 0.0, mean, 10**-3, source),
        Check("irreversible: conditions, 99th percentile", high, 0.0, high, 10**-2, source),
    ]
