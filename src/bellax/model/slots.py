"""The slots of a regime, as nodes of its graph: what each may name, and what a value of it must look like."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bellax.errors import ModelError, listed, nearest
from bellax.model.constraints import Nonnegative, not_a_number, not_true_or_false
from bellax.model.demands import alone, probabilities
from bellax.model.distribution import Distribution, tidy_table
from bellax.model.graph import CLOCK, RESERVED, RESERVED_PREFIXES, Graph, Slot
from bellax.model.laws import Fixed, Markov
from bellax.model.preferences import LOCAL, ExtremeValue
from bellax.model.quantity import Quantity, quantity
from bellax.model.regime import Slots
from bellax.model.spaces import AR1, IID, PROCESSES, VAR, Continuous, Discrete, MarkovChain
from bellax.model.time import Clock
from bellax.numerics.scalar import seen_type, whole


def regime_graph(regime: Slots, where: str = "", clock: Clock | None = None) -> Graph:
    """The graph of a regime.

    Raises:
        ModelError: if a name is reserved, doubled or unknown, or a slot names what its row of `SCOPES`
        forbids.
    """
    check_names(regime, ("states", "actions", "shocks", "functions"), where)
    check_laws(regime, where)
    kinds = dict.fromkeys(CLOCK, "clock") | dict.fromkeys(regime.states, "state")
    kinds |= dict.fromkeys(regime.actions, "action") | dict.fromkeys(regime.shocks, "shock")
    seen = {name: view(space) for name, space in {**regime.states, **regime.actions}.items()}
    seen |= {name: shock.seen for name, shock in regime.shocks.items()}
    seen |= {
        "period": jax.ShapeDtypeStruct((), whole()),
        "age": jax.ShapeDtypeStruct((), jnp.result_type(float)),
    }
    for name, space in regime.states.items():
        if isinstance(space, PROCESSES) or isinstance(regime.transitions.get(name), Markov):
            kinds[f"next_{name}"], seen[f"next_{name}"] = "next", seen[name]
    return Graph(_collect(regime, where), kinds, seen, regime, where, clock)


def view(space: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of what functions see of a state or an action."""
    if isinstance(space, IID):
        return space.distribution.seen
    shape = space.shape if isinstance(space, Continuous | VAR) else ()
    values = space.values if isinstance(space, Discrete | MarkovChain) else None
    return jax.ShapeDtypeStruct(shape, jnp.result_type(float) if values is None else seen_type(values))


def bounds(what: str, name: str, space: Continuous, where: str) -> Iterable[Slot]:
    """The two bounds of a box; `what` is state, action or unknown."""
    for side in ("lower", "upper"):
        q = quantity(getattr(space, side), f"{where}{side} bound of {what} {name!r}")
        yield Slot(f"{side}:{name}", f"{what} bound", q, space.shape, broadcast=True)


def distribution(node: str, scope: str, dist: Distribution, label: str, where: str = "") -> Iterable[Slot]:
    """The parameters of a shock, or of an IID state."""
    for key, value in dist.parameters().items():
        shape = dist.parameter_shape(key)
        q = quantity(value, f"{where}{key} of {label}")
        yield Slot(f"{node}.{key}", scope, q, shape, dist.broadcasts(key), alone(dist.demands(), key))


def process(name: str, space: MarkovChain | AR1 | VAR | IID, where: str) -> Iterable[Slot]:
    """The parameters of a process."""
    label = f"state {name!r}"
    if isinstance(space, IID):
        yield from distribution(f"process:{name}", "process", space.distribution, label, where)
        return
    if isinstance(space, VAR):
        for key, value in space.parameters().items():
            q, count = quantity(value, f"{where}{key} of {label}"), 1 if key == "mean" else 2
            demands = alone(space.demands(), key)
            yield Slot(f"process:{name}.{key}", "process", q, space.shape * count, count == 1, demands)
        return
    if isinstance(space, AR1):
        for key, value in space.parameters().items():
            q = quantity(value, f"{where}{key} of {label}")
            yield Slot(f"process:{name}.{key}", "process", q, (), demands=alone(space.demands(), key))
        return
    key = "transition" if space.intensity is None else "intensity"
    shape = None if space.size is None else (space.size, space.size)
    q = quantity(getattr(space, key), f"{where}{key} of {label}")
    yield Slot(f"process:{name}.{key}", "process", q, shape, demands=alone(space.demands(), key))
    if not space.known:
        yield Slot(f"process:{name}.values", "process", quantity(space.categories, f"{where}values of {label}"))


def _collect(regime: Slots, where: str) -> Iterable[Slot]:
    for name, function in regime.functions.items():
        yield Slot(name, "function", quantity(function, f"{where}functions[{name!r}]"))
    for name, space in regime.states.items():
        yield from state(regime, name, space, where, "law")
    for name, space in regime.actions.items():
        if isinstance(space, Continuous):
            yield from bounds("action", name, space, where)
    for name, shock in regime.shocks.items():
        yield from distribution(f"shock:{name}", "shock", shock, f"shock {name!r}", where)
    for name, constraint in regime.constraints.items():
        smooth = isinstance(constraint, Nonnegative)
        q = quantity(constraint.function if smooth else constraint, f"{where}constraints[{name!r}]")
        yield Slot(f"constraint:{name}", "constraint", q, (), mistyped=not_a_number if smooth else not_true_or_false)
    for name, scope in (("reward", "law"), ("discount", "law"), ("stop", "stop"), ("terminal", "terminal")):
        if getattr(regime, name) is not None:
            yield Slot(f"slot:{name}", scope, quantity(getattr(regime, name), f"{where}{name}"), ())
    if regime.next_regime is not None:
        yield Slot("slot:next_regime", "law", quantity(regime.next_regime, f"{where}next_regime"))
    yield from _preferences(regime, where)


def _preferences(regime: Slots, where: str) -> Iterable[Slot]:
    """The parameters of preferences, and of taste shocks."""
    if regime.preferences is not None:
        for key, value in regime.preferences.quantities().items():
            q = quantity(value, f"{where}{key} of {type(regime.preferences).__name__}", LOCAL.get(key, ()))
            yield Slot(f"preference:{key}", "preference", q, None if q.local else ())
    shocks = regime.taste_shocks
    if not isinstance(shocks, ExtremeValue | None):
        raise ModelError(f"{where}taste_shocks is {shocks!r}; give bx.ExtremeValue(scale, over=('action',)).")
    if shocks is None:
        return
    for key, value in shocks.quantities().items():
        q = quantity(value, f"{where}{key} of {type(shocks).__name__}")
        yield Slot(f"taste:{key}", "preference", q, (), demands=alone(shocks.demands(), key))


def state(statement: Any, name: str, space: Any, where: str, scope: str) -> Iterable[Slot]:
    """The parameters of a process, or the bounds and the law of a state; `scope` is what a law may name."""
    if isinstance(space, PROCESSES):
        yield from process(name, space, where)
        return
    if isinstance(space, Continuous):
        yield from bounds("state", name, space, where)
    law, label = statement.transitions.get(name), f"{where}transitions[{name!r}]"
    if isinstance(law, Markov):
        if law.over:
            yield from _table(statement, name, law, label, space.size)
            return
        q = quantity(law.probabilities, label)
        yield Slot(f"probabilities:{name}", scope, q, (space.size,), demands=probabilities("probabilities"))
    elif law is not None:
        law = name if isinstance(law, Fixed) else law
        yield Slot(f"next_{name}", scope, quantity(law, label), view(space).shape)


def table_node(state: str) -> str:
    """The node of the whole table of a `Markov` law."""
    return f"table_of_{state}"


def _table(statement: Any, name: str, law: Markov, label: str, size: int) -> Iterable[Slot]:
    """A `Markov` law given as a table: the table, and its rows as a function of what it is over."""
    lengths = []
    for other in law.over:
        space = {**statement.states, **statement.actions}.get(other)
        if not isinstance(space, Discrete):
            known = [n for n, s in (*statement.states.items(), *statement.actions.items()) if isinstance(s, Discrete)]
            raise ModelError(
                f"{label}: over names {other!r}, which is no discrete state or action.{nearest(other, known)}"
            )
        if not jnp.issubdtype(view(space).dtype, jnp.integer):
            raise ModelError(f"{label}: over names {other!r}, whose values are no places 0, 1, 2, ... of a table.")
        lengths.append(space.size)
    table = quantity(law.probabilities, label)
    if table.function is not None and not table.alias:
        raise ModelError(f"{label}: with over= the probabilities are an array or a name, not a function.")
    yield Slot(table_node(name), "process", table, (*lengths, size), False, probabilities("table"), tidy_table)

    def row(**arguments: Any) -> Any:
        # one index of all axes: one after the other would copy the table
        places = tuple(jnp.asarray(arguments[other]).astype(jnp.int32) for other in law.over)
        return arguments[table_node(name)][places]

    yield Slot(f"probabilities:{name}", "law", Quantity(label, (*law.over, table_node(name)), row), (size,))


def check_names(statement: Any, slots: Iterable[str], where: str) -> None:
    """Every name is an identifier, not reserved, and used once."""
    seen: dict[str, str] = {}
    for slot in slots:
        for name in getattr(statement, slot):
            if not (isinstance(name, str) and name.isidentifier()):
                raise ModelError(f"{where}{slot} has the name {name!r}, which is no Python identifier.")
            if name in RESERVED or name.startswith(RESERVED_PREFIXES):
                raise ModelError(
                    f"{where}{slot} has the name {name!r}, which is reserved (period, age, regime, next_*, "
                    "marginal_*, curvature_*). Choose another."
                )
            if name in seen:
                raise ModelError(
                    f"{where}{name!r} is used twice, in {seen[name]} and in {slot}; one name has one meaning."
                )
            seen[name] = slot


def check_spaces(statement: Any, where: str, allowed: Mapping[str, tuple[type, ...]]) -> None:
    """Every entry of the slots that `allowed` names is one of the types it says."""
    for slot, types in allowed.items():
        for name, given in getattr(statement, slot).items():
            if not isinstance(given, types):
                names = ", ".join(f"bx.{kind.__name__}" for kind in types)
                names = names.replace("bx.Distribution", "a distribution of bx.shocks")
                raise ModelError(f"{where}{slot}[{name!r}] is {given!r}; it must be {names}.")


def check_laws(regime: Any, where: str) -> None:
    """Spaces and laws are of their kind, and each law is of a state that has none of its own."""
    states = (Continuous, Discrete, *PROCESSES)
    check_spaces(regime, where, {"states": states, "actions": (Continuous, Discrete), "shocks": (Distribution,)})
    for name, law in regime.transitions.items():
        if name not in regime.states:
            raise ModelError(
                f"{where}transitions has a law for {name!r}, which is no state.{nearest(name, regime.states)} States: "
                f"{listed(regime.states)}."
            )
        space = regime.states[name]
        if isinstance(space, PROCESSES):
            kind = type(space).__name__
            raise ModelError(f"{where}{name!r} is a bx.{kind}, which brings its own law; remove it from transitions.")
        if isinstance(law, Markov) and not isinstance(space, Discrete):
            raise ModelError(
                f"{where}transitions[{name!r}] is bx.Markov, which is for a bx.Discrete state; {name!r} is a "
                f"bx.{type(space).__name__}."
            )
        if law is None:
            raise ModelError(f"{where}transitions[{name!r}] is None; use bx.fixed for a state that never moves.")
