"""`certify` of a solution without a grid: where V and the policy are wrong, and between what the optimum lies.

Residuals and losses are those of states, some drawn between the bounds and some from simulated paths, since a net may
be right where paths go and wrong where they do not. The bracket needs neither V nor the policy to be right.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.certify import penalised, relaxed
from bellax.certify.bracket import Bracket, Side, side_of
from bellax.certify.certificate import quantiles
from bellax.certify.common import at_entry, middle, shown
from bellax.certify.gridless_certificate import GridlessCertificate
from bellax.certify.nodes import finer, nodes_of
from bellax.certify.pointwise import cost, looking, within
from bellax.certify.steady import steady
from bellax.certify.unseen import unseen
from bellax.errors import ModelError
from bellax.learning.sampling import points as spread
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics.programs import quickly
from bellax.panel import Panel
from bellax.problem.averages import Rules
from bellax.problem.categories import as_seen
from bellax.problem.draws import draw_first
from bellax.problem.problem import Arguments
from bellax.simulate import simulate
from bellax.solution.gridless import GridlessPolicy, GridlessSetting, GridlessSolution

_NOTHING = 1e-16  # as good as zero, for a logarithm
_PERIODS = 50  # of the simulation of an infinite horizon
_LOOKED = 5  # periods of a finite horizon in which residuals are taken
_MOST = 4_000_000_000  # numbers to work out for the residuals, about
_LEAST = 16  # states of a period, at least

States = dict[str, Any]


def certify_gridless(
    solution: GridlessSolution,
    points: int,
    seed: int,
    agents: int,
    start: Mapping[str, Any] | Any,
    periods: int | None,
    panel: Panel | None,
    inner: int,
) -> GridlessCertificate:
    """The certificate; arguments as of `certify`."""
    setting, policy = solution.setting, solution.pointwise
    if setting.plan.taste_shocks is not None:
        raise ModelError("certify of a solution without a grid knows no taste shocks.")
    if panel is None:
        start = {**middle(setting, solution.arguments), **setting.beginning()} if start is None else start
        periods = _PERIODS if periods is None and not setting.problem.finite else periods
        panel = simulate(solution, agents, start, seed, periods)
    rules = finer(setting, solution.arguments)
    found = _Looked(solution, points, seed, panel, rules)
    last = {name: np.asarray(np.mean(np.asarray(panel.final[name], float), axis=0)) for name in setting.plan.states}
    settled, why = steady(setting, policy, last)
    return GridlessCertificate(
        **found.measured(),
        nodes=found.nodes,
        solver_nodes=None if setting.rules is None else nodes_of(setting, solution.arguments, setting.rules),
        unbounded=tuple(name for name, space in setting.plan.controls.items() if not space.bounded),
        steady=settled,
        steady_missing=why,
        value=float(at_entry(panel, panel.value).mean()),
        simulated=_simulated(panel),
        start={
            name: shown(space, at_entry(panel, panel.states[name])[0])
            if (at_entry(panel, panel.states[name]) == at_entry(panel, panel.states[name])[:1]).all()
            else "various"
            for name, space in setting.plan.states.items()
        },
        bracket=bracket(solution, panel, seed, inner),
        euler=_euler(solution, found, rules),
        doubts=setting.doubts(solution),
    )


def _euler(solution: GridlessSolution, looked: "_Looked", rules: Rules) -> dict[str, dict[str, float]]:
    """Sizes of Euler errors, as powers of ten, at the states that were looked at."""
    setting, plan = solution.setting, solution.setting.plan
    if setting.conditions(solution.arguments, solution.values) is None:
        return {}
    # what is paid tomorrow is averaged for each of the nodes of today
    nodes = looked.nodes ** (2 if plan.graph.is_random("slot:reward") else 1)
    cells = nodes * (len(plan.lines) + len(plan.coordinates) + 8)

    def at(arguments: Arguments, behaviour: Any, periods: Array, states: States) -> Array:
        asked = setting.conditions(arguments, behaviour, rules)
        assert asked is not None
        return over_batch(lambda row: asked(*row), (periods, states), cells, setting.numerics.memory)

    run, sizes = setting.program("conditions", lambda: quickly(at, True)), {}
    for where, (states, periods, _) in looked.found.items():
        errors = np.abs(np.asarray(run(solution.arguments, solution.values, periods, states))).max(axis=1)
        # where there is no number the error counts as whole: to leave it out would flatter
        logs = np.log10(np.maximum(np.where(np.isfinite(errors), errors, 1.0), _NOTHING))
        sizes[where] = {"mean": float(np.mean(logs)), **quantiles(logs)}
    return sizes


def _simulated(panel: Panel) -> dict[str, float]:
    """What agents got, and whether to the end of the model."""
    realised = np.asarray(panel.present_value())
    error = float(realised.std(ddof=1) / np.sqrt(len(realised))) if len(realised) > 1 else float("nan")
    clock = panel.problem.clock
    return {
        "mean": float(realised.mean()),
        "standard_error": error,
        "agents": float(panel.agents),
        "periods": float(panel.periods),
        "ended": float(clock.finite and panel.periods == clock.count),
    }


# -- residuals


class _Looked:
    """Residuals and losses at states between the bounds and on paths."""

    def __init__(self, solution: GridlessSolution, points: int, seed: int, panel: Panel, rules: Rules) -> None:
        self.setting, self.arguments, self.policy = solution.setting, solution.arguments, solution.pointwise
        clock = self.setting.problem.clock
        last = min(clock.count, panel.periods) if clock.finite else 1
        self.numbers = np.unique(np.linspace(0, last - 1, min(last, _LOOKED)).round().astype(np.int32))
        self.rules, self.nodes = rules, nodes_of(self.setting, self.arguments, rules)
        fits = _MOST // max(1, cost(self.setting, self.nodes))
        self.each = max(_LEAST, min(points // 2, fits // 2) // len(self.numbers))
        self.found = {"box": self._over(self._box, seed), "path": self._over(partial(self._path, panel), seed)}

    def measured(self) -> dict[str, Any]:
        """The fields of the certificate."""
        names = ("residuals", "lost", "worst", "undefined", "barred", "points")
        value = self.found["box"][2].value
        known = value[np.isfinite(value)]
        spread = float(known.std()) if known.size else 0.0
        parts = {where: self._of(*found, spread) for where, found in self.found.items()}
        return {name: {where: own[place] for where, own in parts.items()} for place, name in enumerate(names)}

    def _of(self, states: States, periods: np.ndarray, looked: Any, spread: float) -> tuple[Any, ...]:
        with np.errstate(invalid="ignore"):
            unit = np.maximum(spread, np.abs(looked.value))
            size = np.abs(looked.best - looked.value) / np.where(unit == 0, 1.0, unit)
            lost = looked.best - looked.own
        ranked = np.where(np.isfinite(size), size, -1.0)
        worst: dict[str, Any] = {}
        if len(size):
            n = int(ranked.argmax())
            worst = {"period": int(periods[n])} if self.setting.problem.finite else {}
            worst |= {name: shown(space, states[name][n]) for name, space in self.setting.plan.states.items()}
            worst |= {"residual": float(size[n])}
        undefined = float(np.mean(~np.isfinite(size))) if len(size) else 0.0
        barred = float(np.mean(~looked.allowed)) if len(size) else 0.0
        return quantiles(size), quantiles(lost), worst, undefined, barred, len(size)

    def _over(self, sample: Any, seed: int) -> tuple[States, np.ndarray, Any]:
        run = self.setting.program("looking", lambda: quickly(looking(self.setting, self.rules), False))
        parts, periods = [], []
        for number in self.numbers:
            states = sample(int(number), seed)
            count = len(next(iter(states.values()), np.zeros(1)))
            if not count:
                continue
            keys = jax.random.split(jax.random.key(seed + 1), count)
            parts.append((states, jax.tree.map(np.asarray, run(self.policy, np.asarray(number), states, keys))))
            periods.append(np.full(count, number))
        if not parts:
            raise ModelError("no agent is there in a period that is looked at; simulate more of them, or start later.")
        joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts) if len(parts) > 1 else parts[0]
        return joined[0], np.concatenate(periods), joined[1]

    def _box(self, number: int, seed: int) -> States:
        """States between the bounds; processes are drawn from their distributions, categories evenly."""
        setting, plan = self.setting, self.setting.plan
        shares = spread(self.each, len(plan.lines), seed * 1009 + number)

        def at(arguments: Arguments, number: Array, shares: Array, keys: Array) -> dict[str, Array]:
            mesh = setting.numerics.mesh(arguments, number)
            codes = {name: jnp.zeros((), jnp.int32) for name in mesh.discrete_axes}

            def one(share: Array, key: Array) -> dict[str, Array]:
                ends = [(line.coordinates[0], line.coordinates[-1]) for line in mesh.lines]
                lines = [first + share[k] * (last - first) for k, (first, last) in enumerate(ends)]
                found = mesh.point(codes, jnp.stack(lines) if lines else jnp.zeros(0)).values
                for place, (name, space) in enumerate(plan.states.items()):
                    own = jax.random.fold_in(key, place)
                    if isinstance(space, Discrete | MarkovChain) and space.values is not None:
                        known = as_seen(space.values)
                        found[name] = known[jax.random.randint(own, (), 0, known.shape[0])]
                    elif name in plan.processes:
                        found[name] = draw_first(setting.problem, arguments, name, own, number)
                return found

            return jax.vmap(one)(shares, keys)

        run = setting.program("box", lambda: jax.jit(at))
        keys = jax.random.split(jax.random.key(seed + 2), self.each)
        return jax.tree.map(np.asarray, run(self.arguments, np.asarray(number, np.int32), shares, keys))

    def _path(self, panel: Panel, number: int, seed: int) -> States:
        """States of agents who are there; of an infinite horizon in the second half of the simulation."""
        active = np.asarray(panel.active)
        if self.setting.problem.finite:
            rows = np.flatnonzero(active[:, number])
            columns = np.full(len(rows), number)
        else:
            rows, columns = np.nonzero(active[:, panel.periods // 2 :])
            columns = columns + panel.periods // 2
        chosen = np.random.default_rng(seed).permutation(len(rows))[: self.each]
        return {name: np.asarray(array)[rows[chosen], columns[chosen]] for name, array in panel.states.items()}


# -- the bracket


def bracket(solution: GridlessSolution, panel: Panel, seed: int, inner: int) -> Bracket:
    """Between what the optimal value lies at the first states of a panel; what is missing says why.

    Args:
        inner: draws of each mean that a penalty is made of.
    """
    setting, policy = solution.setting, solution.pointwise
    if not setting.problem.finite:
        cut = "the horizon is infinite: simulated paths are cut, and what follows is known by V alone"
        return Bracket(None, None, cut, "the horizon is infinite, so that no path is known to its end")
    if np.asarray(panel.entry).any():
        later = "agents enter in different periods"
        return Bracket(None, None, later, later)
    starts = {name: np.asarray(array)[:, 0] for name, array in panel.states.items()}
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3), panel.agents)
    no_martingale = relaxed.missing(setting.problem)
    if not no_martingale:
        rare = unseen(setting, policy.arguments, panel, relaxed.ways(setting), paths_only=True)
        if rare:
            return Bracket(None, None, rare, rare)
        run = setting.program(("sides", inner), lambda: quickly(relaxed.sides(setting, inner), False))
        found = jax.tree.map(np.asarray, run(policy, starts, keys))
        return _both(found, f"nested martingales of {inner} draws", "")
    found, no_penalty = penalised.sides(setting, policy, starts, seed)
    if found is not None:
        return _both(found, "a quadratic penalty, each path solved as a quadratic programme", "")
    lower, why = _plain(setting, policy, panel)
    missing = f"{no_martingale}, so that there are no nested martingales; nor a quadratic penalty: {no_penalty}"
    return Bracket(lower, None, why, missing)


def _both(found: relaxed.Sides, how: str, missing: str) -> Bracket:
    """The bracket of the sides of many paths."""
    upper, no_upper = side_of(found.upper, f"dual, {how}")
    allowed = bool(np.all(found.feasible))
    control = np.all(np.isfinite(found.lower))
    earned = "the policy, with the penalty as control variate" if control else "the policy"
    lower, no_lower = side_of(found.lower if control else found.plain, earned)
    barred = f"the policy does on {np.mean(~found.feasible):.2%} of the paths what bounds or constraints forbid"
    if not allowed:
        lower, no_lower = None, barred
    return Bracket(lower, upper, no_lower, no_upper or missing)


def _plain(setting: GridlessSetting, policy: GridlessPolicy, panel: Panel) -> tuple[Side | None, str]:
    """What the policy earns in a panel, if that is to the end and allowed."""
    count = setting.problem.clock.count
    if panel.periods < count:
        return None, f"only {panel.periods} of {count} periods were simulated"
    check = setting.program("within", lambda: quickly(partial(_allowed, setting), False))
    fine = np.asarray(check(policy.arguments, panel.states, panel.actions)) | ~np.asarray(panel.active)
    if not fine.all():
        share = np.mean(~fine.all(axis=1))
        return None, f"the policy does on {share:.2%} of the paths what bounds or constraints forbid"
    rare = unseen(setting, policy.arguments, panel, [{}], paths_only=False)
    if rare:
        return None, rare
    return side_of(np.asarray(panel.present_value()), "the policy")


def _allowed(setting: GridlessSetting, arguments: Arguments, states: States, actions: States) -> Array:
    """Whether what agents did was within bounds and constraints, shape (n, t)."""
    plan = setting.plan

    def at(number: Array, states: States, actions: States) -> Array:
        today = setting.problem.period(arguments, number)
        ask = lambda row: within(today, *row)  # noqa: E731
        return over_batch(ask, (states, actions), 8 * (len(plan.lines) + len(plan.coordinates) + 1), 2**27)

    numbers = jnp.arange(next(iter(states.values())).shape[1], dtype=jnp.int32)
    kept = {name: actions[name] for name in plan.actions}
    move = lambda tree: {name: jnp.moveaxis(leaf, 1, 0) for name, leaf in tree.items()}  # noqa: E731
    return jax.lax.map(lambda row: at(*row), (numbers, move(states), move(kept))).T
