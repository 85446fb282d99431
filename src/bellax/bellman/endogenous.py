"""What an endogenous grid needs of a model, read off its graph: where one action meets tomorrow through savings alone.

    V(s) = max over c of u(c, e) + W(m(s) - c, e),   W(a, e) = E[ b V(s'(a, e)) ],

m resources, a savings (the state after the decision), e what else is known: processes, discrete states and discrete
actions. Then V depends on the continuous state through m alone, and u'(c) = W'(a) gives c, and m = a + c, for every a
without a search.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximisers.maximum import check_constraints
from bellax.bellman.pointwise import Function, Place, kind_of_end, odd
from bellax.bellman.taste import chosen
from bellax.errors import ModelError, check_names, listed
from bellax.model.autoregressions import VAR
from bellax.model.graph import Graph
from bellax.model.spaces import IID
from bellax.numerics import pieces
from bellax.numerics.interpolate import through_four
from bellax.numerics.pieces import Pieces
from bellax.numerics.powers import with_quick_powers
from bellax.numerics.scalar import take, where
from bellax.problem.period import Period, as_float, combinations
from bellax.problem.plan import Plan


@dataclass(frozen=True, eq=False)
class Structure:
    """Which names play which part.

    Attributes:
        plan: of the model.
        cut: the same, in whose graph savings are given and not computed.
        action, state, savings: names.
        named: what the user says that resources are; None where nothing was said.
        axes: discrete axes along which the optimum differs, beside resources.
        keys: continuous states, and an action that is chosen before, along which it differs, too.
    """

    plan: Plan
    cut: Plan
    action: str
    state: str
    savings: str
    named: str | None
    axes: tuple[str, ...]
    keys: tuple[str, ...] = ()

    @cached_property
    def moved(self) -> tuple[str, ...]:
        """The continuous states of tomorrow that see savings."""
        graph = self.cut.graph
        return tuple(n for n in self.cut.continuous if self.savings in graph.leaves(f"next_{n}", "action"))

    @cached_property
    def kinked(self) -> bool:
        """Whether what follows may have kinks or steps in savings by itself, whatever V is."""
        return self.cut.kinked_in([self.savings])

    def resources(self, period: Period, states: Mapping[str, Array], choices: Mapping[str, Array]) -> Float[Array, ""]:
        """m: what is left if nothing is consumed."""
        return self.saved(period, states, choices, jnp.zeros(()))

    def saved(
        self, period: Period, states: Mapping[str, Array], choices: Mapping[str, Array], action: Array
    ) -> Float[Array, ""]:
        """a of an action."""
        evaluate = self.plan.graph.compose([self.savings])
        return as_float(evaluate(**period.environment, **states, **choices, **{self.action: action})[self.savings])

    def claimed(self, period: Period, states: Mapping[str, Array], choices: Mapping[str, Array]) -> Float[Array, ""]:
        """What the user says that resources are."""
        if self.named is None:
            return self.resources(period, states, choices)
        evaluate = self.plan.graph.compose([self.named])
        return as_float(evaluate(**period.environment, **states, **choices)[self.named])

    def utility(self, period: Period, states: Mapping[str, Array], choices: Mapping[str, Array]) -> "Utility":
        """u of the action, all else given."""
        return Utility(period, dict(states), dict(choices), self)


class Utility(eqx.Module):
    """u(c), all else given."""

    period: Period
    states: dict[str, Array]
    choices: dict[str, Array]
    structure: Structure = eqx.field(static=True)

    def __call__(self, c: Array) -> Array:
        """u, of an array of consumption."""
        return jax.vmap(self._one)(c) if c.ndim else self._one(c)

    def _one(self, c: Array) -> Array:
        evaluate = self.structure.plan.graph.compose(["slot:reward"])

        def reward(leaves: dict[str, Array]) -> Array:
            return as_float(evaluate(**leaves)["slot:reward"])

        actions = {**self.choices, self.structure.action: c}
        return with_quick_powers(reward, {**self.period.environment, **self.states, **actions})

    def marginal(self, c: Float[Array, ""]) -> Float[Array, ""]:
        """u'(c)."""
        return jax.jvp(self._one, (c,), (jnp.ones_like(c),))[1]

    def curvature(self, c: Float[Array, ""]) -> Float[Array, ""]:
        """u''(c)."""
        return jax.jvp(self.marginal, (c,), (jnp.ones_like(c),))[1]


# -- what is read off a model ---------------------------------------------------------------------------------------


def structure(plan: Plan, what: str, action: str | None, resources: str | None, savings: str | None) -> Structure:
    """The structure of a model.

    Args:
        what: the method that asks, for messages.
        action, resources, savings: names, where the user said them.
    Raises:
        ModelError: which condition fails, and which method serves.
    """
    _check_kind(plan, what)
    check_names([] if action is None else [action], plan.controls, f"{what}: action")
    act, state = next(iter(plan.controls)), next(iter(plan.continuous))
    names = [n for n, slot in plan.graph.slots.items() if slot.scope == "function"]
    check_names([] if savings is None else [savings], names, f"{what}: function post_decision=")
    asked = [name for name in ([savings] if savings is not None else names) if _saves(plan, act, state, name)]
    cuts = [(name, cut_at(plan, name)) for name in asked]
    beside = [seen_beside(plan, cut, name, {act, state}) for name, cut in cuts]
    fitting = [pair for pair, why in zip(cuts, beside, strict=True) if not why]
    if savings is not None and not asked:
        raise ModelError(
            f"{what}: post_decision={savings!r} does not see both the action {act!r} and the state {state!r}; it is to "
            f"be what is left of resources: functions={{{savings!r}: lambda {state}, {act}: {state} - {act}}}."
        )
    if not fitting:
        why = beside[0] if cuts else "there is no function of the model that sees both"
        raise ModelError(
            f"{what}: tomorrow is to see the action {act!r} and the state {state!r} through one function alone, like "
            f"functions={{'savings': lambda {state}, {act}: {state} - {act}}}; {why}. Write laws in terms of it, or "
            "use bx.maximise.Newton()."
        )
    found, cut = fitting[0]
    check_resources(plan, what, act, resources)
    return Structure(plan, cut, act, state, found, resources, axes_of(plan, cut, act))


def check_resources(plan: Plan, what: str, action: str, resources: str | None) -> None:
    """Raises ModelError for resources= that are no name, or not known before the action."""
    names = [n for n, slot in plan.graph.slots.items() if slot.scope == "function"]
    check_names([] if resources is None else [resources], [*names, *plan.states], f"{what}: resources")
    if resources is not None and (plan.graph.leaves(resources, "action") & {action} or plan.graph.is_random(resources)):
        raise ModelError(f"{what}: resources={resources!r} is to be known before {action!r} is chosen.")


def axes_of(plan: Plan, cut: Plan, action: str) -> tuple[str, ...]:
    """The discrete axes along which the optimum differs, given resources."""
    return tuple(n for n in (*plan.processes, *plan.discrete) if _matters(plan, cut, n, action))


def _check_kind(plan: Plan, what: str) -> None:
    """Raises ModelError for a model that is not of the kind at all."""
    newton = "bx.maximise.Newton() serves"
    if len(plan.coordinates) != 1:
        named = listed(sorted(plan.controls)) if plan.controls else "none"
        raise ModelError(f"{what} needs one continuous action, a number; the model has {named}. {newton}.")
    if len(plan.lines) != 1:
        named = listed(sorted(plan.continuous)) if plan.continuous else "none"
        raise ModelError(f"{what} needs one continuous state, a number; the model has {named}. {newton}.")
    if plan.evaluate_stop is not None:
        raise ModelError(f"{what} does not honour stop=; state it as a discrete action, or use bx.maximise.Newton().")
    check_constraints(plan, what)
    vector = [name for name in plan.processes if isinstance(plan.states[name], VAR)]
    if vector:
        raise ModelError(f"{what} does not take the VAR {vector[0]!r}, a process of several numbers. {newton}.")
    state = next(iter(plan.continuous))
    if plan.graph.is_random("slot:reward"):
        raise ModelError(f"{what} needs a reward that is known with the decision, and it sees a shock. {newton}.")
    if plan.graph.leaves("slot:reward", "state") & {state}:
        raise ModelError(
            f"{what} needs a reward that sees the state {state!r} through the action alone, and it sees it. {newton}."
        )


def _saves(plan: Plan, action: str, state: str, name: str) -> bool:
    graph = plan.graph
    return {action, state} <= graph.leaves(name, "action", "state") and not graph.is_random(name)


def cut_at(plan: Plan, savings: str) -> Plan:
    """The plan in whose graph savings are given."""
    graph = plan.graph
    slots = [slot for node, slot in graph.slots.items() if node != savings]
    seen = graph.seen | {savings: jax.ShapeDtypeStruct((), jnp.result_type(float))}
    kinds = graph.kinds | {savings: "action"}
    return Plan(Graph(slots, kinds, seen, graph.regime, graph.where, graph.clock), plan.arrivals)


def following(cut: Plan) -> list[str]:
    """The nodes that what follows is made of."""
    nodes = [node for node in cut.targets if node != "slot:reward"]
    return nodes + [node for name in cut.shocks for node in cut.shock_nodes(name)]


def seen_beside(plan: Plan, cut: Plan, savings: str, names: set[str]) -> str:
    """What sees some of these states and actions beside savings, in words; empty where nothing does."""
    for node in following(cut):
        beside = cut.graph.leaves(node, "action", "state") & names
        if beside:
            label = plan.graph.slots[node].quantity.label if node in plan.graph.slots else node
            return f"beside {savings!r}, {label} sees {listed(sorted(beside))}"
    return ""


def _matters(plan: Plan, cut: Plan, name: str, action: str) -> bool:
    """Whether the optimum differs along a discrete axis, given resources; only what is drawn afresh need not."""
    if not isinstance(plan.states[name], IID):
        return True
    nodes = [*cut.targets, *(n for shock in cut.shocks for n in cut.shock_nodes(shock)), f"lower:{action}"]
    return any(name in cut.graph.leaves(node, "state") for node in nodes)


# -- V as a function ------------------------------------------------------------------------------------------------


class Answers(eqx.Module):
    """What is known at a state, of one combination of the discrete actions or of all of them, shape (k,).

    Attributes:
        value: minus infinity where it is not allowed.
        action: the continuous one.
        kind: numbers that change where V of the combination has a kink.
        allowed: whether bounds and constraints allow something.
    """

    value: Float[Array, "*k"]
    action: Float[Array, "*k"]
    kind: Array
    allowed: Array


class Endogenous(Function):
    """V from the pieces of an endogenous grid, one function of resources for each combination of discrete actions.

    Attributes:
        pieces: along the axes of the structure, and of combinations.
        quick: whether nobody asks for derivatives in parameters, which have no transpose in a branch.
    """

    period: Period
    pieces: Pieces
    structure: Structure = eqx.field(static=True)
    quick: bool = eqx.field(static=True, default=False)

    def __call__(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Float[Array, ""]:
        if self.structure.plan.evaluate_terminal is None:
            return where(self.pieces.ended > 0, 0.0, self._best(states, places))
        # one of the two: both are powers and logarithms, in the loop over what may happen tomorrow
        ended = lambda: self.period.terminal(states)  # noqa: E731
        if not self.quick:
            return where(self.pieces.ended > 0, ended(), self._best(states, places))
        return jax.lax.cond(self.pieces.ended > 0, ended, lambda: self._best(states, places))

    def _best(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Float[Array, ""]:
        """V where there is a decision."""
        values = self.answers(states, places).value
        if self.structure.plan.taste_shocks is not None:
            return chosen(self.period, values).value
        best, *others = values
        # of equal ones the derivative of a maximum is the mean, and that of the one that `kind` knows is meant
        for value in others:
            best = where((value > best) | jnp.isnan(value), value, best)
        return best

    def kind(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Array:
        found = self.answers(states, places)
        if self.structure.plan.taste_shocks is not None:  # V sees all of them
            kind = jnp.sum(found.kind * odd(found.kind.shape[0]), dtype=jnp.uint32)
        else:
            best = jnp.argmax(found.value)
            kind = found.kind[best] * 64 + best.astype(jnp.uint32) + 1
        return jnp.where(self.pieces.ended > 0, kind_of_end(self.period, states), kind)

    def answers(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Answers:
        """What is known at a state; between two nodes of a process a mixture of what is known at both, or, of four."""
        inside = [(name, places[name]) for name in self.structure.axes]
        codes = jnp.arange(len(combinations(self.structure.plan)), dtype=jnp.int32)

        def mixed(rest: list[tuple[str, Place]], place: tuple[Array, ...]) -> Answers:
            if not rest:
                return jax.vmap(lambda k: self._answer(states, (*place, k), k))(codes)
            (_, own), others = rest[0], rest[1:]
            if own.fraction is not None and own.nodes is not None and own.nodes >= 4:
                start = jnp.clip(own.code - 1, 0, own.nodes - 4)
                four = jax.vmap(lambda j: mixed(others, (*place, start + j)))(jnp.arange(4, dtype=start.dtype))
                return _through(four, own.code - start, own.fraction)
            low = mixed(others, (*place, own.code))
            if own.fraction is None:
                return low
            high = mixed(others, (*place, own.code + 1))
            mix = lambda a, b: where(own.fraction > 0, a + own.fraction * (b - a), a)  # noqa: E731
            allowed = low.allowed & high.allowed
            value, action = jax.vmap(mix)(low.value, high.value), jax.vmap(mix)(low.action, high.action)
            return Answers(value, action, low.kind, allowed)

        return mixed(inside, ())

    def _answer(self, states: Mapping[str, Array], place: tuple[Array, ...], combination: Array) -> Answers:
        structure, period = self.structure, self.period
        choices = period.choices(combination)
        resources = structure.resources(period, states, choices)
        lower, _ = period.bounds(structure.action, states, choices)
        row = self.pieces.row(place)
        enough = resources - row.limit >= lower
        held = where(enough, resources, row.limit + lower + 1.0)  # no logarithm of less than nothing is differentiated
        segment, stretch = row.find(jax.lax.stop_gradient(held))
        action = pieces.consumption(segment, held)
        utility = structure.utility(period, states, choices)
        allowed = enough & period.feasible(states, {**choices, structure.action: action})
        value = worth(held, segment, utility)
        return Answers(where(allowed, value, -jnp.inf), action, jnp.asarray(stretch, jnp.uint32), allowed)


def _through(four: Answers, below: Array, fraction: Array) -> Answers:
    """What is known between the second and the third of four nodes, or at the ends between others.

    Args:
        four: at the nodes, along the first axis.
        below: which of them is the one below.
    """
    low, high = (jax.tree.map(lambda leaf, k=k: take(leaf, below + k), four) for k in range(2))
    value, action = (through_four(own, below, fraction) for own in (four.value, four.action))
    return Answers(value, action, low.kind, low.allowed & high.allowed)


@eqx.filter_custom_jvp
def worth(resources: Array, segment: Array, utility: Utility) -> Array:
    """V on a segment; its derivative in resources is the marginal utility of consumption, of the same order as that."""
    return pieces.value(segment, resources, utility)


@worth.def_jvp
def _worth_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    resources, segment, utility = primals
    moved, t_segment, t_utility = tangents
    value = worth(resources, segment, utility)
    _, change = eqx.filter_jvp(
        lambda segment, utility: pieces.value(segment, resources, utility), (segment, utility), (t_segment, t_utility)
    )
    change = jnp.zeros_like(value) if change is None else change
    if moved is not None:
        change = change + utility.marginal(pieces.consumption(segment, resources)) * moved
    return value, change
