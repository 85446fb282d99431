"""The recursions over several regimes: backward from the last period, or on and on until V stops changing.

V_t,r(s) = max over a of E[ reward + discount * sum over r' of p(r') V_t+1,r'(s') ]. Periods in which the same regimes
are active are of one kind; a step is compiled for each kind, and one scan runs over them all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.numerics.fixed_point import implicit
from bellax.solvers.common import faulty, latest, outcome, stats, untallied
from bellax.solvers.driver import Iteration, Run
from bellax.solvers.families import Family, stepped
from bellax.solvers.stationary import Pace, Rest, at_rest, changed, off_the_mark, reachable


class Backward(Iteration[dict[str, Value]]):
    """The state is V of the period after, by regime; NaN where a regime is not active."""

    def __init__(
        self,
        numerics: dict[str, Discretisation],
        families: list[Family],
        active: Mapping[str, tuple[bool, ...]],
        arguments: Any,
    ) -> None:
        self.numerics, self.families, self.arguments = numerics, families, arguments
        self.count = self.length = next(iter(numerics.values())).problem.clock.count
        always = (True,) * self.length
        self.active = {name: active.get(name, always) for name in numerics}
        kinds = [tuple(name for name in numerics if self.active[name][t]) for t in range(self.length)]
        self.kinds = list(dict.fromkeys(kinds))
        self.kind = np.asarray([self.kinds.index(kind) for kind in kinds], np.int32)

    def init(self) -> dict[str, Value]:
        last = {name: own.terminal(self.arguments) for name, own in self.numerics.items()}
        return {name: value if self.active[name][-1] else _nowhere(value) for name, value in last.items()}

    def step(self, state: dict[str, Value], number: Array) -> tuple[dict[str, Value], Any]:
        branches = [lambda state, number, kind=kind: self._step(kind, state, number) for kind in self.kinds]
        if len(branches) == 1:
            found = branches[0](state, number)
        else:
            found = lax.switch(jnp.asarray(self.kind)[number], branches, state, number)
        return found[0], found

    def _step(self, kind: tuple[str, ...], state: dict[str, Value], number: Array) -> tuple[Any, Any]:
        active = {name: self.numerics[name] for name in kind}
        values, tallies = stepped(active, self.families, self.arguments, state, number)
        for name, own in self.numerics.items():
            if name not in kind:
                values[name], tallies[name] = _nowhere(state[name]), untallied(own.plan)
        return values, tallies

    def told(self, state: dict[str, Value], number: Array) -> tuple[Any, Any]:
        return self.count - number, jnp.nan

    def result(self, state: dict[str, Value], kept: Any) -> Run:
        before, tallies = kept
        values = jax.tree.map(lambda each, end: jnp.concatenate([each, end[None]]), before, self.init())
        codes, numbers = {}, {}
        for name, own in self.numerics.items():
            total = jnp.sum(tallies[name], axis=0)
            codes[name] = outcome(total, jnp.ones((), bool))
            numbers[name] = {"periods": jnp.asarray(self.length), **stats(total, own.plan)}
        return Run(values, codes, numbers)


def _nowhere(value: Value) -> Value:
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), value)


class _State(NamedTuple):
    values: dict[str, Value]
    first: dict[str, Array]
    change: Array
    steps: Array
    tallies: dict[str, Array]
    pace: Pace
    rest: Rest


class Endless(Iteration[_State]):
    """Value iteration of all regimes at once, from V = 0; see `Stationary`, which is that of one."""

    def __init__(
        self, solver: Any, numerics: dict[str, Discretisation], families: list[Family], arguments: Any, sane: Array
    ) -> None:
        self.solver, self.numerics, self.families = solver, numerics, families
        self.arguments, self.sane = arguments, sane
        self.fixed = jax.lax.stop_gradient(arguments)
        self.tolerance = reachable(solver.tolerance)

    def init(self) -> _State:
        values = {name: own.zero(self.fixed) for name, own in self.numerics.items()}
        first = {name: value.levels for name, value in values.items()}
        tallies = {name: untallied(own.plan) for name, own in self.numerics.items()}
        none = jnp.zeros((), jnp.int32)
        return _State(values, first, jnp.asarray(jnp.inf), none, tallies, off_the_mark(), at_rest())

    def step(self, state: _State, number: Array) -> tuple[_State, None]:
        values, tallies = stepped(self.numerics, self.families, self.fixed, state.values, 0)
        first = {n: jnp.where(state.steps == 0, value.levels, state.first[n]) for n, value in values.items()}
        found = [
            changed(value.levels, state.values[n].levels, first[n], len(self.numerics[n].plan.lines))
            for n, value in values.items()
        ]
        largest = jnp.max(jnp.stack([change.largest for change in found]))
        beyond = jnp.max(jnp.stack([change.beyond_rounding for change in found]))
        levels = jnp.concatenate([value.levels.reshape(-1) for value in values.values()])
        steps = state.steps + 1
        rest = state.rest.after(beyond <= self.tolerance, largest, levels)
        pace = state.pace.after(largest, levels, steps)
        tallies = {name: latest(state.tallies[name], tally) for name, tally in tallies.items()}
        return _State(values, first, largest, steps, tallies, pace, rest), None

    def converged(self, state: _State) -> Array:
        """Whether V of every regime has stopped to change, but for rounding."""
        return (state.change <= self.tolerance) | state.rest.pace.lost

    def done(self, state: _State) -> Array:
        over = (state.steps >= self.solver.max_steps) | state.pace.lost | ~self.sane
        wrong = jnp.any(jnp.stack([faulty(tally) for tally in state.tallies.values()]))
        return self.converged(state) | over | wrong

    def told(self, state: _State, number: Array) -> tuple[Any, Any]:
        return state.steps, state.change

    def result(self, state: _State, kept: None) -> Run:
        numerics, families = self.numerics, self.families
        values = implicit(lambda a, v: stepped(numerics, families, a, v, 0)[0], None, self.arguments, state.values)
        converged = self.converged(state)
        codes = {name: outcome(tally, converged, state.pace.diverges) for name, tally in state.tallies.items()}
        numbers = {
            name: {"steps": state.steps, "residual": state.change, **stats(state.tallies[name], own.plan)}
            for name, own in numerics.items()
        }
        return Run(values, codes, numbers)
