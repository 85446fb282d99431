"""Why a solve failed: the period, the state, and the function that gave no number. Runs after a failure only."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from bellax.bellman.chunks import Node
from bellax.bellman.discretisation import Discretisation, Values
from bellax.bellman.maximisers.maximum import Optimum
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sweep import TALLY, step
from bellax.errors import listed
from bellax.model.demands import complaint, not_negative, probabilities
from bellax.model.spaces import Discrete
from bellax.problem import checks
from bellax.problem.categories import category
from bellax.problem.period import by_action, combinations
from bellax.problem.problem import Arguments


def first_failure(
    numerics: Discretisation, arguments: Arguments, values: Values, active: Sequence[bool] | None = None
) -> str:
    """What failed first, in the order of the solve: which state of which period, and why.

    Args:
        active: of a regime, whether it is in each period.
    """
    finite = numerics.problem.clock.finite
    periods = range(numerics.problem.clock.count - 1, -1, -1) if finite else [0]
    periods = [period for period in periods if active is None or active[period]]

    def solve(arguments: Arguments, values: Values, period: Any) -> tuple[Any, Any, Any]:
        objective, mesh = numerics.solved_period(arguments, values, period)
        found = step(numerics.maximiser, objective, mesh, numerics.memory)
        fault = numerics.maximiser.fault_of(objective, found.value)
        return found.value.levels, found.tally[..., TALLY.index("infeasible_nodes")] == 0, fault

    if finite:
        own = values[numerics.problem.regime] if numerics.problem.regime else values
        found = _bad_end(numerics, arguments, np.asarray(own.levels[-1]))
        if found is not None and (active is None or active[-1]):
            return found
    elif not numerics.problem.regime:
        values = numerics.zero(arguments)
    compiled = jax.jit(solve)
    for period in periods:
        levels, feasible, fault = (np.asarray(x) for x in compiled(arguments, values, jnp.asarray(period)))
        when = f" in period {period}" if finite else ""
        if fault:
            return numerics.maximiser.fault(numerics.plan, int(fault), when)
        for bad, why in ((np.isnan(levels) | (levels == np.inf), _not_a_number), (~feasible, _infeasible)):
            if bad.any():
                place = np.unravel_index(int(bad.argmax()), bad.shape)
                objective, mesh = numerics.solved_period(arguments, values, period)
                node = _node(mesh, place)
                state = _described(numerics, mesh.point(node.codes, node.coordinates))
                count = f"{int(bad.sum())} of {bad.size} states"
                return why(numerics, objective, mesh, node, f"{state}{when} ({count})")
    return "the value is not a number after many steps: it diverges. Is the discount below one, is the reward bounded?"


def _bad_end(numerics: Discretisation, arguments: Arguments, levels: np.ndarray) -> str | None:
    """What is wrong with V after the last decision, if anything."""
    bad = np.isnan(levels) | (levels == np.inf)
    if not bad.any():
        return None
    place = np.unravel_index(int(bad.argmax()), bad.shape)
    mesh = numerics.mesh(arguments, numerics.problem.clock.count)
    node = _node(mesh, place)
    state = _described(numerics, mesh.point(node.codes, node.coordinates))
    what = "NaN" if np.isnan(levels[place]) else "infinity"
    where = f"terminal gives {what} at {state} ({int(bad.sum())} of {bad.size} states)."
    if numerics.plan.evaluate_terminal is None:
        return (
            f"{where} Likely causes: the solution that was given as terminal= has a smaller grid, and answers NaN "
            "outside it (outside=bx.outside.Nan()), or other categories. Solve it on the grid of this one."
        )
    return (
        f"{where} Likely causes: a logarithm or root of a negative number, or a division by zero. Move the bounds of "
        "the state away from there."
    )


def _node(mesh: Mesh, place: tuple[Any, ...]) -> Node:
    lead = len(mesh.discrete_axes)
    codes = {name: jnp.asarray(k, jnp.int32) for name, k in zip(mesh.discrete_axes, place[:lead], strict=True)}
    coordinates = [line.coordinates[k] for line, k in zip(mesh.lines, place[lead:], strict=True)]
    return Node(codes, jnp.stack(coordinates) if coordinates else jnp.zeros(0))


def _described(numerics: Discretisation, point: Point) -> str:
    parts = []
    for name, value in point.values.items():
        labels = getattr(numerics.plan.states[name], "labels", None)
        shown = (
            labels[int(point.codes[name])]
            if labels and name in point.codes
            else np.array2string(np.asarray(value), precision=6)
        )
        parts.append(f"{name} = {shown}")
    return ", ".join(parts)


def _infeasible(numerics: Discretisation, objective: Objective, mesh: Mesh, node: Node, where: str) -> str:
    point = mesh.point(node.codes, node.coordinates)
    given = None if numerics.maximiser.makes_pieces else numerics.maximiser.given(objective, point)
    if given is not None:
        return _forbidden(numerics, objective, point, given, where)
    least = lambda name, lower, upper: (lower, f"{name} in [{np.asarray(lower)}, {np.asarray(upper)}]")  # noqa: E731
    _, shown = objective.period.resolved(point.values, jnp.zeros((), jnp.int32), least)
    bounds = shown.values()
    names = ", ".join(node.partition(":")[2] for node in numerics.plan.constraints) or "none"
    return (
        f"no action is feasible at {where}. Bounds there: {'; '.join(bounds) or 'none'}; constraints: {names}. Likely "
        "causes: a lower bound above the upper one, constraints that exclude each other, or a grid that reaches states "
        "where nothing can be done. Move the bounds of the state, or give an action that is always possible."
    )


def _forbidden(numerics: Discretisation, objective: Objective, point: Point, given: Optimum, where: str) -> str:
    """Which action of a rule is none that may be, or which constraint it breaks."""
    plan = numerics.plan
    found = numerics.maximiser.source(objective.period.environment, point.values)  # type: ignore[attr-defined]
    advice = "At every node of the grid a rule gives an action that is allowed: correct it, or move the bounds there."
    for name, space in plan.choices.items():
        place, fits = category(space, found[name])
        if not fits:
            return f"the rule gives {name} = {np.asarray(found[name])} at {where}, none of {_few(space)}. {advice}"
    own = by_action(plan, given.decision.u)
    keep = lambda name, lower, upper: (own[name], (lower, upper))  # noqa: E731
    values, bounds = objective.period.resolved(point.values, given.decision.combination, keep)
    for name, (lower, upper) in bounds.items():
        if not ((values[name] >= lower) & (values[name] <= upper)).all():
            return (
                f"the rule gives {name} = {np.asarray(values[name])} at {where}, and its bounds there are "
                f"[{np.asarray(lower)}, {np.asarray(upper)}]. {advice}"
            )
    chosen = ", ".join(f"{name} = {np.asarray(value)}" for name, value in values.items())
    held = objective.period.held(point.values, values)
    broken = [node.partition(":")[2] for node, holds in held.items() if not holds]
    return f"the rule gives {chosen} at {where}, which breaks the constraint {listed(broken)}. {advice}"


def _not_a_number(numerics: Discretisation, objective: Objective, mesh: Mesh, node: Node, where: str) -> str:
    point = mesh.point(node.codes, node.coordinates)
    if numerics.plan.evaluate_stop is not None and not objective.period.payoff(point.values) < jnp.inf:
        what = "NaN" if jnp.isnan(objective.period.payoff(point.values)) else "infinity"
        label = numerics.plan.graph.slots["slot:stop"].quantity.label
        return f"{label} gives {what}, at {where}. {_advice(_Culprit('', False), '')}"
    given = numerics.maximiser.given(objective, point)
    if given is not None:
        actions, _ = objective.actions(point, given.decision)
        culprit = _culprit(numerics, objective, point, actions)
        chosen = ", ".join(f"{name} = {np.asarray(value)}" for name, value in actions.items())
        text = "the value of the rule is not finite" if culprit is None else culprit.text
        return f"{text}, at {where}, where the rule gives {chosen or 'no action'}."
    objective = replace(objective, absolute=frozenset())  # any share of the way between the bounds may tell
    shares = itertools.product(np.linspace(0, 1, 9), repeat=len(numerics.plan.coordinates))
    for u in itertools.islice(shares, 1000):
        for k in range(len(combinations(numerics.plan))):
            decision = Decision(jnp.asarray(k, jnp.int32), jnp.asarray(u, float).reshape(-1))
            actions, allowed = objective.actions(point, decision)
            if not allowed or not objective.period.feasible(point.values, actions):
                continue
            culprit = _culprit(numerics, objective, point, actions)
            if culprit is not None:
                chosen = ", ".join(f"{name} = {np.asarray(value)}" for name, value in actions.items())
                return f"{culprit.text}, at {where}{', with ' if chosen else ''}{chosen}. {_advice(culprit, chosen)}"
    return (
        f"the value is not finite at {where}, and every function of the model is at the actions that were tried. Is a "
        "later value infinite, or a function no number at an action in between?"
        + (" Does a mapping lead beyond the nodes of a process in another regime?" if numerics.plan.arrivals else "")
    )


class _Culprit(NamedTuple):
    """A function that fails: what it does, and whether its numbers are finite and still none that may be."""

    text: str
    finite: bool


def _advice(culprit: _Culprit, chosen: str) -> str:
    away = "keep the action away from there by a bound, or the state by its own." if chosen else "move the bounds."
    if culprit.finite:
        return f"Correct the function, or {away}"
    return f"Likely causes: a logarithm or root of a negative number, or a division by zero; {away}"


def _culprit(numerics: Discretisation, objective: Objective, point: Point, actions: dict[str, Any]) -> _Culprit | None:
    """The first function, in the order in which they need each other, that gives NaN or plus infinity."""
    graph = numerics.plan.graph
    nodes, count = objective.nodes()
    leaves = {**objective.period.environment, **point.values, **actions}
    targets = [n for n in nx.topological_sort(graph._dag) if n in graph.slots]
    roots = [
        *numerics.plan.targets,
        *(node for name in numerics.plan.shocks for node in numerics.plan.shock_nodes(name)),
    ]
    wanted = set(roots) | {m for t in roots for m in graph.reach(t)}
    targets = [n for n in targets if n in wanted]
    evaluate = graph.compose(targets)

    def at(node: Any) -> Any:
        known = objective.period.known(point.values, actions)
        realised = objective.realise(point, actions, known, node)[1]
        return evaluate(**leaves, **realised)

    found = jax.vmap(at)(nodes)
    moved = found.pop("slot:next_regime", None)
    wrong = None if moved is None else _lost(objective, moved)
    if wrong is not None:
        return _Culprit(f"{graph.slots['slot:next_regime'].quantity.label} {wrong}", True)
    for name in (name for name in targets if name in found):
        wrong = _wrong(numerics, name, np.asarray(found[name], float))
        if wrong is not None:
            return _Culprit(f"{graph.slots[name].quantity.label} {wrong}", bool(np.isfinite(found[name]).all()))
    for shock in numerics.plan.shocks:
        given = {node: np.asarray(found[node]) for node in numerics.plan.shock_nodes(shock)}
        for place in range(count):
            wrong = checks.shock(numerics.plan, shock).complaint({n: value[place] for n, value in given.items()})
            if wrong is not None:
                return _Culprit(wrong.rstrip("."), True)
    return None


def _lost(objective: Objective, given: Mapping[str, Any]) -> str | None:
    """What is wrong with the probabilities of regimes, one row a scanned node; or None."""
    table = np.stack([np.asarray(probability, float) for probability in given.values()], axis=-1)
    texts = (complaint(probabilities("next_regime"), row) for row in table)
    wrong = next((text.rstrip(".") for text in texts if text is not None), None)
    if wrong is not None:
        shown = ", ".join(f"{name} {table.reshape(-1, len(given))[0, k]:.6g}" for k, name in enumerate(given))
        return f"{wrong} ({shown})"
    for place, target in enumerate(given):
        if not (table[..., place] > 0).any():
            continue
        if not objective.exists.get(target, True):
            most = table[..., place].max()
            return f"gives the probability {most:.6g} to the regime {target!r}, which is not active in the next period"
    return None


def _wrong(numerics: Discretisation, node: str, values: np.ndarray) -> str | None:
    """What is wrong with the values of a function, one a scanned node; or None."""
    plan = numerics.plan
    if np.isnan(values).any() or (values == np.inf).any():
        return "gives NaN" if np.isnan(values).any() else "gives infinity"
    state = node.removeprefix("next_")
    if node == f"next_{state}":
        if np.isinf(values).any():
            return "gives minus infinity"
        space = plan.states[state]
        if isinstance(space, Discrete):
            fits = np.asarray(jax.vmap(lambda value: category(space, value)[1])(jnp.asarray(values)))
            wrong = values[~fits]
            return None if fits.all() else f"gives {wrong[0]:g}, which is none of its categories: {_few(space)}"
        return None
    asked = [not_negative("discount")] if node == "slot:discount" else plan.graph.slots[node].demands
    found = (complaint(asked, np.asarray(value)) for value in values)
    return next((text.rstrip(".") for text in found if text is not None), None)


def _few(space: Discrete) -> str:
    """The categories, the middle left out of a long list."""
    values = space.values.tolist()
    return str(values) if len(values) <= 12 else f"{values[:3]} to {values[-1]}"
