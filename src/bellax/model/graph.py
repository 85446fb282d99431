"""The graph of a regime: which name needs which, who may name what, and one function for any set of names.

Every slot becomes a node with a name of its own (`slot:reward`, `lower:consumption`); laws are the nodes `next_<state>`.
What no node computes is a leaf: a state, an action, a shock, `next_<state>` of a process or of a `Markov` law, the
period, the age, a literal, or else a parameter. dags composes the nodes that a target needs, each evaluated once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dags
import networkx as nx

from bellax.errors import ModelError, listed, nearest
from bellax.model.laws import Fixed, Markov
from bellax.model.quantity import Quantity, quantity
from bellax.model.regime import Slots
from bellax.model.spaces import AR1, IID, PROCESSES, Continuous, Discrete, MarkovChain

RESERVED = ("period", "age", "regime")
RESERVED_PREFIXES = ("next_", "marginal_")
CLOCK = ("period", "age")

# What a slot may name besides parameters, the clock, and functions of these. `next` is a realised process.
SCOPES: dict[str, tuple[str, ...]] = {
    "state bound": (),
    "process": (),
    "action bound": ("state", "action"),
    "constraint": ("state", "action"),
    "shock": ("state", "action", "next"),
    "law": ("state", "action", "shock", "next"),
    "terminal": ("state",),
    "stop": ("state",),
}


@dataclass(frozen=True, eq=False)
class Slot:
    """One quantity of a regime, the node that it is, and the row of the scope table that binds it."""

    node: str
    scope: str
    quantity: Quantity


class Graph:
    """The names of one regime.

    Attributes:
        slots: every quantity of the regime, by node.
        kinds: `state`, `action`, `shock`, `next` or `clock` for each leaf that is no parameter.
    """

    def __init__(self, regime: Slots, where: str = "") -> None:
        self.regime = regime
        self.where = where
        self._check_names()
        self.kinds: dict[str, str] = dict.fromkeys(CLOCK, "clock")
        self.kinds |= dict.fromkeys(regime.states, "state") | dict.fromkeys(regime.actions, "action")
        self.kinds |= dict.fromkeys(regime.shocks, "shock")
        self.kinds |= {f"next_{name}": "next" for name in regime.states if self.is_random_leaf(name)}
        self.slots: dict[str, Slot] = {slot.node: slot for slot in self._collect()}
        self._check_reserved_arguments()
        self._check_cycles()
        self._check_scopes()

    def is_random_leaf(self, state: str) -> bool:
        """True where tomorrow's value of `state` is drawn and not computed."""
        return isinstance(self.regime.states[state], PROCESSES) or isinstance(
            self.regime.transitions.get(state), Markov
        )

    @cached_property
    def nodes(self) -> dict[str, Callable[..., Any]]:
        """Every slot as a function that dags composes."""
        return {name: slot.quantity.node() for name, slot in self.slots.items()}

    @cached_property
    def _dag(self) -> nx.DiGraph:
        graph = nx.DiGraph()
        for name, slot in self.slots.items():
            graph.add_node(name)
            needs = slot.quantity.names if slot.quantity.function is not None else (slot.quantity.key,)
            graph.add_edges_from((need, name) for need in needs)
        return graph

    def reach(self, target: str) -> set[str]:
        """Every name that `target` needs, directly or not."""
        return set(nx.ancestors(self._dag, target)) if target in self._dag else set()

    def leaves(self, target: str, *kinds: str) -> set[str]:
        """The leaves of the given kinds that `target` needs."""
        return {name for name in self.reach(target) | {target} if self.kinds.get(name) in kinds}

    def is_random(self, target: str) -> bool:
        """True where `target` is known only after the decision."""
        return bool(self.leaves(target, "shock", "next"))

    def compose(self, targets: Iterable[str], given: Iterable[str] = ()) -> Callable[..., dict[str, Any]]:
        """One function of leaves (and of nodes that are `given`) that returns a dict of the targets."""
        targets, given = list(dict.fromkeys(targets)), set(given)
        if not targets:
            return lambda **_: {}
        functions = {name: node for name, node in self.nodes.items() if name not in given}
        passed = [name for name in targets if name not in functions]
        wanted = [name for name in targets if name in functions]
        if not wanted:
            return lambda **env: {name: env[name] for name in passed}
        composed = dags.concatenate_functions(
            functions, wanted, return_type="dict", enforce_signature=False, set_annotations=False
        )
        needs = set(wanted) | {need for name in wanted for need in self.reach(name)}

        def evaluate(**env: Any) -> dict[str, Any]:
            values = composed(**{name: value for name, value in env.items() if name in needs})
            return values | {name: env[name] for name in passed}

        return evaluate

    def parameter_names(self) -> dict[str, list[Slot]]:
        """Each parameter and the slots that name it."""
        known = set(self.kinds) | set(self.slots)
        used: dict[str, list[Slot]] = {}
        for slot in self.slots.values():
            for name in slot.quantity.names:
                if name not in known:
                    used.setdefault(name, []).append(slot)
        return used

    def literals(self) -> dict[str, Any]:
        """The literal numbers of the regime, by the name under which they travel."""
        quantities = [slot.quantity for slot in self.slots.values()]
        return {q.key: q.literal for q in quantities if q.function is None}

    # -- construction ---------------------------------------------------------------------------------------------

    def _collect(self) -> Iterable[Slot]:
        regime, at = self.regime, self.where
        for name, function in regime.functions.items():
            yield Slot(name, "law", quantity(function, f"{at}functions[{name!r}]"))
        for name, space in regime.states.items():
            yield from self._state_slots(name, space)
        for name, space in regime.actions.items():
            if isinstance(space, Continuous):
                for side in ("lower", "upper"):
                    label = f"{at}{side} bound of action {name!r}"
                    yield Slot(f"{side}:{name}", "action bound", quantity(getattr(space, side), label))
            elif not isinstance(space, Discrete):
                raise ModelError(f"{at}action {name!r} is {space!r}; an action is bx.Continuous or bx.Discrete.")
        for name, shock in regime.shocks.items():
            for key, value in shock.parameters().items():
                yield Slot(f"shock:{name}.{key}", "shock", quantity(value, f"{at}{key} of shock {name!r}"))
        for name, constraint in regime.constraints.items():
            yield Slot(f"constraint:{name}", "constraint", quantity(constraint, f"{at}constraints[{name!r}]"))
        yield from self._single_slots()

    def _state_slots(self, name: str, space: Any) -> Iterable[Slot]:
        at, law = self.where, self.regime.transitions.get(name)
        if isinstance(space, PROCESSES):
            yield from self._process_slots(name, space)
            return
        if isinstance(space, Continuous):
            for side in ("lower", "upper"):
                label = f"{at}{side} bound of state {name!r}"
                yield Slot(f"{side}:{name}", "state bound", quantity(getattr(space, side), label))
        elif not isinstance(space, Discrete):
            raise ModelError(f"{at}state {name!r} is {space!r}; use a space of bellax such as bx.Continuous(lower, upper).")
        if isinstance(law, Markov):
            if not isinstance(space, Discrete):
                raise ModelError(f"{at}transitions[{name!r}] is bx.Markov, which is for a Discrete state; {name!r} is none.")
            label = f"{at}transitions[{name!r}]"
            yield Slot(f"probabilities:{name}", "law", quantity(law.probabilities, label))
        elif law is not None:
            law = name if isinstance(law, Fixed) else law
            yield Slot(f"next_{name}", "law", quantity(law, f"{at}transitions[{name!r}]"))

    def _process_slots(self, name: str, space: Any) -> Iterable[Slot]:
        given: dict[str, Any] = {}
        if isinstance(space, MarkovChain):
            given = {"transition": space.transition} if space.transition is not None else {"intensity": space.intensity}
            if not space.known:
                given["values"] = space.categories
        elif isinstance(space, AR1):
            given = {"rho": space.rho, "sigma": space.sigma, "mean": space.mean}
        elif isinstance(space, IID):
            given = dict(space.distribution.parameters())
        for key, value in given.items():
            yield Slot(f"process:{name}.{key}", "process", quantity(value, f"{self.where}{key} of state {name!r}"))

    def _single_slots(self) -> Iterable[Slot]:
        regime, at = self.regime, self.where
        for name, scope in (("reward", "law"), ("discount", "law"), ("stop", "stop"), ("terminal", "terminal")):
            if getattr(regime, name) is not None:
                yield Slot(f"slot:{name}", scope, quantity(getattr(regime, name), f"{at}{name}"))
        if regime.next_regime is not None:
            yield Slot("slot:next_regime", "law", quantity(regime.next_regime, f"{at}next_regime"))
        for owner in (regime.preferences, regime.taste_shocks):
            for key, value in (owner.quantities() if owner is not None else {}).items():
                label = f"{at}{key} of {type(owner).__name__}"
                yield Slot(f"preference:{key}", "process", quantity(value, label))

    # -- checks ---------------------------------------------------------------------------------------------------

    def _check_names(self) -> None:
        seen: dict[str, str] = {}
        for what in ("states", "actions", "shocks", "functions"):
            for name in getattr(self.regime, what):
                if not (isinstance(name, str) and name.isidentifier()):
                    raise ModelError(f"{self.where}{what} has the name {name!r}, which is no Python identifier.")
                if name in RESERVED or name.startswith(RESERVED_PREFIXES):
                    raise ModelError(
                        f"{self.where}{what} has the name {name!r}, which is reserved (period, age, regime, next_*, "
                        "marginal_*). Choose another."
                    )
                if name in seen:
                    raise ModelError(
                        f"{self.where}{name!r} is used twice, in {seen[name]} and in {what}; one name has one meaning."
                    )
                seen[name] = what
        for name, law in self.regime.transitions.items():
            if name not in self.regime.states:
                raise ModelError(
                    f"{self.where}transitions has a law for {name!r}, which is no state."
                    f"{nearest(name, self.regime.states)} States: {listed(self.regime.states)}."
                )
            if isinstance(self.regime.states[name], PROCESSES):
                kind = type(self.regime.states[name]).__name__
                raise ModelError(f"{self.where}{name!r} is a {kind}, which brings its own law; remove {law!r} from transitions.")

    def _check_reserved_arguments(self) -> None:
        known = set(self.kinds) | set(self.slots)
        for slot in self.slots.values():
            for name in slot.quantity.names:
                if name in known:
                    continue
                if name.startswith(RESERVED_PREFIXES) or name in RESERVED:
                    options = [key for key in known if key.startswith("next_")]
                    raise ModelError(
                        f"{slot.quantity.label} names {name!r}, which is reserved and does not exist here."
                        f"{nearest(name, options)} It can name {listed(sorted(options))}."
                    )

    def _check_cycles(self) -> None:
        try:
            cycle = nx.find_cycle(self._dag)
        except nx.NetworkXNoCycle:
            return
        path = " -> ".join(repr(edge[0]) for edge in cycle) + f" -> {cycle[0][0]!r}"
        raise ModelError(f"{self.where}these names need each other in a circle: {path}.")

    def _check_scopes(self) -> None:
        order = self._bound_order()
        for slot in self.slots.values():
            if slot.node in self.regime.functions:
                continue
            for name in sorted(self.leaves(slot.node, "state", "action", "shock", "next")):
                kind = self.kinds[name]
                if kind not in SCOPES[slot.scope]:
                    raise ModelError(_scope_message(slot, name, kind, self._through(slot, name)))
        if order is None:
            raise ModelError(f"{self.where}the bounds of the actions name each other in a circle.")

    def _through(self, slot: Slot, name: str) -> str:
        if name in slot.quantity.names:
            return ""
        path = nx.shortest_path(self._dag, name, slot.node)
        return f" through {listed(path[1:-1])}"

    def _bound_order(self) -> list[str] | None:
        """The actions in an order in which each one's bounds name earlier ones only; None where there is none."""
        graph = nx.DiGraph()
        graph.add_nodes_from(self.regime.actions)
        for name in self.regime.actions:
            for side in ("lower", "upper"):
                graph.add_edges_from((other, name) for other in self.leaves(f"{side}:{name}", "action"))
        try:
            return list(nx.lexicographical_topological_sort(graph, key=list(self.regime.actions).index))
        except nx.NetworkXUnfeasible:
            return None

    @cached_property
    def action_order(self) -> list[str]:
        """The actions, each after those that its bounds name."""
        order = self._bound_order()
        assert order is not None  # checked at construction
        return order


def _scope_message(slot: Slot, name: str, kind: str, through: str) -> str:
    allowed = {"state": "states", "action": "other actions", "shock": "shocks", "next": "next_<chain>"}
    may = ", ".join(["parameters", "period", "age", *(allowed[k] for k in SCOPES[slot.scope])])
    what = {"next": "a realised process", "shock": "a shock"}.get(kind, f"the {kind}")
    return f"{slot.quantity.label} names {what} {name!r}{through}; it may name {may}, and functions of these."

