"""V as a polynomial in the coordinates of the states' scales, by its values at Chebyshev's nodes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.numerics import chebyshev
from bellax.numerics.grids import Line
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Local, Representation, left


class Chebyshev(Representation):
    """A polynomial along each continuous state, one for each combination of chains.

    Attributes:
        values: V at the nodes, an axis for each state in their order.
    """

    values: Array

    def at(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        """V, all slopes and all curvatures, which are those of the polynomial."""
        flow, lines = setting.flow, setting.lines(arguments)
        shares = self._shares(setting, arguments, point)
        inside, slopes, bends = jnp.asarray(True), {}, {}
        for name in flow.continuous:
            line, x = lines[name], point[name]
            slope = lambda x, line=line: jax.jvp(line.scale.forward, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
            unit = 2 / (line.coordinates[-1] - line.coordinates[0])
            slopes[name] = slope(x) * unit
            bends[name] = jax.jvp(slope, (x,), (jnp.ones_like(x),))[1] * unit
            inside = inside & (jnp.abs(_place(line, x)) <= 1 + rounding())

        def asked(name: str = "", order: int = 0) -> Array:
            """A derivative along one state, in the coordinate from -1 to 1."""
            found = self.values
            for each, share in shares.items():
                if each == name:
                    matrix = jnp.asarray(chebyshev.differentiation(lines[each].count), found.dtype)
                    share = share @ (matrix if order == 1 else matrix @ matrix)
                found = jnp.tensordot(share, found, axes=1)
            return found

        first_ones = {name: asked(name, 1) for name in flow.continuous}
        marginals = {name: slopes[name] * own for name, own in first_ones.items()}
        curvatures = {n: slopes[n] ** 2 * asked(n, 2) + bends[n] * own for n, own in first_ones.items()}
        return Local(jnp.where(inside, asked(), jnp.nan), marginals, curvatures)

    def balance(self, setting: Any, arguments: Arguments, mass: Array) -> Array:
        scheme = setting.scheme(arguments)
        _, marginals, curvatures = scheme.derivatives(self.values)
        generator, flat = scheme.generator(marginals, curvatures), mass.reshape(-1)
        return left(flat @ generator, jnp.diagonal(generator) * flat)

    def _shares(
        self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array], beyond: bool = False
    ) -> dict[str, Array]:
        """What nodes count at a point, by state.

        Args:
            beyond: whether the polynomial goes on beyond the edges, at which it has derivatives then.
        """
        shares, lines = {}, setting.lines(arguments)
        for name in setting.flow.spaces:
            if name in setting.flow.chains:
                known = setting.flow.chain(arguments, name)[0]
                nearest = jnp.argmin(jnp.abs(known - point[name]))
                shares[name] = (jnp.arange(known.shape[0]) == nearest).astype(self.values.dtype)
                continue
            place = _place(lines[name], point[name])
            shares[name] = chebyshev.cardinal(place if beyond else jnp.clip(place, -1.0, 1.0), lines[name].count)
        return shares

    def smooth(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        found = self.values
        for share in self._shares(setting, arguments, point, True).values():
            found = jnp.tensordot(share, found, axes=1)
        return found

    def stops(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        return jnp.asarray(False)

    def laid(self, numbers: Array) -> "Chebyshev":
        return Chebyshev(numbers)


def _place(line: Line, x: Array) -> Array:
    """Where a state is, from -1 to 1."""
    first, last = line.coordinates[0], line.coordinates[-1]
    return (2 * line.scale.forward(x) - first - last) / (last - first)
