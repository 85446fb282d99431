"""The graph of a statement: which name needs which, who may name what, and one function for any set of names.

Every slot becomes a node with a name of its own (`slot:reward`, `lower:consumption`); laws are the nodes
`next_<state>`. What no node computes is a leaf: a state, an action, a shock, `next_<state>` of a process or
of a `Markov` law, the period, the age, a literal, or else a parameter. dags composes the nodes that a target
needs, each evaluated once. Which slots a statement has is said in slots.py, one collector for each kind of
statement.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dags
import jax
import networkx as nx
import numpy as np

from bellax.errors import ModelError, listed, nearest
from bellax.model.align import along_clock, each_period
from bellax.model.demands import Demand, complaint
from bellax.model.quantity import ByAge, ByPeriod, Quantity
from bellax.model.time import Clock

RESERVED = ("period", "age", "regime")
RESERVED_PREFIXES = ("next_", "marginal_", "curvature_")
CLOCK = ("period", "age")

# What a slot may name besides parameters, the clock, and functions of these. `next` is a realised process; a
# `next_<state>` that a law computes counts as what the law needs. None: a function, bound by the slots that
# use it.
SCOPES: dict[str, tuple[str, ...] | None] = {
    "function": None,
    "state bound": (),
    "process": (),
    "preference": (),
    "action bound": ("state", "action"),
    "constraint": ("state", "action"),
    "shock": ("state", "action", "next"),
    "law": ("state", "action", "shock", "next"),
    "terminal": ("state",),
    "stop": ("state",),
    "rule": ("state",),
    "represented": ("state",),
    # continuous time
    "flow": ("state", "action", "marginal"),
    "closed form": ("state", "action", "marginal", "curvature"),
    "spread": ("state", "action"),
    # conditions
    "unknown bound": ("state", "unknown"),
    "evolution": ("state", "unknown", "shock", "next"),
    "disturbance": ("state", "unknown", "next"),
    "equation": ("state", "unknown", "shock", "next", "tomorrow"),
}

_KINDS = {
    "state": "the state",
    "action": "the action",
    "shock": "the shock",
    "next": "the realised process",
    "marginal": "the marginal value",
    "curvature": "the curvature of the value",
    "unknown": "the unknown",
    "tomorrow": "tomorrow's unknown",
}
_ALLOWED = {
    "state": "states",
    "action": "actions",
    "shock": "shocks",
    "next": "next_<chain>",
    "marginal": "marginal_<state>",
    "curvature": "curvature_<state>",
    "unknown": "unknowns",
    "tomorrow": "next_<unknown>",
}


@dataclass(frozen=True, eq=False)
class Slot:
    """One quantity of a statement, the node that it is, and the row of the scope table that binds it.

    Attributes:
        node: its name in the graph.
        scope: a key of `SCOPES`.
        quantity: the quantity.
        shape: shape that its value must have; None where that is not known here.
        broadcast: whether a smaller shape will do, such as one bound for a whole vector.
        demands: what a value of it must be, beside its shape; they read it alone.
        tidy: what a value becomes before it is used; only of a slot that is given, and not computed.
        mistyped: says what is wrong with the type of a value of it, or None.
    """

    node: str
    scope: str
    quantity: Quantity
    shape: tuple[int, ...] | None = None
    broadcast: bool = False
    demands: tuple[Demand, ...] = ()
    tidy: Callable[[Any], Any] | None = None
    mistyped: Callable[[Any], str | None] | None = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value that the slot was given, in any period; nothing is known of a tracer."""
        for array in each_period(value):
            found = self.misfit(array.shape) or complaint(self.demands, array)
            if found:
                return found
        return None

    def tidied(self, value: Any) -> Any:
        """A value that was given, as it is used."""
        return value if self.tidy is None else self.tidy(value)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """What is wrong with a value of this shape."""
        if self.shape is None or shape == self.shape or (self.broadcast and _broadcasts(shape, self.shape)):
            return None
        if self.shape == ():
            return f"has shape {shape}; it must be a single number."
        return f"has shape {shape}; it must have shape {self.shape}."


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


class Graph:
    """The names of one regime, or of another statement.

    Args:
        slots: every quantity.
        kinds: a key of `_KINDS`, or `clock`, for each leaf that is no parameter.
        seen: what functions see of each leaf, shape and type; a shock's is its distribution's affair.
        regime: the statement itself.
        where: what its messages begin with, such as `regime 'retired': `.
        clock: the periods along which literals by age are laid; None where the statement has none.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        kinds: Mapping[str, str],
        seen: Mapping[str, jax.ShapeDtypeStruct],
        regime: Any,
        where: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.regime = regime
        self.seen = dict(seen)
        self.where = where
        self.clock = clock
        self.kinds: dict[str, str] = dict(kinds)
        self.slots: dict[str, Slot] = {slot.node: slot for slot in slots}
        self._check_reserved_arguments()
        self._check_cycles()
        self._check_scopes()
        _ = self.action_order
        self._check_literals()

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

    @cached_property
    def _resolution(self) -> nx.DiGraph:
        """The graph, with what is drawn after that which it is drawn with: a shock after its parameters."""
        graph = self._dag.copy()
        for node in self.slots:
            kind, _, name = node.partition(":")
            drawn = {"shock": name.partition(".")[0], "probabilities": f"next_{name}"}.get(kind)
            if drawn is not None:
                graph.add_edge(node, drawn)
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

    @cached_property
    def _composed(self) -> dict[Any, Callable[..., dict[str, Any]]]:
        return {}

    def compose(self, targets: Iterable[str], given: Iterable[str] = ()) -> Callable[..., dict[str, Any]]:
        """One function of leaves (and of nodes that are `given`) that returns a dict of the targets."""
        cached = (tuple(targets), tuple(given))
        if cached not in self._composed:
            self._composed[cached] = self._compose(list(dict.fromkeys(cached[0])), set(cached[1]))
        return self._composed[cached]

    def _compose(self, targets: list[str], given: set[str]) -> Callable[..., dict[str, Any]]:
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
        """The literal numbers of the statement, by the name under which they travel."""
        given = [slot for slot in self.slots.values() if slot.quantity.function is None]
        return {slot.quantity.key: slot.tidied(self._on_clock(slot.quantity)) for slot in given}

    @cached_property
    def action_order(self) -> list[str]:
        """The actions (of conditions, the unknowns), each after those that its bounds name."""
        graph, actions = nx.DiGraph(), list(getattr(self.regime, "actions", {}))
        graph.add_nodes_from(actions)
        for name in actions:
            for side in ("lower", "upper"):
                # and not what is given in place of a function
                others = self.leaves(f"{side}:{name}", "action", "unknown") & set(actions)
                graph.add_edges_from((other, name) for other in others)
        try:
            return list(nx.lexicographical_topological_sort(graph, key=actions.index))
        except nx.NetworkXUnfeasible:
            circle = " -> ".join(repr(edge[0]) for edge in nx.find_cycle(graph))
            raise ModelError(f"{self.where}the bounds of the actions name each other in a circle: {circle}.") from None

    # -- checks

    def _on_clock(self, q: Quantity) -> Any:
        if isinstance(q.literal, ByPeriod | ByAge):
            return along_clock(q.label, q.literal, self.clock, {}, ModelError)
        return q.literal

    def _check_literals(self) -> None:
        for slot in self.slots.values():
            if slot.quantity.function is None:
                problem = slot.problem(self._on_clock(slot.quantity))
                if problem:
                    raise ModelError(f"{slot.quantity.label} {problem}")

    def _check_reserved_arguments(self) -> None:
        known = set(self.kinds) | set(self.slots)
        for slot in self.slots.values():
            for name in slot.quantity.names:
                if name in known or not (name.startswith(RESERVED_PREFIXES) or name in RESERVED):
                    continue
                options = [key for key in known if key.startswith(RESERVED_PREFIXES)]
                raise ModelError(
                    f"{slot.quantity.label} names {name!r}, which is reserved and does not exist "
                    f"here.{nearest(name, options)} It can name {listed(sorted(options))}."
                )

    def _check_cycles(self) -> None:
        try:
            cycle = [edge[0] for edge in nx.find_cycle(self._resolution)]
        except nx.NetworkXNoCycle:
            return
        names = [self.slots[node].quantity.label if ":" in node else repr(node) for node in cycle]
        raise ModelError(f"{self.where}these names need each other in a circle: {' -> '.join([*names, names[0]])}.")

    def _check_scopes(self) -> None:
        for slot in self.slots.values():
            allowed = SCOPES[slot.scope]
            if allowed is None:
                continue
            for name in sorted(self.leaves(slot.node, *_KINDS)):
                if self.kinds[name] not in allowed:
                    raise ModelError(self._scope_message(slot, name, allowed))

    def _scope_message(self, slot: Slot, name: str, allowed: tuple[str, ...]) -> str:
        through = ""
        if name not in slot.quantity.names:
            through = f" through {listed(nx.shortest_path(self._dag, name, slot.node)[1:-1])}"
        clock = [key for key in self.kinds if self.kinds[key] == "clock"]
        may = ", ".join(["parameters", *clock, *(_ALLOWED[kind] for kind in allowed)])
        return (
            f"{slot.quantity.label} names {_KINDS[self.kinds[name]]} {name!r}{through}; it may name {may}, and "
            "functions of these."
        )
