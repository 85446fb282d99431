"""What to say of a solve that failed: what happened, where, the likely causes, what to do."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import Array

from bellax.errors import listed
from bellax.model.diffusion import StateConstraint
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting, FlowSolution, Unstated
from bellax.solution.solution import Result

CLOSE = 1e-6  # relative gap of the first-order condition that an action may leave
_RIDGE = (
    ", or a ridge along which several actions have to move together (state one of them as a share of another, or by "
    "how much it is off the kink)"
)
_CYCLES = 1e-4  # of 1 + abs(V): changes below which V as a whole is found


def explain(setting: FlowSetting, solution: FlowSolution) -> str:
    """Why a solve failed; empty where nothing is wrong."""
    result, stats, options = Result(int(solution.code)), solution.stats, setting.options
    if result == Result.nonfinite:
        return (
            f"V is no number somewhere.{_broken(setting, solution)} Likely causes: a reward, a drift or a closed form "
            "that is no number at some state, or at the marginal value there; a policy that earns without bound."
        )
    wrong = _wrong(setting, stats)
    if result == Result.max_steps_reached:
        return (
            f"V is not found after {int(stats['steps'])} steps (max_steps={options.max_steps}): the last change "
            f"was {float(stats['residual']):.3g}, and tolerance={options.tolerance:g}. {_unfinished(stats)}"
            f"{f' In the last step {wrong}' if wrong else ''}"
        )
    if wrong:
        return wrong
    return _gap(setting, solution) or _missed(setting, solution) or _rates(stats)


def _broken(setting: Any, solution: FlowSolution) -> str:
    """What is no number at the marginal values that a solve begins with, and where first; empty where all are."""

    def flowing(arguments: Arguments) -> dict[str, Array]:
        moment = setting.moments()[0] if setting.flow.timed else None
        scheme = setting.scheme(arguments, moment)
        found = scheme.begun[1]
        drifts = {f"drift of {name!r}": own for name, own in found.drift.items()}
        spreads = {f"diffusion of {name!r}": own for name, own in {**scheme.variance, **found.variance}.items()}
        return {"discount": scheme.discount, "reward": found.reward, **drifts, **spreads}

    for what, own in setting.program("broken", lambda: jax.jit(flowing))(solution.arguments).items():
        wrong = ~np.isfinite(np.asarray(own))
        if np.any(wrong):
            place = _at(solution, int(np.argmax(wrong)))
            return f" The {what} is {float(np.ravel(own)[np.argmax(wrong)]):g} at {place} to begin with."
    return ""


def _unfinished(stats: Mapping[str, Array]) -> str:
    """What to do about a last change of V that is too large."""
    if float(stats["residual"]) < _CYCLES:
        return (
            "So small a change that does not go away is rounding, or two policies between which a node goes back and "
            "forth: choose other numbers of nodes, or a tolerance= above it."
        )
    return (
        "V still moves as a whole: give actions bounds, states bounds within which V is finite, other nodes, "
        "or more max_steps=."
    )


def _gap(setting: FlowSetting, solution: FlowSolution) -> str:
    """What is wrong with actions, and where."""
    gap, flow = float(solution.stats["first_order_gap"]), setting.flow
    if gap <= CLOSE:
        return ""
    where, names = _place(solution, "first_order_gap_at"), sorted(flow.policy)
    what = f"the closed forms of {names}" if names else f"the best {', '.join(flow.free)}"
    if gap == math.inf:
        return (
            f"{what} lead beyond the bounds of an action at {where}, to none of its values where it is discrete, or to "
            "the worst action and not the best. Write bounds into policy=, and check its signs; or leave it out, and "
            "give maximiser=bx.maximise.Golden()."
        )
    return (
        f"{what} leave the first-order condition by {gap:.3g} of its terms at {where}, marginal values held fixed. "
        "Check signs and powers of policy=."
    )


def _missed(setting: FlowSetting, solution: FlowSolution) -> str:
    """Which actions are not the highest hill, and where."""
    missed, flow = float(solution.stats["missed"]), setting.flow
    if missed <= CLOSE:
        return ""
    actions = listed([*flow.free, *sorted(flow.policy)])
    what = (
        f"others of {actions} are better at {_place(solution, 'missed_at')}, by {missed:.3g} of what flows there, "
        "marginal values held fixed: the Hamiltonian has several hills in an action, and this is not the highest"
        f"{_RIDGE if len(flow.actions) > 1 else ''}. "
    )
    if flow.scan is not None:
        return f"{what}Give more candidates, bx.maximise.Golden(grid={{action: count}})."
    without = " leave policy= out," if flow.policy else ""
    return f"{what}Give the actions bounds,{without} and compare candidates: maximiser=bx.maximise.Golden()."


def _place(solution: FlowSolution, what: str) -> str:
    """The node at which something is largest, in words."""
    return _at(solution, int(solution.stats[what]))


def _at(solution: FlowSolution, place: int) -> str:
    """A node, in words."""
    nodes = solution.nodes()
    shape = tuple(len(line) for line in nodes.values())
    at = np.unravel_index(place, shape)
    return ", ".join(f"{n} = {float(line[k]):.6g}" for (n, line), k in zip(nodes.items(), at, strict=True))


def _rates(stats: Mapping[str, Array]) -> str:
    excess = float(stats["excess_correlation"])
    if excess <= CLOSE:
        return ""
    return (
        f"the correlation of shocks is too strong for these nodes: along diagonals there is {1 + excess:.2g} times the "
        "variance of a state. Choose numbers of nodes so that a step of each state is nearly the same share of its "
        "standard deviation; where that moves over the domain no grid of this shape is monotone: choose other states "
        "(sums, ratios), or bx.solvers.Collocation."
    )


def _wrong(setting: FlowSetting, stats: Mapping[str, Array]) -> str:
    """What is wrong at nodes, the first that is; empty where nothing is."""
    for name in setting.flow.continuous:
        for side in ("lower", "upper"):
            if float(stats[f"outward:{side}:{name}"]) > 0:
                return _outward(setting, name, side)
            if float(stats[f"spread:{side}:{name}"]) > 0:
                return _spread(setting, name, side)
        if float(stats[f"lost:{name}"]) > 0:
            return (
                f"nothing stands for the derivative of V in {name!r} at {int(stats[f'lost:{name}'])} nodes: V asks "
                "for control without end there, or the closed forms are no numbers at any marginal value. Likely "
                f"causes: a V that falls in {name!r}, where a closed form takes it to rise; no bound of an action."
            )
    return ""


def _spread(setting: FlowSetting, name: str, side: str) -> str:
    what = (
        "no condition holds there"
        if isinstance(setting.sides(name)[0 if side == "lower" else 1], Unstated)
        else ("no control of the drift keeps it inside")
    )
    return (
        f"the state {name!r} diffuses at its {side} edge, and {what}. Give "
        f"boundary={{{name!r}: bx.Reflecting()}}; or bx.Natural(), where the edge is never reached."
    )


def _outward(setting: FlowSetting, name: str, side: str) -> str:
    condition = setting.sides(name)[0 if side == "lower" else 1]
    if isinstance(condition, Unstated):
        return (
            f"the drift of {name!r} leads outward at its {side} edge, and no condition holds there. Give "
            f"boundary={{{name!r}: bx.StateConstraint()}}, Reflecting(); or move the bound."
        )
    if isinstance(condition, StateConstraint):
        return (
            f"the state {name!r} cannot be kept at its {side} edge: whatever is done, the drift leads outward "
            "there. Move the bound, or give boundary=bx.Reflecting()."
        )
    return (
        f"the drift of {name!r} leads outward at its {side} edge, which is said to be never reached "
        "(bx.Natural()). Move the bound further out; or say what holds there: "
        f"boundary={{{name!r}: bx.StateConstraint()}}, Reflecting(), Absorbing(value)."
    )
