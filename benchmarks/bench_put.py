"""The American put: the gallery's solver against a binomial tree, at prices from 32 to 48 dollars.

`american_put` solves a Bermudan put by backward induction; the American value is extrapolated from 100 and 200
exercise dates. The peer for the American value is the tree of Cox, Ross & Rubinstein in numpy with 1,000 steps,
one tree a price; the reference is extrapolated from smoothed trees of 2,000 and 4,000 steps. The reference for 50
dates is quadrature, exact to rounding.
"""

import numpy as np
import pytest

import bellax as bx
from bellax import models
from bellax.models import references

if "american_put" not in models.names():
    pytest.skip("the gallery has no american_put", allow_module_level=True)

from bellax.models import american_put

PARAMS = american_put.params
CONTRACT = PARAMS["strike"], PARAMS["rate"], PARAMS["volatility"], PARAMS["years"]
PRICES = np.linspace(32.0, 48.0, 9)


def test_bermudan(in_turn, timed, record, benchmark):
    run = bx.compile(american_put.model, american_put.solver)
    medians = in_turn(
        {"bellax": timed(run, PARAMS), "quadrature": timed(references.bermudan_put, PRICES, *CONTRACT, 50)}, rounds=9
    )
    exact = references.bermudan_put(PRICES, *CONTRACT, 50)
    error = float(np.max(np.abs(run(PARAMS).value(0, log_price=np.log(PRICES)) - exact)))
    group = "put with 50 exercise dates"
    record(group, "bellax", medians["bellax"], f"V {error:.1e}", "compiled once; V at every price and date")
    record(group, "quadrature", medians["quadrature"], "exact", "numpy; V today, at 9 prices")
    benchmark.extra_info |= {"error": error, "ratio": medians["quadrature"] / medians["bellax"]}
    assert error < 1e-5


def test_american(in_turn, timed, record, benchmark):
    medians = in_turn(
        {
            "bellax": timed(american_put.american, PRICES),
            "binomial tree": timed(references.crr_tree, PRICES, *CONTRACT, 1000),
        },
        rounds=9,
    )
    exact = references.american_put_tree(PRICES, *CONTRACT, 2000)
    ours = float(np.max(np.abs(american_put.american(PRICES) - exact)))
    theirs = float(np.max(np.abs(references.crr_tree(PRICES, *CONTRACT, 1000) - exact)))
    group = "American put"
    record(
        group, "bellax", medians["bellax"], f"V {ours:.1e}", "100 and 200 dates, extrapolated; with checks and queries"
    )
    record(group, "binomial tree", medians["binomial tree"], f"V {theirs:.1e}", "numpy, 1,000 steps, 9 prices")
    benchmark.extra_info |= {"error": ours, "ratio": medians["binomial tree"] / medians["bellax"]}
    assert ours < 1e-4
