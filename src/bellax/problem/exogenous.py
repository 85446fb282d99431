"""Which states actions move, read off the graph of the model."""

from bellax.problem.plan import Plan


def moved(plan: Plan) -> dict[str, str]:
    """The states that actions move, directly or through other states: by name, what moves each.

    The others are exogenous: their paths are the same whatever is done.
    """
    reads = {name: _reads(plan, name) for name in plan.states}
    found: dict[str, str] = {}
    while True:
        new = {
            name: min(seen)
            for name, own in reads.items()
            if name not in found and (seen := own & (set(plan.actions) | set(found)))
        }
        if not new:
            return found
        found |= new


def _reads(plan: Plan, name: str) -> set[str]:
    """The states and actions that the law of a state needs, also through the laws of what is drawn."""
    nodes = [f"probabilities:{name}"] if name in plan.markov else [f"next_{name}"]
    nodes = plan.process_nodes(name) if name in plan.processes else nodes
    found: set[str] = set()
    for node in nodes:
        found |= plan.graph.leaves(node, "state", "action")
        for shock in plan.graph.leaves(node, "shock"):
            for parameter in plan.shock_nodes(shock):
                found |= plan.graph.leaves(parameter, "state", "action")
                found |= {leaf.removeprefix("next_") for leaf in plan.graph.leaves(parameter, "next")}
        found |= {leaf.removeprefix("next_") for leaf in plan.graph.leaves(node, "next")}
    return found
