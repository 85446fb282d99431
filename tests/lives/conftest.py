"""A life of four years in three regimes and death: what a regime has of its own differs wherever it may."""

import dataclasses
import enum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx


class Health(enum.IntEnum):
    bad = 0
    fair = 1
    good = 2


class Care(enum.IntEnum):
    well = 0
    ill = 1


class Job(enum.IntEnum):
    part = 0
    full = 1


def _leaving(age, survival):
    """Work at 60 and 61; then retirement, or for some a shop, whose wealth is its stock."""
    ends = age >= 61
    return {
        "working": survival * ~ends,
        "retired": 0.7 * survival * ends,
        "shop": 0.3 * survival * ends,
        "dead": 1 - survival,
    }


WORKING = bx.Regime(
    states={"wealth": bx.Continuous(0.5, 20.0), "health": bx.Discrete(Health)},
    actions={"consumption": bx.Continuous(0.1, "wealth"), "job": bx.Discrete(Job)},
    functions={"earned": lambda job, health, wage: wage * (1 + job) * (1 + health) / 3},
    transitions={
        "wealth": lambda wealth, consumption, earned: wealth - consumption + 0.5 + earned,
        "health": bx.Markov(lambda health, risk: risk[health]),
    },
    reward=lambda consumption, job, effort: jnp.log(consumption) - effort * job,
    active=lambda age: age < 62,
    next_regime=_leaving,
)
RETIRED = bx.Regime(
    states={"wealth": bx.Continuous(0.5, 30.0), "health": bx.Discrete(Care), "z": bx.AR1("rho", 0.2)},
    actions={"consumption": bx.Continuous(0.1, "wealth")},
    transitions={
        "wealth": lambda wealth, consumption, z, r, pension: (1 + r) * (wealth - consumption) + pension + 0.1 * z,
        "health": bx.fixed,
    },
    reward=lambda consumption, health, pain: jnp.log(consumption) - pain * health,
    active=lambda age: age >= 62,
    next_regime=lambda survival: {"retired": survival, "dead": 1 - survival},
    entry={
        "health": {"working": lambda next_health, worst: jnp.where(next_health <= worst, 1, 0)},
        "z": bx.shocks.Normal(0.0, "spread"),
    },
)
SHOP = bx.Regime(
    states={"stock": bx.Continuous(0.1, 15.0)},
    actions={"sold": bx.Continuous(1e-9, "stock")},
    functions={"kept": lambda stock, sold: stock - sold},
    transitions={"stock": lambda kept, r: (1 + r) * kept + 0.2},
    reward=lambda sold: jnp.log(sold),
    active=lambda age: age >= 61,
    next_regime=lambda survival: {"shop": survival, "dead": 1 - survival},
    entry={"stock": {"working": lambda next_wealth, lost: (1 - lost) * next_wealth}},
)
DEAD = bx.Terminal(lambda wealth, warmth: warmth * jnp.log(1 + wealth), entry={"wealth": {"shop": "next_stock"}})

MODEL = bx.Model(
    regimes={"working": WORKING, "retired": RETIRED, "shop": SHOP, "dead": DEAD},
    horizon=bx.Ages(60, 63),
)
PARAMS = {
    "discount": 0.95,
    "survival": bx.by_age(pd.Series({60: 0.9, 61: 0.95, 62: 0.8, 63: 0.7})),
    "r": 0.03,
    "working": {"wage": 1.5, "effort": 0.2, "risk": np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])},
    "retired": {"rho": 0.5, "r": 0.05, "pension": 0.7, "pain": 0.4, "worst": 0, "spread": 0.1},
    "shop": {"lost": 0.3},
    "dead": {"warmth": 0.6},
}
SOLVER = bx.solvers.BackwardInduction(
    grid={"working": {"wealth": 9}, "retired": {"wealth": bx.grids.Scaled(8, bx.scales.log), "z": 3}, "stock": 7},
    maximiser={
        "working": bx.maximise.Enumerate(grid={"consumption": 11}),
        "retired": bx.maximise.Enumerate(grid={"consumption": 11}),
        "shop": bx.maximise.EGM(grid={"kept": 15}),
    },
)
START = {"regime": "working", "health": "fair", "wealth": 6.0}


class Case(NamedTuple):
    """The model, and what is given to solve it and to simulate."""

    model: bx.Model
    params: dict[str, Any]
    solver: Any
    start: dict[str, Any]

    def changed(self, **changes: Any) -> bx.Model:
        """A model with something else in a regime."""
        regimes = {n: dataclasses.replace(r, **changes.get(n, {})) for n, r in (self.model.regimes or {}).items()}
        return dataclasses.replace(self.model, regimes=regimes)


@pytest.fixture(scope="session")
def case():
    """Four years of work, retirement and a shop."""
    return Case(MODEL, PARAMS, SOLVER, START)


@pytest.fixture(scope="session")
def life(case):
    """The solution of it, by a few candidates on a few nodes."""
    return bx.solve(case.model, case.params, case.solver)
