"""Stochastic growth, the model of a comparison of programming languages: capital, productivity, log utility.

    V(k, z) = max over 0 <= k' <= y of (1-beta) log(y - k') + beta E[V(k', z') | z],    y = z k^alpha + (1-delta) k

Productivity z follows a chain of five states and is seen before the choice. With full depreciation, delta = 1, the
optimum is to save the share alpha beta of output,

    k' = alpha beta z k^alpha,    V(k, z) = A(z) + (1-beta) alpha / (1 - alpha beta) log k.

V is a straight line in log k, so a handful of nodes with slopes holds it exactly. The published solution is a search on
17,820 nodes with linear interpolation; `published` repeats it, with the table as printed: the middle row sums to
1.0001, which moves the policy by 3e-5. Elsewhere that row is (0, .00815, .9837, .00815, 0).

Calibration: alpha = 1/3, beta = .95, delta = 1.
Source: Aruoba & Fernandez-Villaverde (2015), "A comparison of programming languages in macroeconomics", Journal of
Economic Dynamics and Control 58; Brock & Mirman (1972), Journal of Economic Theory 4, for the closed form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import brock_mirman

LANGUAGES = "Aruoba & Fernandez-Villaverde (2015)"
SOURCE = "closed form, Brock & Mirman (1972)"
LEVELS = np.array([0.9792, 0.9896, 1.0, 1.0106, 1.0212])
PRINTED = np.array(
    [
        [0.9727, 0.0273, 0.0, 0.0, 0.0],
        [0.0041, 0.9806, 0.0153, 0.0, 0.0],
        [0.0, 0.0082, 0.9837, 0.0082, 0.0],
        [0.0, 0.0, 0.0153, 0.9806, 0.0041],
        [0.0, 0.0, 0.0, 0.0273, 0.9727],
    ]
)
TRANSITION = np.where(PRINTED == 0.0082, 0.00815, PRINTED)


def output(productivity, capital, alpha):
    return productivity * capital**alpha


def resources(output, capital, depreciation):
    return output + (1 - depreciation) * capital


def utility(resources, capital_next, discount):
    return (1 - discount) * jnp.log(resources - capital_next)


def steady_state(alpha: float, discount: float, depreciation: float = 1.0) -> float:
    """Capital that stays where it is while z = 1."""
    return (alpha / (1 / discount - 1 + depreciation)) ** (1 / (1 - alpha))


def growth(lowest: float, highest: float, row_tolerance: float = 1e-8) -> bx.Model:
    """The model with capital from `lowest` to `highest`."""
    return bx.Model(
        states={
            "capital": bx.Continuous(lowest, highest, scale=bx.scales.log),
            "productivity": bx.MarkovChain(LEVELS, "transition", row_tolerance=row_tolerance),
        },
        actions={"capital_next": bx.Continuous(0.0, "resources")},
        functions={"output": output, "resources": resources},
        transitions={"capital": lambda capital_next: capital_next},
        reward=utility,
    )


params: dict[str, Any] = {"alpha": 1 / 3, "discount": 0.95, "depreciation": 1.0, "transition": TRANSITION}
STEADY = steady_state(1 / 3, 0.95)
model = growth(0.5 * STEADY, 0.5 * STEADY + 0.17819)
solver = bx.solvers.PolicyIteration(
    grid={"capital": 8},
    maximiser=bx.maximise.Newton(grid={"capital_next": 3}),
)
start = {"capital": STEADY, "productivity": 1.0}
periods = 200

ELEVEN_DIGITS = 0.33333333333  # alpha as the published programs have it
NODES = 0.5 * steady_state(ELEVEN_DIGITS, 0.95) + 1e-5 * np.arange(17_820)
published = growth(float(NODES[0]), float(NODES[-1]), row_tolerance=2e-4)
published_params: dict[str, Any] = params | {"alpha": ELEVEN_DIGITS, "transition": PRINTED}
published_solver = bx.solvers.ValueIteration(
    grid={"capital": bx.grids.Regular(len(NODES))},
    interpolant=bx.interpolants.Linear(),
    maximiser=bx.maximise.Enumerate(grid={"capital_next": bx.grids.Given(NODES)}, single_peaked=("capital_next",)),
    tolerance=1e-7 / 0.9214,  # published: a change of 1e-7, whatever V is; the smallest |V| here is .9214
)

durable_params: dict[str, Any] = params | {"depreciation": 0.95}
durable_solver = bx.solvers.PolicyIteration(
    grid={"capital": 24},
    maximiser=bx.maximise.Newton(grid={"capital_next": 5}),
    tolerance=1e-12,
)
"""For delta < 1, where V is curved in log k and has no closed form."""


def reference(given: dict[str, Any], capital: Any, productivity: Any) -> dict[str, Any]:
    """Value and saving of the closed form; nothing where depreciation is partial."""
    if float(given["depreciation"]) != 1.0:
        return {}
    alpha, discount = float(given["alpha"]), float(given["discount"])
    exact = brock_mirman(alpha, discount, LEVELS, np.asarray(given["transition"]), weight=1 - discount)
    place = int(np.argmin(np.abs(LEVELS - productivity)))
    return {"value": exact.value(capital)[place], "capital_next": exact.capital_next(capital)[place]}


def checks() -> list[Check]:
    """The closed form, the published search (ten seconds), partial depreciation, and derivatives."""
    return [*of_closed_form(), *of_published_search(), of_partial_depreciation(), *of_derivatives()]


def of_closed_form() -> list[Check]:
    """Policy and value between the nodes, everywhere on the published range."""
    solution = bx.solve(model, params, solver)
    capital = np.linspace(0.5 * STEADY, 0.5 * STEADY + 0.17819, 2001)
    exact = brock_mirman(params["alpha"], params["discount"], LEVELS, TRANSITION, weight=1 - params["discount"])
    at: dict[str, Any] = {"capital": capital[:, None], "productivity": LEVELS}
    saved = solution.policy(**at)["capital_next"]
    return [
        comparison.relative("k'", saved, exact.capital_next(capital), 1e-6, SOURCE),
        comparison.of_value("V", solution.value(**at), exact.value(capital), 1e-8, SOURCE),
    ]


def of_published_search() -> list[Check]:
    """The number that every published program prints, and how many iterations they take to it."""
    solution = bx.solve(published, published_params, published_solver)
    saved = solution.policy(capital=NODES[999], productivity=1.0)["capital_next"]
    iterations = float(solution.stats["steps"])
    return [
        comparison.absolute("k', 17,820 nodes", saved, 0.1465491436956954, 1e-10, LANGUAGES),
        comparison.absolute("iterations, 17,820 nodes", iterations, 257.0, 0.0, LANGUAGES),
    ]


def of_partial_depreciation() -> Check:
    """Consumption at the steady state where depreciation is .95."""
    capital = steady_state(1 / 3, 0.95, 0.95)
    solution = bx.solve(model, durable_params, durable_solver)
    saved = solution.policy(capital=capital, productivity=LEVELS)["capital_next"]
    consumed = LEVELS * capital ** params["alpha"] + 0.05 * capital - saved
    exact = [0.38638187, 0.39043262, 0.39448383, 0.39861303, 0.40274201]
    return comparison.relative("c, depreciation .95", consumed, exact, 1e-6, "Chebyshev time iteration")


def of_derivatives() -> list[Check]:
    """Derivatives by the implicit function theorem: of k' and V in alpha, beta and delta, against differences."""

    def answers(moved: dict[str, Any]) -> jax.Array:
        solution = bx.solve(model, durable_params | moved, durable_solver)
        at: dict[str, Any] = {"capital": np.array([0.1, 0.15, 0.25]), "productivity": np.array([0.9792, 1.0, 1.0106])}
        return jnp.stack([solution.policy(**at)["capital_next"], solution.value(**at)])

    symbols = {"alpha": "alpha", "discount": "beta", "depreciation": "delta"}
    at_numbers = {name: durable_params[name] for name in symbols}
    both = jax.jit(jax.jacfwd(lambda moved: (answers(moved),) * 2, has_aux=True))  # one program for both sides
    exact, _ = both(at_numbers)
    found = []
    for name, symbol in symbols.items():
        above, below = (both(at_numbers | {name: at_numbers[name] + h})[1] for h in (1e-5, -1e-5))
        for row, what in enumerate(("k'", "V")):
            ours, differences = exact[name][row], (above[row] - below[row]) / 2e-5
            unit, source = np.linalg.norm(differences), "central differences"
            found.append(comparison.absolute(f"d{what} / d{symbol}", ours / unit, differences / unit, 1e-6, source))
    return found
