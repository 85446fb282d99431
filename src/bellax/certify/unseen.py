"""Whether simulated paths can know of all that may happen: of what is rare their mean says nothing, nor does its error.

A kind of what is random, such as a category, that has a probability but is hardly ever drawn may be what a value is
made of. How often each is drawn along paths is known in the mean, by the probabilities at the states that they visit.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.panel import Panel
from bellax.problem.draws import Laws, random_leaves
from bellax.problem.kinds import Kinds
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSetting

_ENOUGH = 5.0  # times that a kind is drawn on all paths together, in the mean
_ROUNDING = 1e-15  # a probability that is as good as none

States = Mapping[str, Any]


def unseen(
    setting: GridlessSetting, arguments: Arguments, panel: Panel, ways: Iterable[States], paths_only: bool
) -> str:
    """Which kind of what is random is drawn too rarely on paths; empty where there is none.

    Args:
        panel: the paths.
        ways: states and actions that stand in the place of those of the panel, by name, one after the other.
        paths_only: whether only what moves paths, or is not gone through in means, counts.
    """
    kinds: list[Kinds] = []
    jax.eval_shape(lambda given: kinds.append(Kinds(Laws(setting.problem, given, 0))), arguments)
    asked = set(kinds[0].counts)
    if paths_only:
        asked &= _moving(setting.plan) | (asked - set(kinds[0].listed))
    if not asked:
        return ""
    run = setting.program("unseen", lambda: jax.jit(_counts(setting)))
    states, actions = dict(panel.states), {name: panel.actions[name] for name in setting.plan.actions}
    for way in ways:
        wide = {name: jnp.broadcast_to(value, panel.active.shape) for name, value in way.items()}
        own = {name: wide.get(name, array) for name, array in states.items()}
        done = {name: wide.get(name, array) for name, array in actions.items()}
        for leaf, (counts, most) in run(arguments, own, done, panel.active).items():
            rare = (np.asarray(most) > _ROUNDING) & ~(np.asarray(counts) >= _ENOUGH)
            if leaf in asked and rare.any():
                return _said(leaf, np.asarray(counts)[rare], np.asarray(most)[rare])
    return ""


def _said(leaf: str, counts: np.ndarray, most: np.ndarray) -> str:
    return (
        f"what {leaf.removeprefix('next_')!r} draws with a probability of at most {float(most.max()):.1e} is drawn "
        f"{float(counts[most.argmax()]):.1e} times on all paths together, in the mean, so that they may not know of "
        "it; more agents= would"
    )


def _moving(plan: Plan) -> set[str]:
    """The random leaves that reach a state of tomorrow, or the discount."""
    nodes = [f"probabilities:{name}" if name in plan.markov else f"next_{name}" for name in plan.states]
    nodes = [node for node in nodes if node.removeprefix("next_") not in plan.processes]
    found = {f"next_{name}" for name in (*plan.processes, *plan.markov)}
    for node in [*nodes, "slot:discount"]:
        found |= plan.graph.leaves(node, "shock", "next")
    for leaf in reversed(random_leaves(plan)):
        if leaf in found and leaf in plan.graph.regime.shocks:
            found |= {own for node in plan.shock_nodes(leaf) for own in plan.graph.leaves(node, "shock", "next")}
    return found


def _counts(setting: GridlessSetting) -> Callable[..., Any]:
    """By leaf, how often each of its kinds is drawn in the mean, and its largest probability."""
    problem, plan = setting.problem, setting.plan

    def run(arguments: Arguments, states: States, actions: States, active: Array) -> Any:
        root = jax.random.key(23)

        def at(number: Array, here: States, done: States, there: Array) -> Any:
            kinds = Kinds(Laws(problem, arguments, number))
            keys = jax.random.split(jax.random.fold_in(root, number), there.shape[0])
            each = 8 * (len(plan.states) + sum(kinds.counts.values()))
            found = over_batch(lambda row: kinds.drawn(*row), (here, done, keys), each, setting.numerics.memory)
            wide = {leaf: jnp.where(there[:, None], own, 0.0) for leaf, own in found.items()}
            return {leaf: (jnp.sum(own, axis=0), jnp.max(own, axis=0)) for leaf, own in wide.items()}

        numbers = jnp.arange(active.shape[1], dtype=jnp.int32)
        first = lambda tree: {name: jnp.moveaxis(leaf, 1, 0) for name, leaf in tree.items()}  # noqa: E731
        found = jax.lax.map(lambda row: at(*row), (numbers, first(states), first(actions), active.T))
        return {leaf: (jnp.sum(counts, axis=0), jnp.max(most, axis=0)) for leaf, (counts, most) in found.items()}

    return run
