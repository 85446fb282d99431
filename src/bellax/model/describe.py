"""A model in words: its regimes, what each consists of, who may reach whom, and which law holds at every boundary."""

from collections.abc import Iterable, Mapping
from typing import Any

from bellax.model.boundaries import resolve, targets
from bellax.model.distribution import Distribution
from bellax.model.laws import Ergodic, Fixed, Markov
from bellax.model.quantity import Quantity, quantity
from bellax.model.spaces import PROCESSES
from bellax.model.statement import Statement


def describe(model: Statement, parameters: Mapping[str, Any] | None = None) -> str:
    """The text of `Model.describe`."""
    several = list(model.graphs) != [""]
    lines: list[str] = []
    for name, graph in model.graphs.items():
        if several:
            lines.append(f"regime {name}{_active(model, name)}")
        lines += [("  " if several else "") + line for line in _slots(graph.regime)]
    if several:
        lines += ["", "regimes, and which may follow"]
        lines += [f"  {name} -> {_following(model, name, parameters)}" for name in model.graphs]
        lines += ["", "states at the boundaries"]
        lines += [f"  {line}" for line in _boundaries(model, parameters)]
    return "\n".join(lines)


def _active(model: Any, name: str) -> str:
    periods = model.active_periods.get(name)
    if periods is None:
        return ""
    ages = [model.clock.age(period) for period, active in enumerate(periods) if active]
    whole = len(ages) == 1 + round((ages[-1] - ages[0]) / model.clock.years)
    what = "age" if model.clock.aged else "period"
    return f", active from {what} {ages[0]:g} to {ages[-1]:g}{'' if whole else ', with gaps'}"


def _slots(regime: Any) -> Iterable[str]:
    yield f"states: {_listed(regime.states)}"
    if regime.actions:
        yield f"actions: {_listed(regime.actions)}"
    if regime.shocks:
        yield f"shocks: {_listed(regime.shocks)}"
    for state, law in regime.transitions.items():
        yield f"next {state}: {_law(law, state)}"
    for slot in ("reward", "discount", "stop", "terminal", "next_regime"):
        if getattr(regime, slot) is not None:
            yield f"{slot}: {_said(quantity(getattr(regime, slot), slot))}"


def _listed(spaces: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({_kind(space)})" for name, space in spaces.items()) or "none"


def _kind(space: Any) -> str:
    labels = getattr(space, "labels", None)
    kind = type(space).__name__
    return f"{kind} of {', '.join(labels)}" if labels and len(labels) <= 6 else kind


def _law(law: Any, state: str) -> str:
    if isinstance(law, Fixed):
        return "stays"
    if isinstance(law, Ergodic):
        return "its stationary distribution"
    if isinstance(law, Distribution):
        given = ", ".join(f"{name} {_said(quantity(value, name))}" for name, value in law.parameters().items())
        return f"drawn from {type(law).__name__}({given})"
    if isinstance(law, PROCESSES):
        return f"its own law, {type(law).__name__}"
    if isinstance(law, Markov):
        return f"probabilities from {_said(quantity(law.probabilities, state))}"
    return _said(quantity(law, state))


def _said(q: Quantity) -> str:
    """What a quantity is made of."""
    if q.function is None:
        return str(getattr(q.literal, "tolist", lambda: q.literal)())
    if q.alias:
        return q.names[0]
    name = getattr(q.function, "__name__", "function")
    return f"{'f' if name == '<lambda>' else name}({', '.join(q.names)})"


def _following(model: Statement, name: str, parameters: Mapping[str, Any] | None) -> str:
    found = targets(model, name, parameters)
    if found is None:
        return "known with the parameters"
    return ", ".join(found) or "ends"


def _boundaries(model: Statement, parameters: Mapping[str, Any] | None) -> Iterable[str]:
    for source in model.graphs:
        for target in targets(model, source, parameters) or ():
            if target == source:
                continue
            for state in model.graphs[target].regime.states:
                found = resolve(model, source, target, state)
                law = _law(found.law, state)
                yield f"{source} -> {target}, {state}: {law}; {found.why}; parameters of {found.owner}"
