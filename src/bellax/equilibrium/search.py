"""The search for prices: what agents do at some of them, and one loop around it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.equilibrium.asked import Asked
from bellax.equilibrium.method import Method, Told
from bellax.numerics import loops
from bellax.numerics.shared import Shared
from bellax.population.density import Density, density
from bellax.solution.solution import Result
from bellax.solution.table import Representation


class Reached(NamedTuple):
    """What agents do at some prices.

    Attributes:
        residuals: of the conditions, shape (n,); not numbers where the solve failed.
        updates: what unknowns are moved towards, shape (n,), where the method says that.
        slopes: derivatives of the conditions and of V in unknowns, where the method asks for them.
    """

    residuals: Array
    updates: Array
    aggregates: dict[str, Array]
    density: Density
    slopes: tuple[Array, Representation] | None = None


class Course(NamedTuple):
    """Where the search is.

    Attributes:
        state: of the method.
        path, residuals: of all solves so far, shape (steps, n); not numbers where there are none yet.
        x, values, slopes: the last prices, V there, and about its derivatives in each.
    """

    state: Any
    path: Array
    residuals: Array
    x: Array
    values: Representation
    slopes: Representation


class Search:
    """The search for prices of one model, under one solver and one method; compiled programs."""

    def __init__(self, prepared: Any, asked: Asked, method: Method, tolerance: float) -> None:
        self.prepared, self.asked, self.method, self.tolerance = prepared, asked, method, tolerance
        # the same for all methods that ask for the same
        build = lambda: Shared(self._with_slopes if method.slopes else self.reached)  # noqa: E731
        self.evaluate = prepared.program(("reached", asked.stated, method.slopes), build)
        self.slopes = Shared(lambda *given: self._derived(*given)[0][0])
        self._next = Shared(lambda course: (method.ask(course.state), _ahead(course, method.ask(course.state))))
        self._told = Shared(self._after)
        self._done = Shared(lambda state: method.done(state, jnp.asarray(tolerance)))

    def run(self, arguments: Any, others: Any, lower: Array, upper: Array, known: bool) -> Course:
        """The end of the search.

        Args:
            known: whether nothing is traced.
        """
        none = self.prepared.unknown(arguments)
        count = lower.shape[0]
        steep = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, count), leaf.dtype), none)
        empty = jnp.full((self.method.max_steps, count), jnp.nan)
        begin = Course(self.method.init(lower, upper), empty, empty, 0.5 * (lower + upper), none, steep)

        def step(course: Course) -> Course:
            x, start = self._next(course)
            return self._told(course, x, self.evaluate(arguments, others, x, start))

        return loops.until_known(lambda course: self._done(course.state), step, begin, known)

    def reached(self, arguments: Any, others: Any, x: Array, start: Representation) -> Reached:
        """What agents do at prices x; with derivatives.

        Args:
            start: V to begin with; not a number where nothing is known.
        """
        asked, given = self.asked, self.asked.given(arguments, x)
        solution = self.prepared.solve_from(given, lax.stop_gradient(start))
        where = density(self.prepared, solution, check=False)
        means, known = asked.means(where), {**given, **others}
        residuals = jnp.stack(asked.valued(asked.conditions, known, x, means))
        updates = jnp.stack(asked.valued(asked.updates, known, x, means)) if asked.updates else jnp.zeros(0)
        good = solution.code == int(Result.successful)
        return Reached(jnp.where(good, residuals, jnp.nan), updates, means, where)

    def _with_slopes(self, arguments: Any, others: Any, x: Array, start: Representation) -> Reached:
        slopes, reached = self._derived(arguments, others, x, start)
        return reached._replace(slopes=slopes)

    def _derived(self, arguments: Any, others: Any, x: Array, start: Representation) -> tuple[Any, Reached]:
        """Derivatives of the conditions and of V in unknowns, and what agents do."""

        def of(x: Array) -> tuple[Any, Reached]:
            reached = self.reached(arguments, others, x, start)
            return (reached.residuals, reached.density.solution.values), reached

        return jax.jacfwd(of, has_aux=True)(x)

    def _after(self, course: Course, x: Array, reached: Reached) -> Course:
        """Where the search is after what was found at x."""
        number, values = course.state.steps, reached.density.solution.values
        steep, slopes = reached.slopes or (jnp.zeros((x.size, x.size)), _secant(course, x, values))
        told = Told(reached.residuals, steep, reached.updates)
        return Course(
            self.method.tell(course.state, x, told, jnp.asarray(self.tolerance)),
            course.path.at[number].set(x),
            course.residuals.at[number].set(reached.residuals),
            x,
            values,
            slopes,
        )


def only_if(good: Array, tree: Any) -> Any:
    """Numbers where something is good, and else none of them: what a transformation gets, where nothing can raise."""

    def of(leaf: Any) -> Any:
        return jnp.where(good, leaf, jnp.nan) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) else leaf

    return jax.tree.map(of, tree)


def _ahead(course: Course, x: Array) -> Representation:
    """V at prices x, by a straight line where that is known."""
    move = x - course.x

    def of(value: Array, slope: Array) -> Array:
        ahead = value + slope @ move
        return jnp.where(jnp.isfinite(ahead), ahead, value)

    return jax.tree.map(of, course.values, course.slopes)


def _secant(course: Course, x: Array, values: Representation) -> Representation:
    """About the derivative of V in one unknown; none in several."""
    if x.size > 1:
        return course.slopes
    return jax.tree.map(lambda new, old: ((new - old) / (x - course.x)[0])[..., None], values, course.values)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def moving_root(
    residual: Callable[[Any, Array], Array], slopes: Callable[[Any, Array], Array], given: Any, root: Array
) -> Array:
    """A root x of residual(given, x), with the derivative that the implicit function theorem gives it.

    Args:
        residual: of what is given and of x, an array of the shape of x; it closes over nothing differentiated.
        slopes: its derivatives in x, shape (*x, *x).
    """
    return root


@moving_root.defjvp
def _moving_root_jvp(residual: Any, slopes: Any, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (given, root), (moved, _) = primals, tangents
    root = moving_root(residual, slopes, given, root)
    _, right = jax.jvp(lambda given: residual(given, root), (given,), (moved,))
    matrix = slopes(given, root).reshape(root.size, root.size)
    return root, -jnp.linalg.solve(matrix, right.ravel()).reshape(root.shape)
