"""What is asked of an equilibrium, read: unknowns, aggregates and conditions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError, ParameterError, check_mapping, listed, nearest
from bellax.model.diffusion import DiffusionModel
from bellax.model.quantity import Quantity, quantity
from bellax.population.density import Density
from bellax.problem.period import as_float


class Asked(NamedTuple):
    """What was asked.

    Attributes:
        own: unknowns that are parameters of the model; the others are seen by conditions alone.
        updates: by unknown, what it is moved towards.
        others: parameters that conditions alone name.
    """

    unknowns: tuple[str, ...]
    own: tuple[str, ...]
    aggregates: dict[str, Quantity]
    conditions: dict[str, Quantity]
    updates: dict[str, Quantity]
    others: frozenset[str]

    @property
    def stated(self) -> tuple:
        """Hashable, the same for what is asked in the same words."""
        quantities = (self.aggregates, self.conditions, self.updates)
        return self.unknowns, *(
            tuple((name, q.function, q.names, str(q.literal)) for name, q in each.items()) for each in quantities
        )

    def given(self, arguments: Mapping[str, Any], x: Array) -> dict[str, Any]:
        """Arguments of the model at unknowns x."""
        return {**arguments, **{name: x[self.unknowns.index(name)] for name in self.own}}

    def means(self, density: Density) -> dict[str, Array]:
        """The aggregates."""
        return {name: density.mean_of(each) for name, each in self.aggregates.items()}

    def valued(self, quantities: Mapping[str, Quantity], known: Mapping[str, Any], x: Array, means: Any) -> list[Array]:
        """Conditions or updates.

        Args:
            known: parameters of the model and of conditions.
            means: aggregates by name.
        """
        named = dict(zip(self.unknowns, x, strict=True))
        return [_value(each, {**known, **named, **means}) for each in quantities.values()]


def read(
    model: Any,
    params: Mapping[str, Any],
    unknowns: Mapping[str, Any],
    aggregates: Mapping[str, Any],
    conditions: Mapping[str, Any],
    updates: Mapping[str, Any],
    what: str = "equilibrium",
) -> Asked:
    """What was asked, checked.

    Raises:
        ModelError: where there are not as many conditions as unknowns, or they name what there is not.
        ParameterError: where an unknown is a parameter, too.
    """
    if not isinstance(model, DiffusionModel):
        raise ModelError(f"{what} takes a bx.DiffusionModel in this version, not a {type(model).__name__}.")
    for given, slot, example in (
        (unknowns, "unknowns", "{'r': (-0.05, 0.04)}"),
        (aggregates, "aggregates", "{'K': 'assets'}"),
        (conditions, "conditions", "{'capital': lambda K: K}"),
    ):
        check_mapping(given, f"{what}: {slot}", example)
    _check_counts(unknowns, conditions)
    found = {name: quantity(given, f"aggregates[{name!r}]") for name, given in aggregates.items()}
    zeros = {name: quantity(given, f"conditions[{name!r}]") for name, given in conditions.items()}
    aims = {name: quantity(updates[name], f"update[{name!r}]") for name in unknowns if name in updates}
    for kind, quantities in (("condition", zeros), ("update of", aims)):
        for name, each in quantities.items():
            _check_known(f"the {kind} {name!r}", each, [*params, *unknowns, *aggregates])
    for name, each in zeros.items():
        _check_telling(name, each, [*unknowns, *aggregates])
    parameters = list(model.template()["name"])
    for name in aggregates:
        if name in params or name in unknowns:
            what = "an unknown" if name in unknowns else "a parameter"
            raise ParameterError(f"{name!r} is an aggregate, and {what}, too: conditions see one of them. Rename one.")
    seen = [name for each in (*zeros.values(), *aims.values()) for name in each.names]
    for name in unknowns:
        if name in params:
            raise ParameterError(f"{name!r} is unknown, and a parameter, too; remove it from one of them.")
        if name not in parameters and name not in seen:
            raise ModelError(
                f"the unknown {name!r} is no parameter of the model, which has {listed(parameters)}, and no condition "
                "names it."
            )
    others = frozenset(name for name in seen if name in params) - frozenset(parameters)
    own = tuple(name for name in unknowns if name in parameters)
    return Asked(tuple(unknowns), own, found, zeros, aims, others)


def _check_counts(unknowns: Mapping[str, Any], conditions: Mapping[str, Any]) -> None:
    if len(unknowns) > len(conditions):
        bare = [name for name in unknowns if name not in conditions]
        which = listed(bare) if len(bare) == len(unknowns) - len(conditions) else f"one of {listed(bare)}"
        raise ModelError(
            f"the unknown {which} has no condition: there are {len(unknowns)} unknowns, {listed(unknowns)}, and "
            f"{len(conditions)} conditions, {listed(conditions)}. Give one condition for each unknown."
        )
    if len(unknowns) < len(conditions):
        raise ModelError(
            f"there are {len(unknowns)} unknowns, {listed(unknowns)}, and {len(conditions)} conditions, "
            f"{listed(conditions)}; give one condition for each unknown."
        )


def _check_known(what: str, asked: Quantity, known: list[str]) -> None:
    for needed in asked.names:
        if needed not in {*known, *asked.defaults}:
            raise ModelError(
                f"{what} names {needed!r}, which is no parameter, unknown or aggregate.{nearest(needed, known)} It may "
                f"name {listed(known)}."
            )


def _check_telling(name: str, asked: Quantity, moving: list[str]) -> None:
    if asked.literal is not None or not set(asked.names) & set(moving):
        raise ModelError(
            f"the condition {name!r} names no unknown and no aggregate, so that nothing moves it. It may name "
            f"{listed(moving)}: lambda K, supply: K - supply."
        )


def split(asked: Asked, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Parameters of the model, and those that conditions alone name."""
    others = {name: as_float(value) for name, value in params.items() if name in asked.others}
    return {name: value for name, value in params.items() if name not in others}, others


def _value(asked: Quantity, known: Mapping[str, Any]) -> Array:
    seen = {**asked.defaults, **known}
    found = jnp.asarray(asked.node()(**{name: seen[name] for name in asked.names}))
    if found.dtype == bool or found.shape != ():
        what = "true or false" if found.dtype == bool else f"an array of shape {found.shape}"
        raise ModelError(
            f"a condition of {', '.join(asked.names)} is {what}; give one number that is zero in equilibrium, such as "
            "supply - demand."
        )
    return as_float(found)
