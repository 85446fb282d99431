"""What a gradient costs beside the solve: implicit differentiation of a fixed point.

V(k, z) of the growth model at one state, and its gradient with respect to capital's share alpha and the
discount beta. The solve runs once either way; the gradient adds one linear system. Central differences, the
peer, solve four times more. Accuracy is the largest relative error against the derivative of the closed form,

    V(k, z) = A(z) + B log k,    B = (1-beta) alpha / (1 - alpha beta),

taken by complex steps, exact to rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx

ALPHA, DISCOUNT = 1 / 3, 0.95
LEVELS = np.array([0.9792, 0.9896, 1.0, 1.0106, 1.0212])
TRANSITION = np.array(
    [
        [0.9727, 0.0273, 0.0, 0.0, 0.0],
        [0.0041, 0.9806, 0.0153, 0.0, 0.0],
        [0.0, 0.00815, 0.9837, 0.00815, 0.0],
        [0.0, 0.0, 0.0153, 0.9806, 0.0041],
        [0.0, 0.0, 0.0, 0.0273, 0.9727],
    ]
)
PARAMS = {"alpha": jnp.asarray(ALPHA), "discount": jnp.asarray(DISCOUNT)}
MOVES = jnp.asarray(TRANSITION)
K, Z = 0.12, 2
STEP = 1e-5

growth = bx.Model(
    states={"capital": bx.Continuous(0.08, 0.3, scale=bx.scales.linear), "z": bx.MarkovChain(LEVELS.tolist(), "moves")},
    actions={"consumption": bx.Continuous(1e-6, "output")},
    functions={"output": lambda capital, z, alpha: z * capital**alpha},
    transitions={"capital": lambda output, consumption: output - consumption},
    reward=lambda consumption, discount: (1 - discount) * jnp.log(consumption),
)
solver = bx.solvers.PolicyIteration(grid={"capital": 48}, maximiser=bx.maximise.Newton(grid={"consumption": 3}))


def value(params, moves):
    return bx.solve(growth, {**params, "moves": moves}, solver).value(capital=K, z=LEVELS[Z])


def closed_form(alpha: complex, discount: complex) -> complex:
    """V(K, z) of the closed form."""
    invested = alpha * discount
    slope = (1 - discount) * alpha / (1 - invested)
    flow = (1 - discount) * np.log((1 - invested) * LEVELS) + discount * slope * np.log(invested * LEVELS)
    return np.linalg.solve(np.eye(5) - discount * TRANSITION, flow)[Z] + slope * np.log(K)


EXACT = {
    "alpha": closed_form(ALPHA + 1e-30j, DISCOUNT).imag * 1e30,
    "discount": closed_form(ALPHA, DISCOUNT + 1e-30j).imag * 1e30,
}


def error(gradient) -> float:
    """The largest relative error."""
    return max(abs(float(gradient[name]) / exact - 1) for name, exact in EXACT.items())


def test_gradient(in_turn, timed, record, benchmark):
    alone, both = jax.jit(value), jax.jit(jax.value_and_grad(value))

    def differences(params, moves):
        found = {}
        for name in params:
            up, down = ({**params, name: params[name] + side * STEP} for side in (1, -1))
            found[name] = (alone(up, moves) - alone(down, moves)) / (2 * STEP)
        return found

    medians = in_turn(
        {
            "solve and value": timed(alone, PARAMS, MOVES),
            "and gradient": timed(both, PARAMS, MOVES),
            "central differences": timed(differences, PARAMS, MOVES),
        },
        rounds=9,
    )
    off = abs(float(alone(PARAMS, MOVES)) - closed_form(ALPHA, DISCOUNT))
    errors = {"and gradient": error(both(PARAMS, MOVES)[1]), "central differences": error(differences(PARAMS, MOVES))}
    accuracy = {"solve and value": f"V {off:.1e}"} | {name: f"dV {e:.1e}, relative" for name, e in errors.items()}
    for name, seconds in medians.items():
        record("growth model, 48 x 5 nodes: implicit gradient", name, seconds, accuracy[name])
    benchmark.extra_info |= {"errors": errors, "ratio": medians["and gradient"] / medians["solve and value"]}
    assert errors["and gradient"] < 1e-5
