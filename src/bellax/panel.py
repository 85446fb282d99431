"""What a simulation returns: every state, action and reward of every agent in every period."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.reach import entries
from bellax.errors import ModelError, check_names, named_arguments
from bellax.model.spaces import Discrete, MarkovChain
from bellax.moments import STATISTICS, table
from bellax.problem.along import Asked, along, asked, check_known, missing
from bellax.problem.problem import Problem


def present_value(
    reward: Float[Array, "n t"],
    discount: Float[Array, "n t"],
    active: Bool[Array, "n t"],
    final_value: Float[Array, "n"],
) -> Float[Array, "n"]:
    """Realised rewards of each agent, discounted to its entry, and V of the state in which the simulation ends."""
    entered = jnp.cumsum(active, axis=1) > 0
    factors = jnp.cumprod(jnp.where(active, discount, jnp.where(entered, 0.0, 1.0)), axis=1)
    before = jnp.concatenate([jnp.ones((len(active), 1)), factors[:, :-1]], axis=1)
    paid = jnp.where(active & (before > 0), reward, 0.0)
    last = factors[:, -1]
    return jnp.sum(before * paid, axis=1) + last * jnp.where(last > 0, final_value, 0.0)


class Panel(eqx.Module):
    """Simulated paths. Floats are NaN before an agent enters and once it has stopped, and whole numbers -1.

    Attributes:
        states: by name, shape (agents, periods, ...), as functions of the model see them.
        actions: by name, likewise; in a stopping problem `stop` is true in the period in which an agent stops.
        reward: realised, shape (agents, periods); the payoff where an agent stops. The taste shock of what is chosen is
            in it, so that present values average to V. What the model pays after the last decision, to those who did
            not stop, is `final_value` and in no reward.
        discount: realised, shape (agents, periods); zero where an agent stops.
        value: V at the visited state, shape (agents, periods).
        active: whether the agent is there, shape (agents, periods).
        final: states after the last simulated period, by name, shape (agents, ...).
        final_value: V there, shape (agents,); NaN for those who stopped.
        outside: how many agents were beyond the first node and the last, by number of a continuous state and by AR1
            process, "below" and "above", shape (periods + 1,): the last entry is of `final`.
        arguments: the parameters and literals that were simulated.
        key: of which everything was drawn.
        problem: the model by whose laws agents lived.
    """

    states: dict[str, Array]
    actions: dict[str, Array]
    reward: Float[Array, "n t"]
    discount: Float[Array, "n t"]
    value: Float[Array, "n t"]
    active: Bool[Array, "n t"]
    final: dict[str, Array]
    final_value: Float[Array, "n"]
    outside: dict[str, dict[str, Array]]
    arguments: dict[str, Any]
    key: Array
    problem: Problem = eqx.field(static=True)

    def __str__(self) -> str:
        size = f"Panel of {self.agents} agents over {self.periods} periods."
        if any(isinstance(leaf, jax.core.Tracer) or leaf.ndim != 1 for leaf in jax.tree.leaves(self.outside)):
            return size
        left = [self._left(name, side) for name in entries(self.problem.plan) for side in ("below", "above")]
        return " ".join([size, *(part for part in left if part)])

    def _left(self, name: str, side: str) -> str:
        counts = np.asarray(self.outside[name][side])
        if not counts.any():
            return ""
        where = "nodes" if name in self.problem.plan.processes else "grid"
        return f"{name!r} was {side} its {where} {counts.sum()} times, first in period {int(counts.nonzero()[0][0])}."

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return self.active.shape[0]

    @property
    def periods(self) -> int:
        """How many periods were simulated."""
        return self.active.shape[1]

    @property
    def entry(self) -> Int[Array, "n"]:
        """The period in which each agent enters."""
        return jnp.argmax(self.active, axis=1)

    def present_value(self) -> Float[Array, "n"]:
        """Realised rewards of each agent, discounted to its entry, and V of the state in which the simulation ends."""
        return present_value(self.reward, self.discount, self.active, self.final_value)

    def frame(self, extra: Any = ()) -> Any:
        """A tidy pandas DataFrame: one row for each agent and period in which the agent is there.

        Columns: agent, period, age where the model has ages, states, actions, reward, value, and what is asked for
        besides. Categories of an Enum are labels; a vector is one column a number, `name[0]`, `name[1]`, ... Where a
        state or an action has the name of one of the panel's own, that one gets an underscore: `value_` beside a state
        `value`. The payoff of stopping is the reward of the row in which an agent stops; the terminal value is in no
        row, but in `final_value`, and both are in `present_value()`.

        Args:
            extra: names of functions of the model, shocks, `next_<state>` or parameters, `["income"]`; or a dict of
                names and functions of such names, `{"savings": lambda cash, consumption: cash - consumption}`.
        Raises:
            ModelError: for a name that the model does not have.
        """
        import pandas as pd  # costs .4 s at import, and a simulation does not need it

        inside = np.asarray(self.active)
        columns = _rows(self.problem, inside, {**self.states, **self.actions})
        for name, array in (("reward", self.reward), ("value", self.value)):
            columns[_own(name, columns)] = np.asarray(array)[inside]
        quantities = _besides(asked(extra), columns)
        check_known([self.problem], self.arguments, quantities)
        states, actions = (_of(leaves, inside) for leaves in (self.states, self.actions))
        return pd.DataFrame(columns | _extras(self, self.problem, quantities, (inside, states, actions)))

    @named_arguments
    def moments(self, of: Any = None, by: Any = None, statistics: Sequence[str] = STATISTICS) -> Any:
        """Moments by age as a table: rows are ages, columns variables and their statistics.

        Of a variable with labels the columns are the shares of its categories. What is missing is left out.

        Args:
            of: columns of `frame`, functions of the model, or a dict of functions, as in `frame`; by default all states
                and actions, reward and value.
            by: "age" or "period", or another column of few values, or a list of them; by default the age where the
                model has ages.
            statistics: of "mean", "sd", "min", "max", "count", and quantiles such as "p10", "p99.5".
        """
        return table(self.frame, of, by, statistics)


class Problems:
    """The problems of several regimes, by name. Static, and told apart by identity."""

    def __init__(self, regimes: Mapping[str, Problem]) -> None:
        self.regimes = dict(regimes)


class RegimePanel(eqx.Module):
    """Simulated paths through several regimes. What is not of an agent's regime is NaN, of whole numbers -1.

    Attributes:
        regime: the place among `regimes` of that in which each agent is, shape (agents, periods); -1 for who is gone.
        states, actions: by regime, then by name, shape (agents, periods, ...).
        reward, discount, value: as of a `Panel`; who reaches a regime that ends is paid its value, and is gone.
        final_regime: after the last simulated period, shape (agents,).
        final: states then, by regime and name.
        final_value: V then; NaN for those who are gone.
        arguments: the parameters and literals, by regime.
        key: of which everything was drawn.
        problems: the regimes of the model.
    """

    regime: Array
    states: dict[str, dict[str, Array]]
    actions: dict[str, dict[str, Array]]
    reward: Float[Array, "n t"]
    discount: Float[Array, "n t"]
    value: Float[Array, "n t"]
    final_regime: Array
    final: dict[str, dict[str, Array]]
    final_value: Float[Array, "n"]
    arguments: dict[str, Any]
    key: Array
    problems: Problems = eqx.field(static=True)

    def __str__(self) -> str:
        return f"Panel of {self.agents} agents over {self.periods} periods, in the regimes {', '.join(self.regimes)}."

    @property
    def regimes(self) -> list[str]:
        """Names of the regimes."""
        return list(self.problems.regimes)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return self.regime.shape[0]

    @property
    def periods(self) -> int:
        """How many periods were simulated."""
        return self.regime.shape[1]

    @property
    def entry(self) -> Int[Array, "n"]:
        """The period in which each agent enters."""
        return jnp.argmax(self.regime >= 0, axis=1)

    def share(self, regime: str) -> Float[Array, "t"]:
        """The share of all agents who have entered that are in a regime, by period."""
        check_names([regime], self.regimes, "share: regime")
        entered = jnp.cumsum(self.regime >= 0, axis=1) > 0
        return jnp.mean(self.regime == self.regimes.index(regime), axis=0, where=entered)

    def present_value(self) -> Float[Array, "n"]:
        """Realised rewards of each agent, discounted to its entry, and V of the state in which the simulation ends."""
        return present_value(self.reward, self.discount, self.regime >= 0, self.final_value)

    def frame(self, extra: Any = ()) -> Any:
        """A tidy pandas DataFrame: one row for each agent and period in which the agent is in some regime.

        Columns: agent, period, age where the model has ages, regime, states and actions of all regimes (missing where a
        regime does not have them), reward, value, and what is asked for besides, as in `Panel.frame`: missing where a
        regime does not have it. Categories of an Enum are labels.
        """
        import pandas as pd  # costs .4 s at import, and a simulation does not need it

        parts: dict[str, dict[str, Any]] = {}
        for name, here in self._where():
            found = _rows(self.problems.regimes[name], here, {**self.states[name], **self.actions[name]}, name)
            parts[name] = {k: np.asarray(v, object) if hasattr(v, "categories") else v for k, v in found.items()}
            for key, array in (("reward", self.reward), ("value", self.value)):
                parts[name][_own(key, parts[name])] = np.asarray(array)[here]
        quantities = _besides(asked(extra), {key: None for columns in parts.values() for key in columns})
        check_known(self.problems.regimes.values(), self.arguments, quantities)
        for name, here in self._where():
            problem = self.problems.regimes[name]
            own = {label: q for label, q in quantities.items() if missing(problem, self.arguments, q) is None}
            held = (here, _of(self.states[name], here), _of(self.actions[name], here))
            parts[name] |= _extras(self, problem, own, held)
        frames = [pd.DataFrame(columns) for columns in parts.values()]
        whole = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
        whole["regime"] = pd.Categorical(whole["regime"], categories=self.regimes)
        return whole.sort_values(["agent", "period"], ignore_index=True)

    def _where(self) -> list[tuple[str, np.ndarray]]:
        """Each regime, and who is in it when."""
        return [(name, np.asarray(self.regime) == place) for place, name in enumerate(self.regimes)]

    @named_arguments
    def moments(self, of: Any = None, by: Any = None, statistics: Sequence[str] = STATISTICS) -> Any:
        """Moments by age as a table, as `Panel.moments`: of those who are in some regime.

        `regime` has its shares, of all who have entered, those who are gone among them, where `by` is the clock alone.
        """
        found = table(self.frame, of, by, statistics)
        clock = next(iter(self.problems.regimes.values())).clock
        if "regime" in found.columns.get_level_values(0) and found.index.name in ("age", "period"):
            periods = found.index if found.index.name == "period" else [clock.period(age) for age in found.index]
            for name in self.regimes:
                found["regime", name] = np.asarray(self.share(name))[np.asarray(periods, int)]
        return found


def _rows(problem: Problem, inside: np.ndarray, leaves: Mapping[str, Array], regime: str = "") -> dict[str, Any]:
    """The columns of states and actions where an agent is, and of who and when that is."""
    agents, periods = np.nonzero(inside)
    spaces = {**problem.plan.states, **problem.plan.actions}
    columns: dict[str, Any] = {_own("agent", spaces): agents, "period": periods}
    clock = problem.clock
    if clock.aged:
        columns["age"] = clock.first + clock.years * periods
    if regime:
        columns["regime"] = np.full(len(agents), regime, object)
    for name in (*spaces, *(name for name in leaves if name not in spaces)):
        columns |= columns_of(name, np.asarray(leaves[name])[inside], spaces.get(name))
    return columns


def _of(leaves: Mapping[str, Array], inside: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(array)[inside] for name, array in leaves.items() if name != "stop"}


def _besides(extra: Asked, columns: Mapping[str, Any]) -> Asked:
    """What is asked for and is no column yet; ModelError for a function under the name of one."""
    wanted = {label: q for label, q in extra.items() if not (q.alias and label in columns)}
    taken = next((label for label in wanted if label in columns), None)
    if taken is not None:
        raise ModelError(f"extra: {taken!r} is a column already; give the function another name.")
    return wanted


def _extras(
    panel: "Panel | RegimePanel", problem: Problem, extra: Asked, held: tuple[np.ndarray, Any, Any]
) -> dict[str, Any]:
    """The columns of what is asked for besides.

    Args:
        held: where an agent is, and states and actions there.
    """
    inside, states, actions = held
    agents, periods = np.nonzero(inside)
    rows = {"agents": agents.astype(np.uint32), "periods": periods.astype(np.int32)}
    found = along(problem, panel.arguments, extra, panel.key, {**rows, "states": states, "actions": actions})
    return {key: column for label, array in found.items() for key, column in columns_of(label, array, None).items()}


def _own(name: str, taken: Mapping[str, Any]) -> str:
    """The name of a column of the panel's own, which no state or action has."""
    while name in taken:
        name += "_"
    return name


def columns_of(name: str, array: np.ndarray, space: Any) -> Mapping[str, Any]:
    """The columns of one state or action: labels of an Enum, one column a number of a vector."""
    if array.ndim > 1:
        places = np.ndindex(array.shape[1:])
        return {f"{name}[{', '.join(map(str, place))}]": array[(slice(None), *place)] for place in places}
    if isinstance(space, Discrete | MarkovChain) and isinstance(space.categories, type):
        import pandas as pd

        return {name: pd.Categorical.from_codes(array, categories=list(space.labels or ()))}
    return {name: array}
