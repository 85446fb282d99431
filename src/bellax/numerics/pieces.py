"""A consumption function and its value in pieces, as endogenous grids give them: cubics between nodes that are exact.

At nodes m_0 < m_1 < ... of resources an endogenous grid knows consumption c, its slope, the value V and the marginal
value V' = u'(c). Between two nodes c is the cubic with these slopes, and

    V(m) = K + B u(q(m)),  B = (V_1 - V_0)/(u(c_1) - u(c_0)),  q the cubic from c_0 to c_1 with slope 1/B at both ends,

which has V and V' right at both nodes, is exact where c is a straight line, however curved u is, and is of fourth order
elsewhere: q is c up to the curvature of c. Where c does not rise, V is the cubic with the slopes u'(c). Below the first
node everything above the borrowing limit is consumed, B = 1; above the last c goes on straight.

Kinks of V need nodes at either side, at whatever distance; a piece from one side to the other is none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.numerics.scalar import rounding, take, where

Utility = Callable[[Array], Array]

WIDTH = 10
"""Numbers of a segment: its origin; c and three coefficients; three of q, or of V where B is zero; B; K."""

_ONWARD = 2.0  # of the savings between two nodes, how far lines beside a kink go on: a line is not exact


class Pieces(eqx.Module):
    """Which segment holds where: pointwise functions of resources, or more leading axes of them.

    Attributes:
        left: where each piece begins, not decreasing, infinite where there is none, shape (..., p).
        place: the number of its segment, shape (..., p); floats, as all numbers here, so that V is a pytree of floats.
        stretch: numbers that differ where c or its slope jump, shape (..., p).
        segments: shape (..., n, WIDTH).
        limit: the borrowing limit: resources beyond it can be consumed, shape (...).
        ended: one where all this stands for what comes after the last decision, which is known otherwise; else zero.
        fault: why there is none, see `Fault` of endogenous grids; zero where there is.
    """

    left: Float[Array, "*r p"]
    place: Float[Array, "*r p"]
    stretch: Float[Array, "*r p"]
    segments: Float[Array, "*r n _"]
    limit: Float[Array, "*r"]
    ended: Float[Array, "..."]
    fault: Float[Array, "..."]

    def row(self, place: Any) -> "Pieces":
        """Those of one place along the leading axes."""
        left, number, stretch = self.left[place], self.place[place], self.stretch[place]
        return Pieces(left, number, stretch, self.segments[place], self.limit[place], self.ended, self.fault)

    def lifted(self, by: Float[Array, ""]) -> "Pieces":
        """The same, and V larger by so much."""
        segments = self.segments.at[..., -1].add(by)
        return Pieces(self.left, self.place, self.stretch, segments, self.limit, self.ended, self.fault)

    def find(self, resources: Float[Array, ""]) -> tuple[Float[Array, "_"], Float[Array, ""]]:
        """The segment at these resources, and the number of its stretch; of a single function."""
        piece = _last(self.left, jnp.zeros((), jnp.int32), self.left.shape[0], resources)
        segment = take(self.segments, take(self.place, piece).astype(jnp.int32))
        return segment, take(self.stretch, piece)

    def at(self, row: Int[Array, ""], resources: Float[Array, ""]) -> Float[Array, "_"]:
        """The segment at these resources, of the function of that number along the leading axes: for many of them at
        once, of which none is copied as `row` does."""
        count = self.left.shape[-1]
        piece = _last(self.left.reshape(-1), row * count, count, resources)
        number = row * self.segments.shape[-2] + take(self.place.reshape(-1), piece).astype(jnp.int32)
        return take(self.segments.reshape(-1, WIDTH), number)


def _last(left: Float[Array, "_"], first: Int[Array, ""], count: int, resources: Float[Array, ""]) -> Int[Array, ""]:
    """The last of `count` places from `first` on that does not begin beyond these resources.

    Steps are written out: a loop would be several kernels a step, in the loop over what may happen tomorrow.
    """
    low = first
    for power in reversed(range((count - 1).bit_length())):
        ahead = jnp.minimum(low + 2**power, first + count - 1)
        low = where(take(left, ahead) <= resources, ahead, low)
    return lax.optimization_barrier(low)  # not to be searched again by everyone who asks


def consumption(segment: Float[Array, "_"], resources: Float[Array, ""]) -> Float[Array, ""]:
    """c on a segment."""
    x = resources - segment[0]
    return segment[1] + x * (segment[2] + x * (segment[3] + x * segment[4]))


def value(segment: Float[Array, "_"], resources: Float[Array, ""], utility: Utility) -> Float[Array, ""]:
    """V on a segment."""
    x = resources - segment[0]
    inner = x * (segment[5] + x * (segment[6] + x * segment[7]))
    plain = segment[8] == 0
    curved = segment[8] * utility(segment[1] + jnp.where(plain, 0.0, inner))
    return segment[9] + jnp.where(plain, inner, curved)


class Nodes(eqx.Module):
    """What is known at the nodes of savings a, in their order.

    Attributes:
        savings, consumption, slope, value, marginal: a, c, dc/dm, V and V' = u'(c), shape (n,).
        after: what follows is worth, W(a), shape (n,).
        sated: where savings are worth more than any consumption.
        limit: the borrowing limit.
        bound: V beyond today's utility where savings are at the limit; minus infinity where they never are.
        floor: what is consumed at least.
    """

    savings: Float[Array, "n"]
    consumption: Float[Array, "n"]
    slope: Float[Array, "n"]
    value: Float[Array, "n"]
    marginal: Float[Array, "n"]
    after: Float[Array, "n"]
    sated: Bool[Array, "n"]
    limit: Float[Array, ""]
    bound: Float[Array, ""]
    floor: Float[Array, ""]

    @property
    def resources(self) -> Float[Array, "n"]:
        """m = a + c."""
        return self.savings + self.consumption

    @property
    def twins(self) -> Array:
        """Of each node but the last, whether the next one is the other side of a kink."""
        return jnp.abs(jnp.diff(self.savings)) <= 1e-11 * jnp.maximum(1.0, jnp.abs(self.savings[1:]))

    @property
    def steps(self) -> Array:
        """The sign of a step of W between each node and the next one; zero where there is none."""
        both = self.alive[1:] & self.alive[:-1] & self.twins
        rise = jnp.where(both, self.after[1:] - self.after[:-1], 0.0)
        steep = jnp.maximum(self.marginal[1:], self.marginal[:-1])
        least = 1e-9 * jnp.maximum(1.0, jnp.abs(self.after[1:])) + 2 * steep * jnp.abs(jnp.diff(self.savings))
        return jnp.where(jnp.abs(rise) > least, jnp.sign(rise), 0.0)

    @property
    def falls(self) -> Array:
        """Of each node but the last, whether resources are less at the next one, or W makes a step to it."""
        m, both = self.resources, self.alive[1:] & self.alive[:-1]
        return both & ((m[1:] < m[:-1] - _slack(m[1:])) | (self.steps != 0))

    @property
    def kinks(self) -> Array:
        """Of each node but the last, whether W has a kink upwards at unknown savings before the next one: consumption
        is less there, though it rises at both."""
        c, both = self.consumption, self.alive[1:] & self.alive[:-1] & ~self.twins
        rises = (self.slope >= 0) & (self.slope < 1)
        return both & (c[1:] < c[:-1] - _slack(c[1:])) & rises[1:] & rises[:-1]

    @property
    def alive(self) -> Array:
        """Where there is an optimum between the bounds: a marginal value that consumption can have."""
        possible = jnp.isfinite(self.consumption) & (self.consumption >= self.floor)
        return (self.marginal > 0) & possible & jnp.isfinite(self.value)


class Segments(NamedTuple):
    """Segments of nodes: one up to the first that is alive, one between each two, one beyond the last; and straight
    lines on to where W has a kink upwards, which is between two nodes.

    Attributes:
        numbers: of the segments, then of the lines that lead to a node; shape (n + 1 + lines, WIDTH).
        place: of segments, ends of lines, and lines, in the order of savings: their place among the numbers.
        cell: the number of the segment that each belongs to.
        begins: where each begins; infinite of those that are none.
        fits: whether it leads to resources that are not below.
        endless: whether it leads to no other node.
        limit: resources that nobody may have less of.
    """

    numbers: Float[Array, "s _"]
    place: Int[Array, "k"]
    cell: Int[Array, "k"]
    begins: Float[Array, "k"]
    fits: Bool[Array, "k"]
    endless: Bool[Array, "k"]
    limit: Float[Array, ""]


class _Onward(NamedTuple):
    """How nodes go on where W has a kink upwards at unknown savings before the next one.

    Both sides go on up to it, along straight lines; farther on they are less than what is best, so that going on beyond
    where savings are those of the other node does no harm. Without it there may be nothing between the two, or V jump
    from one to the other.

    Attributes:
        there: whether a node goes on beyond itself, shape (n,).
        after, before: how far a node goes on beyond itself, and before itself.
    """

    there: Bool[Array, "n"]
    after: Float[Array, "n"]
    before: Float[Array, "n"]


def segments(nodes: Nodes, utility: Utility, lines: int) -> Segments:
    """The segments of nodes.

    Where savings at the borrowing limit are worth something, everything beyond is consumed up to the first node. Where
    they are worth minus infinity, and the node after them is not, the limit is approached and never reached. Where that
    is so at more nodes, savings of the first other node are the limit.

    Args:
        lines: how many kinks upwards, the first, are known to lie between nodes.
    """
    alive, m, none = nodes.alive, nodes.resources, jnp.zeros(1, bool)
    first = jnp.where(jnp.any(alive), jnp.argmax(alive), m.shape[0])
    start, limit = _start(nodes, first, utility)
    dead = jnp.arange(m.shape[0]) < first
    onward = jnp.concatenate([alive[1:], none])
    kinks = _onward(nodes, lines)
    beyond = _beyond(nodes, utility)
    inner = jnp.where((onward & ~kinks.there)[:, None], _between(nodes, utility), beyond)
    # what is consumed below the first node that is alive is the segment before it, whatever its number
    inner = jnp.where(dead[:, None], start[None], inner)
    # at a step savings stay at its better side: up to the node beyond one upwards, from the node before one downwards
    steps, quiet = nodes.steps, jnp.zeros(1)
    to, on = jnp.concatenate([quiet, steps]) > 0, jnp.concatenate([steps[1:], quiet, quiet]) < 0
    same = jnp.concatenate([jnp.diff(nodes.savings) == 0, none])
    stays = (to | on) & same
    inner = jnp.where(stays[:, None], unmoved(_staying(nodes), stays), inner)
    fits = dead | (alive & (~jnp.concatenate([nodes.falls, none]) | kinks.there))
    # the limit binds although savings at it are worth something: up to no node
    binds = jnp.isfinite(nodes.bound) & ~alive[0]
    endless = (alive & ~onward) | (dead & binds & (onward | (first == m.shape[0]))) | (on & same)
    # a node between two kinks goes on to both sides by one line
    begins = jnp.where(alive, m - jnp.where(kinks.there, kinks.before, 0.0), jnp.inf)
    begins = jnp.where(to & same, nodes.savings + nodes.floor, begins)
    cells = Segments(
        jnp.concatenate([start[None], inner]),
        jnp.arange(m.shape[0] + 1, dtype=jnp.int32),
        jnp.arange(m.shape[0] + 1, dtype=jnp.int32),
        jnp.concatenate([limit[None], jnp.where(dead, limit, begins)]),
        jnp.concatenate([~none, fits]),
        jnp.concatenate([none, endless]),
        limit,
    )
    return _with_lines(cells, kinks, nodes, beyond, lines) if lines else cells


def _onward(nodes: Nodes, lines: int) -> _Onward:
    no, none = jnp.zeros(1, bool), jnp.zeros(1)
    kink = ((nodes.falls & ~nodes.twins) | nodes.kinks) & (jnp.diff(nodes.consumption) < 0)
    kink = kink & (jnp.cumsum(kink) <= lines)
    follows, leads = jnp.concatenate([no, kink]), jnp.concatenate([kink, no])
    # between two: a maximum only where consumption rises with resources, and savings do
    sound = (nodes.slope < 1) & ((nodes.slope >= 0) | ~(follows & leads))
    gap, slope = jnp.where(jnp.concatenate([kink, no]), jnp.diff(nodes.savings, append=jnp.inf), 0.0), nodes.slope
    rate = _ONWARD / jnp.maximum(1 - slope, 0.1)
    consumed = 0.9 * (nodes.consumption - nodes.floor) / jnp.maximum(slope, 1e-9)
    after = jnp.where(leads & sound, gap * rate, 0.0)
    before = jnp.where(follows & sound, jnp.minimum(jnp.concatenate([none, gap[:-1]]) * rate, consumed), 0.0)
    return _Onward(after > 0, after, before)


def _with_lines(cells: Segments, kinks: _Onward, nodes: Nodes, beyond: Float[Array, "n _"], lines: int) -> Segments:
    """Segments, and beside them lines that lead to a node, and where lines end, as entries in the order of savings."""
    count, m = cells.cell.shape[0], nodes.resources
    no, every = jnp.zeros(count, bool), jnp.ones(count, bool)
    led = (kinks.before > 0) & ~kinks.there
    leads, ends = (jnp.concatenate([no[:1], which]) for which in (led, kinks.there))
    # before the segment that begins at a node is the line that leads to it, and behind it where its own line ends
    flat = lambda *of: jnp.stack(of, axis=1).reshape(-1)  # noqa: E731
    order = jnp.nonzero(flat(leads, every, ends), size=count + 2 * lines, fill_value=3 * count)[0].astype(jnp.int32)
    entry = lambda none, *of: jnp.append(flat(*of), none)[order]  # noqa: E731
    padded = lambda values: jnp.concatenate([jnp.zeros(1), values])  # noqa: E731
    of = jnp.nonzero(led, size=lines, fill_value=0)[0]
    place = cells.place, jnp.zeros_like(cells.place)
    return Segments(
        jnp.concatenate([cells.numbers, beyond[of]]),
        entry(0, count - 1 + jnp.cumsum(leads, dtype=jnp.int32), *place),
        order // 3,
        entry(jnp.inf, padded(m - kinks.before), cells.begins, padded(m + kinks.after)),
        entry(False, leads, cells.fits, no),
        entry(False, no, cells.endless, no),
        cells.limit,
    )


def _staying(nodes: Nodes) -> Float[Array, "n _"]:
    """Segments along which savings stay those of nodes: everything beyond is consumed."""
    one, none = jnp.ones_like(nodes.savings), jnp.zeros_like(nodes.savings)
    return jnp.stack([nodes.resources, nodes.consumption, one, none, none, one, none, none, one, nodes.after], axis=-1)


@jax.custom_jvp
def unmoved(rows: Float[Array, "n _"], which: Bool[Array, "n"]) -> Float[Array, "n _"]:
    """Rows, of which some have a derivative that is not known: nobody says how the place of a step moves with
    parameters."""
    return rows


@unmoved.defjvp
def _unmoved_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    rows, which = primals
    return rows, tangents[0] * jnp.where(which, jnp.nan, 0.0)[:, None]


def _slack(m: Array) -> Array:
    """What rounding may take from resources."""
    size = jnp.maximum(1.0, jnp.abs(jnp.where(jnp.isfinite(m), m, 0.0)))
    return 8 * rounding(m.dtype) * size


def _start(nodes: Nodes, first: Int[Array, ""], utility: Utility) -> tuple[Float[Array, "_"], Float[Array, ""]]:
    """The segment below the first node that is alive: c is a straight line to the limit; and the limit."""
    m = nodes.resources
    at = jnp.minimum(first, m.shape[0] - 1)
    reached = jnp.isfinite(nodes.bound)
    # nodes beyond the limit that are worth minus infinity, too
    hopeless = (nodes.value == -jnp.inf) & (nodes.savings > nodes.limit + _slack(nodes.limit))
    limit = jnp.where(reached | ~jnp.any(hopeless), nodes.limit, nodes.savings[jnp.argmin(nodes.value == -jnp.inf)])
    some = (first < m.shape[0]) & ~(reached & (first > 0))
    c = jnp.where(some, nodes.consumption[at], 1.0)
    origin = jnp.where(some, m[at], limit + 1.0)
    slope = c / jnp.where(origin > limit, origin - limit, 1.0)
    level = jnp.where(some, nodes.value[at] - utility(c) / slope, nodes.bound)
    none = jnp.zeros_like(c)
    # from the limit on, where consumption is zero and, by rounding, must not be less
    return jnp.stack([limit, none, slope, none, none, slope, none, none, 1 / slope, level]), limit


def _beyond(nodes: Nodes, utility: Utility) -> Float[Array, "n _"]:
    """Segments beyond nodes: c goes on straight; or savings stay, where more of them would be worth nothing more."""
    worthless = jnp.concatenate([nodes.marginal[1:] <= 0, jnp.zeros(1, bool)])
    slope = jnp.where(nodes.alive & ~worthless, nodes.slope, 1.0)
    rises = slope > 1e-9
    steep = jnp.where(rises, slope, 1.0)
    c, none = jnp.where(nodes.alive, nodes.consumption, 1.0), jnp.zeros_like(slope)
    level = jnp.where(rises, nodes.value - utility(c) / steep, nodes.value)
    onward = jnp.where(rises, steep, nodes.marginal)
    scale = jnp.where(rises, 1 / steep, 0.0)
    return jnp.stack([nodes.resources, c, slope, none, none, onward, none, none, scale, level], axis=-1)


def _between(nodes: Nodes, utility: Utility) -> Float[Array, "n _"]:
    """Segments from each node to the next one; of the last one nothing that is used."""
    usable = nodes.alive & jnp.roll(nodes.alive, -1)

    def ends(x: Array) -> tuple[Array, Array]:
        return jnp.where(usable, x, 1.0), jnp.where(usable, jnp.roll(x, -1), 1.0)

    (m0, m1), (c0, c1), (v0, v1) = ends(nodes.resources), ends(nodes.consumption), ends(nodes.value)
    (s0, s1), (d0, d1), (a0, a1) = ends(nodes.slope), ends(nodes.marginal), ends(nodes.savings)
    wide = m1 - m0 > _slack(m1)
    h = jnp.where(wide, m1 - m0, 1.0)
    secant = jnp.where(wide, (c1 - c0) / h, 1.0)
    u0, u1 = utility(c0), utility(c1)
    # both sides of a kink: the optimum stays there while resources grow
    stays = jnp.abs(a1 - a0) <= 1e-9 * (m1 - m0)
    most = 3 * jnp.maximum(secant, 0.0)
    s0, s1 = (jnp.where(stays, secant, jnp.clip(s, 0.0, most)) for s in (s0, s1))
    rises = wide & (c1 - c0 > 1e-5 * jnp.abs(c1)) & (u1 > u0) & (v1 > v0)
    scale = jnp.where(rises, (v1 - v0) / jnp.where(rises, u1 - u0, 1.0), 0.0)
    slope = 1 / jnp.where(rises, scale, 1.0)
    rises = rises & (slope < 3 * secant)
    scale = jnp.where(rises, scale, 0.0)
    step = jnp.where(wide, (v1 - v0) / h, d0)
    q1, q2, q3 = _cubic(jnp.where(rises, slope, d0), jnp.where(rises, slope, d1), jnp.where(rises, secant, step), h)
    c_1, c_2, c_3 = _cubic(s0, s1, secant, h)
    level = jnp.where(rises, v1 - scale * u1, v0)
    rows = jnp.stack([m0, c0, c_1, c_2, c_3, q1, q2, q3, scale, level], axis=-1)
    # there V is u(c) and a constant. A kink moves with parameters so that W of both sides stays the same
    corner = stays & wide
    w0, w1 = ends(nodes.after)
    apart = jnp.where(corner & (d0 != d1), d1 - d0, 1.0)
    moved = (w0 - w1 - lax.stop_gradient(w0 - w1)) / lax.stop_gradient(apart)
    one, none = jnp.ones_like(m0), jnp.zeros_like(m0)
    exact = [m0, c0 - moved, one, none, none, one, none, none, one, v0 - u0 + lax.stop_gradient(d0) * moved]
    return jnp.where(corner[:, None], jnp.stack(exact, axis=-1), rows)


def _cubic(left: Array, right: Array, secant: Array, h: Array) -> tuple[Array, Array, Array]:
    """Coefficients of the cubic through zero with these slopes at both ends."""
    return left, (3 * secant - 2 * left - right) / h, (left + right - 2 * secant) / h**2
