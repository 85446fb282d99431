"""Growth in many countries whose consumption a planner shares out: one capital and one productivity for each.

    max E sum_t beta^t log C_t / N,    C + sum_j k_j' = sum_j (e^a_j k_j^alpha + (1 - delta) k_j),
    a_j' = rho a_j + sigma (e_j + e),    e_j and e standard normal, e common to all

Utility is logarithmic and weights are equal, so that all countries consume the same. Capital of tomorrow is between
nine and eleven tenths of today's: where countries have been for long those bounds do not bind. In `irreversible` it is
at least what depreciation leaves: investment is not negative, and where that binds is a matter of all the 2 N states.

There is no closed form. The references are the Euler equations of the planner in plain numpy, averaged over another
quadrature than that of the training, and of one country the solution on a grid.

Calibration: alpha = .36, beta = .99, delta = .025, rho = .95, sigma = .01; .04 where investment is irreversible.
Source: Den Haan, Judd & Juillard (2011), "Computational suite of models with heterogeneous agents II: multi-country
real business cycle models", Journal of Economic Dynamics and Control 35; Maliar & Maliar (2013), Quantitative
Economics 4.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx

SOURCE = "Euler equations in numpy, Gauss-Hermite with another number of nodes"
REACH = 0.3  # by how much capital leaves the steady state, relative to it


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


def steady_state(alpha: float = 0.36, discount: float = 0.99, depreciation: float = 0.025) -> float:
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
solver = bx.solvers.EulerNet()
start = {"capital": np.full(COUNTRIES, STEADY)}
periods = 200
