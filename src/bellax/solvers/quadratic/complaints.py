"""Why a solve by `ILQG` failed, in words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.solution.solution import Result
from bellax.solvers.quadratic import starts
from bellax.solvers.quadratic.stage import Stage

_ADVICE = "Give start= or guess= nearer to what is best; `throw=False` returns what there is, with its `result`."


def explain(setting: Any, solution: Any) -> str:
    """What is wrong with a solution; empty where nothing is."""
    result = Result(int(solution.code))
    if result == Result.successful:
        return ""
    finite = setting.problem.finite
    if result == Result.not_concave:
        return _not_concave(setting, solution)
    if result in (Result.infeasible, Result.nonfinite):
        return _faulty(setting, solution.arguments) or _unearned(solution) or _NAMELESS
    if result == Result.unstable:
        return (
            f"the policy leaves the steady state: the largest eigenvalue is {float(solution.stats['radius']):.6g} "
            "times what the discount allows, 1 / sqrt(discount). Likely causes: a state that grows by itself and that "
            "no action that pays brings back, or a steady state that is none to end up in; give another start=."
        )
    if finite:
        return (
            f"not converged after {int(solution.stats['steps'])} backward passes (max_steps="
            f"{setting.options.max_steps}); the largest slope of Q was {float(solution.stats['slope']):.3g}. Likely "
            f"causes: a kink, at which derivatives promise what is not there; a path on which steps explode. {_ADVICE}"
        )
    return _no_steady_state(setting, solution)


def _unearned(solution: Any) -> str:
    """What is said where V and policy are numbers, and what the policy earns is none."""
    values = (solution.values.values, solution.values.rules)
    if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(values)):
        return ""
    return (
        "what the policy earns on simulated paths is no finite number, so that V is none either. Likely causes: a "
        "reward that is minus infinity at a bound to which the policy, linear in the state, leads (a logarithm of "
        "zero consumption); a path that explodes. Use a solver on a grid, or by nets."
    )


_NAMELESS = (
    "a number on the path, or a derivative of it, is not finite, and every function of the model is finite where the "
    "search began. Likely causes: a law or a reward without a second derivative, such as a root at zero; a path that "
    f"explodes. {_ADVICE}"
)


def _no_steady_state(setting: Any, solution: Any) -> str:
    if int(solution.stats["steady"]):
        return (
            "the Riccati equation does not settle at the steady state. Likely causes: a discount near one, a state "
            "that grows by itself, or noise that grows with the state."
        )
    said = _faulty(setting, solution.arguments)
    return said or (
        f"no steady state was found from {int(solution.stats['starts'])} starts. Likely causes: there is none in which "
        "every action is between its bounds, since rewards or states grow for ever or a bound binds there; or the "
        f"starts are far from it. {_ADVICE}"
    )


def doubts(solution: Any) -> str:
    """What is to be said of a solution that was found; empty where nothing is."""
    stats = solution.stats
    if "kinks" not in stats or solution.code.ndim or int(solution.code) or not int(stats["kinks"]):
        return ""
    return (
        "the path passes next to a kink of a reward, a law or the terminal value (a minimum, a maximum, an absolute "
        "value), on whose other side derivatives are others: V and policy are those of one side, and a better path "
        f"may lie beyond. V exceeds what the policy earns by {float(stats['value_gap']):.3g}; compare with a solver "
        "that knows no derivatives, such as bx.solvers.BackwardInduction, ValueIteration or NeuralValueIteration."
    )


def _not_concave(setting: Any, solution: Any) -> str:
    stats = solution.stats
    if float(stats.get("jump", 0.0)) > 0:
        return (
            "a reward, a law, the discount, a bound or the terminal value jumps between the bounds of states and "
            f"actions, by {float(stats['jump']):.3g} of its size. Derivatives do not see a jump, and what lies beyond "
            "it was not weighed. Likely causes: a comparison, a rounding or a sign in a function. Use "
            "bx.solvers.BackwardInduction() or bx.solvers.ValueIteration(), with bx.maximise.Enumerate(), or "
            "bx.solvers.NeuralValueIteration() or bx.solvers.ActorCritic(); state what jumps as a discrete action; or "
            "give states bounds between which nothing jumps."
        )
    if not setting.problem.finite:
        return (
            "at the steady state Q is not strictly concave in the actions: it is a minimum or a saddle, a kink, or an "
            "action that changes nothing. Give another start=, or use a solver on a grid, or by nets."
        )
    if int(stats["last_not_concave"]) < 0:
        return (
            "a path was found that is a local maximum, and another that earns more, again and again: the best action "
            "is at a kink, or the model has many local maxima. Use a solver on a grid, or by nets, or give start= and "
            "guess= near what is best."
        )
    return (
        f"no maximum was found: in period {int(stats['last_not_concave'])} Q is not strictly concave in the actions at "
        "the path, which is a saddle or a minimum, or has an action that changes nothing there (remove it, or give it "
        "a cost). Another start= or guess= may lead to a maximum."
    )


def _faulty(setting: Any, arguments: Any) -> str:
    """Which function gives no number, or has no derivative, where the search began; or which bounds are crossed."""
    options = setting.options
    stage: Stage = setting.stage(arguments, 0)
    x = starts.state(stage, options.start)
    done = starts.actions(stage, x, options.guess)
    labels = setting.layout.labels()
    crossed = np.flatnonzero(np.asarray(done.lower > done.upper))
    if len(crossed):
        k = crossed[0]
        return (
            f"nothing may be done in period 0 at {_shown(setting, x)}: the lower bound of {labels[k]} is "
            f"{float(done.lower[k]):g}, above the upper one, {float(done.upper[k]):g}. Give another start=."
        )
    found = stage.lottery(x, done.action)
    slots = setting.plan.graph.slots
    parts = {"slot:reward": found.rewards, "slot:discount": found.discounts}
    for name, part in setting.layout.by_state_many(found.following).items():
        parts[f"next_{name}"] = part
    for node, values in parts.items():
        if not bool(jnp.all(jnp.isfinite(values))):
            label = slots[node].quantity.label if node in slots else f"the law of {node.removeprefix('next_')!r}"
            return (
                f"{label} is not finite in period 0, at {_shown(setting, x)}, with {labels[0]} = "
                f"{float(done.action[0]):g}{' and others' if len(labels) > 1 else ''}, where the search begins. Give "
                "start= or guess= where it is a number."
            )
    return ""


def _shown(setting: Any, x: Any) -> str:
    states = setting.layout.by_state(x)
    parts = [
        f"{name} = {np.array2string(np.asarray(value), precision=6, threshold=6)}" for name, value in states.items()
    ]
    return ", ".join(parts)
