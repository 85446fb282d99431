"""The certificate of a solution without a grid: what was measured, as a table, as plain data, and as text to read."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bellax.certify.bracket import Bracket
from bellax.certify.certificate import plain, short
from bellax.certify.steady import Steady

_WHERE = {"box": "between the bounds of the states", "path": "on simulated paths"}


@dataclass(frozen=True)
class GridlessCertificate:
    """How wrong a solution without a grid can be.

    Attributes:
        residuals: by where (`box`, `path`), quantiles of |T V - V| / max(|V|, S) over sampled states, S being the
            standard deviation of V between the bounds, and T V the maximum over a scan of all actions; NaN from a
            solver that finds no value.
        lost: by where, quantiles of T V less what the policy's action brings: what one period of the best action would
            gain.
        worst: by where, the state of the largest residual, and `residual`.
        undefined: by where, the share of states at which V or T V is no number, which are left out.
        barred: by where, the share of states at which the policy does what bounds or constraints forbid.
        points: by where, how many states were looked at.
        nodes: over how many nodes expectations were taken, of residuals, losses and Euler errors.
        solver_nodes: over how many the solver's own rules take them; as many where there is nothing better, as of ten
            normal numbers; None of a solver that draws.
        unbounded: actions without two bounds, which were tried only as far from the policy's as its own size.
        steady: the deterministic steady state and the spectral radius of the closed loop; None where there is none.
        steady_missing: why not; empty for a finite horizon, where nothing settles.
        value: V at the start, the mean over agents.
        simulated: as of a `Certificate`.
        start: where simulated agents start.
        bracket: of the optimal value there.
        euler: of the largest Euler error of a state, without units, the mean and quantiles of its power of ten; empty
            where the solver knows of none.
        doubts: what the solver itself says of what it found, such as a kink nearby.
    """

    residuals: Mapping[str, Mapping[str, float]]
    lost: Mapping[str, Mapping[str, float]]
    worst: Mapping[str, Mapping[str, Any]]
    undefined: Mapping[str, float]
    barred: Mapping[str, float]
    points: Mapping[str, int]
    nodes: int
    solver_nodes: int | None
    unbounded: tuple[str, ...]
    steady: Steady | None
    steady_missing: str
    value: float
    simulated: Mapping[str, float]
    start: Mapping[str, Any]
    bracket: Bracket
    euler: Mapping[str, Mapping[str, float]]
    doubts: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite is None."""
        found = {name: value for name, value in vars(self).items() if name not in ("bracket", "steady")}
        found["steady"] = vars(self.steady) if self.steady else None
        return plain(found | {"bracket": self.bracket.as_dict()})

    def table(self) -> Any:
        """A pandas DataFrame with columns quantity, of, statistic, value."""
        import pandas as pd  # costs .4 s at import, and a certificate does not need it

        return pd.DataFrame(self._rows(), columns=["quantity", "of", "statistic", "value"])

    def _rows(self) -> list[tuple[str, str, str, float]]:
        rows = []
        for label, table in (("Bellman residual", self.residuals), ("lost by the policy", self.lost)):
            rows += [(label, where, name, x) for where, own in table.items() for name, x in own.items()]
        rows += [("barred", where, "share", share) for where, share in self.barred.items()]
        for of, own in self.euler.items():
            rows += [("Euler error, log10", of, name, value) for name, value in own.items()]
        if self.steady:
            rows += [("closed loop", "steady state", "spectral radius", self.steady.radius)]
        rows += [("simulated value", "", name, value) for name, value in self.simulated.items()]
        low, high = self.bracket.interval
        rows += [("optimal value", "bracket", "low", low), ("optimal value", "bracket", "high", high)]
        sides = {"lower": self.bracket.lower, "upper": self.bracket.upper}
        for name, side in sides.items():
            if side:
                rows += [("optimal value", name, "mean", side.mean)]
                rows += [("optimal value", name, "standard_error", side.standard_error)]
        return rows

    def __str__(self) -> str:
        parts = (self._residual_lines(), self._euler_lines(), self._steady_lines(), self._value_lines())
        said = [f"The solver says: {self.doubts}"] if self.doubts else []
        return "\n".join([line for part in parts for line in part] + said)

    def _residual_lines(self) -> Iterable[str]:
        beside = "" if self.solver_nodes is None else f", the solver's own {self.solver_nodes}"
        yield f"Bellman residual, |T V - V| / max(|V|, spread of V), over {self.nodes} nodes of what is random{beside}"
        for where, own in self.residuals.items():
            count = f"{self.points[where]} states {_WHERE[where]}"
            if math.isnan(own["max"]):
                yield f"  {count}: none, as the solver finds no value, or none that is a number"
                continue
            yield f"  {count}: {_quantiles(own, '.1e')}"
            at = {name: value for name, value in self.worst[where].items() if name != "residual"}
            yield f"    worst at {_listed(at)}"
            if self.undefined[where] > 0:
                yield f"    {self.undefined[where]:.2%} have no finite V or T V, and are left out"
        yield "Lost by the policy in one period, T V - Q, in V"
        for where, own in self.lost.items():
            none = "none, as there is no value to measure it by"
            yield f"  {where}: {none if math.isnan(own['max']) else _quantiles(own, '.1e')}"
        for where, share in self.barred.items():
            if share > 0:
                yield f"  {where}: at {share:.2%} of the states the policy does what bounds or constraints forbid"
        if self.unbounded:
            yield f"  {', '.join(self.unbounded)} without two bounds: tried no farther from the policy than its size"

    def _euler_lines(self) -> Iterable[str]:
        if self.euler:
            yield f"Euler errors without units, as powers of ten, over the same {self.nodes} nodes"
        for where, own in self.euler.items():
            yield f"  {where}: {_quantiles(own, '.1f')}"

    def _steady_lines(self) -> Iterable[str]:
        if self.steady:
            yield f"Without noise paths settle at {_listed(self.steady.states)}"
            yield f"  spectral radius of the closed loop there: {self.steady.radius:.6g}, without the discount"
        elif self.steady_missing:
            yield f"No deterministic steady state: {self.steady_missing}"

    def _value_lines(self) -> Iterable[str]:
        s = self.simulated
        yield f"From {_listed(self.start) or 'the start'} V = {self.value:.6g}"
        what = "earn" if s["ended"] else "earn, with V where the simulation ends,"
        error = f"standard error {s['standard_error']:.1e}"
        yield f"  {s['agents']:.0f} agents over {s['periods']:.0f} periods {what} {s['mean']:.6g}, {error}"
        yield from self.bracket.lines()


def _listed(states: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {short(value)}" for name, value in states.items())


def _quantiles(values: Mapping[str, float], form: str) -> str:
    return "  ".join(f"{name} {value:{form}}" for name, value in values.items())
