"""`evaluate`: the value of following a rule of one's own, as a `Solution` like any other.

    V(s) = E[ r(s, rule(s)) + b V(s') ]

A rule stands where a maximiser stands (bellman/maximisers/follow.py), so that every solver evaluates it: backward, by
the exact linear system of policy iteration, or by iteration.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import Array

from bellax.bellman.maximisers.follow import Functions, Others, carried
from bellax.bellman.options import key
from bellax.errors import ModelError, check_mapping, check_names, named_arguments
from bellax.model.model import Model
from bellax.model.rule import Rule
from bellax.model.spaces import agree
from bellax.numerics.programs import all_concrete
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments
from bellax.solution.policy import Policy, Queried
from bellax.solution.query import Reading, reading, undifferentiable, warn_of_reading
from bellax.solution.regimes import QueriedRegimes
from bellax.solution.solution import Solution
from bellax.solve import check_bellman, run, usual_solver, with_horizon
from bellax.solvers.common import BellmanSolver, check_solvable
from bellax.solvers.prepared import Prepared

_KEPT = 8
"""Rules of one model whose compiled programs are kept."""


@named_arguments
def evaluate(
    model: Model,
    params: Mapping[str, Any],
    rule: Mapping[str, Any] | Queried | QueriedRegimes,
    solver: Any = None,
    *,
    horizon: int | None = None,
    terminal: Solution | None = None,
    throw: bool = True,
    progress: Callable[[int, float], None] | None = None,
) -> Any:
    """The `Solution` of following a rule: its policy is the rule itself, its value what following it is worth.

    Args:
        model: what to follow it in.
        params: parameters of the model and of the rule, by name.
        rule: for every action, and for `stop` in a stopping problem, a function of names: states, parameters, period
            and age, functions of the model, other actions; or a number, or the name of a parameter. Those of one regime
            stand under its name, `{"retired": {"consumption": f}}`, and go before those for all. Or a policy: a
            `Solution`, or what its `tabulate()` returns, of a model with the same states and actions. It does not see
            taste shocks, whose mean is zero; a policy under taste shocks is no rule.
        solver: on which grid V is kept, and how it is found; nothing is maximised, so it takes no `maximiser`.
        horizon, terminal, throw, progress: as in `solve`.
    Returns:
        A `Solution`; of a model with several regimes a `RegimeSolution`.
    Raises:
        ModelError: if the rule lacks an action, has one that is none, or names what it may not.
        ParameterError: if the parameters do not fit model and rule.
        SolveError: if the rule gives what is not allowed, or is worth nothing finite; the message says where.
    """
    check_solvable(model)
    if horizon is not None:
        model = with_horizon(model, horizon)
    solver = check_bellman(usual_solver(model)[0] if solver is None else solver)
    if solver.maximiser is not None:
        raise ModelError("evaluate follows a rule and maximises nothing: leave the maximiser= of the solver out.")
    if isinstance(rule, QueriedRegimes) or (isinstance(rule, Queried) and model.regimes is not None):
        raise ModelError(
            "rule: policies of several regimes are not followed by this version; give functions by regime, such as "
            "{'retired': {'consumption': f}}. What a solution's own policy is worth is its value."
        )
    if isinstance(rule, Queried):
        rule.check_one()
        if rule.setting.problem.regime:
            raise ModelError("the rule is the policy of one regime among several, which this version does not follow.")
        policy = rule.pointwise
        prepared = _following_policy(model, solver, policy)
        arguments = prepared.arguments(params)
        _check_reach(prepared, arguments, rule)
        if not policy.smooth:
            policy = jax.tree.map(lambda leaf: undifferentiable(leaf, leaf), policy)
        return run(prepared, arguments | carried(policy), terminal, throw, progress)
    prepared = following_rule(model, solver, rule)
    return run(prepared, prepared.arguments(params), terminal, throw, progress)


def following_rule(model: Model, solver: BellmanSolver, rule: Mapping[str, Any]) -> Any:
    """The numerics of following functions of names."""
    check_mapping(rule, "rule", "{'consumption': lambda wealth: 0.04 * wealth}, or a Solution")
    name = ("rule", key(solver), tuple((action, _same(rule[action])) for action in rule))

    def build() -> Any:
        stated = Rule(model, dict(rule))
        if model.regimes is not None:
            return solver.prepare_regimes(model, stated)
        return solver.following(model, Functions(stated.graph, stated.nodes()), stated)

    return _kept(model, name, build)


def _following_policy(model: Model, solver: BellmanSolver, policy: Policy) -> Prepared:
    other, plan = policy.numerics.problem, Plan(model.graph)
    if other.plan.taste_shocks is not None:
        raise ModelError(
            "rule: the policy is one under taste shocks, which does not always do the same in one state. Give a rule "
            "as functions of names; what the policy itself does is worth solution.value(...)."
        )
    for what, ours, theirs in (("state", plan.states, other.plan.states), ("action", plan.actions, other.plan.actions)):
        check_names(theirs, ours, f"rule: {what} of the policy")
        check_names(ours, theirs, f"rule: a policy that does not know the {what}")
        for name, space in ours.items():
            if not agree(space, theirs[name]):
                raise ModelError(f"rule: {what} {name!r} of the policy has other categories, or another shape.")
    stops, theirs_stops = (each.evaluate_stop is not None for each in (plan, other.plan))
    if stops != theirs_stops:
        have = "says whether to stop, and the model has no `stop`" if theirs_stops else "never stops, and the model may"
        raise ModelError(f"rule: the policy {have}. Solve its model with the same `stop`.")
    if other.clock.finite and (not model.clock.finite or other.clock.count < model.clock.count):
        length = f"{model.clock.count} periods" if model.clock.finite else "no end"
        raise ModelError(f"rule: the policy is one of {other.clock.count} periods, and the model has {length}.")
    dates, theirs_dates = ((clock.first, clock.years) for clock in (model.clock, other.clock))
    if model.clock.aged and other.clock.aged and dates != theirs_dates:
        raise ModelError(
            f"rule: the policy starts at age {theirs_dates[0]:g}, in steps of {theirs_dates[1]:g} years, and the model "
            f"at {dates[0]:g} in steps of {dates[1]:g}: its period is another age."
        )
    structure = jax.tree.structure(policy)
    source = Others(structure, policy.smooth, other.finite)
    name = ("rule", key(solver), structure)
    return _kept(model, name, lambda: solver.following(model, source))


def _check_reach(prepared: Prepared, arguments: Arguments, rule: Queried) -> None:
    """Warns of a policy that is asked outside its own grid."""
    (leaves, structure), clock = jax.tree.flatten(rule.pointwise), prepared.problem.clock
    if not all_concrete((arguments, leaves)):
        return

    def run(arguments: Arguments, leaves: list[Array], periods: Array) -> Reading:
        policy = jax.tree.unflatten(structure, leaves)
        timed = policy.numerics.problem.finite
        at = lambda period: reading(policy, period if timed else 0, prepared.numerics.mesh(arguments, period))  # noqa: E731
        return jax.vmap(at)(periods)

    periods = np.arange(clock.count if clock.finite else 1, dtype=np.int32)
    found = jax.device_get(prepared.program("reading", lambda: jax.jit(run))(arguments, leaves, periods))
    for k in periods:
        warn_of_reading(rule, "rule", jax.tree.map(lambda leaf: leaf[k], found))  # noqa: B023


def _same(given: Any) -> Any:
    """A hashable stand-in for an entry of a rule; a function is itself, and the setting that is kept holds it."""
    if isinstance(given, Mapping):
        return tuple((name, _same(own)) for name, own in given.items())
    return id(given) if callable(given) or isinstance(given, jax.core.Tracer) else key(_plain(given))


def _plain(given: Any) -> Any:
    return given if isinstance(given, str) else np.asarray(given)


def _kept(model: Model, name: Any, build: Callable[[], Any]) -> Any:
    """The setting of a rule, made once; a model keeps those of the latest rules."""
    if name not in model.programs:
        prepared = build()
        rules = [other for other in model.programs if isinstance(other, tuple) and other[0] == "rule"]
        for other in rules[: max(0, len(rules) + 1 - _KEPT)]:
            del model.programs[other]
        model.programs[name] = prepared
    model.programs[name] = model.programs.pop(name)  # the latest one last
    return model.programs[name]
