"""How much a solve has to do, said before it starts: cells, bytes, seconds. All of it follows from static shapes.

A cell is one (state, action, shock node): the model is evaluated once in it, and V is looked up once. What a cell takes
was measured on single cores without wide vectors: some 5 ns, and one more for each number that a look-up reads, or for
two where a node keeps several side by side. In a plane of candidates V is looked up once for all states and actions on
which no law depends, and what is left of a cell is the place of the maximum, some 1.2 ns.
"""

import logging
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bellax.bellman.chunks import in_flight
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import cells
from bellax.numerics.interpolants import Linear
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments

_LOG = logging.getLogger("bellax")

_LONG = 30.0  # seconds from which a word is due

_PLACE = 1.2e-9  # seconds for the place of the maximum, a cell

_STATIONARY = 10  # Bellman steps of policy iteration, about


class Work(NamedTuple):
    """What one Bellman step consists of, and how often it is taken.

    Attributes:
        states: nodes by axis of the mesh.
        actions: Q evaluated a state, about: candidates and what refines their best.
        shocks: nodes by scanned shock or process, and categories of what is weighted by probabilities.
        steps: periods, or about how many steps a stationary model takes.
        cell: seconds a look-up and what goes with it, about.
        seen: of how many cells one is looked up, the others having the same states tomorrow.
        bytes: of V over all periods, and of what a step may have in flight.
    """

    states: dict[str, int]
    actions: int
    shocks: dict[str, int]
    steps: int
    cell: float
    bytes: tuple[int, int]
    seen: float = 1.0

    @property
    def cells(self) -> int:
        """Cells of one Bellman step."""
        return math.prod(self.states.values()) * self.actions * math.prod(self.shocks.values())

    @property
    def seconds(self) -> float:
        """About how long the solve takes on one core."""
        return self.cells * (self.cell * self.seen + _PLACE) * self.steps


def mesh_shape(numerics: Discretisation, arguments: Arguments) -> tuple[int, ...]:
    """Lengths of the axes of the mesh, without making it."""
    # its shape and not the mesh itself, which jax would keep in a cache, and with it the model's functions
    table = jax.eval_shape(lambda a: jnp.zeros(numerics.mesh(a, 0).shape), arguments)
    return table.shape


def _pieces(numerics: Discretisation, arguments: Arguments) -> int:
    """Bytes of what an endogenous grid keeps of a period beside V at the nodes."""
    kept = jax.eval_shape(lambda a: numerics.maximiser.ended(numerics.plan, numerics.mesh(a, 0)), arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def estimated(numerics: Discretisation, arguments: Arguments) -> Work:
    """What a solve has to do."""
    plan, clock = numerics.plan, numerics.problem.clock
    shape = mesh_shape(numerics, arguments)
    states = dict(zip([*plan.processes, *plan.discrete, *plan.labels], shape, strict=True))
    rules = jax.eval_shape(numerics.shock_nodes, arguments)
    shocks = {name: rule.weights.shape[0] for name, rule in rules.items()}
    shocks |= {name: states[name] for name in (*plan.scanned, *plan.dotted)}
    look_up = numerics.interpolant.cost(len(plan.lines))
    own = numerics.maximiser.evaluations(plan) * len(combinations(plan)) if plan.actions else 1
    periods = clock.count + 1 if clock.finite else 3
    needed = in_flight(math.prod(shape), cells(numerics.maximiser, plan) * look_up.held)
    return Work(
        states,
        own,
        shocks,
        clock.count if clock.finite else _STATIONARY,
        1e-9 * (5 + look_up.reads / min(2, look_up.columns)),
        (
            numerics.bytes_of_value(shape, periods) + periods * _pieces(numerics, arguments),
            min(needed, numerics.budget),
        ),
        _looked_up(numerics, states) if own == _plane(numerics) else 1.0,
    )


def _plane(numerics: Discretisation) -> int:
    """How many candidates a state has, over all combinations, if every one of them is tried."""
    return numerics.maximiser.cells(numerics.plan) * len(combinations(numerics.plan))


def _looked_up(numerics: Discretisation, states: dict[str, int]) -> float:
    """The share of the cells of a plane in which V is looked up: in the others tomorrow's states are the same."""
    plan, graph = numerics.plan, numerics.plan.graph
    laws = [f"next_{name}" for name in plan.states if name not in plan.processes and name not in plan.markov]
    moving = [number.name for number in plan.coordinates if number.name not in numerics.maximiser.absolute]
    seen = {*plan.integrated}.union(*(graph.leaves(node, "state", "action") for node in laws))
    for name in [name for name in moving if name in seen]:  # candidates are shares of the way between bounds
        seen |= graph.leaves(f"lower:{name}", "state", "action") | graph.leaves(f"upper:{name}", "state", "action")
    candidates = {n.name: len(c) for n, c in zip(plan.coordinates, numerics.maximiser.candidates(plan), strict=False)}
    candidates |= {name: len(space.values) for name, space in plan.choices.items()}
    sizes = [size for axis, size in states.items() if axis.partition("[")[0] not in seen]
    sizes += [size for name, size in candidates.items() if name not in seen]
    return 1 / math.prod(sizes)


def announce(numerics: Discretisation, work: Work) -> None:
    """Says at WARNING level, by the logger `bellax`, what a long solve has to do, and what makes it long."""
    if work.seconds <= _LONG:
        return
    parts = {
        _most("nodes of states", work.states): math.prod(work.states.values()),
        _most("nodes of what is random", work.shocks): math.prod(work.shocks.values()),
        f"{work.actions} evaluations of Q in each state": work.actions,
    }
    what = "periods" if numerics.problem.clock.finite else "steps or more"
    dimensions = len(numerics.plan.lines)
    name, reads = type(numerics.interpolant).__name__, numerics.interpolant.cost(dimensions).reads
    hint = f" A {name} look-up in {dimensions} dimensions reads {reads} numbers: try Linear()."
    hint = hint if reads > 8 * Linear().cost(dimensions).reads else ""
    _LOG.warning(
        "this solve is long: %s = %.3g nodes, %d evaluations of Q in each, %d shock nodes: %.3g cells a Bellman step, "
        "%d %s; about %s on one core. V takes %s, a step up to %s. What contributes most: %s.%s Fewer nodes: grid=; "
        "fewer shock nodes: quadrature=; fewer candidates: the grid= of the maximiser.",
        " x ".join(map(str, work.states.values())),
        math.prod(work.states.values()),
        work.actions,
        math.prod(work.shocks.values()),
        work.cells,
        work.steps,
        what,
        _duration(work.seconds),
        *(_size(count) for count in work.bytes),
        max(parts, key=lambda part: parts[part]),
        hint,
    )


def _most(what: str, counts: dict[str, int]) -> str:
    largest = max(counts, key=lambda name: counts[name], default="")
    return f"{math.prod(counts.values())} {what}, {counts.get(largest, 1)} of {largest!r}"


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} seconds"


def _size(count: int) -> str:
    return f"{count / 2**30:.2g} GiB" if count >= 2**30 else f"{count / 2**20:.2g} MiB"
