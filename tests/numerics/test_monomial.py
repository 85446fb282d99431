"""Monomial rules of several normal numbers: moments that they must have."""

import itertools

import numpy as np
import pytest

import bellax as bx
from bellax.numerics.quadrature import monomial

MOMENTS = {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0, 5: 0.0}


@pytest.mark.parametrize(("degree", "dimensions"), [(3, 1), (3, 4), (5, 1), (5, 2), (5, 4), (5, 7)])
def test_moments_up_to_its_degree_are_those_of_normals(degree, dimensions):
    nodes, weights = (np.asarray(part) for part in monomial(dimensions, degree))
    for powers in itertools.product(range(degree + 1), repeat=min(dimensions, 3)):
        if sum(powers) <= degree:
            found = weights @ np.prod(nodes[:, : len(powers)] ** np.asarray(powers), axis=1)
            assert found == pytest.approx(np.prod([MOMENTS[p] for p in powers]), abs=1e-12)


def test_the_number_of_nodes_does_not_explode():
    assert monomial(50, 3)[0].shape == (100, 50)
    assert monomial(10, 5)[0].shape == (201, 10)


def test_another_degree_is_refused():
    with pytest.raises(bx.ModelError, match="degrees 3 and 5"):
        monomial(2, 7)
