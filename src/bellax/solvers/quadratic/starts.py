"""Where a search begins: a state, and actions between their bounds."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, check_mapping, check_names, listed
from bellax.model.spaces import AR1, IID, VAR, Continuous
from bellax.numerics.scalar import numeric
from bellax.problem.period import Period, as_float
from bellax.problem.processes import parameters
from bellax.solvers.quadratic.stage import Layout, Stage, Within


def read(given: Any, what: str, example: str) -> dict[str, Any] | None:
    """Numbers by name that a user gave, as floats and tuples of them; None where nothing was given."""
    if given is None:
        return None
    check_mapping(given, what, example)
    found = {}
    for name, value in given.items():
        try:
            array = numeric(value)
        except (TypeError, ValueError):
            raise ModelError(f"{what}: {name!r} is {value!r}; give numbers.") from None
        if not np.all(np.isfinite(array)):
            raise ModelError(f"{what}: {name!r} is {value!r}; all numbers must be finite.")
        found[str(name)] = _tupled(array.tolist())
    return found


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def check(given: Mapping[str, Any] | None, shapes: Mapping[str, tuple[int, ...]], what: str, whole: bool) -> None:
    """Raises ModelError for names that the model does not have, for other shapes, and for what is missing.

    Args:
        shapes: of the states, or of the actions, by name.
        whole: whether each of them is needed.
    """
    if given is None:
        return
    check_names(given, shapes, what)
    missing = [name for name in shapes if name not in given]
    if whole and missing:
        raise ModelError(f"{what}: {listed(missing)} is missing; give every state.")
    for name, value in given.items():
        if np.shape(value) != shapes[name]:
            raise ModelError(f"{what}: {name!r} has shape {np.shape(value)}; it must be {shapes[name]}.")


def state(stage: Stage, given: Mapping[str, Any] | None) -> Float[Array, "n"]:
    """Where the path begins, or the search for a steady state: what was given, or else the middle of the bounds of
    continuous states, and the means of processes."""
    layout, period = stage.layout, stage.bounds.period
    if given:
        return layout.in_a_row({name: jnp.asarray(value, jnp.result_type(float)) for name, value in given.items()})
    found = {name: _usual(layout, period, name) for name in layout.plan.states}
    x = layout.in_a_row(found)
    drawn = [name for name, space in layout.plan.states.items() if isinstance(space, IID)]
    if not drawn:
        return x
    following = layout.by_state(stage.certain(x, actions(stage, x, None).action).following[0])
    return layout.in_a_row({**found, **{name: following[name] for name in drawn}})


def _usual(layout: Layout, period: Period, name: str) -> Array:
    plan, space, shape = layout.plan, layout.plan.states[name], layout.plan.graph.seen[name].shape
    if isinstance(space, AR1 | VAR):
        return jnp.broadcast_to(parameters(plan, plan.process_nodes(name), period.environment)["mean"], shape)
    if isinstance(space, Continuous):
        low, high = limits(layout, period, name)
        return middle(low, high)
    return jnp.ones(shape)


def limits(layout: Layout, period: Period, name: str) -> tuple[Array, Array]:
    """The bounds of a continuous state, in its shape."""
    nodes = [f"{side}:{name}" for side in ("lower", "upper")]
    found = layout.plan.graph.compose(nodes)(**period.environment)
    shape = layout.plan.graph.seen[name].shape
    low, high = (jnp.broadcast_to(as_float(found[node]), shape) for node in nodes)
    return low, high


def actions(stage: Stage, x: Float[Array, "n"], given: Mapping[str, Any] | None, share: Array | float = 0.5) -> Within:
    """Actions to begin with: what was given, cut off at bounds, or else a share of the way between them."""
    layout = stage.layout
    numbers = {layout.part(name).start: value for name, value in (given or {}).items()}

    def choose(part: slice, low: Array, high: Array) -> Array:
        if part.start in numbers:
            wanted = jnp.ravel(jnp.asarray(numbers[part.start], low.dtype))
            return jnp.clip(wanted, low, high)
        own = share[part] if isinstance(share, Array) else share
        return middle(low, high, own)

    return stage.bounds.within(x, choose)


def middle(low: Array, high: Array, share: Array | float = 0.5) -> Array:
    """A share of the way between bounds; one away from a single one, and zero where there is none."""
    below, above = jnp.isfinite(low), jnp.isfinite(high)
    bottom, top = jnp.where(below, low, 0.0), jnp.where(above, high, 0.0)
    aside = jnp.where(below, bottom + 2 * share, jnp.where(above, top - 2 * share, 0.0))
    return jnp.where(below & above, (1 - share) * bottom + share * top, aside)
