"""How an agent moves in continuous time, one step at a time.

Euler and Maruyama's scheme: within a step drift and volatility are those of where it begins, at the time of its middle.
Beyond a wall an agent is mirrored, which leaves an error of the order of the step (Bossy, Gobet & Talay 2004); at an
edge that the drift may not leave it stays; beyond an edge that is never reached, or beyond which V is not known, it is
put back and counted. Where the problem ends at an edge an agent may have been there within the step though it is inside
at both ends, with the probability that a Brownian bridge has (Gobet 2000): without that the error is of the order of
the root of the step. A chain moves by the exponential of its intensities, and a reset happens with probability 1 -
exp(-rate step), at the end of the step. Whether to stop is asked between steps.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.model.diffusion import Absorbing, Reflecting, StateConstraint
from bellax.numerics import markov
from bellax.numerics.scalar import rounding
from bellax.problem.draws import draw_place, own_key
from bellax.problem.flow import Arguments, Flowing
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Representation

States = dict[str, Array]
SIDES = ("lower", "upper")


class Moved(NamedTuple):
    """What a step does.

    Attributes:
        states: the next ones.
        flow: what the step earns.
        worn: what it leaves of a discount factor.
        out: at which edges one was put back.
    """

    states: States
    flow: Array
    worn: Array
    out: dict[str, Array]


def ends(setting: FlowSetting) -> bool:
    """Whether the problem may end for an agent before the horizon."""
    return setting.flow.stops or any(
        isinstance(s, Absorbing) for n in setting.flow.continuous for s in setting.sides(n)
    )


class Moving:
    """How one agent moves, inside a compiled program."""

    def __init__(self, setting: FlowSetting, arguments: Arguments, values: Representation, step: Array) -> None:
        self.setting, self.arguments, self.values, self.step = setting, arguments, values, step
        flow = setting.flow
        self.bounds = {name: flow.bounds(arguments, name) for name in flow.continuous}
        self.box = setting.box(arguments)
        self.chains = {name: flow.chain(arguments, name) for name in flow.chains}
        self.transitions = {name: jax.scipy.linalg.expm(step * own[1]) for name, own in self.chains.items()}

    def begin(self, given: States, keys: Array) -> States:
        """Where agents begin: as given, by a density, or, chains, by their own stationary distribution."""
        first = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)
        if "" in given:
            nodes = {name: given[name] for name in self.setting.flow.spaces}
            shape = tuple(len(own) for own in nodes.values())
            place = jax.vmap(lambda key: draw_place(key, "density", given[""]))(first)
            at = jnp.unravel_index(place, shape)
            return {name: own[index] for (name, own), index in zip(nodes.items(), at, strict=True)}
        found = dict(given)
        for name, (values, intensity) in self.chains.items():
            if name not in given:
                rate = 1 + jnp.max(-jnp.diagonal(intensity))
                chances = markov.stationary(jnp.eye(len(values)) + intensity / rate)
                draw = lambda key, n=name, p=chances: draw_place(key, n, p)  # noqa: E731
                found[name] = values[jax.vmap(draw)(first)]
        return {name: found[name] for name in self.setting.flow.spaces}

    def seen(self, states: States, gone: Array, time: Array) -> dict[str, Any]:
        """What a panel keeps of a moment."""
        found, value = self._flowing(self._point(states, time))
        reward = jnp.where(gone, 0.0, found.reward)
        return {"states": states, "actions": found.actions, "reward": reward, "value": value, "stopped": gone}

    def moved(self, states: States, key: Array, time: Array) -> Moved:
        """A step, in which what moves with time is that of its middle."""
        flow, point = self.setting.flow, self._point(states, time + 0.5 * self.step)
        found, _ = self._flowing(point)
        following: States = {}
        out: dict[str, Array] = {}
        shocks, variances = self._shocks(point, found, key), flow.variances(self.arguments, point, found)
        for name in flow.spaces:
            if name in self.chains:
                values = self.chains[name][0]
                row = self.transitions[name][self._nearest(name, states[name])]
                following[name] = values[draw_place(key, name, row)]
                continue
            x = states[name] + found.drift[name] * self.step + shocks.get(name, 0.0)
            following[name], (below, above) = self._kept(name, states[name], x, variances[name] * self.step, key)
            out |= {f"{name} lower": below, f"{name} upper": above}
        following = self._jumped(point, following, key, time)
        # whoever comes to an edge at which the problem ends is there in the middle of the step, on average
        whole = jnp.where(self._over(following), 0.5, 1.0) * self.step
        discount = flow.discount(self.arguments, point)
        worn = jnp.exp(-discount * whole)
        lasts = jnp.where(discount == 0, whole, (1 - worn) / jnp.where(discount == 0, 1.0, discount))
        return Moved(following, found.reward * lasts, worn, out)

    def ended(self, states: States, time: Array) -> tuple[Array, Array]:
        """Whether the problem ends at these states, and what is paid then."""
        setting, point = self.setting, self._point(states, time)
        over, paid = jnp.zeros((), bool), jnp.zeros(())
        if setting.flow.stops:
            over = self.values.stops(setting, self.arguments, point)
            paid = setting.flow.stop(self.arguments, point)
        for name, which, here in self._absorbing(states):
            node = f"boundary:{SIDES[which]}.{name}"
            worth = as_float(setting.graph.compose([node])(**{**self.arguments, **point})[node])
            over, paid = over | here, jnp.where(here, worth, paid)
        return over, paid

    def _point(self, states: States, time: Array) -> States:
        """States, and the time where functions may name it."""
        if not self.setting.flow.timed:
            return states
        return {**states, "time": jnp.minimum(time, float(self.setting.model.horizon))}

    def _flowing(self, point: States) -> tuple[Flowing, Array]:
        """What flows at a point under the policy, and V."""
        local = self.values.at(self.setting, self.arguments, point)
        return self.setting.flow.flowing(self.arguments, point, local.marginals, local.curvatures), local.value

    def _nearest(self, name: str, value: Array) -> Array:
        """The place of a category."""
        return jnp.argmin(jnp.abs(self.chains[name][0] - value))

    def _shocks(self, point: States, found: Flowing, key: Array) -> States:
        """What chance adds to each state that diffuses: of a shock of its own, or of those that are shared."""
        flow, shocks, root = self.setting.flow, {}, jnp.sqrt(self.step)
        for name in flow.spreads:
            risky = name in flow.risky
            row = jnp.sqrt(found.variance[name]) if risky else flow.spread(self.arguments, point, name)
            if row.ndim == 0:
                shocks[name] = row * root * jax.random.normal(own_key(key, name))
                continue
            common = [jax.random.normal(own_key(key, f"shock {number}")) for number in range(row.shape[0])]
            shocks[name] = root * jnp.sum(row * jnp.stack(common))
        return shocks

    def _kept(self, name: str, before: Array, x: Array, variance: Array, key: Array) -> tuple[Array, tuple[Array, ...]]:
        """The state inside its bounds, and whether it was put back where it should not have come."""
        bounds, sides = self.bounds[name], self.setting.sides(name)
        beyond = (x < bounds[0], x > bounds[1])
        inside, put_back = x, []
        for place, (bound, out, side) in enumerate(zip(bounds, beyond, sides, strict=True)):
            put_back.append(jnp.zeros((), bool) if isinstance(side, Reflecting | StateConstraint | Absorbing) else out)
            if isinstance(side, Reflecting):
                inside = jnp.where(out, 2 * bound - x, inside)
            if isinstance(side, Absorbing):
                between = jnp.exp(-2 * (before - bound) * (x - bound) / jnp.where(variance > 0, variance, 1.0))
                draw = jax.random.uniform(own_key(key, f"{name}:{SIDES[place]}"))
                inside = jnp.where(out | ((variance > 0) & (draw < between)), bound, inside)
        inside = jnp.clip(inside, *bounds)
        # where V is known on a part of the domain alone, nothing says what is done beyond
        slack = rounding() * (1 + jnp.abs(inside))
        left = (inside < self.box[name][0] - slack, inside > self.box[name][1] + slack)
        kept = jnp.clip(inside, *self.box[name])
        return jnp.where(left[0] | left[1], kept, inside), tuple(
            one | other for one, other in zip(put_back, left, strict=True)
        )

    def _absorbing(self, states: States) -> list[tuple[str, int, Array]]:
        """Edges at which the problem ends: the state, the side, and whether one is there."""
        found = []
        for name, (lower, upper) in self.bounds.items():
            there = (states[name] <= lower, states[name] >= upper)
            sides = self.setting.sides(name)
            found += [(name, which, there[which]) for which in (0, 1) if isinstance(sides[which], Absorbing)]
        return found

    def _over(self, states: States) -> Array:
        """Whether the problem ends at an edge."""
        over = jnp.zeros((), bool)
        for _, _, here in self._absorbing(states):
            over = over | here
        return over

    def _jumped(self, point: Mapping[str, Array], following: States, key: Array, time: Array) -> States:
        """The next states with resets, unless the problem has ended."""
        flow = self.setting.flow
        if not flow.resets:
            return following
        rates = jnp.stack([flow.jumping(self.arguments, point, name).rate for name in flow.resets])
        total = jnp.sum(rates)
        jumps = jax.random.uniform(own_key(key, "reset:when")) < -jnp.expm1(-total * self.step)
        jumps = jumps & ~self._over(following)
        which = draw_place(key, "reset:which", rates / jnp.where(total > 0, total, 1.0))
        found = dict(following)
        for number, name in enumerate(flow.resets):
            to = flow.jumping(self.arguments, self._point(following, time + self.step), name).to
            for state, value in to.items():
                own = self.chains[state][0][self._nearest(state, value)] if state in self.chains else value
                found[state] = jnp.where(jumps & (which == number), own, found[state])
        return found
