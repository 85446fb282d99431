"""Regimes that differ by numbers alone: one program for all of them, with a first axis of regimes.

Three states of health times three of insurance times two jobs may be eighteen regimes of the same functions. What each
of them has to do is then one step, of other parameters and another V. In that step the regimes of the family are
targets like all others, also to themselves. Members take it one after the other: each has a plane of all targets, and
the planes of all members at once would be in no cache.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.leaving import SIDES
from bellax.bellman.options import key
from bellax.bellman.setting import Setting
from bellax.bellman.sweep import TALLY, columns, step
from bellax.model.alike import alike, same
from bellax.model.crossing import Arrival
from bellax.model.spaces import MarkovChain
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.common import tallied

_OF_THE_SOURCE = ("next_regime", "entry", "exit", "active")
"""Slots of a regime that nobody asks who comes there."""


@dataclass(frozen=True, eq=False)
class Family:
    """Regimes that do the same.

    Attributes:
        name: under which numbers and V of one of them stand; no regime has it.
        members: their names.
        numerics: of each of them, all members being other regimes.
    """

    name: str
    members: tuple[str, ...]
    numerics: Discretisation


def seen_alike(source: Setting, regimes: Mapping[str, Setting]) -> dict[str, str]:
    """Of the regimes that may be reached from another one, by name, the first of those that are the same from there."""
    arrivals = source.plan.arrivals
    found: dict[str, str] = {}
    for name, numerics in source.numerics.others.items():
        plain = all(arrival.distribution is None for arrival in arrivals[name].values())
        for first in dict.fromkeys(found.values()) if plain else ():
            both = numerics.plan.graph.regime, regimes[first].plan.graph.regime
            if (
                _ways(arrivals[name]) == _ways(arrivals[first])
                and key(regimes[name].options) == key(regimes[first].options)
                and alike(*both, but=_OF_THE_SOURCE)
            ):
                found[name] = first
                break
        found.setdefault(name, name)
    return found


def families(regimes: Mapping[str, Setting]) -> list[Family]:
    """The regimes that decide and are several that do the same."""
    groups: list[list[str]] = []
    for name in (name for name, setting in regimes.items() if not setting.numerics.ends):
        group = next((group for group in groups if _do_alike(regimes[group[0]], regimes[name])), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return [found for group in groups if (found := _family(tuple(group), regimes)) is not None]


def _do_alike(one: Setting, other: Setting) -> bool:
    """Whether two regimes have the same slots, numerics and targets, each other included."""
    both = one.plan.graph.regime, other.plan.graph.regime
    if key(one.options) != key(other.options) or not alike(*both, but=("entry",)):
        return False
    ours, theirs = one.plan.arrivals, other.plan.arrivals
    names = one.problem.regime, other.problem.regime
    if names[1] not in ours or names[0] not in theirs or {*ours, names[0]} != {*theirs, names[1]}:
        return False
    return all(_comes_alike(one, other, target) for target in ours if target in theirs)


def _comes_alike(one: Setting, other: Setting, target: str) -> bool:
    """Whether states get their values there in the same way."""
    ours, theirs = one.plan.arrivals[target], other.plan.arrivals[target]
    if _ways(ours) != _ways(theirs) or any(arrival.distribution is not None for arrival in ours.values()):
        return False
    nodes = [(ours[state].node, theirs[state].node) for state in ours if ours[state].node]
    laws = [(one.plan.graph.slots[a].quantity, other.plan.graph.slots[b].quantity) for a, b in nodes]
    return all(
        a.function is not None and same((a.names, a.function, a.defaults), (b.names, b.function, b.defaults))
        for a, b in laws
    )


def _ways(arrivals: Mapping[str, Arrival]) -> list[tuple[str, str]]:
    return [(state, arrival.way) for state, arrival in arrivals.items()]


def _family(members: tuple[str, ...], regimes: Mapping[str, Setting]) -> Family | None:
    """The family of regimes that do the same; None of a single one, and where to stay is not as to go to another."""
    if len(members) == 1:
        return None
    first, plan = regimes[members[0]], regimes[members[0]].plan
    to_itself = plan.arrivals[members[1]]
    drawn = {name for name in plan.processes if not isinstance(plan.states[name], MarkovChain)}
    known = all(arrival.way in ("carried", "afresh") for arrival in to_itself.values())
    if not known or not drawn.isdisjoint(plan.scanned):
        return None
    arrivals = {members[0]: to_itself, **plan.arrivals}
    if any(_ways(arrivals[name]) != _ways(to_itself) for name in members):
        return None
    pairs = itertools.permutations(members, 2)
    if any(_ways(regimes[source].plan.arrivals[target]) != _ways(to_itself) for source, target in pairs):
        return None
    name = f"all of {', '.join(members)}"
    numerics = Discretisation(Problem(plan.graph, first.problem.clock, name, arrivals), first.options)
    numerics.others = {other: regimes[other].numerics for other in arrivals}
    numerics.alike = {**seen_alike(regimes[members[1]], regimes), **dict.fromkeys(members, members[0])}
    numerics.active = first.numerics.active
    numerics.plan.elsewhere = {members[0]: plan.labels, **plan.elsewhere}
    numerics.plan.rugged_elsewhere = plan.rugged_elsewhere
    return Family(name, members, numerics)


def stepped(
    numerics: Mapping[str, Discretisation],
    families: list[Family],
    arguments: dict[str, Arguments],
    values: dict[str, Value],
    period: Any,
) -> tuple[dict[str, Value], dict[str, Array]]:
    """V of one more Bellman step, and its tally, by regime.

    Args:
        numerics: of the regimes that make the step.
        values: V of all of them that decide.
    """
    found, tallies = {}, {}
    for family in families:
        if set(family.members) <= set(numerics) and _shaped_alike(family, arguments, values):
            for name, value, tally in _together(numerics, family, arguments, values, period):
                found[name], tallies[name] = value, tally
    for name, own in numerics.items():
        if name not in found:
            objective, mesh = own.one_period(arguments, values, period)
            made = step(own.maximiser, objective, mesh, own.memory)
            found[name], tallies[name] = made.value, tallied(made)
    return {name: found[name] for name in numerics}, {name: tallies[name] for name in numerics}


def _shaped_alike(family: Family, arguments: dict[str, Arguments], values: dict[str, Value]) -> bool:
    kinds = {
        (structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        for leaves, structure in (jax.tree.flatten((arguments[name], values[name])) for name in family.members)
    }
    return len(kinds) == 1


def _together(
    numerics: Mapping[str, Discretisation],
    family: Family,
    arguments: dict[str, Arguments],
    values: dict[str, Value],
    period: Any,
) -> Iterator[tuple[str, Value, Array]]:
    """V and tally of each member."""
    every = family.numerics

    def of_one(given: tuple[Arguments, Value]) -> tuple[Value, Array]:
        own, value = given
        objective, mesh = every.one_period({**arguments, family.name: own}, {**values, family.name: value}, period)
        made = step(every.maximiser, objective, mesh, every.memory)
        return made.value, tallied(made)

    given = [(arguments[name], values[name]) for name in family.members]
    found = lax.map(of_one, jax.tree.map(lambda *leaves: jnp.stack(leaves), *given))
    for place, name in enumerate(family.members):
        value, tally = jax.tree.map(lambda leaf, place=place: leaf[place], found)
        yield name, value, tally[jnp.asarray(_own_columns(every.plan, numerics[name].plan, name))]


def _own_columns(every: Plan, plan: Plan, name: str) -> list[int]:
    """Where the columns of a member's tally are in that of the family, to which its own lines are another's."""
    known = columns(every)
    own = [f"{side}:{name}.{label}" for label in plan.labels for side in SIDES]
    others = columns(plan)[len(TALLY) + len(own) :]
    return [known.index(column) for column in (*TALLY, *own, *others)]
