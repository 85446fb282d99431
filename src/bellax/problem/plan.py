"""The stages of one period: what is known before the shock, what with it, and how tomorrow's states are averaged over.

A random leaf is one of three kinds. It is *scanned* where a law, the reward or the discount sees it: one node at a
time. A process that nothing sees is *integrated*: V is averaged over it at the nodes, before any interpolation. A
`Markov` law that nothing sees is *dotted*: probabilities times the values of its categories.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp

from bellax.model import shapes
from bellax.model.constraints import Nonnegative
from bellax.model.crossing import Arrival
from bellax.model.distribution import Distribution
from bellax.model.graph import Graph
from bellax.model.laws import Markov
from bellax.model.spaces import PROCESSES, Continuous, Discrete
from bellax.numerics.kinks import kinked
from bellax.numerics.shared import Shared

T = TypeVar("T")


class Component(NamedTuple):
    """One number of a continuous state or action: its name and its place in the flattened array."""

    name: str
    place: int


class Plan:
    """The static structure of one regime, read off its graph once.

    Args:
        graph: of the regime, with the nodes of every arrival in another.
        arrivals: how the states of each other regime that it may reach get their values, by regime and state.
    Attributes:
        taste_shocks: those of the regime, or None.
        rugged_elsewhere: whether V of a regime that may be reached from here may have kinks.
        elsewhere: labels of the numbers of the continuous states of those of them that have a grid, by regime.
    """

    def __init__(self, graph: Graph, arrivals: Mapping[str, Mapping[str, Arrival]] | None = None) -> None:
        self.graph = graph
        self.arrivals = {} if arrivals is None else {target: dict(found) for target, found in arrivals.items()}
        self.elsewhere: dict[str, list[str]] = {}
        self.rugged_elsewhere = False
        regime = graph.regime
        self.states = dict(regime.states)
        self.actions = dict(regime.actions)
        self.processes = [name for name, space in self.states.items() if isinstance(space, PROCESSES)]
        self.discrete = [name for name, space in self.states.items() if isinstance(space, Discrete)]
        self.continuous = {name: space for name, space in self.states.items() if isinstance(space, Continuous)}
        self.markov = [name for name in self.discrete if isinstance(regime.transitions.get(name), Markov)]
        self.lines = [Component(name, k) for name, space in self.continuous.items() for k in range(space.size)]
        self.controls = {
            name: self.actions[name] for name in graph.action_order if isinstance(self.actions[name], Continuous)
        }
        self.coordinates = [Component(name, k) for name, space in self.controls.items() for k in range(space.size)]
        self.choices = {name: space for name, space in self.actions.items() if isinstance(space, Discrete)}
        self.taste_shocks = regime.taste_shocks
        self._shared: dict[Callable[..., Any], Shared] = {}
        self._made: dict[Any, Any] = {}

    def shared(self, function: Callable[..., Any]) -> Shared:
        """A function that is traced once for all its callers, for as long as this plan lives."""
        return self._shared.setdefault(function, Shared(function))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What is made of this plan once, under a key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def labels(self) -> list[str]:
        """What messages call the numbers of the continuous states: `x`, and `x[0]`, `x[1]` of a vector."""
        return [n if self.continuous[n].shape == () else f"{n}[{place}]" for n, place in self.lines]

    @property
    def reached(self) -> list[str]:
        """What messages call the numbers of continuous states that may leave a grid: `labels`, and `retired.wealth`."""
        return [*self.labels, *(f"{target}.{label}" for target, own in self.elsewhere.items() for label in own)]

    @cached_property
    def targets(self) -> list[str]:
        """What one period's objective is made of."""
        if "slot:reward" not in self.graph.slots:  # a regime that ends
            return []
        lawful = [f"next_{name}" for name in (*self.continuous, *self.discrete) if name not in self.markov]
        crossing = ["slot:next_regime"] if self.moves_on else []
        crossing += [node for found in self.arrivals.values() for arrival in found.values() for node in arrival.nodes]
        markov = [f"probabilities:{name}" for name in self.markov]
        return ["slot:reward", "slot:discount", *lawful, *markov, *crossing]

    @property
    def moves_on(self) -> bool:
        """Whether tomorrow's regime is a matter of the model; else it is today's."""
        return "slot:next_regime" in self.graph.slots

    @cached_property
    def kinked(self) -> bool:
        """Whether rewards, laws or bounds have kinks or steps in the continuous actions; yes where nobody can tell."""
        return self.kinked_in(self.controls)

    @property
    def rugged(self) -> bool:
        """Whether Q may have several local maxima in the continuous actions, because of what is here or elsewhere."""
        return self.rugged_here or self.rugged_elsewhere

    @cached_property
    def rugged_here(self) -> bool:
        """Whether it may because of kinks, discrete choices or stopping in this regime.

        A kink in a continuous state, of the terminal value or of any period, is one of tomorrow's V, and so of Q. What
        is convex without a kink is not seen.
        """
        if self.choices or self.evaluate_stop is not None:
            return True
        last = [] if self.evaluate_terminal is None else ["slot:terminal"]
        return self.kinked_in([*self.controls, *self.continuous], last)

    @cached_property
    def kinked_limits(self) -> bool:
        """Whether smooth constraints have kinks in the continuous actions all the same."""
        return self._kinked(self.controls, self.limiting)

    def kinked_in(self, names: Iterable[str], more: Iterable[str] = ()) -> bool:
        """Whether rewards, laws, bounds of actions, or `more` nodes have kinks or steps in these leaves."""
        bounds = [f"{side}:{name}" for name in self.controls for side in ("lower", "upper")]
        return self._kinked(names, (*self.targets, *bounds, *more))

    def _kinked(self, names: Iterable[str], nodes: Iterable[str]) -> bool:
        leaves = shapes.environment(self.graph, None)
        moving = {name: leaves.pop(name) for name in names}
        # others have none, and may read tables, of which nobody knows the shape before there are parameters
        nodes = [node for node in nodes if {*moving} & (self.graph.reach(node) | {node})]
        if not nodes:
            return False
        evaluate = self.graph.compose(nodes)
        standing = lambda given: {name: jnp.ones(leaf.shape, leaf.dtype) for name, leaf in given.items()}  # noqa: E731
        try:
            return kinked(lambda given: evaluate(**standing(leaves), **given), moving)
        except Exception:  # a table that is indexed by a state: only with parameters is it known to be one
            return True

    @cached_property
    def _seen(self) -> set[str]:
        """Random leaves that some target sees, those behind the parameters of a shock included."""
        seen = {leaf for target in self.targets for leaf in self.graph.leaves(target, "shock", "next")}
        shocks = {name for name in seen if self.graph.kinds[name] == "shock"}
        return seen | {
            leaf for name in shocks for node in self.shock_nodes(name) for leaf in self.graph.leaves(node, "next")
        }

    def shock_nodes(self, shock: str) -> list[str]:
        """The nodes of the graph that are parameters of a shock."""
        return [node for node in self.graph.slots if node.startswith(f"shock:{shock}.")]

    def moves(self, shock: str) -> bool:
        """Whether a parameter of a shock differs from state to state, so that no check before a solve can see it."""
        return any(self.graph.leaves(node, "state", "action", "next") for node in self.shock_nodes(shock))

    @property
    def weighed(self) -> bool:
        """Whether parameters say which outcomes of the shocks have a probability, and the same ones in every state."""
        weighs = any(self.graph.regime.shocks[name].weighs for name in self.shocks)
        return weighs and not self.scanned and not any(map(self.moves, self.shocks))

    @property
    def drawn(self) -> dict[str, Distribution]:
        """The distributions by which states enter other regimes, by state."""
        every = [item for found in self.arrivals.values() for item in found.items()]
        return {name: arrival.distribution for name, arrival in every if arrival.distribution is not None}

    def varies(self, arrival: Arrival) -> bool:
        """Whether what says how a state of another regime gets its value differs from state to state."""
        kinds = ("state", "action", "shock", "next")
        return any(self.graph.leaves(node, *kinds) for node in arrival.nodes)

    def process_nodes(self, process: str) -> list[str]:
        """The nodes of the graph that are parameters of a process."""
        return [node for node in self.graph.slots if node.startswith(f"process:{process}.")]

    @cached_property
    def shocks(self) -> list[str]:
        """Scanned shocks."""
        return [name for name in self.graph.regime.shocks if name in self._seen]

    @cached_property
    def scanned(self) -> list[str]:
        """Processes, then `Markov` states, that are scanned."""
        return [name for name in (*self.processes, *self.markov) if f"next_{name}" in self._seen]

    @cached_property
    def integrated(self) -> list[str]:
        """Processes over which V is averaged at the nodes."""
        return [name for name in self.processes if name not in self.scanned]

    @cached_property
    def dotted(self) -> list[str]:
        """`Markov` states whose values are weighted by their probabilities after the look-up."""
        return [name for name in self.markov if name not in self.scanned]

    @cached_property
    def known(self) -> list[str]:
        """Targets and shock parameters known before the shock, and the known nodes that the random ones need."""
        parameters = [node for name in self.shocks for node in self.shock_nodes(name)]
        wanted = [*self.targets, *parameters]
        random = [target for target in wanted if self.graph.is_random(target)]
        inner = {
            n
            for target in random
            for n in self.graph.reach(target)
            if n in self.graph.slots and not self.graph.is_random(n)
        }
        return list(dict.fromkeys([*(t for t in wanted if t not in random), *sorted(inner)]))

    @cached_property
    def random(self) -> list[str]:
        """Targets known only with the shock."""
        return [target for target in self.targets if target not in self.known]

    @cached_property
    def early(self) -> list[str]:
        """Parameters of shocks that see a realised process."""
        return [n for name in self.shocks for n in self.shock_nodes(name) if n not in self.known]

    @cached_property
    def evaluate_known(self):  # noqa: ANN201
        """The first stage, of leaves."""
        return self.graph.compose(self.known)

    @cached_property
    def evaluate_early(self):  # noqa: ANN201
        """The parameters of shocks that see a realised process."""
        return self.graph.compose(self.early, given=self.known)

    @cached_property
    def evaluate_chances(self):  # noqa: ANN201
        """The probabilities of scanned `Markov` states that are known only with the shock."""
        targets = [f"probabilities:{name}" for name in self.markov if name in self.scanned]
        return self.graph.compose([target for target in targets if target not in self.known], given=self.known)

    @cached_property
    def evaluate_random(self):  # noqa: ANN201
        """The second stage, of leaves, shocks and the first stage."""
        return self.graph.compose(self.random, given=self.known)

    @cached_property
    def evaluate_bounds(self):  # noqa: ANN201
        """The bounds of each continuous action, of leaves and of the actions before it."""
        return {name: self.graph.compose([f"lower:{name}", f"upper:{name}"]) for name in self.controls}

    @cached_property
    def constraints(self) -> list[str]:
        """Nodes of the constraints."""
        return [f"constraint:{name}" for name in self.graph.regime.constraints]

    @cached_property
    def smooth_constraints(self) -> set[str]:
        """Nodes of the constraints that are numbers, which hold where these are not negative."""
        given = self.graph.regime.constraints.items()
        return {f"constraint:{name}" for name, constraint in given if isinstance(constraint, Nonnegative)}

    @cached_property
    def limiting(self) -> list[str]:
        """Nodes of the smooth constraints that see a continuous action: an optimum may lie on their edge."""
        return [node for node in self.constraints if node in self.smooth_constraints and self._limits(node)]

    @cached_property
    def masking(self) -> list[str]:
        """Nodes of the comparisons that see a continuous action: nobody can tell how far it is to their edge."""
        return [node for node in self.constraints if node not in self.smooth_constraints and self._limits(node)]

    def _limits(self, node: str) -> bool:
        return bool(self.graph.leaves(node, "action") & set(self.controls))

    @cached_property
    def evaluate_limiting(self):  # noqa: ANN201
        """The numbers of the `limiting` constraints, of leaves."""
        return self.graph.compose(self.limiting)

    @cached_property
    def evaluate_constraints(self):  # noqa: ANN201
        """Whether each constraint holds, or its number where it is smooth, of leaves."""
        return self.graph.compose(self.constraints)

    @cached_property
    def evaluate_stop(self):  # noqa: ANN201
        """The payoff of stopping, of leaves; None where there is none."""
        return self.graph.compose(["slot:stop"]) if "slot:stop" in self.graph.slots else None

    @cached_property
    def evaluate_terminal(self):  # noqa: ANN201
        """The value after the last decision, of leaves; None where it is zero."""
        return self.graph.compose(["slot:terminal"]) if "slot:terminal" in self.graph.slots else None
