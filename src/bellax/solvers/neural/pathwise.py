"""Whether gradients along paths are those of the mean: where a policy moves chances, or jumps, they are not.

A path keeps the category that it drew. So neither the probabilities of categories nor a law that gives one may move
with what the policy moves: the actions, and the states and shocks that these move.
"""

from bellax.errors import ModelError
from bellax.model.shocks import Categorical, Jump, Lognormal, Mixture, MultivariateNormal, Normal, Uniform
from bellax.problem.plan import Plan

_KINDS = ("state", "action", "shock", "next")
_CHANCES: dict[type, tuple[str, ...]] = {
    Normal: (),
    Lognormal: (),
    MultivariateNormal: (),
    Uniform: (),
    Categorical: ("probabilities",),
    Jump: ("intensity",),
    Mixture: ("weights",),
}
"""The parameters of a distribution that say what is probable; of others all of them."""


def check_pathwise(plan: Plan, what: str, instead: str) -> None:
    """Raises ModelError where chances move with the policy, and for constraints beside bounds.

    Args:
        instead: solvers that take such models.
    """
    if plan.constraints:
        name = plan.constraints[0].partition(":")[2]
        raise ModelError(
            f"{what} keeps to the bounds of actions, and {name!r} is a constraint; state it as a bound, which may name "
            f"states and other actions, or {instead}."
        )
    moved = _moved(plan)
    for name in plan.discrete:
        node = f"probabilities:{name}" if name in plan.markov else f"next_{name}"
        law = "the probabilities" if name in plan.markov else "the law"
        _check(plan, node, moved, f"{law} of the discrete state {name!r}", what, instead)
    for name, shock in plan.graph.regime.shocks.items():
        chances = _CHANCES.get(type(shock))
        for node in plan.shock_nodes(name):
            own = node.rpartition(".")[2]
            if chances is None or own in chances:
                _check(plan, node, moved, f"{own} of the shock {name!r}", what, instead)


def _check(plan: Plan, node: str, moved: set[str], which: str, what: str, instead: str) -> None:
    seen = sorted(plan.graph.leaves(node, *_KINDS) & moved)
    if seen:
        raise ModelError(
            f"{what} differentiates along simulated paths, and {which} moves with {seen[0]!r}, which the policy moves: "
            f"a path keeps the category that it drew, and its gradient would be biased without a word; {instead}."
        )


def _moved(plan: Plan) -> set[str]:
    """The actions, and the states and shocks that they move, directly or through others."""
    graph, found = plan.graph, set(plan.controls)
    while True:
        new = set()
        for name in plan.continuous:
            if name not in found and graph.leaves(f"next_{name}", *_KINDS) & found:
                new |= {name, f"next_{name}"}
        for name in graph.regime.shocks:
            if name not in found and any(graph.leaves(node, *_KINDS) & found for node in plan.shock_nodes(name)):
                new |= {name}
        if not new:
            return found
        found |= new
