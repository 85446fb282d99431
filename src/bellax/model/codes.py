"""Codes of categories: what functions see of a discrete name, and what may not be done with one.

A function that is traced sees an integer of jax. Python lets it be compared with a string, `weather == "wet"`, and the
answer is always False, since jax leaves to Python what it does not know. So wherever shapes are evaluated a discrete
name is a tracer of a class of its own, which is one of jax in all respects but two: such a comparison raises, and a
look-up in a list or a dict, which fails anyway, says what to write instead.
"""

import enum
import types
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import jax

from bellax.errors import ModelError
from bellax.model.graph import Graph
from bellax.model.quantity import Quantity
from bellax.model.shocks import Categorical
from bellax.model.spaces import IID, Discrete, MarkovChain


class Misuse(TypeError):
    """What a function does with a code and cannot mean; the text goes on after the name of the slot.

    A TypeError, as what Python raises for an array in a list or a dict is one, which a function may expect.
    """


class Code:
    """What is mixed into the class of a tracer that stands for a code.

    Attributes:
        named: the name and what it is: `the state 'weather'`.
        symbol: the name alone.
        space: what has the categories.
    """

    __slots__ = ()
    named: ClassVar[str]
    symbol: ClassVar[str]
    space: ClassVar[Any]

    def __eq__(self, other: object) -> Any:
        self._check(other)
        return super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        self._check(other)
        return super().__ne__(other)

    def __hash__(self) -> int:
        raise Misuse(
            f"looks {self.named} up in a dict or a set, which cannot hold an array. In place of "
            f"{{0: a, 1: b}}[{self.symbol}] write jnp.array([a, b])[{self.symbol}]; in place of `in` a set, compare "
            "with each of its members and join the answers by |."
        )

    def __index__(self) -> int:
        raise Misuse(
            f"uses {self.named} as a number of Python, which a list, a tuple or a range needs. In place of "
            f"[a, b][{self.symbol}] write jnp.array([a, b])[{self.symbol}]."
        )

    def _check(self, other: object) -> None:
        if isinstance(other, str | bytes):
            what = f"the string {str(other)!r}"
        elif isinstance(other, enum.Enum) and not isinstance(other, int | float):
            what = f"{other}, whose Enum is no IntEnum"
        else:
            return
        raise Misuse(
            f"compares {self.named} with {what}, which is never equal: functions see a number. {self._hint(other)}"
        )

    def _hint(self, other: object) -> str:
        kind = getattr(self.space, "categories", None)
        if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
            return f"Compare with a number, such as {(getattr(self.space, 'labels', None) or ['0'])[-1]}."
        label = other.name if isinstance(other, enum.Enum) else str(other)
        meant = next((member for member in kind if member.name.lower() == label.lower()), next(iter(kind)))
        return f"Compare with the member of the IntEnum, {self.symbol} == {kind.__name__}.{meant.name}."


def discrete(graph: Graph) -> dict[str, Discrete | MarkovChain | Categorical]:
    """The discrete names that functions may see, and what gives their categories."""
    regime = graph.regime
    states, actions = dict(regime.states), getattr(regime, "actions", {})
    spaces = {**states, **{f"next_{name}": space for name, space in states.items()}, **actions}
    spaces |= getattr(regime, "shocks", {})
    found = {name: space.distribution if isinstance(space, IID) else space for name, space in spaces.items()}
    return {name: space for name, space in found.items() if isinstance(space, Discrete | MarkovChain | Categorical)}


def marked(graph: Graph, env: Mapping[str, Any]) -> dict[str, Any]:
    """Tracers by name, those of discrete names as codes. They are changed in place: each must be of this trace."""
    spaces = discrete(graph)
    for name in env.keys() & spaces.keys():
        own = {
            "named": f"{_KINDS[graph.kinds.get(name, 'next')]} {name!r}",
            "symbol": name,
            "space": spaces[name],
        }
        kind = types.new_class("Code", (Code, type(env[name])), exec_body=partial(_fill, own))
        env[name].__class__ = kind
    return dict(env)


def _fill(own: Mapping[str, Any], body: dict[str, Any]) -> None:
    body.update(own, __slots__=())


_KINDS = {"state": "the state", "action": "the action", "shock": "the shock", "next": "tomorrow's state"}


def check(graph: Graph, env: Mapping[str, Any], mappings: Iterable[Quantity] = ()) -> None:
    """Runs each function that reads a discrete name once, on shapes alone, and raises for what it does with a code.

    What else goes wrong is left for later: the shapes of parameters are not known yet, and each function is run by
    itself, on single numbers in place of other functions.

    Args:
        graph: the names of a regime.
        env: shape and type of every leaf.
        mappings: quantities of this regime's names that are no slots.
    Raises:
        ModelError: if it is compared with a string, or looked up in a list or a dict of Python.
    """
    spaces = discrete(graph)
    quantities = [slot.quantity for slot in graph.slots.values()]
    quantities = [q for q in (*quantities, *mappings) if not spaces.keys().isdisjoint(q.names) and not q.alias]
    if not quantities:
        return
    one = jax.ShapeDtypeStruct((), jax.numpy.result_type(float))
    needs = {name for q in quantities for name in q.names}
    shapes = {name: env.get(name, graph.seen.get(name.removeprefix("next_"), one)) for name in needs}

    def run(env: dict[str, Any]) -> None:
        values = marked(graph, env)
        for q in quantities:
            try:
                q.node()(**{name: values[name] for name in q.names})
            except Misuse as error:
                raise ModelError(f"{q.label} {error}") from error
            except Exception:  # of a stand-in, or a fault that the parameters' shapes will show
                continue

    jax.eval_shape(run, shapes)
