"""The certificate of a solution in continuous time: what was measured, as a table, as plain data, and as text."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bellax.certify.certificate import plain, short
from bellax.certify.refinement import Refinement

_BARELY = 1e-8  # what is less, relative to V, is not worth a line


@dataclass(frozen=True)
class Crowd:
    """What a stationary density says of the box.

    Attributes:
        mass: the sum of it, less one: rounding by construction, since a density is made to sum to one.
        least: the least mass at a node; below zero no density. That of finite differences is made not to be negative.
        balance: what the forward equation leaves: the largest change of the mass at a node per unit of time, over the
            largest flow out of one; rounding, if it does not move. NaN where no rates between nodes are known.
        atoms: mass at points.
        edges: by state, by side, the share of mass that is in the cell at the edge, atoms left out: where it is not
            small, and the edge is not one of the model's own, the box is too narrow.
        means: by state, its `mean` and the estimated `error` of that, from the densities of coarser grids; NaN where
            there are none.
    """

    mass: float
    least: float
    balance: float
    atoms: float
    edges: Mapping[str, Mapping[str, float]]
    means: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class FlowCertificate:
    """How wrong a solution in continuous time can be.

    Attributes:
        residuals: quantiles of |discount V - H| / (discount (1 + |V|)) over points between nodes, in time, too, of a
            finite horizon T, where |discount V - V_t - H| stands before (1 - exp(-discount T)) / discount; derivatives
            are those of V there and not the solver's. Where agents may stop, of the least of that and V - payoff. The
            largest, here and in all that follows, is also that of others, in the cells at the edges and around those
            points at which most is wrong.
        worst: where the largest of them is: every state, and `residual`.
        missed: quantiles of how much better the best action of a scan is than the reported policy, in the same units.
        stopping: quantiles of what is lost where the policy stops though going on is worth more, or the reverse, in the
            same units; empty where nobody may stop.
        between: quantiles of the change that drawing V straight between nodes makes, relative to 1 + |V|.
        undefined: share of points at which V, or the equation, is no number, left out of the quantiles.
        bound: on |V - V*|, in units of the reward, that follows from all these and from the edges: an estimate in that
            the largest numbers are those of sampled points; infinite where something is no number.
        refinement: the estimate from coarser grids.
        edges: by state, by side: `condition`; `outward`, the largest drift that leads out, where it may not; `gap`,
            what V would be off by at the edge for that, or for a condition that does not hold; `spread`, the largest
            standard deviation of the state.
        end: quantiles of what V is off by at the end of a finite horizon, in units of the reward; empty without one.
        crowd: of the stationary density; None where there is none.
        crowd_missing: why there is none.
        wider: quantiles of the change of V at sampled points when the box goes on beyond the edges that are said to be
            never reached, or of which nothing is said, and at which a state diffuses; empty where there are none, or it
            is not known.
        wider_missing: why it is not; empty where it is.
        discount: the least discount at the points.
        points: how many were looked at.
    """

    residuals: Mapping[str, float]
    worst: Mapping[str, Any]
    missed: Mapping[str, float]
    stopping: Mapping[str, float]
    between: Mapping[str, float]
    undefined: float
    bound: float
    refinement: Refinement
    edges: Mapping[str, Mapping[str, Mapping[str, Any]]]
    end: Mapping[str, float]
    crowd: Crowd | None
    crowd_missing: str
    wider: Mapping[str, float]
    wider_missing: str
    discount: float
    points: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite is None."""
        return plain(asdict(self))

    def table(self) -> Any:
        """A pandas DataFrame with columns quantity, of, statistic, value."""
        import pandas as pd  # costs .4 s at import, and a certificate does not need it

        return pd.DataFrame(self._rows(), columns=["quantity", "of", "statistic", "value"])

    def _rows(self) -> list[tuple[str, str, str, float]]:
        rows = [("HJB residual", "", name, value) for name, value in self.residuals.items()]
        rows += [("lost by the policy", "", name, value) for name, value in self.missed.items()]
        rows += [("lost by stopping or not", "", name, value) for name, value in self.stopping.items()]
        rows += [("value between nodes", "", name, value) for name, value in self.between.items()]
        rows += [("value error, bound", "", "max", self.bound)]
        rows += [("value error, estimated", "", name, value) for name, value in self.refinement.error.items()]
        rows += [("value error, estimated", "", "order", self.refinement.order)]
        for name, sides in self.edges.items():
            rows += [(f"{what} at the edge", name, s, own[what]) for s, own in sides.items() for what in _AT_EDGES]
        rows += [("value at the end", "", name, value) for name, value in self.end.items()]
        if self.crowd is not None:
            rows += [("mass less one", "", "", self.crowd.mass), ("least mass", "", "", self.crowd.least)]
            rows += [("left of the forward equation", "", "", self.crowd.balance)]
            rows += [("mass in atoms", "", "", self.crowd.atoms)]
            rows += [("mass at the edge", n, s, own) for n, at in self.crowd.edges.items() for s, own in at.items()]
            rows += [("mean of the state", n, s, own) for n, at in self.crowd.means.items() for s, own in at.items()]
        return rows + [("V in a wider box", "", name, value) for name, value in self.wider.items()]

    def __str__(self) -> str:
        parts = (self._residual_lines(), self._error_lines(), self._edge_lines(), self._crowd_lines())
        return "\n".join(line for part in parts for line in part)

    def _residual_lines(self) -> Iterable[str]:
        where = ", ".join(f"{name} = {short(value)}" for name, value in self.worst.items() if name != "residual")
        yield f"HJB residual at {self.points} points between nodes, {_ENDING if self.end else _ENDLESS}"
        yield "  " + _quantiles(self.residuals)
        yield f"  worst at {where}"
        if self.missed["max"] > _BARELY:
            yield "Lost by the policy against the best action of a scan, in the same units"
            yield "  " + _quantiles(self.missed)
        if self.stopping:
            yield "Lost by stopping where going on is worth more, or the reverse, in the same units"
            yield "  " + _quantiles(self.stopping)
        yield "Off by drawing V straight between nodes, relative to 1 + |V|"
        yield "  " + _quantiles(self.between)
        if self.undefined > 0:
            yield f"  {self.undefined:.2%} of the points have no number and are left out: nothing is known of them"

    def _error_lines(self) -> Iterable[str]:
        own = self.refinement
        yield "Value error, estimated from coarser grids, in V"
        if own.nodes:
            grids = " and ".join(", ".join(f"{name} {count}" for name, count in nodes.items()) for nodes in own.nodes)
            yield f"  {_quantiles(own.error)}"
            yield f"  on {grids}: {own.words}"
        else:
            yield f"  none: {own.words}"
        yield f"Value error, bound from the sampled residuals and the edges: {self.bound:.1e} in V"

    def _edge_lines(self) -> Iterable[str]:
        yield "Edges: the drift that leads outward, and what V would be off by for what does not hold there"
        for name, sides in self.edges.items():
            for side, own in sides.items():
                numbers = f"outward {own['outward']:.1e}, gap {own['gap']:.1e} in V"
                yield f"  {name}, {side} ({own['condition']}): {numbers}"
        if self.end:
            yield f"  at the end V is off by {_quantiles(self.end)}"
        if self.wider:
            yield f"  V changes in a box that goes on beyond those never reached: {_quantiles(self.wider)}"
        if self.wider_missing:
            yield f"  what V is beyond the edges is not known: {self.wider_missing}"

    def _crowd_lines(self) -> Iterable[str]:
        if self.crowd is None:
            yield f"Stationary density: none, {self.crowd_missing}"
            return
        own = self.crowd
        yield f"Stationary density: mass off by {own.mass:.1e}, least {own.least:.1e}, in atoms {own.atoms:.3g}"
        if not math.isnan(own.balance):
            yield f"  the forward equation leaves {own.balance:.1e} of the largest flow out of a node"
        for name, sides in own.edges.items():
            mean = own.means[name]
            yield f"  {name}: mean {mean['mean']:.6g}, off by {mean['error']:.1e} as estimated from coarser grids"
            yield f"    {sides['lower']:.1e} of the mass in the cell at the lower edge, {sides['upper']:.1e} upper"


_ENDLESS = "|discount V - H| / (discount (1 + |V|))"
_ENDING = "|discount V - V_t - H| (1 - exp(-discount T)) / (discount (1 + |V|))"
_AT_EDGES = ("outward", "gap")


def _quantiles(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.1e}" for name, value in values.items())
