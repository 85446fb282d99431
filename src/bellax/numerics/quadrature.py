"""Quadrature: expectations as short weighted sums.

A rule is a pair (nodes, weights) with

    E[f(x)]  ~  sum_q weights_q f(nodes_q),      sum_q weights_q = 1,

for x standard normal (`gauss_hermite`, `equispaced_normal`, `equiprobable_normal`) or uniform on [0, 1]
(`gauss_legendre`). Location and spread are the caller's: E[f(mu + sigma x)] takes the same nodes, so that a
rule is free of parameters and derivatives with respect to mu and sigma pass through f alone.

A Gaussian rule of n nodes is exact for polynomials of degree 2n - 1 and converges geometrically where f is
analytic. At a kink the error is of the order of the squared spacing around it: 1/n for `gauss_hermite`, whose
nodes spread out like sqrt(n), but 1/n^2 for `equispaced_normal`. Rules of several independent variables are
products of these, `tensor`.

Every count is static: nodes and weights are computed in 64 bit by numpy when the program is traced.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bellax.errors import ModelError

Rule = tuple[Float[Array, "q"], Float[Array, "q"]]
_FEW = 64  # nodes up to which numpy's Gauss-Hermite rule is good to rounding
ProductRule = tuple[Float[Array, "q d"], Float[Array, "q"]]


def gauss_hermite(count: int) -> Rule:
    """Gauss-Hermite rule of a standard normal, exact for polynomials of degree 2 count - 1.

    Nodes reach out to about 2 sqrt(count); from 370 nodes on the outermost weights underflow.

    Args:
        count: the number of nodes.
    Returns:
        Nodes, increasing, and weights, both of shape (q,), in standard deviations and probabilities.
    Raises:
        ModelError: if count is below one.
    Source: Golub and Welsch (1969); Townsend, Trogdon and Olver (2016) for many nodes; as in numpy and scipy.
    """
    _check_count("gauss_hermite", count)
    if count <= _FEW:
        return _rule(*np.polynomial.hermite_e.hermegauss(count))
    # numpy's rule overflows to nan at several hundred nodes; scipy costs .15 s at import
    from scipy.special import roots_hermitenorm

    return _rule(*roots_hermitenorm(count))


def gauss_legendre(count: int) -> Rule:
    """Gauss-Legendre rule of a uniform variable on [0, 1], exact for polynomials of degree 2 count - 1.

    Args:
        count: the number of nodes.
    Returns:
        Nodes, increasing, inside (0, 1), and weights, both of shape (q,).
    Raises:
        ModelError: if count is below one.
    Source: Golub and Welsch (1969), as in numpy.
    """
    _check_count("gauss_legendre", count)
    nodes, weights = _rule(*np.polynomial.legendre.leggauss(count))
    return 0.5 + 0.5 * nodes, weights


def equispaced_normal(count: int, width: int | float = 5.5) -> Rule:
    """Equally spaced nodes of a standard normal, good at kinks; mean zero and variance one to rounding.

    Inner weights are proportional to the density: the trapezoidal rule, whose error is of the order of
    exp(-2 pi^2 / h^2) in the spacing h. The two end nodes carry the tails beyond them: with the density's own
    weight there the variance would miss one by 1.2e-6 however many nodes, so their weight is the one that
    makes it one. It is positive for odd counts, and for even ones of at least width^2 / 2.5.

    Args:
        count: the number of nodes.
        width: distance of the end nodes from zero, in standard deviations.
    Returns:
        Nodes, increasing, and weights, both of shape (q,), in standard deviations and probabilities.
    Raises:
        ModelError: if no positive weight of the end nodes makes the variance one.
    """
    nodes = np.linspace(-width, width, max(count, 2))
    inner = np.exp(-0.5 * nodes[1:-1] ** 2)
    end = 0.5 * np.sum(inner * (1.0 - nodes[1:-1] ** 2))
    if width <= 1.0 or end <= 0.0:
        raise ModelError(
            f"equispaced_normal({count}, width={width}) has no positive weights with variance one: the nodes are too "
            "few for their width, or lie within one standard deviation. Take an odd count of at least three, or more "
            "nodes, and a width above one."
        )
    end /= width**2 - 1.0
    return _rule(nodes, np.concatenate([[end], inner, [end]]))


def equiprobable_normal(count: int) -> Rule:
    """Means of a standard normal within bins of equal probability, each of weight 1 / count.

    E[x | a < x < b] = count (phi(a) - phi(b)) for neighbouring quantiles a and b. The variance is below one
    (2 / pi for two bins): the rule serves to reproduce results that were computed with it.

    Args:
        count: the number of bins.
    Returns:
        Nodes, increasing, and weights, both of shape (q,), in standard deviations and probabilities.
    Raises:
        ModelError: if count is below one.
    Source: Carroll's solution methods and HARK; their log-normal rule averages exp(sigma x) within the bins,
        which is not exp of sigma times these nodes.
    """
    from scipy.special import ndtri

    _check_count("equiprobable_normal", count)
    edges = ndtri(np.arange(count + 1) / count)
    density = np.exp(-0.5 * edges**2) / np.sqrt(2.0 * np.pi)
    return _rule(-count * np.diff(density), np.ones(count))


def tensor(*rules: tuple[Float[Array, "_ ..."], Float[Array, "_"]]) -> ProductRule:
    """Product of the rules of independent variables, the last one fastest; of none, one node of weight one.

    Args:
        rules: nodes of shape (q,), or (q, d) where a rule has d variables already, and weights of shape (q,).
    Returns:
        Nodes, one column per variable, shape (q, d), and weights, shape (q,); q is the product of the counts.
    """
    nothing = jnp.zeros((1, 0), float), jnp.ones(1, float)
    return functools.reduce(_times, rules, nothing)


def _times(product: ProductRule, rule: tuple[Array, Array]) -> tuple[Array, Array]:
    (nodes, weights), (nodes_last, weights_last) = product, rule
    count, count_last = weights.shape[0], weights_last.shape[0]
    slow = jnp.repeat(nodes, count_last, axis=0)
    fast = jnp.tile(nodes_last.reshape(count_last, -1), (count, 1))
    return jnp.concatenate([slow, fast], axis=1), (weights[:, None] * weights_last[None, :]).ravel()


def _rule(nodes: np.ndarray, weights: np.ndarray) -> Rule:
    """Makes a rule exactly symmetric about zero, its weights summing to one, from one that nearly is."""
    nodes, weights = 0.5 * (nodes - nodes[::-1]), weights + weights[::-1]
    return jnp.asarray(nodes, float), jnp.asarray(weights / weights.sum(), float)


def _check_count(name: str, count: int) -> None:
    if count < 1:
        raise ModelError(f"{name} was asked for {count} nodes, and a rule has at least one. Raise the count.")


def monomial(dimensions: int, degree: int) -> ProductRule:
    """Rule of several independent standard normals whose nodes grow like d, or d^2, and not like a power of d.

    Degree 3: +- sqrt(d) along every axis. Degree 5: zero, +- sqrt(d + 2) along every axis, and both signs of
    sqrt((d + 2) / 2) along every pair; beyond four dimensions the nodes along axes have negative weights.

    Args:
        dimensions: d.
        degree: of the polynomials for which it is exact, 3 or 5.
    Returns:
        Nodes, shape (q, d) with q = 2 d or 2 d^2 + 1, and weights, shape (q,).
    Raises:
        ModelError: for another degree.
    Source: Stroud (1971), E_n^{r^2}; Judd (1998), section 7.5.
    """
    d, eye = dimensions, np.eye(dimensions)
    if degree == 3:
        nodes = math.sqrt(d) * np.concatenate([eye, -eye])
        return jnp.asarray(nodes, float), jnp.full((2 * d,), 1 / (2 * d))
    if degree != 5:
        raise ModelError(f"a monomial rule of degree {degree} is not known; there are those of degrees 3 and 5.")
    axes = math.sqrt(d + 2) * np.concatenate([eye, -eye])
    pairs = [
        a * eye[i] + b * eye[j] for i in range(d) for j in range(i + 1, d) for a in (1.0, -1.0) for b in (1.0, -1.0)
    ]
    both = math.sqrt((d + 2) / 2) * np.asarray(pairs).reshape(-1, d)
    weights = [
        np.full(1, 2 / (d + 2)),
        np.full(2 * d, (4 - d) / (2 * (d + 2) ** 2)),
        np.full(len(pairs), 1 / (d + 2) ** 2),
    ]
    nodes = np.concatenate([np.zeros((1, d)), axes, both])
    return jnp.asarray(nodes, float), jnp.asarray(np.concatenate(weights), float)
