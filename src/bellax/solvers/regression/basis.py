"""What Q is regressed on: polynomials in standardised states, the payoff of stopping, and functions of a user's own.

    Q_t(s, a) ~ sum_j c_{t,a,j} phi_j(s),    phi = (x^k with |k| <= degree, y, y^2, y x, f)

with x the coordinates of the continuous states, measured by their scales and standardised over the simulated states of
the period; those of an exchangeable vector are sorted first, so that a polynomial sees the largest, the second largest,
and so on. y is the payoff of stopping over its spread. Beyond the simulated states x stays at the edge of what was
seen: a polynomial says nothing there.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, check_names, listed, nearest
from bellax.model.quantity import Quantity, quantity
from bellax.model.spaces import AR1, IID, VAR, Continuous
from bellax.problem.period import Period, as_float
from bellax.problem.plan import Plan

_SLACK = 1e-9  # of coordinates: so far beyond the simulated states counts as among them
_FEW = 16  # numbers up to which exchanges of neighbours sort


class Seen(eqx.Module):
    """What a basis sees of a state, before it is standardised.

    Attributes:
        coordinates: shape (d,).
        payoff: of stopping; zero where there is none.
        own: the user's functions, shape (e,).
    """

    coordinates: Float[Array, "d"]
    payoff: Float[Array, ""]
    own: Float[Array, "e"]


class Measure(eqx.Module):
    """How what is seen in a period is standardised.

    Attributes:
        centre, spread: means and standard deviations over the simulated states.
        least, most: of the coordinates among these.
    """

    centre: Seen
    spread: Seen
    least: Float[Array, "d"]
    most: Float[Array, "d"]


class Basis:
    """The functions that Q is regressed on. Static, and told apart by identity.

    Args:
        plan: of the model.
        degree: of the polynomials, all of whose terms have at most this degree together.
        exchangeable: vector states whose numbers are alike, so that only their order matters.
        features: by name a function of states, functions of the model and parameters.
    """

    def __init__(self, plan: Plan, degree: int, exchangeable: tuple[str, ...], features: Mapping[str, Any]) -> None:
        self.plan, self.degree = plan, degree
        vectors = [name for name in _coordinates(plan) if getattr(plan.states[name], "shape", ()) != ()]
        check_names(exchangeable, vectors, "RegressionMonteCarlo: exchangeable vector state")
        self.exchangeable = exchangeable
        self.features = {name: quantity(given, f"features[{name!r}]") for name, given in features.items()}
        for name, given in self.features.items():
            _check_feature(plan, name, given)

    @property
    def dimensions(self) -> int:
        """How many coordinates there are."""
        return sum(math.prod(getattr(self.plan.states[name], "shape", ())) for name in _coordinates(self.plan))

    @property
    def size(self) -> int:
        """How many functions there are."""
        d = self.dimensions
        return math.comb(d + self.degree, d) + (2 + d if self.stops else 0) + len(self.features)

    @property
    def stops(self) -> bool:
        """Whether the payoff of stopping is among them."""
        return self.plan.evaluate_stop is not None

    def seen(self, period: Period, states: Mapping[str, Array]) -> Seen:
        """What is seen of one state."""
        parts = [self._coordinate(name, states[name]) for name in _coordinates(self.plan)]
        payoff = period.payoff(states) if self.stops else jnp.zeros(())
        own = [self._feature(given, period, states) for given in self.features.values()]
        return Seen(_joined(parts), payoff, _joined([value[None] for value in own]))

    def at(self, measure: Measure, seen: Seen) -> Float[Array, "f"]:
        """The functions at one state."""
        x, rest = self._standardised(measure, seen)
        return jnp.concatenate([jnp.stack(monomials(x, self.degree)), rest])

    def value(self, measure: Measure, seen: Seen, coefficients: Float[Array, "f"]) -> Float[Array, ""]:
        """The functions at one state times coefficients, none of them written down: hundreds of times faster."""
        x, rest = self._standardised(measure, seen)
        count = coefficients.shape[0] - rest.shape[0]
        value = horner(x, coefficients, self.degree)
        for place in range(rest.shape[0]):
            value = value + coefficients[count + place] * rest[place]
        return value

    def _standardised(self, measure: Measure, seen: Seen) -> tuple[Float[Array, "d"], Float[Array, "r"]]:
        """The coordinates, and the functions that are no polynomials."""
        inside = jnp.clip(seen.coordinates, measure.least, measure.most)
        x = (inside - measure.centre.coordinates) / measure.spread.coordinates
        parts = []
        if self.stops:
            y = seen.payoff / measure.spread.payoff
            parts += [jnp.stack([y, y * y]), y * x]
        if self.features:
            parts.append((seen.own - measure.centre.own) / measure.spread.own)
        return x, _joined(parts)

    def measure(self, period: Period, states: Mapping[str, Array]) -> Measure:
        """How simulated states are standardised, one row each; what does not vary is divided by one."""
        seen = jax.vmap(lambda own: self.seen(period, own))(states)
        centre = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), seen)
        spread = jax.tree.map(_spread, seen)
        return Measure(centre, spread, jnp.min(seen.coordinates, axis=0), jnp.max(seen.coordinates, axis=0))

    def beyond(self, measure: Measure, states: Mapping[str, Array]) -> dict[str, Array]:
        """By state that is a number, whether it is none of those between the simulated ones."""
        found, first = {}, 0
        for name in _coordinates(self.plan):
            x = self._coordinate(name, states[name])
            least, most = (end[first : first + x.shape[0]] for end in (measure.least, measure.most))
            slack = _SLACK * (most - least + jnp.abs(least) + jnp.abs(most))
            found[name] = ~jnp.all((x >= least - slack) & (x <= most + slack))
            first += x.shape[0]
        return found

    def _coordinate(self, name: str, value: Array) -> Float[Array, "k"]:
        space = self.plan.states[name]
        x = space.scale.forward(value) if isinstance(space, Continuous) else value
        x = jnp.ravel(as_float(x))
        return descending(x) if name in self.exchangeable else x

    def _feature(self, given: Quantity, period: Period, states: Mapping[str, Array]) -> Float[Array, ""]:
        found = self.plan.graph.compose(given.names)(**period.environment, **states)
        return as_float(given.node()(**{name: found[name] for name in given.names}))


def monomials(x: Float[Array, "d"], degree: int) -> list[Float[Array, ""]]:
    """All products of at most `degree` of the numbers, and one, in the order in which `horner` takes coefficients."""
    if degree == 0 or x.shape[0] == 0:
        return [jnp.ones(())]
    found, power = [], [jnp.ones(())]
    for _ in range(degree):
        power.append(power[-1] * x[0])
    for own in range(degree, -1, -1):
        found += [power[own] * rest for rest in monomials(x[1:], degree - own)]
    return found


def horner(x: Float[Array, "d"], coefficients: Float[Array, "f"], degree: int) -> Float[Array, ""]:
    """A polynomial of several numbers, by Horner's rule in one after the other.

    Args:
        coefficients: of `monomials`; more than there are of these are passed over.
    """
    places = itertools.count()

    def inner(first: int, degree: int) -> Array:
        if degree == 0 or first == x.shape[0]:
            return coefficients[next(places)]
        value = inner(first + 1, 0)
        for own in range(degree - 1, -1, -1):
            value = value * x[first] + inner(first + 1, degree - own)
        return value

    return inner(0, degree)


def descending(x: Float[Array, "k"]) -> Float[Array, "k"]:
    """The numbers in descending order; few of them by exchanges of neighbours, which are quick side by side."""
    count = x.shape[0]
    if count > _FEW:
        return jnp.sort(x)[::-1]
    found = [x[place] for place in range(count)]
    for turn in range(count):
        for place in range(turn % 2, count - 1, 2):
            pair = found[place], found[place + 1]
            found[place], found[place + 1] = jnp.maximum(*pair), jnp.minimum(*pair)
    return jnp.stack(found)


def _coordinates(plan: Plan) -> list[str]:
    """The states that are numbers, and not categories."""
    return [name for name, space in plan.states.items() if isinstance(space, Continuous | AR1 | VAR | IID)]


def _joined(parts: list[Array]) -> Array:
    return jnp.concatenate(parts) if parts else jnp.zeros(0)


def _spread(leaf: Array) -> Array:
    spread = jnp.std(leaf, axis=0)
    return jnp.where(spread > 1e-12 * (1 + jnp.abs(jnp.mean(leaf, axis=0))), spread, 1.0)


def _check_feature(plan: Plan, name: str, given: Quantity) -> None:
    """Raises ModelError for a function of what the model does not have, or of what is not known before the shock."""
    graph = plan.graph
    parameters = set(graph.parameter_names())
    known = parameters | set(graph.kinds) | {node for node in graph.slots if ":" not in node}
    for needed in given.names:
        if needed not in known:
            raise ModelError(
                f"features: {name!r} needs {needed!r}, which the model does not have.{nearest(needed, known)}"
            )
        late = graph.leaves(needed, "action", "shock", "next") if needed not in parameters else set()
        if late:
            raise ModelError(
                f"features: {name!r} needs {needed!r}, which reads {listed(sorted(late))}: Q is regressed on what is "
                "known before the decision, states and parameters."
            )
