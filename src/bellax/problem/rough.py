"""Whether a model may have kinks or jumps anywhere, read off the operations that it is made of."""

from bellax.model import shapes
from bellax.problem.draws import random_leaves
from bellax.problem.plan import Plan


def may_be_rough(plan: Plan) -> bool:
    """Whether rewards, laws, bounds or the terminal value may have kinks or jumps in what is decided, moved or drawn;
    yes where nobody can tell."""
    last = [] if plan.evaluate_terminal is None else ["slot:terminal"]
    known = shapes.environment(plan.graph, None)
    moving = [name for name in (*plan.controls, *plan.states, *random_leaves(plan)) if name in known]
    return plan.once("may be rough", lambda: plan.kinked_in(moving, last))
