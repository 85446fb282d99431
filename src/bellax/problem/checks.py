"""Whether numbers make a model, before a solve and without a grid: bounds of states, discounts, processes, shocks.

Numbers that belong together are a `Group` with its demands. Where they are known, `check` raises for the first that is
broken; inside a program `sound` says whether all are fulfilled. Who needs more of the numbers, such as a grid, gives
both of them groups of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import and_
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool

from bellax.errors import ParameterError
from bellax.model.demands import Demand, broken, discount, fulfilled
from bellax.problem.period import as_float
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem

Numbers = dict[str, Any]
"""By node of the graph, and the `period` that they are of where that matters."""


@dataclass(frozen=True, eq=False)
class Group:
    """Numbers that belong together, such as the parameters of a shock, and what is demanded of them.

    Attributes:
        label: what they are together.
        nodes: their nodes in the graph, by the names that the demands have for them.
        labels: what each is by itself, by the same names.
        demands: they may read the `period`, too.
        last: whether they count after the last decision, when there is a grid and nothing moves any more.
    """

    label: str
    nodes: dict[str, str]
    labels: dict[str, str]
    demands: tuple[Demand, ...]
    last: bool = False

    def values(self, numbers: Numbers) -> Numbers:
        """Its own numbers, by the names that the demands have for them."""
        period = {"period": numbers["period"]} if "period" in numbers else {}
        return period | {name: numbers[node] for name, node in self.nodes.items()}

    def complaint(self, numbers: Numbers, where: str = "") -> str | None:
        """What is wrong with known numbers, or None."""
        values = self.values(numbers)
        demand = broken(self.demands, values)
        if demand is None:
            return None
        subject = self.labels[demand.names[0]] if len(demand.names) == 1 else self.label
        return f"{subject}{where} {demand.complaint(values)}"


def groups(problem: Problem, slack: float = 0.0) -> list[Group]:
    """All numbers of a model that are the same in every state.

    A table of a `Markov` law is left out: it was checked when it was given, and to read it inside a program takes as
    long as to solve the model.

    Args:
        slack: by how much rows of chains may be off one even where the model allows less.
    """
    plan = problem.plan
    found = [
        _group(plan, f"state {name!r}", [f"lower:{name}", f"upper:{name}"], space.demands(), True)
        for name, space in plan.continuous.items()
    ]
    if not plan.graph.leaves("slot:discount", "state", "action", "shock", "next"):
        found.append(_group(plan, "discount", ["slot:discount"], discount(problem.finite)))
    for name in plan.processes:
        found.append(_group(plan, f"state {name!r}", plan.process_nodes(name), plan.states[name].demands(slack)))
    if plan.taste_shocks is not None:
        found.append(_group(plan, "taste shocks", ["taste:scale"], plan.taste_shocks.demands()))
    found += [shock(plan, name) for name in plan.shocks if not plan.moves(name)]
    for target, arrivals in plan.arrivals.items():
        for name, arrival in arrivals.items():
            if arrival.distribution is not None and not plan.varies(arrival):
                label = f"the mapping of {name!r} to {target!r}"
                found.append(_group(plan, label, arrival.nodes, arrival.distribution.demands()))
    return found


def shock(plan: Plan, name: str) -> Group:
    """The parameters of a shock."""
    return _group(plan, f"shock {name!r}", plan.shock_nodes(name), plan.graph.regime.shocks[name].demands())


def check(
    problem: Problem,
    found: Sequence[Group],
    arguments: Arguments,
    program: Callable[[Any, Callable[[], Any]], Any],
) -> None:
    """Raises ParameterError for numbers that make no model.

    Args:
        arguments: concrete; under a transformation there is nothing to check.
        program: keeps what is compiled, by name; called with what builds it.
    """
    found = [_open(problem.plan, group) for group in found]
    timed = _timed(problem, found, arguments)
    for period, numbers in enumerate(_known(problem, found, arguments, timed, program)):
        last = timed and period == problem.clock.count
        for group in found:
            wrong = group.complaint(numbers, f" in period {period}" if timed else "") if group.last or not last else ""
            if wrong:
                raise ParameterError(wrong)


def sound(problem: Problem, found: Sequence[Group], arguments: Arguments) -> Bool[Array, ""]:
    """Whether numbers make a model, inside a program: what `check` raises for where they are known."""

    def at(found: Sequence[Group], period: Any) -> Bool[Array, ""]:
        given = {node: as_float(value) for node, value in _at(problem, _nodes(found), arguments, period).items()}
        numbers = {"period": jnp.asarray(period), **given}
        fine = [fulfilled(group.demands, group.values(numbers)) for group in found]
        return reduce(and_, fine, jnp.ones((), bool))

    if not _timed(problem, found, arguments):
        return at(found, 0)
    count = problem.clock.count
    every = jnp.all(jax.vmap(partial(at, found))(jnp.arange(count, dtype=jnp.int32)))
    return every & at([group for group in found if group.last], count)


def _group(plan: Plan, label: str, nodes: list[str], demands: tuple[Demand, ...], last: bool = False) -> Group:
    read = {name for demand in demands for name in demand.names}
    own = {_name(node): node for node in nodes if _name(node) in read}
    return Group(label, own, {name: plan.graph.slots[n].quantity.label for name, n in own.items()}, demands, last)


def _open(plan: Plan, group: Group) -> Group:
    """A group without what was asked of a single number, a literal or a parameter, when it was given."""

    def settled(demand: Demand) -> bool:
        slot = plan.graph.slots[group.nodes[demand.names[0]]]
        given = slot.quantity.function is None or slot.quantity.alias
        return len(demand.names) == 1 and given and bool(slot.demands)

    left = tuple(demand for demand in group.demands if not settled(demand))
    read = {name for demand in left for name in demand.names}
    return replace(group, demands=left, nodes={name: node for name, node in group.nodes.items() if name in read})


def _name(node: str) -> str:
    """`sd` of `shock:z.sd`, `lower` of `lower:wealth`, `discount` of `slot:discount`, `scale` of `taste:scale`."""
    kind, _, rest = node.partition(":")
    return rest.rpartition(".")[2] if kind in ("shock", "process", "slot", "entry", "taste") else kind


def _nodes(found: Iterable[Group]) -> list[str]:
    return list(dict.fromkeys(node for group in found for node in group.nodes.values()))


def _timed(problem: Problem, found: Sequence[Group], arguments: Arguments) -> bool:
    """Whether the numbers may differ from period to period."""
    return problem.finite and problem.timed(_nodes(found), arguments)


def _at(problem: Problem, nodes: list[str], arguments: Arguments, period: Any) -> Numbers:
    return problem.plan.graph.compose(nodes)(**problem.environment(arguments, period))


def _known(
    problem: Problem, found: Sequence[Group], arguments: Arguments, timed: bool, program: Callable[..., Any]
) -> list[Numbers]:
    """The numbers of a model, one dict a period; one for all where they do not differ."""
    dtype, nodes = jnp.result_type(float), _nodes(found)
    if not timed:
        # a number that was given is read, not computed: a composed function costs milliseconds, as much as a solve
        given = {node: _given(problem, arguments, node) for node in nodes}
        known = {node: np.asarray(value, dtype) for node, value in given.items() if value is not None}
        nodes = [node for node in nodes if node not in known]
        with jax.ensure_compile_time_eval():
            computed = _at(problem, nodes, arguments, 0) if nodes else {}
        known |= {node: np.asarray(value, dtype) for node, value in computed.items()}
        return [{"period": np.zeros((), int), **known}]
    with jax.ensure_compile_time_eval():
        each = jax.vmap(lambda arguments, period: _at(problem, nodes, arguments, period), in_axes=(None, 0))
        periods = np.arange(problem.clock.count + 1, dtype=np.int32)
        found_by_node = jax.device_get(program(("checked", *nodes), lambda: jax.jit(each))(arguments, periods))
    return [
        {"period": period, **{node: np.asarray(value[period], dtype) for node, value in found_by_node.items()}}
        for period in periods
    ]


def _given(problem: Problem, arguments: Arguments, node: str) -> Any:
    """The number of a node that is a literal or a parameter; None where it is a function."""
    quantity = problem.plan.graph.slots[node].quantity
    named = quantity.names[0] if quantity.alias else ""
    return arguments.get(quantity.key if quantity.function is None else named)
