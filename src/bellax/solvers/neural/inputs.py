"""How a net sees a state, and where states are sampled.

Numbers lie in [-1, 1] inside a box, in the coordinate of the state's scale; categories are zeros and a one; with a
finite horizon the period is a number, too. The box of a continuous state is that of its bounds, and of a process that
moves by normal numbers some standard deviations around its mean, unless the solver says otherwise; where these move
with time, it goes from the lowest of all periods to the highest.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, check_names
from bellax.learning.nets import Box
from bellax.model.spaces import AR1, IID, VAR, Continuous, Discrete, MarkovChain
from bellax.numerics.scalar import take
from bellax.numerics.vector import stationary_covariance
from bellax.problem.categories import as_seen, category, close, nearest_place
from bellax.problem.period import as_float
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem, moments
from bellax.problem.processes import parameters, sizes

_REACH = 3.0  # standard deviations of a process that the box holds


class Part(NamedTuple):
    """One state among the inputs: its name, and how many numbers, or categories, it is."""

    name: str
    numbers: int
    categories: int


class Layout:
    """The states of a model, in the order in which a net sees them. Static."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.plan = problem, problem.plan
        self.timed = problem.finite
        every = [_part(name, space, problem.plan) for name, space in problem.plan.states.items()]
        self.numbers = [part for part in every if part.numbers]
        self.labels = [part for part in every if not part.numbers]

    @property
    def dimensions(self) -> int:
        """How many numbers there are, categories and the period apart."""
        return sum(part.numbers for part in self.numbers)

    @property
    def size(self) -> int:
        """How many inputs a net has: numbers, the period, and one for every category."""
        return self.dimensions + self.timed + sum(part.categories for part in self.labels)

    @property
    def columns(self) -> int:
        """How many numbers between zero and one say which state, and which period, is meant."""
        return self.dimensions + len(self.labels) + self.timed

    def sound(self, states: Mapping[str, Array]) -> Array:
        """Whether every discrete state and every chain is at one of its categories."""
        fits = jnp.ones((), bool)
        for part in self.labels:
            space = self.plan.states[part.name]
            if isinstance(space, Discrete):
                fits = fits & category(space, states[part.name])[1]
            else:
                values = _values(self.plan, part.name)
                fits = fits & close(states[part.name], take(values, nearest_place(values, states[part.name])))
        return fits


def _part(name: str, space: Any, plan: Plan) -> Part:
    if isinstance(space, Discrete):
        return Part(name, 0, len(space.values))
    if isinstance(space, MarkovChain):
        if space.size is None:
            raise ModelError(
                f"the chain {name!r} has categories that a parameter gives, and a net has to know how many there are. "
                "State them in the model: MarkovChain([...], ...)."
            )
        return Part(name, 0, space.size)
    shape = space.distribution.shape if isinstance(space, IID) else space.shape if not isinstance(space, AR1) else ()
    return Part(name, math.prod(shape), 0)


class Inputs(eqx.Module):
    """States as inputs, and inputs as states. Pointwise.

    Attributes:
        box: of the numbers, in coordinates.
        layout: of the states.
    """

    box: Box
    layout: Layout = eqx.field(static=True)

    def of(self, number: Array | int, states: Mapping[str, Array]) -> Float[Array, "i"]:
        """What a net sees of a state in a period."""
        plan, layout = self.layout.plan, self.layout
        found = [self.box.scaled(self.coordinates(states))]
        for part in layout.labels:
            space = plan.states[part.name]
            if isinstance(space, Discrete):
                place = category(space, states[part.name])[0]
            else:
                place = nearest_place(_values(plan, part.name), states[part.name])
            every = np.arange(part.categories, dtype=np.int32)
            found.append((place.astype(jnp.int32) == every).astype(jnp.result_type(float)))
        if layout.timed:
            last = max(layout.problem.clock.count - 1, 1)
            found.append((2 * as_float(number) / last - 1)[None])
        return jnp.concatenate(found)

    def coordinates(self, states: Mapping[str, Array]) -> Float[Array, "d"]:
        """The numbers of a state, in the coordinates of their scales."""
        found = [
            jnp.ravel(_scaled(self.layout.plan, part.name, as_float(states[part.name]))) for part in self.layout.numbers
        ]
        return jnp.concatenate(found) if found else jnp.zeros(0)

    def at_coordinates(self, states: Mapping[str, Array], y: Float[Array, "d"]) -> dict[str, Array]:
        """The state with other numbers, which are put inside the box."""
        plan, start, found = self.layout.plan, 0, dict(states)
        inside = jnp.clip(y, self.box.lower, self.box.upper)
        for part in self.layout.numbers:
            found[part.name] = _unscaled(plan, part.name, inside[start : start + part.numbers])
            start += part.numbers
        return found

    def state(self, share: Float[Array, "c"]) -> tuple[dict[str, Array], Array]:
        """The state, and the period, that numbers between zero and one say."""
        plan, layout, at = self.layout.plan, self.layout, self.layout.dimensions
        found = self.at_coordinates({}, self.box.at(share[:at]))
        for part in layout.labels:
            place = _place(share[at], part.categories)
            space, at = plan.states[part.name], at + 1
            found[part.name] = (as_seen(space.values) if isinstance(space, Discrete) else _values(plan, part.name))[
                place
            ]
        period = _place(share[at], layout.problem.clock.count) if layout.timed else jnp.zeros((), jnp.int32)
        return {name: found[name] for name in plan.states}, period

    def inside(self, states: Mapping[str, Array]) -> Array:
        """Whether a state lies in the box."""
        y = self.coordinates(states)
        slack = 1e-9 * (self.box.upper - self.box.lower)
        return jnp.all((y >= self.box.lower - slack) & (y <= self.box.upper + slack))


def _place(share: Array, count: int) -> Array:
    return jnp.minimum((share * count).astype(jnp.int32), count - 1)


def _values(plan: Plan, name: str) -> Array:
    space = plan.states[name]
    assert isinstance(space, MarkovChain) and space.values is not None
    return as_seen(space.values)


def _scaled(plan: Plan, name: str, value: Array) -> Array:
    space = plan.states[name]
    return space.scale.forward(value) if isinstance(space, Continuous) else value


def _unscaled(plan: Plan, name: str, own: Array) -> Array:
    space = plan.states[name]
    if isinstance(space, Continuous):
        return space.scale.inverse(own).reshape(space.shape)
    if isinstance(space, IID):
        return own.reshape(space.distribution.shape)
    return own[0] if isinstance(space, AR1) else own


def inputs(layout: Layout, arguments: Arguments, given: Mapping[str, Any]) -> Inputs:
    """The inputs of a model, inside a compiled program.

    Args:
        given: by state, the lower and the upper end of its box, in its units, where it is not what bounds say.
    """
    problem, plan = layout.problem, layout.plan
    check_names(given, [part.name for part in layout.numbers], "box: state")
    lower: list[Array] = []
    upper: list[Array] = []
    for part in layout.numbers:
        ends = _given(part.name, given[part.name]) if part.name in given else _ends(problem, part.name, arguments)
        for side, end in zip((lower, upper), ends, strict=True):
            wide = jnp.broadcast_to(as_float(end), _shape(plan, part.name))
            side.append(jnp.ravel(_scaled(plan, part.name, wide)))
    joined = lambda parts: jnp.concatenate(parts) if parts else jnp.zeros(0)  # noqa: E731
    return Inputs(Box(joined(lower), joined(upper)), layout)


def _given(name: str, ends: Any) -> tuple[Any, Any]:
    try:
        lower, upper = ends
    except (TypeError, ValueError):
        raise ModelError(f"box: {name!r} is {ends!r}; give its lower and its upper end: ({name}=(0.1, 2.0)).") from None
    if not np.all(np.asarray(lower, float) < np.asarray(upper, float)):
        raise ModelError(f"box: {name!r} runs from {lower} to {upper}; the lower end must be below the upper.")
    return lower, upper


def _shape(plan: Plan, name: str) -> tuple[int, ...]:
    space = plan.states[name]
    if isinstance(space, IID):
        return space.distribution.shape
    return () if isinstance(space, AR1) else space.shape  # type: ignore[union-attr]


def _ends(problem: Problem, name: str, arguments: Arguments) -> tuple[Array, Array]:
    """Where a state is by itself, in any of the periods."""
    plan, space = problem.plan, problem.plan.states[name]
    nodes = [f"lower:{name}", f"upper:{name}"] if isinstance(space, Continuous) else plan.process_nodes(name)
    spreads = isinstance(space, AR1) and space.start is not None
    if not problem.finite or not (spreads or problem.timed(nodes, arguments)):
        return _ends_in(plan, name, problem.environment(arguments, 0))
    numbers = jnp.arange(problem.clock.count, dtype=jnp.int32)
    lower, upper = jax.vmap(lambda number: _ends_in(plan, name, problem.environment(arguments, number)))(numbers)
    return jnp.min(lower, axis=0), jnp.max(upper, axis=0)


def _ends_in(plan: Plan, name: str, environment: Mapping[str, Array]) -> tuple[Array, Array]:
    """Where a state is by itself in one period: between its bounds, or some standard deviations around its mean."""
    space = plan.states[name]
    if isinstance(space, Continuous):
        bounds = plan.graph.compose([f"lower:{name}", f"upper:{name}"])(**environment)
        return as_float(bounds[f"lower:{name}"]), as_float(bounds[f"upper:{name}"])
    given = parameters(plan, plan.process_nodes(name), environment)
    if isinstance(space, AR1):
        centre, spread = (environment.get(leaf) for leaf in moments(name))
        if centre is None or spread is None:
            centre, spread = given["mean"], given["sigma"] / jnp.sqrt((1 - given["rho"]) * (1 + given["rho"]))
        return centre - _REACH * spread, centre + _REACH * spread
    if isinstance(space, VAR):
        spread = jnp.sqrt(jnp.diagonal(stationary_covariance(given["rho"], given["covariance"])))
        return given["mean"] - _REACH * spread, given["mean"] + _REACH * spread
    assert isinstance(space, IID)
    rule = space.distribution.rule(None, sizes(plan, space.distribution, plan.process_nodes(name), environment))
    values = jax.vmap(lambda node: space.distribution.realise(node, **given))(rule.nodes)
    return jnp.min(values, axis=0), jnp.max(values, axis=0)


def check_box(seen: Inputs, what: str) -> None:
    """Raises ModelError for a state whose box has no sides that are numbers.

    Args:
        seen: with numbers.
        what: the solver.
    """
    lower, upper = np.asarray(seen.box.lower), np.asarray(seen.box.upper)
    owners = [part.name for part in seen.layout.numbers for _ in range(part.numbers)]
    for k in np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper) & (lower < upper))):
        raise ModelError(
            f"{what}: the state {owners[k]!r} has no box to be sampled in: from {lower[k]:g} to {upper[k]:g} in the "
            "coordinate of its scale. Likely causes: a bound that is infinite; a process without a stationary "
            f"distribution, or one that does not move. Give its ends: box={{{owners[k]!r}: (lower, upper)}}."
        )
