"""The options that every grid solver takes, completed with defaults that follow from the structure of the model."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellax.bellman.maximisers.by_structure import usual
from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.outside import Extrapolate, Nan
from bellax.errors import ModelError, check_count, check_mapping, check_names, named_options
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR
from bellax.numerics import grids, rules
from bellax.numerics.chains import CHAINS
from bellax.numerics.interpolants import Hermite, Interpolant, Linear
from bellax.numerics.linear import ByPieces
from bellax.numerics.vector import Corners
from bellax.problem.plan import Plan

_MOST_SHOCK_NODES = 100_000  # of one rule: a number beyond is a slip, and would run for hours
_MOST_CHAIN_NODES = 4_000  # of an AR1, whose transition is a table of the square


@named_options
@dataclass(frozen=True, kw_only=True)
class GridSolver:
    """Configuration shared by the solvers on grids.

    Args:
        grid: by state, a number of nodes or one of `bx.grids`; a tuple of them for a vector state.
        quadrature: by shock, a number of nodes or one of `bx.quadrature`.
        interpolant: `bx.interpolants.Linear` or `Hermite`, or a subclass of `Interpolant`; by default Hermite where the
            maximiser is smooth.
        maximiser: one of `bx.maximise`; by default `Newton` where bounds alone limit the actions, else `Enumerate`.
        memory: bytes that a Bellman step may have in flight; work is cut in chunks that fit.
        outside: what is answered where a state is outside its grid: `bx.outside.Extrapolate()` or `Nan()`. By default
            it is extrapolated with a warning, once a solution, and no simulation starts there.
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    quadrature: Mapping[str, Any] = field(default_factory=dict)
    interpolant: Interpolant | None = None
    maximiser: Maximiser | None = None
    memory: int = 2**28
    outside: Extrapolate | Nan | None = None

    def __post_init__(self) -> None:
        what = type(self).__name__
        check_mapping(self.grid, f"{what}: grid", "{'wealth': 200}")
        check_mapping(self.quadrature, f"{what}: quadrature", "{'shock': 7}")
        check_count(self.memory, f"{what}: memory, in bytes,")
        if not isinstance(self.outside, Extrapolate | Nan | None):
            raise ModelError(
                f"{what}: outside is {self.outside!r}; give bx.outside.Extrapolate() or Nan(), or leave it out."
            )


def key(value: Any) -> Any:
    """A hashable stand-in for a configuration: equal configurations have equal keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (type(value), tuple((f.name, key(getattr(value, f.name))) for f in dataclasses.fields(value)))
    if isinstance(value, Mapping):
        return tuple(sorted((name, key(entry)) for name, entry in value.items()))
    if isinstance(value, tuple | list):
        return tuple(key(entry) for entry in value)
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    return value


_KINKED = {0: 201, 1: 31, 2: 15}
"""By continuous numbers of the state, how many nodes has the one number that is drawn; two have 15 each."""


def kinked_rules(plan: Plan) -> dict[str, Any]:
    """Rules of what is drawn afresh, by name, where V tomorrow may have kinks in it: those of few nodes miss them."""
    drawn = {**plan.drawn, **{name: plan.graph.regime.shocks[name] for name in plan.shocks}}
    drawn |= {name: space.distribution for name, space in plan.states.items() if isinstance(space, IID)}
    drawn = {name: own for name, own in drawn.items() if not isinstance(own, Categorical)}
    if not plan.rugged or not 1 <= len(drawn) <= 2:
        return {}
    count = _KINKED.get(len(plan.lines), 0) if len(drawn) == 1 else 15 if len(plan.lines) < 2 else 0
    found = {name: own.bearing_kinks(count) for name, own in drawn.items()} if count else {}
    return {name: rule for name, rule in found.items() if rule is not None}


def complete_maximiser(plan: Plan, given: Maximiser | None) -> Maximiser:
    """The maximiser asked for, or the one that the structure suggests."""
    if given is None:
        given = usual(plan)
    if not isinstance(given, Maximiser):
        raise ModelError(f"maximiser is {given!r}; give one of bx.maximise, such as Newton(), Enumerate() or EGM().")
    given.check(plan)
    return given.completed(plan)


def complete_interpolant(plan: Plan, maximiser: Maximiser, given: Any) -> Interpolant:
    """The interpolant asked for, or the one that suits the maximiser."""
    if maximiser.makes_pieces:
        if given is not None:
            raise ModelError(
                f"{type(maximiser).__name__} knows V between its nodes by itself; leave interpolant={given!r} out."
            )
        return ByPieces()
    if given is None:
        smooth = maximiser.smooth if plan.controls else not plan.choices
        return Hermite() if smooth else Linear()
    if not isinstance(given, Interpolant):
        raise ModelError(
            f"interpolant is {given!r}; give bx.interpolants.Linear() or bx.interpolants.Hermite(), or an object of a "
            "class of your own that is derived from bx.interpolants.Interpolant."
        )
    try:
        hash(given)
    except TypeError as cause:
        raise ModelError(
            f"interpolant is {given!r}, which has no hash: programs are compiled for it, so that it must not change. "
            "Make its class a dataclass(frozen=True) of numbers and strings."
        ) from cause
    return given


def complete_grid(plan: Plan, given: Mapping[str, Any], interpolant: Interpolant, finite: bool) -> dict[str, Any]:
    """Specifications of every state that has nodes of its own."""
    processes = AR1 | VAR | IID
    gridded = [name for name, space in plan.states.items() if name in plan.continuous or isinstance(space, processes)]
    fixed = [name for name in plan.states if name not in gridded]
    for name in given:
        if name in fixed:
            raise ModelError(f"grid: state {name!r} is discrete and has exactly its categories; remove it from grid=.")
    check_names(given, gridded, "grid: state")
    switches, kinked = bool(plan.choices) or plan.evaluate_stop is not None, kinked_rules(plan)
    default = interpolant.default_nodes(len(plan.lines), switches, finite)
    autoregressions = [name for name in gridded if isinstance(plan.states[name], AR1)]
    usual_count = _usual_count(len(autoregressions), any(n in plan.scanned for n in autoregressions))
    complete: dict[str, Any] = {}
    for name in gridded:
        space, spec = plan.states[name], given.get(name)
        if isinstance(space, AR1):
            complete[name] = _chain(name, usual_count if spec is None else spec)
        elif isinstance(space, VAR):
            complete[name] = _tensor(name, spec, space)
        elif isinstance(space, IID):
            _check_nodes(f"grid: the IID state {name!r}", spec, space.distribution)
            complete[name] = kinked.get(name) if spec is None else spec
        else:
            complete[name] = _lines(name, default if spec is None else spec, plan.continuous[name].size, interpolant)
    return complete


def _usual_count(processes: int, seen: bool) -> int:
    """Nodes of each of so many AR1 states: one has those that keep to four moments up to a correlation of .95.

    Args:
        seen: whether laws or the reward see one of them tomorrow, so that Q costs a term for each node.
    """
    return {1: 13 if seen else 17, 2: 11}.get(processes, 7)


def _chain(name: str, spec: Any) -> Any:
    count: Any = int(spec) if grids.is_count(spec) else getattr(spec, "count", None)
    if not (grids.is_count(spec) or isinstance(spec, CHAINS)):
        raise ModelError(
            f"the grid of the AR1 state {name!r} is {spec!r}; give a count, grids.Autoregression, "
            "grids.Rouwenhorst, grids.Tauchen or grids.FarmerToda."
        )
    if count < 2:
        raise ModelError(f"the grid of the AR1 state {name!r} has {count} node; give at least 2.")
    if count > _MOST_CHAIN_NODES:
        raise ModelError(
            f"the grid of the AR1 state {name!r} has {count} nodes; its chain would be a table of "
            f"{count**2:.2g} probabilities. Give at most {_MOST_CHAIN_NODES}: 7 to 30 are usual."
        )
    return grids.Autoregression(count) if grids.is_count(spec) else spec


def _tensor(name: str, spec: Any, space: VAR) -> tuple[grids.FarmerToda, ...] | Corners:
    """The chain along each component of a VAR."""
    if isinstance(spec, Corners):
        return spec
    (size,) = space.shape
    spec = {1: 9, 2: 7, 3: 5}.get(size, 3) if spec is None else spec
    parts = tuple(spec) if isinstance(spec, tuple | list) else (spec,) * size
    parts = tuple(grids.FarmerToda(int(part)) if grids.is_count(part) else part for part in parts)
    if len(parts) != size or not all(isinstance(part, grids.FarmerToda) and part.count >= 2 for part in parts):
        raise ModelError(
            f"the grid of the VAR state {name!r} is {spec!r}; give a count of at least 2, grids.FarmerToda, or {size} "
            "of them."
        )
    nodes = math.prod(part.count for part in parts)
    if nodes > _MOST_CHAIN_NODES:
        raise ModelError(
            f"the grid of the VAR state {name!r} has {nodes} nodes; its chain would be a table of {nodes**2:.2g} "
            f"probabilities. Give at most {_MOST_CHAIN_NODES} in all."
        )
    return parts


def _lines(name: str, spec: Any, size: int, interpolant: Interpolant) -> Any:
    if isinstance(spec, tuple | list):
        if len(spec) != size:
            raise ModelError(f"the grid of {name!r} has {len(spec)} entries, and the state is {size} numbers.")
        return tuple(grids.as_spec(entry, repr(name), interpolant.least) for entry in spec)
    return (grids.as_spec(spec, repr(name), interpolant.least),) * size


def check_quadrature(plan: Plan, given: Mapping[str, Any]) -> None:
    """Raises ModelError for the quadrature of what is neither a shock nor enters by a distribution, or no rule."""
    for name in given:
        if isinstance(plan.states.get(name), IID):
            raise ModelError(f"quadrature: {name!r} is a state; the number of its nodes is grid={{{name!r}: n}}.")
    drawn = {**plan.graph.regime.shocks, **plan.drawn}
    check_names(given, drawn, "quadrature: shock")
    for name, spec in given.items():
        if grids.is_count(spec) and spec < 1:
            raise ModelError(f"quadrature of shock {name!r} has {spec} nodes; give at least 1.")
        rules.as_rule(spec, rules.GaussHermite(1))
        _check_nodes(f"quadrature: shock {name!r}", spec, drawn[name])


def _check_nodes(what: str, spec: Any, distribution: Distribution) -> None:
    """Raises ModelError for so many nodes, over all dimensions, that the number is a slip."""
    if not (grids.is_count(spec) or isinstance(spec, rules.RULES)) or isinstance(distribution, Categorical):
        return
    count, dimensions = spec if grids.is_count(spec) else spec.count, math.prod(distribution.shape)
    if count**dimensions > _MOST_SHOCK_NODES:
        product = f" in each of {dimensions} dimensions, {count**dimensions:.2g} in all" if dimensions > 1 else ""
        raise ModelError(
            f"{what} has {count} nodes{product}; Q is evaluated in each. Give at most {_MOST_SHOCK_NODES} in "
            "all: 5 to 15 a dimension are usual. For more, state the distribution as shocks.Categorical(values, "
            "probabilities), which keeps what it is given."
        )
