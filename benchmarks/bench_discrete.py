"""A discrete problem of 500 states and 50 actions: bellax against every method of QuantEcon's DiscreteDP.

    V(s) = max over a of R(s, a) + beta sum over s' of P(s, a, s') V(s'),    beta = .95

Two random processes with a fixed seed: `dense`, where every state can be next, and `sparse`, where ten can
(both as dense arrays; QuantEcon also takes the sparse form, which bellax has not). Every contender stops at
1e-7 in V; accuracy is the largest |V - V*| against the exact policy iteration of `bellax.models.references`,
which shares nothing with either.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import references

quantecon = pytest.importorskip("quantecon", reason="the peer, quantecon, is not installed")

STATES, ACTIONS, DISCOUNT, ACCURACY = 500, 50, 0.95, 1e-7


class Problem(NamedTuple):
    """Rewards and probabilities, and the exact value."""

    R: np.ndarray
    P: np.ndarray
    value: np.ndarray


@functools.cache
def problem(successors: int) -> Problem:
    """A random process in which every (state, action) has so many successors."""
    rng = np.random.default_rng(0)
    R = rng.standard_normal((STATES, ACTIONS))
    P = rng.random((STATES, ACTIONS, STATES))
    if successors < STATES:
        least = np.partition(P, -successors, axis=-1)[..., [-successors]]
        kept = np.greater_equal(P, least)
        P = np.where(kept, rng.random(P.shape), 0.0)
    P /= P.sum(axis=-1, keepdims=True)
    return Problem(R, P, references.discrete_dp(R, P, DISCOUNT).value)


process = bx.Model(
    states={"state": bx.Discrete(STATES)},
    actions={"action": bx.Discrete(ACTIONS)},
    transitions={"state": bx.Markov("P", over=("state", "action"))},
    reward=lambda state, action, R: R[state, action],
)
pointwise = bx.Model(
    states={"state": bx.Discrete(STATES)},
    actions={"action": bx.Discrete(ACTIONS)},
    transitions={"state": bx.Markov(lambda state, action, P: P[state, action])},
    reward=lambda state, action, R: R[state, action],
)


def solvers(size: float) -> dict[str, bx.solvers.PolicyIteration | bx.solvers.ValueIteration]:
    """Ours, each stopping where |V - V*| <= 1e-7; `size` is the largest |V|, in whose units tolerances are."""
    change = ACCURACY * (1 - DISCOUNT) / DISCOUNT / max(1.0, size)
    return {
        "policy iteration": bx.solvers.PolicyIteration(tolerance=change),
        "modified policy iteration": bx.solvers.PolicyIteration(tolerance=change, evaluation_steps=20),
        "value iteration": bx.solvers.ValueIteration(tolerance=change),
    }


@pytest.mark.parametrize("kind, successors", [("dense", STATES), ("sparse", 10)])
def test_discrete(kind, successors, in_turn, timed, record, benchmark):
    R, P, exact = problem(successors)
    params = {"R": jnp.asarray(R), "P": jnp.asarray(P), "discount": DISCOUNT}
    theirs = quantecon.markov.DiscreteDP(R, P, DISCOUNT)
    found = {}

    def ours(name, run):
        found[name] = run(params).values.levels
        return found[name]

    def peer(name, method):
        found[name] = theirs.solve(method=method, epsilon=ACCURACY, max_iter=10_000).v

    quick, slow = {}, {}
    for name, solver in solvers(float(np.max(np.abs(exact)))).items():
        chosen = slow if "value" in name else quick
        chosen[f"bellax, {name}"] = timed(ours, f"bellax, {name}", bx.compile(process, solver))
        if name == "policy iteration":
            label = "bellax, policy iteration, pointwise law"
            chosen[label] = timed(ours, label, bx.compile(pointwise, solver))
    for method in ("policy_iteration", "modified_policy_iteration", "value_iteration"):
        label = f"QuantEcon, {method.replace('_', ' ')}"
        chosen = slow if method.startswith("value") else quick
        chosen[label] = timed(peer, label, method)

    medians = in_turn(quick, rounds=9)
    group = f"{STATES} states, {ACTIONS} actions, {kind}, V to 1e-7"
    for name, once in slow.items():
        medians[name] = min(once(), once())
    if kind == "dense":
        medians["QuantEcon, linear programming"] = timed(peer, "QuantEcon, linear programming", "linear_programming")()
    errors = {name: float(np.max(np.abs(np.asarray(value) - exact))) for name, value in found.items()}
    for name, seconds in medians.items():
        record(group, name, seconds, f"V {errors[name]:.1e}", "" if name in quick else "once or twice")
    best = {who: min(s for name, s in medians.items() if name.startswith(who)) for who in ("bellax", "QuantEcon")}
    benchmark.extra_info |= {"errors": errors, "ratio_of_the_best": best["QuantEcon"] / best["bellax"]}
    assert max(errors.values()) < 2 * ACCURACY
