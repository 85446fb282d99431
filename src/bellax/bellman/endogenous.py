"""What an endogenous grid needs of a model, read off its graph: where one action meets tomorrow through savings alone.

    V(s) = max over c of u(c, e) + W(m(s) - c, e),   W(a, e) = E[ b V(s'(a, e)) ],

m resources, a savings (the state after the decision), e what else is known: processes, discrete states and discrete
actions. Then V depends on the continuous state through m alone, and u'(c) = W'(a) gives c, and m = a + c, for every a
without a search.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.maximisers.maximum import check_constraints
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Objective
from bellax.bellman.pointwise import Function, Place, kind_of_end, odd
from bellax.bellman.taste import chosen
from bellax.errors import ModelError, check_names, listed
from bellax.model.autoregressions import VAR
from bellax.model.graph import Graph
from bellax.model.spaces import IID
from bellax.numerics import loops, pieces
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.pieces import Pieces
from bellax.numerics.scalar import where
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
    """

    plan: Plan
    cut: Plan
    action: str
    state: str
    savings: str
    named: str | None
    axes: tuple[str, ...]

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
        actions = {**self.choices, self.structure.action: c}
        return as_float(evaluate(**self.period.environment, **self.states, **actions)["slot:reward"])

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
    cuts = [(name, *_cut(plan, act, state, name)) for name in asked]
    fitting = [(name, cut) for name, cut, _ in cuts if cut is not None]
    if savings is not None and not asked:
        raise ModelError(
            f"{what}: post_decision={savings!r} does not see both the action {act!r} and the state {state!r}; it is to "
            f"be what is left of resources: functions={{{savings!r}: lambda {state}, {act}: {state} - {act}}}."
        )
    if not fitting:
        why = cuts[0][2] if cuts else "there is no function of the model that sees both"
        raise ModelError(
            f"{what}: tomorrow is to see the action {act!r} and the state {state!r} through one function alone, like "
            f"functions={{'savings': lambda {state}, {act}: {state} - {act}}}; {why}. Write laws in terms of it, or "
            "use bx.maximise.Newton()."
        )
    found, cut = fitting[0]
    known = [*names, *plan.states]
    check_names([] if resources is None else [resources], known, f"{what}: resources")
    if resources is not None and (plan.graph.leaves(resources, "action") & {act} or plan.graph.is_random(resources)):
        raise ModelError(f"{what}: resources={resources!r} is to be known before {act!r} is chosen.")
    axes = tuple(n for n in (*plan.processes, *plan.discrete) if _matters(plan, cut, n))
    return Structure(plan, cut, act, state, found, resources, axes)


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


def _cut(plan: Plan, action: str, state: str, savings: str) -> tuple[Plan | None, str]:
    """The plan in whose graph savings are given, or what sees the action or the state beside them."""
    graph = plan.graph
    slots = [slot for node, slot in graph.slots.items() if node != savings]
    seen = graph.seen | {savings: jax.ShapeDtypeStruct((), jnp.result_type(float))}
    kinds = graph.kinds | {savings: "action"}
    cut = Graph(slots, kinds, seen, graph.regime, graph.where, graph.clock)
    found = Plan(cut, plan.arrivals)
    nodes = [node for node in found.targets if node != "slot:reward"]
    nodes += [node for name in found.shocks for node in found.shock_nodes(name)]
    for node in nodes:
        beside = cut.leaves(node, "action", "state") & {action, state}
        if beside:
            label = graph.slots[node].quantity.label if node in graph.slots else node
            return None, f"beside {savings!r}, {label} sees {listed(sorted(beside))}"
    return found, ""


def _matters(plan: Plan, cut: Plan, name: str) -> bool:
    """Whether the optimum differs along a discrete axis, given resources; only what is drawn afresh need not."""
    if not isinstance(plan.states[name], IID):
        return True
    nodes = [*cut.targets, *(n for shock in cut.shocks for n in cut.shock_nodes(shock)), f"lower:{_only(plan)}"]
    return any(name in cut.graph.leaves(node, "state") for node in nodes)


def _only(plan: Plan) -> str:
    return next(iter(plan.controls))


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
    """

    period: Period
    pieces: Pieces
    structure: Structure = eqx.field(static=True)

    def __call__(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Float[Array, ""]:
        values = self.answers(states, places).value
        # of equal ones the derivative of a maximum is the mean, and that of the one that `kind` knows is meant
        best = values[jnp.argmax(values)]
        if self.structure.plan.taste_shocks is not None:
            best = chosen(self.period, values).value
        return where(self.pieces.ended > 0, self.period.terminal(states), best)

    def kind(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Array:
        found = self.answers(states, places)
        if self.structure.plan.taste_shocks is not None:  # V sees all of them
            kind = jnp.sum(found.kind * odd(found.kind.shape[0]), dtype=jnp.uint32)
        else:
            best = jnp.argmax(found.value)
            kind = found.kind[best] * 64 + best.astype(jnp.uint32) + 1
        return jnp.where(self.pieces.ended > 0, kind_of_end(self.period, states), kind)

    def answers(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Answers:
        """What is known at a state; between two nodes of a process a mixture of what is known at both."""
        inside = [(name, places[name]) for name in self.structure.axes]
        codes = jnp.arange(len(combinations(self.structure.plan)), dtype=jnp.int32)

        def mixed(rest: list[tuple[str, Place]], place: tuple[Array, ...]) -> Answers:
            if not rest:
                return jax.vmap(lambda k: self._answer(states, (*place, k), k))(codes)
            (_, own), others = rest[0], rest[1:]
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


# -- what follows from savings ----------------------------------------------------------------------------------------


class Future(NamedTuple):
    """W and its first two derivatives, of one or of many savings."""

    value: Float[Array, "*n"]
    first: Float[Array, "*n"]
    second: Float[Array, "*n"]

    @property
    def sound(self) -> Bool[Array, "*n"]:
        """Whether all of them are numbers."""
        return jnp.isfinite(self.value) & jnp.isfinite(self.first) & jnp.isfinite(self.second)


@eqx.filter_custom_jvp
def future(
    savings: Float[Array, ""], spare: Array, objective: Objective, point: Point, actions: dict[str, Array], name: str
) -> Future:
    """W of savings, all else given; with derivatives that are zero where W is no number.

    Args:
        spare: savings of which it is one.
        objective: in whose graph savings are given.
        actions: all others.
        name: of savings.
    """
    return _derivatives(savings, objective, point, actions, name)


def _derivatives(savings: Array, objective: Objective, point: Point, actions: dict[str, Array], name: str) -> Future:
    one = jnp.ones_like(savings)

    def first(a: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda a: objective.future(point, {**actions, name: a}), (a,), (one,))

    (value, slope), (_, second) = jax.jvp(first, (savings,), (one,))
    return Future(value, slope, second)


@future.def_jvp
def _future_jvp(primals: tuple, tangents: tuple) -> tuple[Future, Future]:
    savings, spare, *rest = primals
    found = future(*primals)
    sound = found.sound & ~is_barrier(found.value)
    held = where(sound, savings, spare)
    _, moved = eqx.filter_jvp(_derivatives, (held, *rest), (tangents[0], *tangents[2:]))
    zero = jnp.zeros_like(found.value)
    return found, Future(*(zero if t is None else where(sound, t, 0.0) for t in moved))


# -- the inverse of marginal utility --------------------------------------------------------------------------------


@eqx.filter_custom_jvp
def inverse(marginal: Float[Array, ""], utility: Utility, floor: Float[Array, ""]) -> Float[Array, ""]:
    """c above `floor` with u'(c) = marginal; NaN where there is none that is found.

    Newton's method on log u' as a function of log c, a straight line where relative risk aversion is constant.
    """
    target = jnp.log(marginal)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, _, count = state
        c = jnp.exp(x)
        at, curvature = utility.marginal(floor + c), utility.curvature(floor + c)
        gap = jnp.log(at) - target
        move = jnp.clip(-gap * at / (curvature * c), -4.0, 4.0)
        # where marginal utility is not positive there is less to consume
        move = jnp.where(at > 0, move, -1.0)
        return x + move, jnp.where(at > 0, jnp.abs(move), 1.0), count + 1

    tolerance = 16 * float(jnp.finfo(marginal.dtype).eps)
    done = lambda state: ~(state[1] > tolerance) | (state[2] > 200)  # noqa: E731
    start = (jnp.zeros_like(marginal), jnp.ones_like(marginal), jnp.zeros((), jnp.int32))
    x, move, _ = loops.until(done, step, start)
    return jnp.where((marginal > 0) & (move <= max(1e-9, tolerance)), floor + jnp.exp(x), jnp.nan)


@inverse.def_jvp
def _inverse_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    marginal, utility, floor = primals
    t_marginal, t_utility, _ = tangents
    c = inverse(marginal, utility, floor)
    held = jnp.where(jnp.isfinite(c), c, floor + 1.0)
    _, at = eqx.filter_jvp(lambda utility: utility.marginal(held), (utility,), (t_utility,))
    change = jnp.zeros_like(c) if t_marginal is None else t_marginal
    change = change if at is None else change - at
    return c, change / utility.curvature(held)
