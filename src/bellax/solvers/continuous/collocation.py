"""`Collocation`: the Hamilton-Jacobi-Bellman equation of a smooth model, with V a polynomial.

V solves the equation at Chebyshev's nodes (collocated.py), by Newton's method from a V of finite differences on a
coarse grid, which knows the root. Where V is analytic the error falls geometrically with the nodes; where V has a kink
it does not, and what is left of the equation between the nodes says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bellax.errors import ModelError, check_count, check_mapping, check_names, check_positive, listed, named_options
from bellax.model import slots
from bellax.model.diffusion import DiffusionModel
from bellax.model.spaces import Continuous, Discrete
from bellax.solvers.continuous.collocating import CollocatedFlow
from bellax.solvers.solver import Solver

_NODES = {1: 40, 2: 20, 3: 10}


@named_options
@dataclass(frozen=True, kw_only=True)
class Collocation(Solver):
    """Solves a `DiffusionModel` whose V is smooth, by polynomials.

    Args:
        grid: nodes by continuous state; by default 40 of one state, 20 each of two, 10 each of three.
        bounds: by continuous state, (lower, upper) inside its own bounds, None for its own: V is found there alone.
            Beyond, V goes on as it is within.
        tolerance: largest change of V in the last step, relative to how far V is apart: from its mean there, and on
            average.
        max_steps: steps at most.
        accuracy: largest error of V, as a share of its range, by what is left of the equation between nodes.
    Raises:
        ModelError: for a model that it does not solve, which says what.
    Assumes: V is smooth, which is checked: constraints that bind and kinks are refused; use `FiniteDifference`.
    Source: Trefethen (2000), "Spectral methods in MATLAB"; Judd (1998), chapter 11.
    """

    flows: ClassVar[bool] = True

    grid: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    tolerance: float = 1e-9
    max_steps: int = 50
    accuracy: float = 1e-6

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Collocation: grid", "{'wealth': 40}")
        check_mapping(self.bounds, "Collocation: bounds", "{'wealth': (0.5, None)}")
        check_positive(self.tolerance, "Collocation: tolerance")
        check_positive(self.accuracy, "Collocation: accuracy")
        check_count(self.max_steps, "Collocation: max_steps")

    def prepare(self, model: Any) -> "CollocatedFlow":
        check_served(model)
        given = (tuple(sorted(self.grid.items())), tuple(sorted((k, repr(v)) for k, v in self.bounds.items())))
        name = ("prepared", "Collocation", self.tolerance, self.accuracy, self.max_steps, *given)
        if name not in model.programs:
            model.programs[name] = CollocatedFlow(model, self, self._counts(model))
        return model.programs[name]

    def _counts(self, model: DiffusionModel) -> dict[str, int]:
        continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
        check_names(self.grid, continuous, "grid: continuous state")
        check_names(self.bounds, continuous, "bounds: continuous state")
        for name, pair in self.bounds.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ModelError(f"bounds[{name!r}] is {pair!r}; give a pair, (lower, upper), None for its own bound.")
        usual = _NODES.get(len(continuous), 5)
        found = {name: self.grid.get(name, usual) for name in continuous}
        for name, count in found.items():
            check_count(count, f"Collocation: grid[{name!r}], a number of Chebyshev's nodes,", 4)
        return found


def check_served(model: Any) -> None:
    """Raises ModelError for what this version does not solve."""
    if not isinstance(model, DiffusionModel):
        raise ModelError(
            f"Collocation solves a bx.DiffusionModel, not a {type(model).__name__}; for a bx.Model there are "
            "bx.solvers.BackwardInduction, ValueIteration and PolicyIteration."
        )
    continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
    spaces = {**model.states, **model.actions}
    vectors = [name for name in spaces if isinstance(spaces[name], Continuous) and slots.view(spaces[name]).shape != ()]
    choices = [n for n, space in model.actions.items() if isinstance(space, Discrete) and n not in model.policy]
    wrong = [
        (not continuous, "a model needs a continuous state; of chains alone V is a linear system."),
        (len(continuous) > 3, f"it has {len(continuous)} continuous states, and a tensor of nodes serves three."),
        (bool(vectors), f"{listed(vectors)} is a vector; give each of its numbers a name."),
        (math.isfinite(model.horizon), "it solves an infinite horizon."),
        (model.stop is not None, "it has `stop`, where V has a kink."),
        (bool(choices), f"{listed(choices)} is a choice, and where it changes V has a kink."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"Collocation does not solve this model: {words} FiniteDifference may.")
