"""What every solver in continuous time asks of numbers before a solve, and what it does not take."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.errors import ModelError, ParameterError
from bellax.numerics.programs import all_concrete
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments
from bellax.problem.period import as_float
from bellax.solution.flow_checks import check_parameters, sound_parameters
from bellax.solution.flowing import FlowSetting
from bellax.solution.solution import Result


class CheckedFlow(FlowSetting):
    """A model on a tensor of nodes, whose numbers are checked there."""

    endogenous = False

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_parameters(self, arguments)
        self.check_box(arguments)
        found = self.program("signs", lambda: jax.jit(self._all_signs))(arguments)
        if not float(found["discount"]) > self.least_discount:
            more = (
                f"above {self.least_discount:g} with steps of {-1 / self.least_discount:g}: give more steps="
                if self.flow.timed
                else "with an infinite horizon above zero everywhere"
            )
            raise ParameterError(
                f"the discount is {float(found['discount']):g} at some state; in continuous time it is a rate, and "
                f"{more}."
            )
        for name, least in found["spreads"].items():
            if not float(least) >= 0:
                raise ParameterError(
                    f"the diffusion of {name!r} is {float(least):g} at some state; it is a standard deviation."
                )
        for name, least in found["rates"].items():
            if not float(least) >= 0:
                raise ParameterError(f"the rate of resets[{name!r}] is {float(least):g} at some state.")
        for place, beyond in found["beyond"].items():
            if float(beyond) > 0:
                raise ParameterError(f"{place} leads beyond the bounds of that state, by {float(beyond):g}.")
        for place, apart in found["apart"].items():
            if float(apart) > 0:
                raise ParameterError(f"{place} leads to none of its categories, by {float(apart):g}.")

    @property
    def least_discount(self) -> float:
        """What discounts are above: with an end, what an implicit step of time turns into growth without bound."""
        return -self.options.steps / float(self.model.horizon) if self.flow.timed else 0.0

    def checked(self, arguments: Arguments, code: Array, unchecked: bool = False) -> Array:
        """The code of a solve: numbers that make no model, which nobody refused, have failed.

        Args:
            unchecked: whether numbers were not refused where they are known; where they are traced they never were.
        """
        if all_concrete(arguments) and not unchecked:
            return code
        sound = self.program("sound", lambda: jax.jit(self._sound))(lax.stop_gradient(arguments))
        return jnp.where(sound, code, int(Result.nonfinite)).astype(code.dtype)

    def _sound(self, arguments: Arguments) -> Array:
        """What `check` says, inside a program."""
        found = self._all_signs(arguments)
        fine = [sound_parameters(self, arguments), found["discount"] > self.least_discount, self.in_box(arguments)]
        fine += [least >= 0 for what in ("spreads", "rates") for least in found[what].values()]
        fine += [most <= 0 for what in ("beyond", "apart") for most in found[what].values()]
        return jnp.all(jnp.stack([jnp.asarray(one) for one in fine]))

    def check_box(self, arguments: Arguments) -> None:
        """Raises ParameterError where a solver's own nodes or bounds are not those of the model."""

    def in_box(self, arguments: Arguments) -> Array:
        """What `check_box` says, inside a program."""
        return jnp.ones((), bool)

    def _all_signs(self, arguments: Arguments) -> dict[str, Any]:
        """At all moments at which something flows."""
        if not self.flow.timed:
            return self._signs(arguments)
        every = lax.map(lambda moment: self._signs({**arguments, "time": moment}), self.moments()[:-1])
        low, high = (jax.tree.map(lambda line, worst=worst: worst(line), every) for worst in (jnp.min, jnp.max))
        return {**low, **{name: high[name] for name in ("beyond", "apart")}}

    def _signs(self, given: Arguments) -> dict[str, Any]:
        """The least of what must not be negative, at all nodes, and by how much resets lead beyond these."""
        arguments = {name: value for name, value in given.items() if name != "time"}
        flow, nodes = self.flow, self.nodes(arguments)
        laid = jnp.meshgrid(*nodes.values(), indexing="ij")
        states = {name: own.reshape(-1) for name, own in zip(nodes, laid, strict=True)}

        def spread(name: str) -> Array:
            # loadings may have any sign
            rows = jax.vmap(lambda at: flow.spread(given, at, name))(states)
            return jnp.min(rows) if rows.ndim == 1 else jnp.zeros(())

        def beyond(name: str, state: str) -> Array:
            to = jax.vmap(lambda at: as_float(flow.jumping(given, at, name).to[state]))(states)
            low, high = nodes[state][0], nodes[state][-1]
            return jnp.max(jnp.maximum(low - to, to - high)) - rounding() * (high - low)

        def apart(name: str, state: str) -> Array:
            to, values = jax.vmap(lambda at: as_float(flow.jumping(given, at, name).to[state]))(states), nodes[state]
            gap = jnp.max(jnp.min(jnp.abs(to[:, None] - as_float(values)[None, :]), axis=1))
            return gap - rounding() * (1 + jnp.max(jnp.abs(as_float(values))))

        leaps = [(name, state) for name, to in flow.resets.items() for state in to if state in flow.chains]
        jumps = [(name, state) for name, to in flow.resets.items() for state in to if state in flow.continuous]
        return {
            "discount": jnp.min(jax.vmap(lambda at: flow.discount(given, at))(states)),
            "spreads": {name: spread(name) for name in flow.spreads if name not in flow.risky},
            "rates": {
                n: jnp.min(jax.vmap(lambda at, n=n: flow.jumping(given, at, n).rate)(states)) for n in flow.resets
            },
            "beyond": {f"resets[{name!r}] to {state!r}": beyond(name, state) for name, state in jumps},
            "apart": {f"resets[{name!r}] to {state!r}": apart(name, state) for name, state in leaps},
        }

    def restated(
        self, states: Mapping[str, Any], options: Any, key: Hashable, arguments: Arguments
    ) -> tuple[Any, Arguments]:
        """The model with other states under other options, and its arguments.

        Args:
            key: what tells it from others, so that it is made once.
        """
        if key not in self.model.programs:
            self.model.programs[key] = replace(self.model, states=dict(states))
        setting = options.prepare(self.model.programs[key])
        known = set(setting.model.template()["name"]) - set(self.literals)
        return setting, setting.arguments({name: value for name, value in arguments.items() if name in known})

    def final(self, arguments: Arguments, terminal: Any) -> None:
        raise ModelError("terminal= is the value after the last decision; in continuous time there is none.")

    def check_ticket(self, ticket: Any) -> None:
        """Raises ModelError where progress is asked for."""
        if ticket is not None:
            name = type(self.options).__name__
            raise ModelError(f"{name} takes a few steps and tells of no progress; leave progress= out.")
