"""How far a grid reaches: who is outside it, on which side, and what is said of it.

A continuous state is outside beyond its first or last node. The nodes of an AR1 end where its law does not: a path
visits what lies a little beyond them, where the chain's last row stands for it. That is counted; it is outside, for a
query or a start, only farther from the nodes than twice the length of the chain, where no path of its law comes.
"""

import sys
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.mesh import Mesh
from bellax.bellman.outside import Nan
from bellax.errors import OutsideWarning
from bellax.model.spaces import AR1, VAR
from bellax.numerics.grids import Line
from bellax.problem.plan import Component, Plan

_SLACK = 1e-9  # of a cell: this far beyond an end still counts as on the grid


class Reach(NamedTuple):
    """Ends of a period's grid, one entry for each of `entries`.

    Attributes:
        first, last: nodes, in the units of the state.
        slack: what rounding may add at either end.
        margin: how far beyond an end is not outside yet; zero but for an AR1.
    """

    first: Float[Array, "e"]
    last: Float[Array, "e"]
    slack: Float[Array, "2 e"]
    margin: Float[Array, "e"]


def entries(plan: Plan) -> dict[str, Component]:
    """The numbers of a state that have ends, by label: those of the continuous states, and AR1 and VAR processes."""
    lines = dict(zip(plan.labels, plan.lines, strict=True))
    scalars = {n: Component(n, 0) for n in plan.processes if isinstance(plan.states[n], AR1)}
    vectors = {n: space for n, space in plan.states.items() if isinstance(space, VAR)}
    return lines | scalars | {f"{n}[{k}]": Component(n, k) for n, own in vectors.items() for k in range(own.shape[0])}


def reach(mesh: Mesh) -> Reach:
    """The ends of a mesh."""
    parts = list(entries(mesh.plan).values())[len(mesh.lines) :]
    chains = [mesh.processes[name].values.reshape(-1, mesh.processes[name].values[0].size)[:, k] for name, k in parts]
    # the nodes of a vector are a box in other coordinates
    vector = [isinstance(mesh.plan.states[name], VAR) for name, _ in parts]
    return ends_of(mesh.lines, [jnp.sort(c) if mixed else c for c, mixed in zip(chains, vector, strict=True)])


def ends_of(lines: Sequence[Line], chains: Sequence[Float[Array, "_"]] = ()) -> Reach:
    """The ends of lines, and of the nodes of AR1 processes."""
    four = np.array([0, 1, -2, -1])
    found = [line.scale.inverse(line.coordinates[four]) for line in lines] + [chain[four] for chain in chains]
    if not found:
        return Reach(jnp.zeros(0), jnp.zeros(0), jnp.zeros((2, 0)), jnp.zeros(0))
    first, second, before, last = jnp.stack(found, axis=1)
    margin = jnp.where(np.arange(len(found)) < len(lines), 0.0, 2 * (last - first))
    cells, sizes = jnp.stack([second - first, last - before]), jnp.abs(jnp.stack([first, last]))
    return Reach(first, last, _SLACK * cells + 64 * float(jnp.finfo(sizes.dtype).eps) * sizes, margin)


def numbers(plan: Plan, states: Mapping[str, Array]) -> Float[Array, "e"]:
    """The numbers of a state in the order of `entries`."""
    found = [jnp.ravel(jnp.asarray(states[name]))[place] for name, place in entries(plan).values()]
    return jnp.stack(found) if found else jnp.zeros(0)


def on_lines(plan: Plan, states: Mapping[str, Array]) -> Float[Array, "d"]:
    """The numbers of the continuous states of a state."""
    parts = [jnp.ravel(states[name]) for name in plan.continuous]
    return jnp.concatenate(parts) if parts else jnp.zeros(0)


def beyond(ends: Reach, at: Float[Array, "e"]) -> Bool[Array, "2 e"]:
    """Whether numbers lie before the first node, and after the last."""
    return jnp.stack([at < ends.first - ends.slack[0], at > ends.last + ends.slack[1]])


def outside(ends: Reach, at: Float[Array, "e"]) -> Bool[Array, "2 e"]:
    """Whether numbers are outside the grid below and above: as `beyond`, with the margin of an AR1."""
    return beyond(ends._replace(slack=ends.slack + ends.margin[None]), at)


def admitted(numerics: Any, mesh: Mesh, states: Mapping[str, Array]) -> Bool[Array, ""]:
    """Whether a state is to be answered: everywhere, unless the solver's `outside` is `Nan`.

    Args:
        numerics: a `Discretisation`, which is made of sweeps that ask here.
    """
    if not isinstance(numerics.outside, Nan):
        return jnp.ones((), bool)
    at = numbers(numerics.plan, states)
    return ~jnp.any(outside(reach(mesh), at)) & ~jnp.any(jnp.isnan(at))


def first_outside(plan: Plan, ends: Reach, found: Any, states: Mapping[str, Any]) -> str | None:
    """What is wrong with the first of a batch of states that is outside, in words; None where all are on the grid.

    Args:
        found: what `outside` says, shape (n, 2, e).
        states: by name, shape (n, ...); those that are absent were not given, and are passed over.
    """
    for k, (label, (name, place)) in enumerate(entries(plan).items()):
        rows = np.flatnonzero(np.asarray(found)[:, :, k].any(axis=1))
        if name in states and len(rows):
            value = np.asarray(states[name]).reshape(len(found), -1)[rows[0], place]
            what = "nodes" if name in plan.processes else "grid"
            first, last = (float(np.asarray(end)[k]) for end in (ends.first, ends.last))
            return f"state {label!r} is {value:.6g}, outside its {what} from {first:.6g} to {last:.6g}"
    return None


_OURS = {"bellax", "equinox", "jaxtyping"}  # packages whose calls stand between a question and this file


def users_line() -> int:
    """How many calls above its caller the first line is that is none of `_OURS`: at which a warning points."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    return level


_TOLD: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


_ADVICE = (
    "What is answered there is extrapolated, and no certificate covers it. Widen the bounds of the state (the grid= of "
    "an AR1), or say what you want in the solver: outside=bx.outside.Nan() answers NaN there, "
    "outside=bx.outside.Extrapolate() extrapolates without a word."
)


def warn_once(asked: Any, complaint: str | None, advice: str = _ADVICE) -> None:
    """Warns of a query outside, at the line that asked, once in the life of what is asked."""
    if complaint is None or _TOLD.get(id(asked)) is asked:
        return
    _TOLD[id(asked)] = asked
    warnings.warn(
        f"{complaint}. {advice} This is said once a solution.",
        OutsideWarning,
        stacklevel=users_line(),
    )
