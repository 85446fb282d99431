"""The certificate: what was measured, as a table, as plain data, and as text to read."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from bellax.certify.sources import remedy
from bellax.numerics.scalar import rounding

QUANTILES = {"50%": 0.5, "90%": 0.9, "99%": 0.99, "max": 1.0}


@dataclass(frozen=True)
class Loss:
    """What following a rule loses against the optimum.

    Attributes:
        quantiles: of T V - V over sampled points, V being the value of the rule and T the maximum: what one period of
            the best action would gain there.
        worst: where it is largest: `period` (finite horizon) and every state.
        bound: on V* - V that follows from it: the largest over 1 - discount; for a finite horizon the discounted sum,
            in period 0. An estimate, since the largest is that of sampled points.
        points: `loss` and every state, and `period` for a finite horizon, at each sampled point; they lie closer where
            V bends most.
    """

    quantiles: Mapping[str, float]
    worst: Mapping[str, Any]
    bound: float
    points: Mapping[str, np.ndarray]

    def as_dict(self) -> dict[str, Any]:
        """All but the points."""
        return {"quantiles": self.quantiles, "worst": self.worst, "bound": self.bound}

    def frame(self) -> Any:
        """A pandas DataFrame with a row a sampled point; a vector is one column a number."""
        import pandas as pd  # costs .4 s at import

        columns: dict[str, Any] = {}
        for name, array in self.points.items():
            flat = np.asarray(array).reshape(len(array), -1)
            columns |= {name if flat.shape[1] == 1 else f"{name}[{k}]": flat[:, k] for k in range(flat.shape[1])}
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class Certificate:
    """How wrong a solution can be.

    Attributes:
        residuals: quantiles of |T V - V| / max(1, |V|) over points that are spread evenly; the largest, here and in all
            that follows, is also that of others, a quarter of all, which lie in the cells in which V bends most.
        missed: the most by which a denser scan of all actions beats the action that the solver's maximiser found; it is
            in the residuals.
        worst: where the largest of them is: `period` (finite horizon), every state, and `residual`.
        undefined: share of points at which V or T V is infinite or not a number, left out of `residuals`.
        value_error: estimate of the largest |V - V*| that follows from the residuals, and where paths leave the grid
            from how much of V is a guess there, in units of the reward; for a finite horizon, in period 0.
        bound: on |V - V*| that follows from sampled residuals: the largest, and by how much it grew as twice as many
            points were looked at, over 1 - discount; of a finite horizon the discounted sum, in period 0. NaN where
            none is known: where a next state may be off the grid, at which V is a guess, or a process is a chain.
        estimate: of the largest |V - V*| in period 0: what a refined solve would change, see `certify`; NaN where there
            is none.
        estimate_words: what it rests on, or why there is none.
        estimate_at: the state in period 0 at which it is so large.
        sources: the same of what twice as many nodes of one thing alone would change, by its name, if asked for.
        beyond: the estimate from that guess alone; zero where no path leaves. Else no bound is known.
        discount: the largest expected discount at the sampled points, on which the estimate rests.
        euler: by continuous action, quantiles of log10 |g / (r_aa a)|, and `interior`, the share of points at which
            the action lies between its bounds: at a bound there is no Euler equation.
        euler_missing: why there are no Euler errors; empty where there are.
        escape: by where (`points`, `path`), by line, by side: probability that the next state is off the grid.
        simulated: mean discounted reward of simulated agents, with V where they end (`mean`), V where they start
            (`value`), `standard_error` and `z` of the difference, `agents`, `periods`.
        start: where the simulated agents start: by state a value or label, or the text `various`.
        own_nodes: AR1 states, and IID states of too many nodes to have more, which keep the nodes of the solver: what
            these leave out shows in the simulated value only.
        finer: whether residuals and Euler errors were taken with more quadrature than the solver used; false where
            that would be too many nodes, so that errors of the quadrature itself do not show.
        points: how many points were looked at.
        periods: in which periods.
        loss: of a rule that is followed, what it loses against the optimum; None of an optimum, and where an action is
            unbounded, so that no scan finds the best one.
    """

    residuals: Mapping[str, float]
    missed: float
    worst: Mapping[str, Any]
    undefined: float
    value_error: float
    discount: float
    euler: Mapping[str, Mapping[str, float]]
    euler_missing: str
    escape: Mapping[str, Mapping[str, Mapping[str, float]]]
    simulated: Mapping[str, float]
    start: Mapping[str, Any]
    own_nodes: tuple[str, ...]
    finer: bool
    points: int
    periods: tuple[int, ...]
    loss: Loss | None = None
    beyond: float = 0.0
    bound: float = math.nan
    estimate: float = math.nan
    estimate_words: str = "none was asked for, refine=True"
    estimate_at: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite is None."""
        return plain(asdict(replace(self, loss=None)) | {"loss": self.loss and self.loss.as_dict()})

    def table(self) -> Any:
        """A pandas DataFrame with columns quantity, of, statistic, value."""
        import pandas as pd  # costs .4 s at import, and a certificate does not need it

        return pd.DataFrame(self._rows(), columns=["quantity", "of", "statistic", "value"])

    def _rows(self) -> list[tuple[str, str, str, float]]:
        rows = [("Bellman residual", "", name, value) for name, value in self.residuals.items()]
        rows += [("missed by the maximiser", "", "max", self.missed)]
        rows += [("value error, estimated", "", "max", self.value_error)]
        rows += [("value error, beyond the grid", "", "max", self.beyond)]
        rows += [("value error, bound", "", "max", self.bound)]
        rows += [("value error, by a refined solve", "", "max", self.estimate)]
        rows += [("value error, by more of one", name, "max", value) for name, value in self.sources.items()]
        if self.loss is not None:
            rows += [("lost by the rule", "", name, value) for name, value in self.loss.quantiles.items()]
            rows += [("lost by the rule, bound", "", "max", self.loss.bound)]
        for of, own in self.euler.items():
            rows += [("Euler error, log10", of, name, value) for name, value in own.items()]
        for where, lines in self.escape.items():
            rows += [(f"escape, {where}", of, side, p) for of, sides in lines.items() for side, p in sides.items()]
        return rows + [("simulated value", "", name, value) for name, value in self.simulated.items()]

    def __str__(self) -> str:
        parts = (
            self._residual_lines(),
            loss_lines(self.loss),
            euler_lines(self.euler, self.euler_missing),
            self._escape_lines(),
            simulated_lines(self.simulated, self.start),
        )
        return "\n".join(line for part in parts for line in part)

    def _residual_lines(self) -> Iterable[str]:
        where = ", ".join(f"{name} = {short(value)}" for name, value in self.worst.items() if name != "residual")
        when = f" in {len(self.periods)} periods" if len(self.periods) > 1 else ""
        yield f"Bellman residual at {self.points} points{when}, |T V - V| / max(1, |V|)"
        yield "  " + _quantiles(self.residuals, ".1e")
        yield f"  worst at {where}"
        if self.missed > max(0.01 * self.residuals["max"] * max(1.0, self.missed), rounding_of(self.simulated)):
            yield f"  the maximiser missed up to {self.missed:.1e} of V there: more candidates (its grid=)"
        if self.undefined > 0:
            yield f"  {self.undefined:.2%} of the points have an infinite value and are left out: beside a node of"
            yield "  minus infinity V is so whatever the truth is, and what that costs around it does not show here"
        if not self.finer:
            yield "  with the solver's own quadrature: a finer one has too many nodes, and its errors do not show here"
        if self.own_nodes:
            names, also = ", ".join(self.own_nodes), "" if math.isnan(self.estimate) else " and the estimate"
            yield f"  on the solver's nodes of {names}: what they leave out shows in the simulated value{also} only"
        yield from self._value_lines()

    def _value_lines(self) -> Iterable[str]:
        yield f"Value error, in V (largest sampled discount {self.discount:.6g})"
        if self.own_nodes:
            yield f"  bound: none, since residuals do not see what the nodes of {', '.join(self.own_nodes)} leave out"
        elif math.isnan(self.bound):
            yield "  bound: none, since next states may lie off the grid, where V is a guess"
        else:
            yield f"  bound, from sampled residuals: {self.bound:.1e}"
        if not math.isnan(self.estimate):
            yield from estimate_lines(self)
            return
        yield f"  estimated, from residuals alone: {self.value_error:.1e}"
        if self.own_nodes:
            yield f"  without what the nodes of {', '.join(self.own_nodes)} leave out"
        if self.beyond > 0:
            yield f"  paths leave the grid or stop at its end, beyond which V is a guess: {self.beyond:.1e} from that"
            yield "  alone; wider bounds of the states lower it where paths then stay inside"
        yield f"  estimated, by a refined solve: {self.estimate_words}"

    def _escape_lines(self) -> Iterable[str]:
        if any(self.escape.values()):
            yield "Probability that the next state leaves the grid"
        for where, lines in self.escape.items():
            for name, sides in lines.items():
                yield f"  {name}, {where}: below {sides['below']:.2g}, above {sides['above']:.2g}"


def loss_lines(loss: Loss | None) -> Iterable[str]:
    """What a rule loses, where one is followed."""
    if loss is None:
        return
    where = ", ".join(f"{name} = {short(value)}" for name, value in loss.worst.items())
    yield "Lost by the rule against the best action of one period, T V - V, in V"
    yield "  " + _quantiles(loss.quantiles, ".1e")
    most = f"the optimum is worth at most {loss.bound:.1e} more than the rule"
    yield f"  worst at {where}; {most if math.isfinite(loss.bound) else 'no bound, as paths leave the grid'}"


def rounding_of(simulated: Mapping[str, float]) -> float:
    """What two ways to add up V may differ by."""
    value = abs(simulated["value"])
    return rounding() * max(1.0, value if math.isfinite(value) else 1.0)


def euler_lines(euler: Mapping[str, Mapping[str, float]], missing: str) -> Iterable[str]:
    """Unit-free Euler errors by action, or why there are none."""
    if missing:
        yield f"Euler errors: none, {missing}"
        return
    yield "Euler errors, log10 |g / (r_aa a)|"
    for name, own in euler.items():
        numbers = {quantile: own[quantile] for quantile in QUANTILES}
        if math.isnan(own["50%"]):
            yield f"  {name}: none; the action moves no reward of its own period, or is always at a bound"
            continue
        yield f"  {name}: {_quantiles(numbers, '.1f')}  (interior at {own['interior']:.0%} of the points)"


def simulated_lines(s: Mapping[str, float], start: Mapping[str, Any]) -> Iterable[str]:
    """What simulated agents got against what V promised them."""
    where = ", ".join(f"{name} = {short(value)}" for name, value in start.items())
    yield f"Simulated value of {s['agents']:.0f} agents over {s['periods']:.0f} periods from {where or 'the start'}"
    if not math.isfinite(s["mean"]):
        yield f"  {s['mean']:.6g} against V = {s['value']:.6g}: some agents come where there is no value"
        return
    gap = s["mean"] - s["value"]
    off = f"  {s['mean']:.6g} against V = {s['value']:.6g}: off by {gap:.1e}"
    if math.isnan(s["z"]):
        alike = "the agents do not differ, so that chance has no part in it"
        yield f"{off}; {alike if s['agents'] > 1 else 'of one agent there is no standard error'}"
        return
    yield f"{off}, with a standard error of"
    yield f"  {s['standard_error']:.1e} (z = {s['z']:.2f})"


def quantiles(values: np.ndarray) -> dict[str, float]:
    """The quantiles that certificates report, of the finite entries; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return {name: float(np.quantile(finite, q)) if finite.size else math.nan for name, q in QUANTILES.items()}


def _quantiles(values: Mapping[str, float], form: str) -> str:
    return "  ".join(f"{name} {value:{form}}" for name, value in values.items())


def short(value: Any) -> str:
    """A number or a label as it is printed."""
    if isinstance(value, str | int):
        return str(value)
    return np.array2string(np.asarray(value), precision=4)


def plain(value: Any) -> Any:
    """Plain data for JSON; what is not finite is None."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def estimate_lines(found: Any) -> list[str]:
    """What a refined solve says, if one was asked for."""
    if math.isnan(found.estimate):
        return [f"  estimated, by a refined solve: {found.estimate_words}"]
    at = ", ".join(f"{name} = {short(value)}" for name, value in found.estimate_at.items())
    lines = [f"  estimated, by a refined solve: {found.estimate:.1e}, at {at}"]
    if found.estimate_words:
        lines.append(f"  {found.estimate_words}")
    if found.sources:
        lines.append("  of it, by more of one thing alone:")
        width = max(map(len, found.sources))
        order = sorted(found.sources, key=lambda name: -found.sources[name])
        lines += [f"    {name:{width}}  {found.sources[name]:.1e}" for name in order]
        lines.append(f"  what lowers the largest: {remedy(order[0])}")
    return lines
