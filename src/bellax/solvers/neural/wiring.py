"""How nets hang on what is seen of a state: one net for everything, or one that all members of a group share.

    a_j = f(s_j, mean of s, second moments of s, the rest),    V = mean over j of g(the same),

where members j are exchangeable: whatever they are called, the same is done by whom the same is true. So many countries
need no more weights than a few, and V and policy know the symmetry by construction. That others count by two moments of
what they are is an approximation: what it costs stands in the Euler errors, which are those of the whole model.

Source: Maliar, Maliar & Winant (2021) for shared nets; Han, Yang & E (2021), "DeepHAM", for moments of the others.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError
from bellax.learning import nets
from bellax.learning.nets import Layers
from bellax.model.spaces import IID
from bellax.problem.plan import Plan


class Wiring(abc.ABC):
    """What a net is asked for, and what its answers mean. Static."""

    @abc.abstractmethod
    def seen(self, u: Float[Array, "i"]) -> Float[Array, "n f"]:
        """What the net sees, one row for each time that it is asked."""

    @abc.abstractmethod
    def outputs(self, layers: Layers, u: Float[Array, "i"]) -> Float[Array, "m"]:
        """Outputs of the policy net, in the order of the actions."""

    def worth(self, layers: Layers, u: Float[Array, "i"]) -> Float[Array, ""]:
        """What the net of V says."""
        return jnp.mean(jax.vmap(lambda row: nets.forward(layers, row)[0])(self.seen(u)))


@dataclass(frozen=True)
class Whole(Wiring):
    """One net that sees everything."""

    def seen(self, u: Float[Array, "i"]) -> Float[Array, "n f"]:
        return u[None]

    def outputs(self, layers: Layers, u: Float[Array, "i"]) -> Float[Array, "m"]:
        return nets.forward(layers, u)

    def worth(self, layers: Layers, u: Float[Array, "i"]) -> Float[Array, ""]:
        return nets.forward(layers, u)[0]


@dataclass(frozen=True)
class Shared(Wiring):
    """One net that every member of a group asks for itself.

    Attributes:
        members: how many there are.
        own: of each state of the group, where its numbers stand among the inputs, and how many they are.
        rest: places of all other inputs.
        actions: of each action, how many numbers a member decides.
    """

    members: int
    own: tuple[tuple[int, int], ...]
    rest: tuple[int, ...]
    actions: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many inputs the net has."""
        each = sum(count for _, count in self.own) // self.members
        return 2 * each + each * (each + 1) // 2 + len(self.rest)

    def seen(self, u: Float[Array, "i"]) -> Float[Array, "n f"]:
        each = [u[start : start + count].reshape(self.members, -1) for start, count in self.own]
        own = jnp.concatenate(each, axis=1)
        mean = jnp.mean(own, axis=0)
        apart = own - mean[None, :]
        second = (apart.T @ apart / self.members)[np.triu_indices(own.shape[1])]
        common = jnp.concatenate([mean, second, u[np.asarray(self.rest, int)]])
        return jnp.concatenate([own, jnp.broadcast_to(common, (self.members, common.shape[0]))], axis=1)

    def outputs(self, layers: Layers, u: Float[Array, "i"]) -> Float[Array, "m"]:
        found = jax.vmap(lambda row: nets.forward(layers, row))(self.seen(u))
        cuts = [int(cut) for cut in np.cumsum(self.actions)[:-1]]
        return jnp.concatenate([part.reshape(-1) for part in jnp.split(found, cuts, axis=1)])


def shape_of(space: Any) -> tuple[int, ...]:
    """Of the numbers of a state or an action; none where it is a single one, or no number."""
    return space.distribution.shape if isinstance(space, IID) else tuple(getattr(space, "shape", ()))


def wired(plan: Plan, parts: Sequence[Any], size: int, names: Sequence[str]) -> Wiring:
    """The wiring that `symmetric=` asks for.

    Args:
        parts: of the numbers among the inputs, see inputs.py.
        size: how many inputs there are.
    Raises:
        ModelError: for names of no vector state or action, groups of several sizes, none of the states, and actions
            that are left out.
    """
    if not names:
        return Whole()
    spaces = {**plan.states, **plan.controls}
    for name in names:
        if name not in spaces:
            raise ModelError(f"symmetric: {name!r} is neither a state nor a continuous action of the model.")
        if not shape_of(spaces[name]):
            raise ModelError(f"symmetric: {name!r} is a single number; the first axis of what is named counts members.")
    sizes = {name: shape_of(spaces[name])[0] for name in names}
    members = next(iter(sizes.values()))
    other = next((name for name, count in sizes.items() if count != members), None)
    if other is not None:
        raise ModelError(f"symmetric: {names[0]!r} has {members} members and {other!r} has {sizes[other]}.")
    left_out = next((name for name in plan.controls if name not in names), None)
    if left_out is not None:
        raise ModelError(f"symmetric: the action {left_out!r} is left out, and one net decides for every member.")
    if not any(part.name in names for part in parts):
        raise ModelError("symmetric: no state is named, so that nothing tells one member from another.")
    own, at = [], 0
    for part in parts:
        if part.name in names:
            own.append((at, part.numbers))
        at += part.numbers
    taken = {place for start, count in own for place in range(start, start + count)}
    rest = tuple(place for place in range(size) if place not in taken)
    return Shared(members, tuple(own), rest, tuple(space.size // members for space in plan.controls.values()))
