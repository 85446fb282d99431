"""`FiniteDifference`: the Hamilton-Jacobi-Bellman equation on nodes, by a monotone scheme and Newton's method.

V solves discount V = reward + A V, where rewards and rates are tangent to the equation at the last V (scheme.py): a
sparse linear system, and next a new tangent. Where actions maximise that is Howard's policy iteration.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bellax.bellman.maximisers.golden import Golden
from bellax.errors import ModelError, check_count, check_mapping, check_names, check_positive, named_options
from bellax.model import slots
from bellax.model.diffusion import DiffusionModel
from bellax.model.spaces import Continuous
from bellax.numerics import grids
from bellax.problem.best import Candidates
from bellax.solvers.continuous.prepared import PreparedFlow
from bellax.solvers.solver import Solver

_NODES = {1: 500, 2: 100, 3: 30}


@named_options
@dataclass(frozen=True, kw_only=True)
class FiniteDifference(Solver):
    """Solves a `DiffusionModel` on nodes.

    Differences are taken in the coordinates of the states' scales: central where that is monotone, and upwind
    elsewhere, so that V is the value of a chain on the nodes whose drift is exact and whose variance is as small as it
    can be. Actions without a closed form are where the Hamiltonian's slope changes sign, which is the best place where
    it is concave.

    Args:
        grid: by continuous state, a number of nodes or one of `bx.grids`; by default 500 of one state, 100 each of
            two, 30 each of three.
        maximiser: `bx.maximise.Golden` compares candidates of actions without a closed form, which need bounds then,
            where the Hamiltonian may not be concave; by default none.
        steps: of a finite horizon, implicit steps of equal length. V is first order in them.
        tolerance: largest change of V in the last step, relative to how far V is apart: from its mean there, and on
            average. Units of rewards and constants in them do not matter.
        max_steps: steps of Newton's method at most; of a finite horizon, at every moment.
    Raises:
        ModelError: for a model that it does not solve, which says what.
    Source: Achdou, Han, Lasry, Lions & Moll (2022); Howard (1960); Kushner & Dupuis (2001).
    """

    flows: ClassVar[bool] = True

    grid: Mapping[str, Any] = field(default_factory=dict)
    maximiser: Golden | None = None
    steps: int = 200
    tolerance: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        check_mapping(self.grid, "FiniteDifference: grid", "{'wealth': 500}")
        check_count(self.steps, "FiniteDifference: steps")
        check_positive(self.tolerance, "FiniteDifference: tolerance")
        check_count(self.max_steps, "FiniteDifference: max_steps")
        if self.maximiser is not None and not isinstance(self.maximiser, Golden):
            raise ModelError(
                f"FiniteDifference: maximiser is {self.maximiser!r}; it is bx.maximise.Golden(), or left out: then "
                "actions without a closed form are found by the first-order condition."
            )

    def prepare(self, model: Any) -> PreparedFlow:
        check_served(model)
        specs = tuple(sorted((name, repr(spec)) for name, spec in self.grid.items()))
        name = ("prepared", self.tolerance, self.max_steps, self.steps, repr(self.maximiser), specs)
        if name not in model.programs:
            model.programs[name] = PreparedFlow(model, self, self._specs(model), self._candidates(model))
        return model.programs[name]

    def _specs(self, model: DiffusionModel) -> dict[str, Any]:
        continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
        for name in self.grid:
            if name in model.states and name not in continuous:
                raise ModelError(
                    f"grid: state {name!r} is a chain and has exactly its categories; remove it from grid=."
                )
        check_names(self.grid, continuous, "grid: state")
        usual = _NODES.get(len(continuous), 20)
        return {name: grids.as_spec(self.grid.get(name, usual), f"state {name!r}", 3) for name in continuous}

    def _candidates(self, model: DiffusionModel) -> Candidates | None:
        """What Golden asks for, of the actions that are sought."""
        golden = self.maximiser
        if golden is None:
            return None
        sought = [n for n, space in model.actions.items() if isinstance(space, Continuous) and n not in model.policy]
        if golden.polish is not None:
            raise ModelError("FiniteDifference: Golden(polish=) is of discrete time; leave it out.")
        check_names(golden.grid, sought, "Golden: action without a closed form")
        for name, count in golden.grid.items():
            if not isinstance(count, int):
                raise ModelError(
                    f"Golden: grid[{name!r}] is {count!r}; in continuous time it is a number of candidates."
                )
        for name in sought:
            space: Any = model.actions[name]
            if any(isinstance(side, float) and math.isinf(side) for side in (space.lower, space.upper)):
                raise ModelError(f"Golden looks for {name!r} between bounds; give bx.Continuous(lower, upper).")
        counts = tuple((name, int(golden.grid.get(name, 25))) for name in sought)
        return Candidates(counts, golden.tolerance, golden.rounds) if counts else None


def check_served(model: Any) -> None:
    """Raises ModelError for what this version does not solve in continuous time."""
    if not isinstance(model, DiffusionModel):
        raise ModelError(
            f"FiniteDifference solves a bx.DiffusionModel, not a {type(model).__name__}; for a bx.Model there are "
            "bx.solvers.BackwardInduction, ValueIteration and PolicyIteration."
        )
    continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
    spaces = {**model.states, **model.actions}
    vectors = [name for name in spaces if isinstance(spaces[name], Continuous) and slots.view(spaces[name]).shape != ()]
    wrong = [
        (len(continuous) == 0, "a model needs a continuous state; of chains alone V is a linear system."),
        (bool(vectors), f"{next(iter(vectors), '')!r} is a vector; give each of its numbers a name."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"FiniteDifference does not solve this model in this version: {words}")
