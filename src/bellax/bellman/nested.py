"""What a nested endogenous grid needs of a model: an inner problem with one action, given what was chosen before it.

    V(s) = max over o of v(m(s, o), o, e),   v(m, o, e) = max over c of u(c, o, e) + W(m - c, o, e),

o the outer action, m resources, c the inner action, e what else is known. Given o and e the inner problem is one of a
single continuous state, and has an endogenous grid of its own. Where tomorrow or the reward see a continuous state
beside savings, such as a stock that wears out, it is given along its nodes as o is: these are the keys.

Sources: Fella (2014); Druedahl (2021), "A guide on solving non-convex consumption-saving models".
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.endogenous import Structure, axes_of, check_resources, cut_at, following, seen_beside
from bellax.bellman.maximisers.maximum import check_constraints, first_maximum
from bellax.bellman.mesh import Point, between
from bellax.errors import ModelError, check_names, listed
from bellax.model.autoregressions import VAR
from bellax.numerics import pieces
from bellax.numerics.pieces import Pieces
from bellax.numerics.scalar import take, where
from bellax.problem.period import Period, in_a_row
from bellax.problem.plan import Plan

_NEWTON = "bx.maximise.Newton() serves"
_PEAKS = 2  # local maxima in the outer action that are looked at

# -- what is read off a model -----------------------------------------------------------------------------------------


def nested(
    plan: Plan, what: str, outer: str | None, action: str | None, resources: str | None, savings: str | None
) -> Structure:
    """The structure of a model.

    Args:
        what: the method that asks, for messages.
        outer, action, resources, savings: names, where the user said them.
    Raises:
        ModelError: which condition fails, and which method serves.
    """
    _check_kind(plan, what)
    _check_names(plan, what, outer, action)
    found, why = [], ""
    for inner in [action] if action is not None else [name for name in plan.controls if name != outer]:
        before = next((name for name in plan.controls if name != inner), None)
        for name in _savings(plan, what, inner, savings):
            own = _reading(plan, what, inner, before, resources, name)
            why = why or (own if isinstance(own, str) else "")
            found += [] if isinstance(own, str) else [own]
    if not found:
        why = why or "there is no function of the model that sees a continuous state and an action and no shock"
        state = next(iter(plan.continuous))
        raise ModelError(
            f"{what}: tomorrow is to see one continuous action and a continuous state through one function alone, like "
            f"functions={{'savings': lambda {state}, consumption: {state} - consumption}}; {why}. Write laws in terms "
            f"of it, or use another method: {_NEWTON}."
        )
    if len({own.action for own in found}) > 1:
        raise ModelError(
            f"{what}: {listed(sorted({own.action for own in found}))} may each be the inner action. Say which one is "
            "the outer: outer=."
        )
    return min(found, key=lambda own: len(own.keys))


def _check_kind(plan: Plan, what: str) -> None:
    """Raises ModelError for a model that is not of the kind at all."""
    several = [name for name, space in plan.controls.items() if space.shape != ()]
    if not 1 <= len(plan.controls) <= 2 or several:
        named = listed(sorted(plan.controls)) if plan.controls else "none"
        raise ModelError(
            f"{what} takes one continuous action, a number, and at most one around it; the model has {named}. "
            + (f"{_NEWTON}." if plan.controls else "bx.maximise.Enumerate() serves.")
        )
    if not plan.continuous:
        raise ModelError(f"{what} needs a continuous state, and the model has none. {_NEWTON}.")
    if len(plan.controls) == 1 and len(plan.lines) == 1:
        raise ModelError(
            f"{what}: nothing is nested in a model of one continuous action and one continuous state. "
            "bx.maximise.EGM() or DCEGM() serve."
        )
    check_constraints(plan, what)
    vector = [name for name in plan.processes if isinstance(plan.states[name], VAR)]
    if vector:
        raise ModelError(f"{what} does not take the VAR {vector[0]!r}, a process of several numbers. {_NEWTON}.")
    if plan.graph.is_random("slot:reward"):
        raise ModelError(f"{what} needs a reward that is known with the decision, and it sees a shock. {_NEWTON}.")


def _check_names(plan: Plan, what: str, outer: str | None, action: str | None) -> None:
    if outer in plan.choices:
        raise ModelError(
            f"{what}: outer={outer!r} is a discrete action, of which every combination is tried anyway; leave it out."
        )
    check_names([] if outer is None else [outer], plan.controls, f"{what}: outer")
    check_names([] if action is None else [action], plan.controls, f"{what}: action of the inner method")
    if outer is not None and (outer == action or len(plan.controls) == 1):
        raise ModelError(f"{what}: {outer!r} is the inner action, and not the outer one; leave outer= out.")


def _savings(plan: Plan, what: str, action: str, named: str | None) -> list[str]:
    """Functions that may be savings of an action.

    Raises:
        ModelError: if the one that was named is none.
    """
    graph = plan.graph
    functions = [n for n, slot in graph.slots.items() if slot.scope == "function"]
    check_names([] if named is None else [named], functions, f"{what}: function post_decision=")
    if named is not None and graph.is_random(named):
        seen = listed(sorted(graph.leaves(named, "shock", "next")))
        raise ModelError(
            f"{what}: post_decision={named!r} is to be known with the decision, and it sees {seen}. Let the law of "
            f"motion see that, or use another method: {_NEWTON}."
        )
    sees = lambda n: action in graph.leaves(n, "action") and graph.leaves(n, "state") & set(plan.continuous)  # noqa: E731
    return [n for n in ([named] if named is not None else functions) if sees(n) and not graph.is_random(n)]


def _reading(
    plan: Plan, what: str, action: str, outer: str | None, resources: str | None, savings: str
) -> Structure | str:
    """The structure with one function as savings; or why it has none, in words."""
    graph, cut = plan.graph, cut_at(plan, savings)
    why = seen_beside(plan, cut, savings, {action})
    if why:
        return why
    seen = {name for node in following(cut) for name in cut.graph.leaves(node, "state", "action")}
    seen |= graph.leaves("slot:reward", "state", "action") | graph.leaves(f"lower:{action}", "state", "action")
    within = graph.leaves(savings, "state", "action")
    through = [name for name in plan.continuous if name in within and name not in seen]
    if not through:
        beside = listed(sorted(name for name in plan.continuous if name in within))
        return f"beside {savings!r}, laws of motion, the reward or a bound see {beside}"
    if outer is not None and action in {
        n for side in ("lower", "upper") for n in graph.leaves(f"{side}:{outer}", "action")
    }:
        return f"the bounds of {outer!r} see {action!r}, so that it is not chosen before"
    if outer is not None and outer not in seen | within:
        return f"neither {savings!r} nor anything else that counts sees the action {outer!r}: drop it from the model"
    keys = [name for name in plan.continuous if name in seen]
    vector = [name for name in keys if plan.continuous[name].shape != ()]
    if vector:
        return f"beside {savings!r}, tomorrow or the reward see the state {vector[0]!r}, which is several numbers"
    check_resources(plan, what, action, resources)
    order = (*([] if outer is None else [outer]), *keys)
    return Structure(plan, cut, action, through[0], savings, resources, axes_of(plan, cut, action), order)


# -- the inner problem, solved --------------------------------------------------------------------------------------


class Nested(eqx.Module):
    """The inner problem of a period, one function of resources for each place of the axes, the keys and combinations.

    Attributes:
        pieces: of these functions, along these axes.
        keys: nodes of the keys, as functions see them.
    """

    period: Period
    pieces: Pieces
    keys: dict[str, Float[Array, "_"]]
    structure: Structure = eqx.field(static=True)

    def starts(self, point: Point, combination: Int[Array, ""]) -> Float[Array, "k m"]:
        """Shares of the actions close to the highest local maxima in the outer action, the inner one at its optimum.

        Where that jumps from one outer node to the next, what is optimal at the neighbours may be so here.
        """
        structure, states, choices = self.structure, point.values, self.period.choices(combination)
        place = self._place(point)
        outer = outer_of(structure)
        if outer is None:
            value, c = self._inner(states, choices, (*place, combination), {})
            return self._shares(point, combination, value, {structure.action: c})[None]
        nodes, lead = self.keys[outer], len(structure.axes)

        def at(node: Array, o: Array) -> tuple[Array, Array]:
            """v and c of an outer action, with the inner problem at a node of it."""
            known = (*place[:lead], node, *place[lead:], combination)
            return self._inner(states, {**choices, outer: o}, known, {outer: take(nodes, node)})

        low, high = self.period.bounds(outer, states, choices)
        ends = jnp.stack([low, jnp.maximum(low, high)])
        below, fraction = jax.vmap(lambda o: between(nodes, o))(ends)
        here, above = jax.vmap(at)(below, ends), jax.vmap(at)(below + 1, ends)
        inside = jax.vmap(at)(jnp.arange(nodes.shape[0], dtype=jnp.int32), nodes)
        found = _candidates(nodes, inside, ends, fraction, here, above)
        shares = lambda o, c, v: self._shares(point, combination, v, {outer: o, structure.action: c})  # noqa: E731
        return jax.vmap(shares)(*found)

    def _place(self, point: Point) -> tuple[Array, ...]:
        """The nearest place on the axes, and of the states among the keys."""
        codes = []
        for name in self.structure.axes:
            fraction = point.fractions.get(name)
            code = point.codes[name]
            codes.append(code if fraction is None else code + (fraction >= 0.5).astype(code.dtype))
        for name, nodes in self.keys.items():
            if name in point.values:
                code, fraction = between(nodes, point.values[name])
                codes.append(code + (fraction >= 0.5).astype(code.dtype))
        return tuple(codes)

    def _inner(
        self, states: Mapping[str, Array], choices: Mapping[str, Array], place: tuple[Array, ...], nodes: Mapping
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """v and c at one place, minus infinity where resources do not suffice.

        Args:
            choices: what was chosen before.
            nodes: of this, what the inner problem has been solved for.
        """
        structure, period = self.structure, self.period
        resources = structure.resources(period, states, choices)
        lower, _ = period.bounds(structure.action, states, choices)
        shape = self.pieces.limit.shape
        row = jnp.zeros((), jnp.int32)
        for length, code in zip(shape, place, strict=True):
            row = row * length + code
        limit = take(self.pieces.limit.reshape(-1), row)
        enough = resources - limit >= lower
        held = where(enough, resources, limit + lower + 1.0)
        segment = self.pieces.at(row, held)
        value = pieces.value(segment, held, structure.utility(period, states, {**choices, **nodes}))
        # who saves just enough for a step of what follows must not miss it by rounding
        little = 256 * float(jnp.finfo(held.dtype).eps) * jnp.maximum(1.0, jnp.abs(held))
        return where(enough, value, -jnp.inf), pieces.consumption(segment, held) - little

    def _shares(self, point: Point, combination: Array, value: Array, wanted: Mapping[str, Array]) -> Float[Array, "m"]:
        """Actions as shares of the way between bounds; where nothing is known, the least outer and half the inner."""
        known = value > -jnp.inf

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            share = 0.5 if name == self.structure.action else 0.0
            width = jnp.maximum(upper - lower, 0.0)
            x = jnp.clip(where(known, wanted[name], lower + share * width), lower, lower + width)
            return x, where(width > 0, (x - lower) / where(width > 0, width, 1.0), 0.0)

        return in_a_row(self.period.resolved(point.values, combination, act)[1])


def outer_of(structure: Structure) -> str | None:
    """The outer action, if there is one."""
    return next((name for name in structure.keys if name in structure.plan.controls), None)


_Known = tuple[Array, Array]  # v and c, of several outer actions


def _candidates(
    nodes: Float[Array, "n"], inside: _Known, ends: Float[Array, "2"], fraction: Array, here: _Known, above: _Known
) -> tuple[Float[Array, "k"], Float[Array, "k"], Float[Array, "k"]]:
    """Of the highest local maxima of v in o: o, five inner actions that may be optimal there, and v.

    The inner optimum may jump from one node to the next, and between them so may the place of the jump.

    Args:
        nodes: of o, and v and c `inside`.
        ends: bounds of o; how far they lie on the way between two nodes, and v and c by the problems of both of them.
    """
    mixed = lambda a, b: where(fraction <= 0, a, where(fraction >= 1, b, a + fraction * (b - a)))  # noqa: E731
    value = mixed(here[0], above[0])
    # what the problem of one node cannot pay that of the other may
    value = where(jnp.isfinite(value), value, jnp.maximum(here[0], above[0]))
    known = jnp.isfinite(here[0]), jnp.isfinite(above[0])
    both = where(known[0], here[1], above[1]), where(known[1], above[1], here[1])
    c = mixed(*both)
    wide = lambda ends, own: jnp.concatenate([ends[:1], own, ends[1:]])  # noqa: E731
    o, yes = wide(ends, nodes), jnp.ones(2, bool)
    there = wide(yes, (nodes > ends[0]) & (nodes < ends[1]))
    values, left, right = _neighbours(there, wide(value, inside[0]))
    cs = wide(c, inside[1])
    beside = wide(both[0], cs[left[1:-1]]), wide(both[1], cs[right[1:-1]])
    peak = there & (values >= values[left]) & (values >= values[right])
    heights, place, found = where(peak, values, -jnp.inf), first_maximum(values), []
    for _ in range(_PEAKS):
        three = jnp.stack([left[place], place, right[place]])
        top, along = _vertex(o[three], values[three], cs[three])
        low, high = beside[0][place], beside[1][place]
        own = jnp.stack([low, 0.5 * (low + along), along, 0.5 * (along + high), high])
        found.append((jnp.broadcast_to(top, 5), own, jnp.broadcast_to(values[place], 5)))
        heights = where(jnp.arange(o.shape[0], dtype=jnp.int32) == place, -jnp.inf, heights)
        place = first_maximum(heights)
    return tuple(jnp.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _neighbours(there: Bool[Array, "n"], value: Float[Array, "n"]) -> tuple[Array, Array, Array]:
    """Values, minus infinity where there is none, and the places of the neighbours of each that are there.

    Args:
        there: which places are; the first and the last always, and those in between that are follow each other.
    """
    last, places = there.shape[0] - 1, jnp.arange(there.shape[0], dtype=jnp.int32)
    first = jnp.argmax(there[1:]).astype(jnp.int32) + 1
    final = last - 1 - jnp.argmax(there[:-1][::-1]).astype(jnp.int32)
    before, after = jnp.maximum(places - 1, 0), jnp.minimum(places + 1, last)
    left = where(places == last, final, where(there[before], before, 0))
    right = where(places == 0, first, where(there[after], after, last))
    return where(there, value, -jnp.inf), left, right


def _vertex(o: Float[Array, "3"], value: Float[Array, "3"], c: Float[Array, "3"]) -> tuple[Array, Array]:
    """The top of the parabola through three places, and the inner action there; the middle one where there is none."""
    inner = (o[1] > o[0]) & (o[2] > o[1]) & jnp.all(jnp.isfinite(value)) & jnp.all(jnp.isfinite(c))
    left, right = where(inner, o[1] - o[0], 1.0), where(inner, o[2] - o[1], 1.0)
    rise = where(inner, value[1] - value[0], 0.0) / left, where(inner, value[2] - value[1], 0.0) / right
    bend = (rise[1] - rise[0]) / (left + right)
    inner = inner & (bend < 0)
    top = jnp.clip(-0.5 * left - 0.5 * rise[0] / where(inner, bend, -1.0), -left, right)
    first = (c[1] - c[0]) / left, (c[2] - c[1]) / right
    second = (first[1] - first[0]) / (left + right)
    there = jnp.clip(c[1] + top * (first[0] + second * (top + left)), jnp.min(c), jnp.max(c))
    return where(inner, o[1] + top, o[1]), where(inner, there, c[1])
