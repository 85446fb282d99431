"""How far a line may go on: beyond the bounds of a state nothing may be feasible, such as of wealth below zero."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.mesh import Mesh
from bellax.bellman.setting import Setting
from bellax.certify.compared import owner, parts
from bellax.problem.period import Period, combinations
from bellax.problem.problem import Arguments

Sides = Mapping[str, Mapping[str, float]]
"""By line, by how much of its length it goes on `below` and `above`."""

BySides = dict[str, dict[str, dict[str, float]]]
"""The same, by regime."""

_OF_SAVINGS = 0.05
"""Of the length of a line, by which it goes on at first where nodes of savings are spread thinner over a longer one."""

_PARTS = np.concatenate([2.0 ** -np.arange(45, 5, -1.0), np.arange(1, 33) / 32])
"""Of the way, at which something is asked to be feasible: close to where it begins, too, as a scale may end there."""


def longer(
    start: Any, solution: Any, sides: BySides, first: float, seldom: float
) -> tuple[BySides, set[tuple[str, str, str]], bool]:
    """By how much lines go on: where paths leave them, twice as far as they did, or as something is feasible there;
    where that is less far; and whether it is nothing somewhere.

    Args:
        start: the solution whose lines they are.
        solution: on lines that are longer by `sides` already, whose paths are looked at.
        first: by how much of its length at first.
        seldom: the share of nodes from which they may leave.
    """
    sides = {regime: {label: dict(own) for label, own in by.items()} for regime, by in sides.items()}
    walls, blocked = set(), False
    settings = {name: own.setting for name, own in parts(start).items()}
    left = {
        (*owner(regime, label), side)
        for regime, own in parts(solution).items()
        for (label, side), share in own.left.items()
        if share > seldom
    }
    for regime, label, side in left:
        setting = settings[regime]
        line = sides.setdefault(regime, {}).setdefault(label, {})
        before = line.get(side, 0.0)
        wanted = max(_OF_SAVINGS if setting.numerics.maximiser.makes_pieces else first, 2 * before)
        found, wall = stretch(setting, start.arguments, label, side, (before, wanted))
        if found > before:
            line[side] = found
        if wall or found == before:
            walls.add((regime, label, side))
            blocked |= found == before
    return sides, walls, blocked


def stretch(
    setting: Setting, arguments: Arguments, label: str, side: str, beyond: tuple[float, float]
) -> tuple[float, bool]:
    """By how much of its length a line may go on, at most, so that bounds leave some action; the other numbers of the
    state are in the middle, and processes at their first, middle and last node.

    Args:
        side: `below` or `above`.
        beyond: by how much it goes on already, and how far it would.
    Returns:
        A number between them, and whether there are states beyond it: a scale may end there, as minus one over the
        square of wealth does where wealth is infinite.
    """
    shares = beyond[0] + (beyond[1] - beyond[0]) * _PARTS
    build = lambda: jax.jit(partial(_feasible, setting.numerics, label, side))  # noqa: E731
    fits, numbers = map(np.asarray, setting.program(("stretch", label, side), build)(arguments, shares))
    many = len(_PARTS) if fits.all() else int(np.argmin(fits))
    return float(shares[many - 1]) if many else beyond[0], many < len(_PARTS) and bool(numbers[many])


def _feasible(
    numerics: Discretisation, label: str, side: str, arguments: Arguments, shares: Float[Array, "n"]
) -> tuple[Array, Array]:
    """Whether something may be done at the end of a line that goes on by shares of its length, and whether a number of
    the line is there, shape (n,)."""
    mesh, plan = numerics.mesh(arguments, 0), numerics.plan
    period = Period(numerics.problem.environment(arguments, 0), plan)
    place = plan.labels.index(label)

    def at(share: Array, rank: int) -> Array:
        states = mesh.point(_codes(mesh, rank), _coordinates(mesh, place, side, share)).values

        def allowed(combination: Array, u: float) -> Array:
            actions, open_ = period.resolved(
                states, combination, lambda _, low, high: (low + u * (high - low), jnp.all(high >= low))
            )
            fits = period.feasible(states, actions)
            for each in open_.values():
                fits = fits & each
            return fits

        codes = jnp.arange(len(combinations(plan)), dtype=jnp.int32)
        tried = [jax.vmap(partial(allowed, u=u))(codes) for u in (0.0, 0.5, 1.0)]
        return jnp.any(jnp.stack(tried))

    found = [jax.vmap(partial(at, rank=rank))(shares) for rank in range(3)]
    line = mesh.lines[place]
    ends = jax.vmap(lambda share: line.coordinate(line.number(_coordinates(mesh, place, side, share)[place])))(shares)
    there = jax.vmap(lambda share: _coordinates(mesh, place, side, share)[place])(shares)
    # beyond its end a scale has no number, or one that lies elsewhere
    numbers = jnp.isfinite(ends) & (jnp.abs(ends - there) <= 1e-6 * (line.coordinates[-1] - line.coordinates[0]))
    return jnp.all(jnp.stack(found), axis=0) & numbers, numbers


def _codes(mesh: Mesh, rank: int) -> dict[str, Array]:
    lengths = mesh.discrete_axes
    return {name: jnp.asarray((0, count // 2, count - 1)[rank], jnp.int32) for name, count in lengths.items()}


def _coordinates(mesh: Mesh, place: int, side: str, share: Array) -> Float[Array, "d"]:
    ends = [(line.coordinates[0], line.coordinates[-1]) for line in mesh.lines]
    middle = [0.5 * (first + last) for first, last in ends]
    first, last = ends[place]
    middle[place] = first - share * (last - first) if side == "below" else last + share * (last - first)
    return jnp.stack(middle)
