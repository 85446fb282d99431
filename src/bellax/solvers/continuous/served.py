"""Which models nets solve in this version."""

import math
from typing import Any

from bellax.errors import ModelError, listed
from bellax.model import slots
from bellax.model.diffusion import Absorbing, DiffusionModel
from bellax.model.spaces import Continuous


def check_served(model: Any) -> None:
    """Raises ModelError for what nets do not solve in this version."""
    if not isinstance(model, DiffusionModel):
        raise ModelError(
            f"PINN solves a bx.DiffusionModel, not a {type(model).__name__}; for a bx.Model there are "
            "bx.solvers.BackwardInduction, ValueIteration and PolicyIteration."
        )
    graph = model.graphs[""]
    continuous = [name for name, space in model.states.items() if isinstance(space, Continuous)]
    chains = [name for name in model.states if name not in continuous]
    vectors = [name for name in continuous if slots.view(model.states[name]).shape != ()]
    free = [name for name in model.actions if name not in model.policy]
    spread = [name for name in model.diffusion if graph.leaves(f"diffusion:{name}", "action")]
    sides = {name: given if isinstance(given, tuple) else (given,) for name, given in model.boundary.items()}
    absorbing = [name for name, given in sides.items() if any(isinstance(side, Absorbing) for side in given)]
    first = lambda names: next(iter(names), "")  # noqa: E731
    wrong = [
        (bool(chains), f"state {first(chains)!r} is a chain, and V is no net of it; use FiniteDifference."),
        (not 1 <= len(continuous) <= 3, f"it has {len(continuous)} continuous states; there may be one to three."),
        (bool(vectors), f"state {first(vectors)!r} is a vector; give each of its numbers a name."),
        (math.isfinite(model.horizon), "it has a finite horizon."),
        (model.stop is not None, "it has `stop`."),
        (bool(absorbing), f"the boundary of {absorbing} is Absorbing."),
        (bool(free), f"the action {first(free)!r} has no closed form: give policy={{{first(free)!r}: ...}}."),
        (bool(spread), f"the diffusion of {spread} moves with an action."),
        (bool(model.resets), f"it has resets, {listed(model.resets)}."),
    ]
    for is_wrong, words in wrong:
        if is_wrong:
            raise ModelError(f"PINN does not solve this model in this version: {words}")
