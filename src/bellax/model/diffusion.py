"""`DiffusionModel`: a model in continuous time. It can be stated, validated and printed; solvers come later.

discount V = max over a of r(s, a) + drift(s, a) . V_s + 1/2 tr(diffusion diffusion' V_ss).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bellax.errors import ModelError, listed, nearest
from bellax.model.quantity import Quantity, QuantityLike, quantity
from bellax.model.spaces import Continuous, Discrete, MarkovChain


@dataclass(frozen=True)
class Boundary:
    """What holds at the edges of a state: the same on both sides, or one for each."""


@dataclass(frozen=True)
class StateConstraint(Boundary):
    """The drift may not leave the domain."""


@dataclass(frozen=True)
class Reflecting(Boundary):
    """The state is reflected: V_s = 0, and no mass flows out."""


@dataclass(frozen=True)
class Natural(Boundary):
    """The edge is never reached."""


@dataclass(frozen=True, eq=False)
class Absorbing(Boundary):
    """The problem ends at the edge with a value, a Quantity."""

    value: QuantityLike = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class DiffusionModel:
    """A model in continuous time, as functions of names; reward, drift and `policy` may name `marginal_<state>`.

    Args:
        states: `Continuous` or `MarkovChain(values, intensity=Q)`, by name.
        actions: spaces of the actions, by name; unbounded where a policy in closed form is given.
        policy: closed forms of actions, by name.
        functions: further functions of names.
        reward: flow of reward, a Quantity.
        drift: of each continuous state, a Quantity.
        diffusion: standard deviation of each state that diffuses, a Quantity.
        discount: a rate, a Quantity.
        boundary: of each continuous state, one `Boundary` or a pair (lower, upper).
        stop: payoff of stopping, the obstacle, a Quantity.
        terminal: value at the end of a finite horizon, a Quantity.
        horizon: a time, or `math.inf`.
    """

    states: Mapping[str, Continuous | MarkovChain]
    reward: QuantityLike
    drift: Mapping[str, QuantityLike]
    actions: Mapping[str, Continuous | Discrete] = field(default_factory=dict)
    policy: Mapping[str, QuantityLike] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    diffusion: Mapping[str, QuantityLike] = field(default_factory=dict)
    discount: QuantityLike = "discount"
    boundary: Mapping[str, Boundary | tuple[Boundary, Boundary]] = field(default_factory=dict)
    stop: QuantityLike = None
    terminal: QuantityLike = None
    horizon: float = math.inf

    def __post_init__(self) -> None:
        continuous = [name for name, space in self.states.items() if isinstance(space, Continuous)]
        for slot in ("drift", "diffusion", "boundary"):
            for name in getattr(self, slot):
                if name not in continuous:
                    raise ModelError(f"{slot}[{name!r}]: no continuous state of that name.{nearest(name, continuous)}")
        for name in continuous:
            if name not in self.drift:
                raise ModelError(f"state {name!r} has no drift; give drift={{{name!r}: ...}}, 0.0 where it has none.")
        for name in self.policy:
            if name not in self.actions:
                raise ModelError(f"policy[{name!r}]: no action of that name.{nearest(name, self.actions)}")
        known = {*self.states, *self.actions, *self.functions, "time"}
        marginals = {f"marginal_{name}" for name in continuous}
        for q in self.quantities:
            for name in q.names:
                if name.startswith(("next_", "marginal_")) and name not in marginals:
                    raise ModelError(
                        f"{q.label} names {name!r}, which does not exist here.{nearest(name, marginals)} "
                        f"Names: {listed(sorted(known | marginals))}."
                    )

    @cached_property
    def quantities(self) -> list[Quantity]:
        """Every slot in its common form."""
        slots: dict[str, Any] = {f"functions[{n!r}]": f for n, f in self.functions.items()}
        for name in ("policy", "drift", "diffusion"):
            slots |= {f"{name}[{n!r}]": q for n, q in getattr(self, name).items()}
        for name, space in self.states.items():
            if isinstance(space, Continuous):
                slots |= {f"{side} bound of {name!r}": getattr(space, side) for side in ("lower", "upper")}
            else:
                slots[f"intensity of {name!r}"] = space.intensity
        slots |= {n: getattr(self, n) for n in ("reward", "discount", "stop", "terminal")}
        return [quantity(value, label) for label, value in slots.items() if value is not None]

    def template(self) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default, and annotation."""
        import pandas as pd  # costs .4 s at import

        known = {*self.states, *self.actions, *self.functions, "time"} | {f"marginal_{name}" for name in self.states}
        rows: dict[str, dict[str, Any]] = {}
        for q in self.quantities:
            for name in q.names:
                if name not in known:
                    row = rows.setdefault(name, {"name": name, "used in": [], "default": "", "annotation": ""})
                    row["used in"].append(q.label)
                    row["default"] = q.defaults.get(name, row["default"])
                    row["annotation"] = q.annotations.get(name, row["annotation"])
        table = [{**row, "used in": ", ".join(row["used in"])} for row in rows.values()]
        return pd.DataFrame(table, columns=["name", "used in", "default", "annotation"])
