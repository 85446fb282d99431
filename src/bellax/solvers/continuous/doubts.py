"""What to say of a V by polynomials that is not to be trusted: what happened, the likely causes, what to do."""

from collections.abc import Mapping
from typing import Any

from jax import Array

from bellax.solution.flowing import Drawn, FlowSolution
from bellax.solution.solution import Result
from bellax.solvers.continuous.collocated import SIDES

CLOSE = 1e-6  # relative gap of the first-order condition that an action may leave
FAR = 0.1  # share of the range of V by which finite differences may be off on the coarse grid
GROWTH = 1e4  # how much more than it is worth the equation may make of a reward


def explain(setting: Any, solution: FlowSolution) -> str:
    """Why a solve failed; empty where nothing is wrong."""
    result, stats, options = Result(int(solution.code)), solution.stats, setting.options
    if result == Result.successful:
        return ""
    if result == Result.nonfinite:
        return (
            "V is no number somewhere. Likely causes: a V with a kink; bounds= so close that paths leave them, or "
            "more nodes than they bear; a reward, a drift or a closed form that is no number at some state, or at "
            f"the marginal value there.{_held(stats)}"
        )
    wrong = _wrong(setting, {name: float(value) for name, value in stats.items()})
    if result == Result.max_steps_reached:
        return (
            f"V is not found after {int(stats['steps'])} steps (max_steps={options.max_steps}): the last change "
            f"was {float(stats['residual']):.3g}, and tolerance={options.tolerance:g}."
            f"{f' In the last step {wrong}' if wrong else ''}{_held(stats)}"
        )
    return wrong


def _held(stats: Mapping[str, Array]) -> str:
    """What finite differences say of kinks."""
    count = int(stats["bound"])
    return f" By finite differences a constraint binds at {count} nodes, where V has a kink." if count else ""


def _wrong(setting: Any, stats: Mapping[str, float]) -> str:
    """What is wrong, the first that is; empty where nothing is."""
    accuracy = setting.options.accuracy
    for name in setting.flow.continuous:
        for side in SIDES:
            drawn = isinstance(setting.edges(name)[SIDES.index(side)], Drawn)
            if drawn and not stats[f"leak:{side}:{name}"] <= accuracy:
                return (
                    f"paths leave bounds[{name!r}] at the {side} edge: what is beyond may count "
                    f"{stats[f'leak:{side}:{name}']:.2g} in V within, and accuracy={accuracy:g}. Draw that bound "
                    "further away, or those of other states closer to where the population is."
                )
            if stats[f"outward:{side}:{name}"] > 0:
                return (
                    f"the drift of {name!r} leads outward at its {side} edge, at "
                    f"{int(stats[f'outward:{side}:{name}'])} nodes: a constraint binds there, V has a kink, and a "
                    "polynomial has none. Solve by FiniteDifference; or, where nobody is there, draw bounds= "
                    "closer, beyond which V goes on as it is within."
                )
            if stats[f"spread:{side}:{name}"] > 0:
                return (
                    f"the state {name!r} diffuses at its {side} edge, and no condition holds there. Give "
                    f"boundary={{{name!r}: bx.Reflecting()}}; or bx.Natural(), where the edge is never reached."
                )
    if stats["missed"] > CLOSE:
        return (
            f"other {sorted(setting.flow.actions)} are better, by {stats['missed']:.3g} of what flows at some state, "
            "marginal values held fixed: the Hamiltonian has several hills in an action, and this is not the highest. "
            "Check policy=; or leave it out, give the actions bounds, and solve by "
            "FiniteDifference(maximiser=bx.maximise.Golden()), which compares candidates."
        )
    if not stats["growth"] <= GROWTH:
        return (
            f"the equation alone does not say what V is: what is left of it may count {stats['growth']:.3g} times "
            "as much in V. Likely causes: a state that diffuses or drifts out of an edge without a condition; "
            "bounds= so close that paths leave them; more nodes than they bear."
        )
    if not stats["error"] <= accuracy:
        tails = ", ".join(f"{stats[f'tail:{name}']:.2g} in {name!r}" for name in setting.flow.continuous)
        return (
            f"V is not resolved: by what is left of the equation between nodes it may be off by "
            f"{stats['error']:.3g} of its range, and accuracy={accuracy:g}; its last "
            f"coefficients are {tails} of the largest. Likely causes: too few nodes; a kink, or a layer at an "
            "edge, where no number of nodes helps, and bounds= or FiniteDifference does."
        )
    if (
        stats["moved"] > FAR
    ):  # no number where finite differences were not asked, or failed: then nothing is known of it
        return (
            f"V is {stats['moved']:.3g} of its range away from that of finite differences on a coarse "
            "grid: it may be another root of the equation. Solve by FiniteDifference, and compare."
        )
    return (
        f"{sorted(setting.flow.actions)} are not the best actions: they leave the first-order "
        f"condition by {stats['first_order_gap']:.3g} of its terms at some state, lead beyond bounds, or to the "
        "worst action. Check signs and powers of policy=."
    )
