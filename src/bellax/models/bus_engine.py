"""Rust's replacement of bus engines: a superintendent decides each month whether a bus gets a new one.

    V(x) = log(exp(-.001 c x + beta E V(x + j)) + exp(-R + beta E V(j)))

Mileage x is seen, in steps of 5,000 miles, and a month adds j = 0, 1 or 2 of them. To keep the engine costs .001 c x;
to replace it costs R, and the new one serves in that month already. Each of the two choices has a taste shock, extreme
value of type I with mean zero and scale one: what the superintendent knows and nobody else. So all that is seen of him
are probabilities, and R and c are found where what he did is most likely. The gradient of that goes through the fixed
point.

Calibration: Rust's estimates for the buses of his group 4, R = 10.0750, c = 2.2930, with beta = .9999 and 90 mileages.
Source: Rust (1987), "Optimal replacement of GMC bus engines: an empirical model of Harold Zurcher", Econometrica 55,
table IX.
"""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import bus_engine as nested_fixed_point

MILEAGES = 90


class Engine(enum.IntEnum):
    keep = 0
    replace = 1


def cost(mileage, engine, replacement_cost, maintenance):
    return jnp.where(engine == Engine.replace, replacement_cost, 0.001 * maintenance * mileage)


def next_mileage(mileage, engine, steps):
    start = jnp.where(engine == Engine.replace, 0, mileage)
    return jnp.minimum(start + steps, MILEAGES - 1)


model = bx.Model(
    states={"mileage": bx.Discrete(MILEAGES)},
    actions={"engine": bx.Discrete(Engine)},
    shocks={"steps": bx.shocks.Categorical(probabilities="step_probabilities")},
    functions={"cost": cost},
    transitions={"mileage": next_mileage},
    reward=lambda cost: -cost,
    taste_shocks=bx.ExtremeValue(scale=1.0, over=("engine",)),
)
params: dict[str, Any] = {
    "discount": 0.9999,
    "replacement_cost": 10.0750,
    "maintenance": 2.2930,
    "step_probabilities": [0.3919, 0.5953, 0.0128],
}
solver = bx.solvers.PolicyIteration()
start = {"mileage": 0}
periods = 120

SEEN = {"mileage": np.arange(0, MILEAGES, 3), "replaced": np.isin(np.arange(0, MILEAGES, 3), (36, 51, 60, 72, 78, 87))}
"""Thirty months, made up: in which mileage a bus was, and whether its engine was replaced."""


def reference(given: dict[str, Any], mileage: Any) -> dict[str, Any]:
    """Value of the nested fixed point."""
    return {"value": _exact(given).value[np.asarray(mileage, int)]}


def log_likelihood(costs: dict[str, Any]) -> jax.Array:
    """Of `SEEN`, as a function of R and c; it can be differentiated, twice, too."""
    solution = bx.solve(model, params | costs, solver)
    probabilities = solution.choice_probabilities(mileage=SEEN["mileage"])
    chosen = probabilities[np.arange(len(SEEN["mileage"])), SEEN["replaced"].astype(int)]
    return jnp.sum(jnp.log(chosen))


def checks() -> list[Check]:
    """Value and probability of replacement at every mileage, and the gradient of a likelihood."""
    exact, source = _exact(params), "nested fixed point, Rust (1987)"
    solution, mileage = bx.solve(model, params, solver), np.arange(MILEAGES)
    costs = {name: params[name] for name in ("replacement_cost", "maintenance")}
    likelihood, score = jax.value_and_grad(log_likelihood)(costs)
    seen = (SEEN["mileage"], SEEN["replaced"])
    probability = solution.action_probabilities(mileage=mileage)["engine"][:, Engine.replace]
    return [
        comparison.relative("V", solution.value(mileage=mileage), exact.value, 1e-10, source),
        comparison.relative("probability of replacement", probability, exact.probabilities[:, 1], 1e-8, source),
        comparison.relative("log likelihood", likelihood, exact.log_likelihood(*seen), 1e-8, source),
        comparison.relative("its gradient", [score[name] for name in costs], exact.score(*seen), 1e-8, source),
    ]


def _exact(given: dict[str, Any]) -> Any:
    replacement_cost, maintenance, discount = (
        float(given[name]) for name in ("replacement_cost", "maintenance", "discount")
    )
    steps = np.asarray(given["step_probabilities"], float)
    return nested_fixed_point(replacement_cost, maintenance, steps, discount, MILEAGES)
