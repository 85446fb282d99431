"""Answers to check the gallery against, computed without bellax and without JAX.

Every function here is numpy or scipy on a closed form, or on a method that shares nothing with this
library's solvers: a binomial tree, piecewise quadrature, an endogenous grid with its kinks placed exactly,
policy iteration by linear solves. They are slow, accurate, and each is itself checked against published
numbers, against another of them, or both.
"""

from bellax.models._references.discrete import discrete_dp, mccall, puterman_621, rust_replacement
from bellax.models._references.growth import brock_mirman, sectors
from bellax.models._references.life_cycle import carroll_deaton_egm, lognormal_incomes
from bellax.models._references.linear_quadratic import riccati
from bellax.models._references.options import bermudan_put, crr_tree
from bellax.models._references.portfolio import merton_crra, merton_log, two_asset_merton
from bellax.models._references.retirement import retirement

__all__ = [
    "bermudan_put",
    "brock_mirman",
    "carroll_deaton_egm",
    "crr_tree",
    "discrete_dp",
    "lognormal_incomes",
    "mccall",
    "merton_crra",
    "merton_log",
    "puterman_621",
    "retirement",
    "riccati",
    "rust_replacement",
    "sectors",
    "two_asset_merton",
]
