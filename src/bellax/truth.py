"""The laws by which agents really live, where these are not those by which they decide: `truth=(model, params)`.

What agents do is asked at their states, so that states and actions are the same in both models: names, categories,
shapes, and in which periods a regime exists. Bounds say where grids lie and what agents believe to be possible; they
may differ.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bellax.bellman.setting import Setting
from bellax.errors import ModelError, listed, nearest
from bellax.model.graph import Graph
from bellax.model.model import Model
from bellax.model.spaces import agree
from bellax.problem.problem import Arguments, Problem
from bellax.solution.gridless import GridlessSetting
from bellax.solvers.backward_induction import BackwardInduction
from bellax.solvers.regimes import PreparedRegimes


class World(NamedTuple):
    """Where agents live.

    Attributes:
        problems: by regime; of a model of one it has the name ''.
        arguments: parameters and literals.
    """

    problems: dict[str, Problem]
    arguments: Arguments

    @property
    def only(self) -> Problem:
        """The problem of a model with one regime."""
        return self.problems[""]


def world(truth: Any, regimes: Mapping[str, Setting]) -> World:
    """The world that a user gave.

    Args:
        regimes: what was solved; of a model of one it has the name ''.
    Raises:
        ModelError: where its regimes, states, actions or ages are others than those of the solution.
        ParameterError: for parameters that are not its own.
    """
    if not (isinstance(truth, tuple) and len(truth) == 2 and isinstance(truth[0], Model)):
        raise ModelError(f"truth is {truth!r}; give (model, params), a model and its parameters.")
    model, params = truth
    perceived = next(iter(regimes.values())).model
    if model.clock != perceived.clock:
        raise ModelError(
            f"truth has the horizon {model.horizon!r}, and the solution has {perceived.horizon!r}; give both the same."
        )
    if (model.regimes is None) != (perceived.regimes is None):
        raise ModelError("truth has regimes and the solution has none, or the other way round; give both the same.")
    if model.regimes is not None:
        _check_regimes(model, perceived, regimes)
    for name, setting in regimes.items():
        _check_names_seen(f" of regime {name!r}" if name else "", model.graphs[name], setting.plan.graph)
    return _world(model, params, regimes)


def _world(model: Model, params: Mapping[str, Any], regimes: Mapping[str, Setting]) -> World:
    """Problems and arguments; what is made of a model is made once, so that programs are compiled once for it.

    Nothing is solved, and the numerics are there for the parameters alone.
    """
    name = ("truth", tuple(regimes.values()))
    if name not in model.programs:
        model.programs[name] = _prepared(model, regimes)
    prepared = model.programs[name]
    arguments = prepared.arguments(params)
    if model.regimes is None:
        return World({"": prepared.problem}, arguments)
    return World({key: setting.problem for key, setting in prepared.settings.regimes.items()}, arguments)


def _prepared(model: Model, regimes: Mapping[str, Setting]) -> Any:
    """A model as the solution has its own."""
    if model.regimes is None and isinstance(regimes[""], GridlessSetting):
        return GridlessSetting(model, regimes[""].options)
    maximisers: Any = {key: own.options.maximiser for key, own in regimes.items() if key in model.graphs}
    if model.regimes is None:
        return Setting(model, BackwardInduction(maximiser=maximisers[""]))
    return PreparedRegimes(model, BackwardInduction(maximiser=maximisers))


def _check_regimes(model: Model, perceived: Model, regimes: Mapping[str, Any]) -> None:
    _check_names("regime", "", model.graphs, regimes)
    for name in regimes:
        if model.active_periods.get(name) != perceived.active_periods.get(name):
            raise ModelError(
                f"truth: the regime {name!r} is active in other periods than in the solution; agents would not know "
                "what to do. Give it the same active=."
            )


def _check_names_seen(where: str, true: Graph, own: Graph) -> None:
    """Raises ModelError where functions would see other states or actions than the policy has."""
    for what, others, ours in (
        ("state", true.regime.states, own.regime.states),
        ("action", true.regime.actions, own.regime.actions),
    ):
        _check_names(what, where, others, ours)
        for name, space in ours.items():
            if not agree(others[name], space):
                raise ModelError(
                    f"truth: the {what} {name!r}{where} is {others[name]!r}, and in the solution {space!r}; they have "
                    "other categories or another shape."
                )
    for slot, what in (("slot:stop", "stop="), ("slot:reward", "a reward")):
        if (slot in true.slots) != (slot in own.slots):
            raise ModelError(f"truth: only one of the two models{where} has {what}; give it to both, or to none.")


def _check_names(what: str, where: str, others: Any, own: Any) -> None:
    for name in own:
        if name not in others:
            raise ModelError(f"truth lacks the {what} {name!r}{where} of the solution.{nearest(name, others)}")
    surplus = [name for name in others if name not in own]
    if surplus:
        raise ModelError(
            f"truth has the {what} {surplus[0]!r}{where}, which the solution does not have, so that it says not what "
            f"is done there. The solution has {listed(own)}."
        )
