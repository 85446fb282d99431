"""`Conditions`: equilibrium conditions of models that are no single agent's problem.

E[ equation(s, x(s), w, s', x(s')) ] = 0 for unknown functions x of the states: overlapping generations,
representative-agent equilibria. `next_<name>` is tomorrow's value of a state, of an unknown (the same
function, at tomorrow's state), and of a function of these: where `consumption` is a function,
`next_consumption` needs no second one.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bellax.errors import ModelError, check_names, listed, named_options
from bellax.model import parameters as _parameters
from bellax.model import shapes, slots
from bellax.model.distribution import Distribution
from bellax.model.graph import Graph, Slot
from bellax.model.laws import Markov
from bellax.model.quantity import Quantity, QuantityLike, quantity
from bellax.model.spaces import PROCESSES, Continuous, StateSpace
from bellax.model.statement import Statement
from bellax.model.time import Clock


@named_options
@dataclass(frozen=True, eq=False)
class Complementarity:
    """equation >= 0, unknown >= its lower bound, and one of the two holds with equality.

    Args:
        equation: a function of names, zero in expectation where the bound does not bind.
        unknown: the unknown that is bounded.
    """

    equation: Callable[..., Any]
    unknown: str


@named_options
@dataclass(frozen=True, eq=False, kw_only=True)
class Conditions(Statement):
    """Equations that are zero in expectation.

    They may name `next_<state>`, `next_<unknown>` and `next_<function>`.

    Args:
        states: spaces of the states, by name.
        unknowns: spaces of the unknown functions of the states, by name; bounds may name states and other
            unknowns.
        equations: functions of names, or `Complementarity`, by name; as many numbers as in the unknowns.
        transitions: the law of each state that is no process.
        shocks: distributions, by name.
        functions: further functions of names.

    Raises:
        ModelError: as `Model`.
    """

    states: Mapping[str, StateSpace]
    unknowns: Mapping[str, Continuous]
    equations: Mapping[str, Callable[..., Any] | Complementarity]
    transitions: Mapping[str, QuantityLike] = field(default_factory=dict)
    shocks: Mapping[str, Distribution] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots.check_names(self, ("states", "unknowns", "shocks", "functions"), "")
        slots.check_laws(self, "")
        slots.check_spaces(self, "", {"unknowns": (Continuous,)})
        for name, space in self.states.items():
            if not isinstance(space, PROCESSES) and name not in self.transitions:
                raise ModelError(f"state {name!r} has no law; give transitions={{{name!r}: ...}}.")
        for name, equation in self.equations.items():
            if isinstance(equation, Complementarity):
                check_names([equation.unknown], self.unknowns, f"equations[{name!r}]: the unknown")
        if not self.equations:
            raise ModelError("equations is empty; give as many as there are unknowns.")
        _parameters.entries(self)

    @property
    def actions(self) -> Mapping[str, Continuous]:
        """The unknowns, whose bounds are ordered as those of actions are."""
        return self.unknowns

    @cached_property
    def clock(self) -> Clock:
        """The equations hold in every period alike."""
        return Clock(math.inf)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graph of the conditions, under the name of its only regime, ''."""
        kinds = dict.fromkeys(self.states, "state") | dict.fromkeys(self.unknowns, "unknown")
        kinds |= dict.fromkeys(self.shocks, "shock")
        seen = {name: slots.view(space) for name, space in {**self.states, **self.unknowns}.items()}
        seen |= {name: shock.seen for name, shock in self.shocks.items()}
        for name in self.unknowns:
            kinds[f"next_{name}"], seen[f"next_{name}"] = "tomorrow", seen[name]
        for name, space in self.states.items():
            if isinstance(space, PROCESSES) or isinstance(self.transitions.get(name), Markov):
                kinds[f"next_{name}"], seen[f"next_{name}"] = "next", seen[name]
        given = list(self._slots())
        return {"": Graph([*given, *self._tomorrow(given)], kinds, seen, self)}

    def _slots(self) -> Iterable[Slot]:
        for name, function in self.functions.items():
            yield Slot(name, "function", quantity(function, f"functions[{name!r}]"))
        for name, space in self.states.items():
            yield from slots.state(self, name, space, "", "evolution")
        for name, space in self.unknowns.items():
            yield from slots.bounds("unknown", name, space, "")
        for name, shock in self.shocks.items():
            yield from slots.distribution(f"shock:{name}", "disturbance", shock, f"shock {name!r}")
        for name, given in self.equations.items():
            function = given.equation if isinstance(given, Complementarity) else given
            yield Slot(f"equation:{name}", "equation", quantity(function, f"equations[{name!r}]"))

    def _tomorrow(self, given: Iterable[Slot]) -> Iterable[Slot]:
        """The functions that something names with `next_`, one period on."""
        wanted = [name for slot in given for name in slot.quantity.names]
        done: set[str] = set()
        for name in wanted:  # grows while it is walked
            today = name.removeprefix("next_")
            if name == today or today not in self.functions or today in done:
                continue
            done.add(today)
            q = quantity(self.functions[today], f"functions[{today!r}]")
            moved = {other: f"next_{other}" for other in q.names if self._moves(other, today)}
            wanted += moved.values()
            yield Slot(name, "function", _renamed(q, moved))

    def _moves(self, name: str, function: str) -> bool:
        """Whether a name of a function means something else tomorrow; a shock has no tomorrow of its own."""
        if name in self.shocks or name.startswith("next_"):
            raise ModelError(
                f"next_{function} is named, and {function!r} reads {name!r}, which is realised only then; tomorrow's "
                f"value is known of functions of {listed([*self.states, *self.unknowns])}."
            )
        return name in self.states or name in self.unknowns or name in self.functions

    def template(self) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default, and annotation."""
        return _parameters.template(self)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as solvers will take them; as `Model.parameters`.

        Raises:
            ModelError: if there are not as many equations as unknowns, counted in numbers.
        """
        found = _parameters.parameters(self, given)
        graph = self.graphs[""]
        shapes.check(graph, found)
        sizes = shapes.sizes(graph, [f"equation:{name}" for name in self.equations], found)
        unknowns = {name: space.size for name, space in self.unknowns.items()}
        if sum(sizes.values()) != sum(unknowns.values()):
            equations = {name.removeprefix("equation:"): size for name, size in sizes.items()}
            raise ModelError(
                f"there are {sum(sizes.values())} equations ({equations}) for {sum(unknowns.values())} unknowns "
                f"({unknowns}), counted in numbers; give one for each."
            )
        return found


def _renamed(q: Quantity, names: Mapping[str, str]) -> Quantity:
    back = {new: old for old, new in names.items()}
    function = q.function
    assert function is not None  # a literal names nothing that could be renamed

    def call(**arguments: Any) -> Any:
        return function(**{back.get(name, name): value for name, value in arguments.items()})

    new = tuple(names.get(name, name) for name in q.names)
    return Quantity(f"{q.label} tomorrow", new, call, None, q.defaults, q.annotations)
