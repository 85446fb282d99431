"""Preferences over risk and time, and taste shocks. Expected utility is the default and needs no object.

They are part of the model: a solver that cannot honour one refuses it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bellax.errors import ModelError, named_options
from bellax.model.demands import Demand
from bellax.model.quantity import QuantityLike


@named_options
@dataclass(frozen=True, eq=False)
class EpsteinZin:
    """V = ((1 - b) c^(1 - 1/psi) + b E[V'^(1 - gamma)]^((1 - 1/psi)/(1 - gamma)))^(1/(1 - 1/psi)).

    The reward is in units of consumption. Mortality belongs in regimes, never in `discount`.

    Args:
        risk_aversion: gamma, a Quantity.
        substitution: psi, the elasticity of intertemporal substitution, a Quantity.
    Source: Epstein & Zin (1989).
    """

    risk_aversion: QuantityLike
    substitution: QuantityLike

    def quantities(self) -> Mapping[str, QuantityLike]:
        return {"risk_aversion": self.risk_aversion, "substitution": self.substitution}


@named_options
@dataclass(frozen=True, eq=False)
class RiskSensitive:
    """V = r - b/theta log E[exp(-theta V')].

    Args:
        theta: risk sensitivity, a Quantity; expected utility as it goes to zero.
    Source: Hansen & Sargent (1995).
    """

    theta: QuantityLike

    def quantities(self) -> Mapping[str, QuantityLike]:
        return {"theta": self.theta}


@named_options
@dataclass(frozen=True, eq=False)
class QuasiHyperbolic:
    """The present self discounts all of the future once more, by `present_bias`.

    Args:
        present_bias: beta of Laibson (1997), a Quantity; `discount` is his delta.
        sophisticated: whether today's self knows that tomorrow's will do the same.
    """

    present_bias: QuantityLike
    sophisticated: bool = True

    def quantities(self) -> Mapping[str, QuantityLike]:
        return {"present_bias": self.present_bias}


@named_options
@dataclass(frozen=True, eq=False)
class Recursive:
    """V = aggregator(reward, discount, certainty), certainty = certainty_equivalent(V', weights).

    Args:
        aggregator: a function of `reward`, `discount`, `certainty` and parameters.
        certainty_equivalent: a function of arrays `values` and `weights` along one axis, and parameters.

    In the graph both are functions of these arguments, with the parameters already in them.
    """

    aggregator: Callable[..., Any]
    certainty_equivalent: Callable[..., Any]

    def quantities(self) -> Mapping[str, QuantityLike]:
        return {"aggregator": self.aggregator, "certainty_equivalent": self.certainty_equivalent}


@named_options
@dataclass(frozen=True, eq=False)
class ExtremeValue:
    """Additive taste shocks of mean zero, extreme value type I, one for each combination of discrete actions.

    They are seen with the state, before the decision, and V is the mean over them: V = scale log sum exp(Q / scale), of
    the best Q for each combination of the actions `over`. There is no Euler constant in it. As the scale goes to zero V
    goes to the maximum, which it is at zero.

    Args:
        scale: scale of the shocks in utils, a Quantity, not negative; their standard deviation is pi / sqrt(6) of it.
        over: names of the discrete actions that they touch; over the others the best is taken, as without shocks.
    Source: McFadden (1973); Rust (1987).
    """

    scale: QuantityLike
    over: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.over, str) or not self.over:
            raise ModelError("ExtremeValue needs over=('action', ...): the discrete actions that its shocks touch.")

    def quantities(self) -> Mapping[str, QuantityLike]:
        return {"scale": self.scale}

    def demands(self) -> tuple[Demand, ...]:
        """What the scale must be."""
        return (
            Demand(
                ("scale",),
                lambda value: ((value >= 0) & (value < math.inf)).all(),
                lambda value: f"is {np.min(value):g}; it must be a finite number, and not negative.",
            ),
        )


LOCAL = {"aggregator": ("reward", "discount", "certainty"), "certainty_equivalent": ("values", "weights")}
"""Arguments of a preference's functions that whoever evaluates them supplies."""

Preferences = EpsteinZin | RiskSensitive | QuasiHyperbolic | Recursive
