"""What is said of a comparison that sees continuous actions, where nobody has chosen how to honour it.

A comparison says whether an action is allowed, and neither how far it is to the edge nor in which direction. Candidates
stop short of the edge, by up to their distance, and what each state loses by it adds up along the recursion.
"""

import warnings

from bellax.bellman.maximisers.by_structure import ByStructure
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.reach import users_line
from bellax.bellman.setting import Setting
from bellax.errors import CoarseWarning, listed
from bellax.problem.plan import Plan


def warn_of_masks(setting: Setting) -> None:
    """Warns of a solve that masks candidates with a comparison because there was nothing better to do."""
    maximiser, plan = setting.numerics.maximiser, setting.plan
    if not plan.masking or not isinstance(setting.options.maximiser, ByStructure | None):
        return
    counts = [nodes.shape[0] for nodes in maximiser.candidates(plan)]
    share = f"1/{max(counts) - 1} of the way between the bounds of an action"
    tried = f"{cells(maximiser, plan):,} candidates in every state, {' x '.join(map(str, counts))}"
    warnings.warn(
        f"{plan.graph.where}{masks(plan)} So Enumerate takes the best that it allows of {tried}, and stops short of "
        f"the edge by up to {share}: slow, and V is too low, by how much bx.certify(solution) says. {advice(plan)} To "
        "keep candidates, say how many: "
        f"maximiser=bx.maximise.Enumerate(grid={{{', '.join(f'{name!r}: 200' for name in plan.controls)}}}).",
        CoarseWarning,
        stacklevel=users_line(),
    )


def masks(plan: Plan) -> str:
    """Which comparison sees which continuous actions."""
    node = plan.masking[0]
    names = [name for name in plan.controls if name in plan.graph.leaves(node, "action")]
    many = "actions" if len(names) > 1 else "action"
    return (
        f"the constraint {node.partition(':')[2]!r} is a comparison that sees the continuous {many} {listed(names)}, "
        "and True or False do not say how far it is to the edge."
    )


def advice(plan: Plan) -> str:
    """How to state it better."""
    name = plan.masking[0].partition(":")[2]
    return (
        f"Better, state what must not be negative: constraints={{{name!r}: bx.nonnegative(lambda ...: right - left)}} "
        "for a constraint left <= right, or a bound of an action; Newton then finds the optimum, on the edge too, to "
        "rounding."
    )
