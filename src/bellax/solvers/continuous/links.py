"""What is linear in V whatever actions are, at points of a polynomial: chains, resets, and shocks that states share.

    intensities . V + rate (V(to) - V) + sum over pairs of covariance V_xy

Each is a matrix from values at the nodes to those at points: of a reset its rows are the polynomial at the place that
it leads to, of a covariance two derivatives, which no monotone scheme needs.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.numerics import chebyshev
from bellax.numerics.grids import Line
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float
from bellax.solvers.continuous.tensor import joined, outer


class Links:
    """The matrices for given parameters, made inside a compiled program.

    Args:
        chains: values and intensities, by name.
    """

    def __init__(
        self, flow: Flow, arguments: Arguments, lines: Mapping[str, Line], chains: Mapping[str, tuple[Array, Array]]
    ) -> None:
        self.flow, self.arguments, self.lines, self.chains = flow, arguments, lines, chains
        self.names = list(flow.spaces)
        point = {name: line.nodes[0] for name, line in lines.items()}
        point |= {name: found[0][0] for name, found in chains.items()}
        known = [name for name in flow.spreads if name not in flow.risky]
        rows = {n: jax.eval_shape(lambda at, n=n: flow.spread(arguments, at, n), point) for n in known}
        self.pairs = list(combinations([name for name, row in rows.items() if row.ndim], 2))

    def at(self, states: Mapping[str, Array], onto: list[Any], slope: Mapping[str, Array]) -> list[Array]:
        """The matrices, shape (m, n) each.

        Args:
            states: of a tensor of points, by name, shape (m,).
            onto: along each axis the matrix from values at the nodes to those at the points.
            slope: derivative of each continuous state's coordinate, shape (m,).
        """
        found = [self._changing(name, onto) for name in self.chains]
        found += [self._together(*pair, states, onto, slope) for pair in self.pairs]
        return found + [self._reset(name, states, onto) for name in self.flow.resets]

    def _changing(self, name: str, onto: list[Any]) -> Array:
        intensity = self.chains[name][1]
        return outer([intensity if other == name else one for other, one in zip(self.names, onto, strict=True)])

    def _together(
        self, one: str, other: str, states: Mapping[str, Array], onto: list[Any], slope: Mapping[str, Array]
    ) -> Array:
        common = jax.vmap(lambda at: self.flow.covariance(self.arguments, at, one, other))(states)
        matrices = list(onto)
        for name in (one, other):
            line, place = self.lines[name], self.names.index(name)
            half = 0.5 * (line.coordinates[-1] - line.coordinates[0])
            matrices[place] = jnp.asarray(onto[place] @ chebyshev.differentiation(line.count)) / half
        return (common * slope[one] * slope[other])[:, None] * outer(matrices)

    def _reset(self, name: str, states: Mapping[str, Array], onto: list[Any]) -> Array:
        numbers = np.indices([one.shape[0] for one in onto]).reshape(len(onto), -1)
        here = {n: jnp.asarray(one)[own] for n, one, own in zip(self.names, onto, numbers, strict=True)}

        def one(at: dict[str, Array], rows: dict[str, Array]) -> Array:
            found, there = self.flow.jumping(self.arguments, at, name), dict(rows)
            for state, to in found.to.items():
                there[state] = self._counts(state, to)
            moved, stayed = (joined([each[n] for n in self.names]) for each in (there, rows))
            return found.rate * (moved - stayed)

        return jax.vmap(one)(dict(states), here)

    def _counts(self, name: str, value: Array) -> Array:
        """What the nodes of a state count in V at a value of it."""
        if name in self.chains:
            known = self.chains[name][0]
            return (jnp.arange(known.shape[0]) == jnp.argmin(jnp.abs(known - value))).astype(float)
        line = self.lines[name]
        first, last = line.coordinates[0], line.coordinates[-1]
        share = (2 * line.scale.forward(as_float(value)) - first - last) / (last - first)
        return chebyshev.cardinal(jnp.clip(share, -1.0, 1.0), line.count)
