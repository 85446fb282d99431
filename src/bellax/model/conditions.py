"""`Conditions`: equilibrium conditions of models that are no single agent's problem. Stated and printed; solved later.

Each equation is zero in expectation, given today's states: overlapping generations, representative-agent equilibria.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bellax.errors import ModelError, nearest
from bellax.model.quantity import Quantity, QuantityLike, quantity
from bellax.model.shocks import Distribution
from bellax.model.spaces import PROCESSES, Continuous, StateSpace


@dataclass(frozen=True, eq=False)
class Complementarity:
    """equation >= 0, unknown >= bound, and one of the two holds with equality.

    Args:
        equation: a function of names, zero in expectation where the bound does not bind.
        unknown: the unknown that is bounded.
    """

    equation: Callable[..., Any]
    unknown: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditions:
    """Equations that are zero in expectation; they may name `next_<state>` and `next_<unknown>`.

    Args:
        states: spaces of the states, by name.
        unknowns: spaces of the unknown functions of the states, by name.
        equations: functions of names, or `Complementarity`, by name; as many as numbers in the unknowns.
        transitions: the law of each state that is no process.
        shocks: distributions, by name.
        functions: further functions of names.
    """

    states: Mapping[str, StateSpace]
    unknowns: Mapping[str, Continuous]
    equations: Mapping[str, Callable[..., Any] | Complementarity]
    transitions: Mapping[str, QuantityLike] = field(default_factory=dict)
    shocks: Mapping[str, Distribution] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, space in self.states.items():
            if not isinstance(space, PROCESSES) and name not in self.transitions:
                raise ModelError(f"state {name!r} has no law; give transitions={{{name!r}: ...}}.")
        for name in self.transitions:
            if name not in self.states:
                raise ModelError(f"transitions[{name!r}]: no state of that name.{nearest(name, self.states)}")
        for name, equation in self.equations.items():
            if isinstance(equation, Complementarity) and equation.unknown not in self.unknowns:
                raise ModelError(
                    f"equations[{name!r}] bounds {equation.unknown!r}, which is no unknown."
                    f"{nearest(equation.unknown, self.unknowns)}"
                )
        if not self.equations:
            raise ModelError("equations is empty; give as many as there are unknowns.")
        for q in self.quantities:
            for name in q.names:
                if name.startswith("next_") and name not in self._next:
                    raise ModelError(f"{q.label} names {name!r}, which does not exist.{nearest(name, self._next)}")

    @property
    def _next(self) -> set[str]:
        return {f"next_{name}" for name in (*self.states, *self.unknowns)}

    @cached_property
    def quantities(self) -> list[Quantity]:
        """Every slot in its common form."""
        slots: dict[str, Any] = {f"functions[{n!r}]": f for n, f in self.functions.items()}
        slots |= {f"transitions[{n!r}]": law for n, law in self.transitions.items()}
        for n, equation in self.equations.items():
            slots[f"equations[{n!r}]"] = equation.equation if isinstance(equation, Complementarity) else equation
        for n, shock in self.shocks.items():
            slots |= {f"{key} of shock {n!r}": value for key, value in shock.parameters().items()}
        return [quantity(value, label) for label, value in slots.items()]

    def template(self) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default, and annotation."""
        import pandas as pd  # costs .4 s at import

        known = {*self.states, *self.unknowns, *self.shocks, *self.functions, "period"} | self._next
        used: dict[str, list[Quantity]] = {}
        for q in self.quantities:
            for name in q.names:
                if name not in known:
                    used.setdefault(name, []).append(q)
        rows = [
            {
                "name": name,
                "used in": ", ".join(q.label for q in qs),
                "default": next((q.defaults[name] for q in qs if name in q.defaults), ""),
                "annotation": next((q.annotations[name] for q in qs if name in q.annotations), ""),
            }
            for name, qs in used.items()
        ]
        return pd.DataFrame(rows, columns=["name", "used in", "default", "annotation"])
