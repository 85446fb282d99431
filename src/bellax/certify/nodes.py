"""Over what the certificate of a solution without a grid averages: nodes of its own, and more than the solver had.

What is random has the product of rules of twice as many nodes a dimension as the solver, and three more, or of as many
as fit; of no fewer than where nobody asks for a number. Where even the solver's would be too many together, as of ten
normal numbers, it has the longest of three: the solver's rule, that of a solver who is told nothing, and the monomial
rule of degree five. Chains and categories have all of their values anyway.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bellax.model.shocks import Categorical
from bellax.model.spaces import IID
from bellax.numerics.rules import RULES, recounted
from bellax.problem.averages import Averages, Rules, each_of
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSetting

_MOST = 700  # nodes of the product, unless the solver has nearly as many
_LONGER = 2.5  # times the solver's: what the product may have in any case
_STEPS: tuple[Callable[[int], int], ...] = (
    lambda n: 2 * n + 3,
    lambda n: n + 4,
    lambda n: n + 2,
    lambda n: n + 1,
    lambda n: n,
)
"""Nodes a dimension for so many of the solver's, the first of which that fit are taken."""


class _Drawn(NamedTuple):
    """What is drawn by a rule: its name, how many dimensions it has, the rule or the count that the solver was given,
    and how many nodes a dimension it has where nobody asks."""

    name: str
    dimensions: int
    given: Any
    usual: int

    def with_more(self, step: Callable[[int], int]) -> Any:
        """The entry of `quadrature` with more nodes."""
        if isinstance(self.given, RULES):
            return recounted(self.given, max(step(self.given.count), self.usual))
        return max(step(self.usual if self.given is None else self.given), self.usual)


def finer(setting: GridlessSetting, arguments: Arguments) -> Rules:
    """The rules of a certificate, as `Averages` takes them."""
    own = ({}, None) if setting.rules is None else setting.rules
    drawn, count = _drawn(setting, arguments, own), nodes_of(setting, arguments, own)
    if not drawn:
        return own
    rest = nodes_of(setting, arguments, ({one.name: 1 for one in drawn}, None))
    for step in _STEPS:
        given = {one.name: one.with_more(step) for one in drawn}
        sizes = {one.name: getattr(given[one.name], "count", given[one.name]) for one in drawn}
        total = rest * math.prod(float(sizes[one.name]) ** one.dimensions for one in drawn)
        if count <= total <= max(_MOST, _LONGER * count):
            return given, None
    tried: list[Rules] = [own, ({}, None)]
    if rest * (2 * sum(one.dimensions for one in drawn) ** 2 + 1) <= max(_MOST, count):
        tried.append(({}, 5))
    return max(tried, key=lambda rules: nodes_of(setting, arguments, rules))


def nodes_of(setting: GridlessSetting, arguments: Arguments, rules: Rules) -> int:
    """Over how many nodes expectations are taken by these rules."""
    laid = lambda given: Averages(setting.problem, given, 0, *rules).nodes.weights  # noqa: E731
    return int(jax.eval_shape(laid, arguments).shape[0])


def _drawn(setting: GridlessSetting, arguments: Arguments, own: Rules) -> list[_Drawn]:
    """Everything that is drawn by a rule whose length is free."""
    found: list[Averages] = []
    jax.eval_shape(lambda given: found.append(Averages(setting.problem, given, 0)), arguments)
    (averages,), (given, _) = found, own
    normal = averages.normals
    usual = each_of(sum(normal.values()))
    drawn = []
    for leaf in averages.leaves:
        shock = setting.plan.graph.regime.shocks.get(leaf)
        name = leaf if shock is not None else leaf.removeprefix("next_")
        space = setting.plan.states.get(name)
        distribution = space.distribution if isinstance(space, IID) else shock
        if normal[leaf]:
            drawn.append(_Drawn(name, normal[leaf], given.get(name), usual))
        elif distribution is not None and not isinstance(distribution, Categorical):
            each = distribution.each_dimension(len(distribution.rule(None, {}).weights))
            drawn.append(_Drawn(name, max(1, math.prod(distribution.shape)), given.get(name), each))
    return drawn
