"""A model with numbers and without a grid: what simulation, draws, users' input and every kind of solver start from."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError
from bellax.model.crossing import Arrival
from bellax.model.graph import Graph
from bellax.model.quantity import ByPeriod
from bellax.model.spaces import AR1, VAR
from bellax.model.time import Clock
from bellax.numerics import markov
from bellax.numerics.scalar import whole
from bellax.problem.period import Period, as_float
from bellax.problem.plan import Plan

Arguments = dict[str, Any]
"""Parameters and literals of a model, by name: what a compiled program takes."""


class Problem:
    """The static side of a model of discrete time: it holds no array, no grid, and neither the model nor its programs,
    so that derivative rules, which jax may keep for ever, can hold it.

    Args:
        graph: of the model, or of one of its regimes.
        clock: its time.
        regime: which one; arguments are then by regime.
        arrivals: how the states of other regimes get their values, by regime and state.
    Attributes:
        plan: which stages a period has.
    """

    def __init__(
        self,
        graph: Graph,
        clock: Clock,
        regime: str = "",
        arrivals: Mapping[str, Mapping[str, Arrival]] | None = None,
    ) -> None:
        self.plan = Plan(graph, arrivals)
        self.clock = clock
        self.regime = regime

    @property
    def finite(self) -> bool:
        """Whether the horizon is."""
        return self.clock.finite

    def period(self, arguments: Arguments, number: Array | int) -> Period:
        """One period, pointwise."""
        return Period(self.environment(arguments, number), self.plan)

    def own(self, arguments: Arguments) -> Arguments:
        """The arguments of this regime, of a model that has several."""
        return arguments[self.regime] if self.regime else arguments

    def timed(self, nodes: Iterable[str], arguments: Arguments) -> bool:
        """Whether some nodes of the graph see the period, the age, or a parameter or literal by period."""
        own = self.own(arguments)
        seen = {"period", "age"} | {name for name, value in own.items() if isinstance(value, ByPeriod)}
        return any((self.plan.graph.reach(node) | {node}) & seen for node in nodes)

    def environment(self, arguments: Arguments, period: Array | int) -> dict[str, Array]:
        """What is known without a state: this period's parameters, literals and clock, and the mean and the standard
        deviation of each AR1 whose distribution moves with time."""
        now = self._leaves(arguments, period)
        for name in self.plan.processes:
            space = self.plan.states[name]
            if isinstance(space, VAR) and self.timed(self.plan.process_nodes(name), arguments):
                raise ModelError(
                    f"the law of the state {name!r}, a bx.VAR, moves with time, which this version solves of a "
                    "bx.AR1 only."
                )
            if not isinstance(space, AR1):
                continue
            if space.start is not None or self.timed(self.plan.process_nodes(name), arguments):
                found = self._moments(name, arguments)
                now |= {leaf: ByPeriod(moment).at(period) for leaf, moment in zip(moments(name), found, strict=True)}
        return now

    def _moments(self, name: str, arguments: Arguments) -> tuple[Array, Array]:
        """Mean and standard deviation of an AR1 in periods 0 to the horizon."""
        evaluate = self.plan.graph.compose(self.plan.process_nodes(name))

        def law(period: Array) -> dict[str, Array]:
            found = evaluate(**self._leaves(arguments, period))
            return {node.rpartition(".")[2]: as_float(value) for node, value in found.items()}

        found = jax.vmap(law)(jnp.arange(self.clock.count, dtype=jnp.int32))
        first = [found.pop(key)[0] for key in ("start", "start_sd") if key in found]
        return markov.moments(**found, start=(first[0], first[1]) if first else None)

    def _leaves(self, arguments: Arguments, period: Array | int) -> dict[str, Array]:
        now = {n: a.at(period) if isinstance(a, ByPeriod) else a for n, a in self.own(arguments).items()}
        if self.clock.finite:
            now |= {"period": jnp.asarray(period, whole()), "age": as_float(self.clock.age(as_float(period)))}
        return now


def moments(process: str) -> tuple[str, str]:
    """Under what names the mean and the standard deviation of an AR1 that moves with time stand in an environment."""
    return f"mean of {process}", f"deviation of {process}"
