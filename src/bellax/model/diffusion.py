"""`DiffusionModel`: a model in continuous time.

discount V = max over a of r(s, a) + drift(s, a) . V_s + 1/2 tr(diffusion diffusion' V_ss)
             + sum over resets of rate(s) (V(to) - V) + intensities . V
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import ModelError, check_names, named_options
from bellax.model import parameters as _parameters
from bellax.model import shapes, slots
from bellax.model.graph import Graph, Slot
from bellax.model.quantity import QuantityLike, quantity
from bellax.model.spaces import Continuous, Discrete, MarkovChain
from bellax.model.statement import Statement
from bellax.model.time import Clock


@named_options
@dataclass(frozen=True)
class Boundary:
    """What holds at the edges of a state: the same on both sides, or one for each."""


@named_options
@dataclass(frozen=True)
class StateConstraint(Boundary):
    """The drift may not leave the domain."""


@named_options
@dataclass(frozen=True)
class Reflecting(Boundary):
    """The state is reflected: V_s = 0, and no mass flows out."""


@named_options
@dataclass(frozen=True)
class Natural(Boundary):
    """The edge is never reached.

    Drifts must lead inward there, or a solve fails. A state that diffuses there is taken at that word, as one without
    bounds of which a part is shown: for `FiniteDifference` its variance counts for nothing at the edge, for
    `Collocation` the equation holds there as within, and for `PINN` V bends as that of the linear approximation. What a
    wider domain changes a certificate tells (`bx.certify(solution, wider=...)`), but for `PINN`.
    """


@named_options
@dataclass(frozen=True, eq=False)
class Absorbing(Boundary):
    """The problem ends at the edge with a value, a Quantity in states."""

    value: QuantityLike = 0.0


@named_options
@dataclass(frozen=True, eq=False)
class Reset:
    """A jump to a given state: death and rebirth, a breakdown.

    Args:
        rate: per unit of time, a Quantity in states.
        to: the value of each state that jumps, a Quantity in states; the others stay where they are.
    """

    rate: QuantityLike
    to: Mapping[str, QuantityLike]


@named_options
@dataclass(frozen=True, eq=False, kw_only=True)
class DiffusionModel(Statement):
    """A model in continuous time, as functions of names.

    Reward, drift and `policy` may name `marginal_<state>`, and `policy` may name `curvature_<state>`, the second
    derivative of V. An action without a closed form is the best one, marginal values held fixed.

    Args:
        states: `Continuous` or `MarkovChain(values, intensity=Q)`, by name.
        reward: flow of reward, a Quantity.
        drift: of each continuous state, a Quantity.
        actions: spaces of the actions, by name; unbounded where a policy in closed form is given.
        policy: closed forms of actions, by name.
        functions: further functions of names.
        diffusion: standard deviation of each state that diffuses, a Quantity: a number, of a shock of its own; or a row
            of loadings on shocks that all rows share, where shocks are correlated.
        resets: jumps to given states, by name.
        discount: a rate, a Quantity.
        boundary: of each continuous state, one `Boundary` or a pair (lower, upper).
        stop: payoff of stopping, the obstacle, a Quantity.
        terminal: value at the end of a finite horizon, a Quantity.
        horizon: a time, or `math.inf`. In a finite horizon functions may name `time`.

    Raises:
        ModelError: as `Model`.
    """

    states: Mapping[str, Continuous | MarkovChain]
    reward: QuantityLike
    drift: Mapping[str, QuantityLike]
    actions: Mapping[str, Continuous | Discrete] = field(default_factory=dict)
    policy: Mapping[str, QuantityLike] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    diffusion: Mapping[str, QuantityLike] = field(default_factory=dict)
    discount: QuantityLike = "discount"
    resets: Mapping[str, Reset] = field(default_factory=dict)
    boundary: Mapping[str, Boundary | tuple[Boundary, Boundary]] = field(default_factory=dict)
    stop: QuantityLike = None
    terminal: QuantityLike = None
    horizon: int | float = math.inf
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        slots.check_names(self, ("states", "actions", "functions"), "")
        slots.check_spaces(self, "", {"states": (Continuous, MarkovChain), "actions": (Continuous, Discrete)})
        continuous = [name for name, space in self.states.items() if isinstance(space, Continuous)]
        for slot in ("drift", "diffusion", "boundary"):
            check_names(getattr(self, slot), continuous, f"{slot} of the continuous state")
        check_names(self.policy, self.actions, "policy of the action")
        for name in continuous:
            if name not in self.drift:
                raise ModelError(f"state {name!r} has no drift; give drift={{{name!r}: ...}}, 0.0 where it has none.")
        for name, space in self.states.items():
            if isinstance(space, MarkovChain) and space.intensity is None:
                raise ModelError(
                    f"state {name!r} has transition probabilities, and time is continuous; give intensity=."
                )
        self._check_boundary()
        self._check_resets()
        if not isinstance(self.horizon, int | float | np.number) or not self.horizon > 0:
            raise ModelError(f"horizon is {self.horizon!r}; it is a positive time, or math.inf.")
        if not math.isfinite(self.horizon) and self.terminal is not None:
            raise ModelError("terminal is given and the horizon is infinite; remove one of them.")
        _parameters.entries(self)
        self._check_discount()

    def _check_boundary(self) -> None:
        for name, given in self.boundary.items():
            sides = given if isinstance(given, tuple) else (given, given)
            if len(sides) != 2 or not all(isinstance(side, Boundary) for side in sides):
                raise ModelError(
                    f"boundary[{name!r}] is {given!r}; it must be bx.StateConstraint(), Reflecting(), Natural(), "
                    "Absorbing(value), or a pair of them, (lower, upper)."
                )

    def _check_resets(self) -> None:
        for name, reset in self.resets.items():
            if not isinstance(reset, Reset):
                raise ModelError(f"resets[{name!r}] is {reset!r}; it must be bx.Reset(rate=..., to={{...}}).")
            if not isinstance(reset.to, Mapping) or not reset.to:
                raise ModelError(f"resets[{name!r}]: to is {reset.to!r}; name the states that jump, and where to.")
            check_names(reset.to, self.states, f"resets[{name!r}]: state")

    def _check_discount(self) -> None:
        q = self.graphs[""].slots["slot:discount"].quantity
        if q.function is None and not math.isfinite(self.horizon) and not np.all(np.asarray(q.literal) > 0):
            raise ModelError(
                f"discount is {np.asarray(q.literal):g} and the horizon is infinite; in continuous time it is a rate, "
                "and must be above zero."
            )

    @cached_property
    def clock(self) -> Clock:
        """No periods: time is continuous."""
        return Clock(math.inf)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graph of the model, under the name of its only regime, ''."""
        kinds = dict.fromkeys(self.states, "state") | dict.fromkeys(self.actions, "action")
        seen = {name: slots.view(space) for name, space in {**self.states, **self.actions}.items()}
        for name, space in self.states.items():
            if isinstance(space, Continuous):
                kinds[f"marginal_{name}"], seen[f"marginal_{name}"] = "marginal", seen[name]
                kinds[f"curvature_{name}"], seen[f"curvature_{name}"] = "curvature", seen[name]
        if math.isfinite(self.horizon):
            kinds["time"], seen["time"] = "clock", jax.ShapeDtypeStruct((), jnp.result_type(float))
        return {"": Graph(self._slots(), kinds, seen, self)}

    def _slots(self) -> Iterable[Slot]:
        for name, function in self.functions.items():
            yield Slot(name, "function", quantity(function, f"functions[{name!r}]"))
        for name, space in self.states.items():
            if isinstance(space, MarkovChain):
                yield from slots.process(name, space, "")
            else:
                yield from slots.bounds("state", name, space, "")
        for name, action in self.actions.items():
            if isinstance(action, Continuous):
                yield from slots.bounds("action", name, action, "")
        for what, scope in (("policy", "closed form"), ("drift", "flow"), ("diffusion", "spread")):
            for name, given in getattr(self, what).items():
                shape = slots.view({**self.states, **self.actions}[name]).shape
                # a state of shape (n,) may diffuse with one spread for all, or with a matrix (n, n); one that is a
                # number, with loadings on several shocks
                known = () if shape == () and what != "diffusion" else None
                yield Slot(f"{what}:{name}", scope, quantity(given, f"{what}[{name!r}]"), known)
        for name, reset in self.resets.items():
            yield Slot(f"rate:{name}", "terminal", quantity(reset.rate, f"rate of resets[{name!r}]"), ())
            for state, given in reset.to.items():
                yield Slot(f"to:{name}.{state}", "terminal", quantity(given, f"resets[{name!r}] to {state!r}"), ())
        for what, scope in (
            ("reward", "flow"),
            ("discount", "terminal"),
            ("stop", "stop"),
            ("terminal", "terminal"),
        ):
            if getattr(self, what) is not None:
                yield Slot(f"slot:{what}", scope, quantity(getattr(self, what), what), ())
        for name, given in self.boundary.items():
            sides = given if isinstance(given, tuple) else (given, given)
            for which, side in zip(("lower", "upper"), sides, strict=True):
                if isinstance(side, Absorbing):
                    label = f"value at the {which} boundary of {name!r}"
                    yield Slot(f"boundary:{which}.{name}", "terminal", quantity(side.value, label), ())

    def template(self) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default, and annotation."""
        return _parameters.template(self)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as solvers will take them; as `Model.parameters`."""
        found = _parameters.parameters(self, given)
        shapes.check(self.graphs[""], found)
        return found
