"""The method that the structure of a model allows, where nobody named one."""

from dataclasses import dataclass

from bellax.bellman.maximisers.egm import DCEGM, EGM
from bellax.bellman.maximisers.enumeration import Enumerate
from bellax.bellman.maximisers.maximum import Best, Maximiser
from bellax.bellman.maximisers.newton import Newton
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Objective
from bellax.errors import ModelError, named_options
from bellax.problem.period import Combination
from bellax.problem.plan import Plan


@named_options
@dataclass(frozen=True)
class ByStructure(Maximiser):
    """An endogenous grid where the model, or a regime of it, has the structure for one; else `Newton`, or `Enumerate`.

    It is what `bx.solve` takes without a solver. Where the numbers of a model turn out not to be for an endogenous grid
    (a law that falls in savings, a reward that is not strictly concave), `bx.solve` goes on with `Newton`; a solver
    that is given this method fails and says so.
    """

    @property
    def smooth(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        pass

    def completed(self, plan: Plan) -> Maximiser:
        found = endogenous_grid(plan) or usual(plan)
        found.check(plan)
        return found.completed(plan)

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        raise NotImplementedError("completed by the structure of a model")

    def cells(self, plan: Plan) -> int:
        raise NotImplementedError("completed by the structure of a model")


def usual(plan: Plan) -> Maximiser:
    """What serves every model: `Newton` where bounds and smooth constraints alone limit the continuous actions."""
    return Newton() if plan.controls and not plan.masking else Enumerate()


def endogenous_grid(plan: Plan) -> Maximiser | None:
    """The endogenous grid that a model has the structure for, if there is one."""
    if len(plan.controls) != 1 or len(plan.continuous) != 1:
        return None
    try:
        structure = DCEGM().structure(plan)
    except ModelError:
        return None
    # V of what follows is the largest of several functions, or has kinks, or may be so in another regime
    several = bool(plan.choices) or bool(plan.arrivals) or structure.kinked
    return DCEGM() if several else EGM()
