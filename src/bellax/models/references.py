"""Answers to check the gallery against, computed without bellax and without JAX.

Every function here is numpy or scipy on a closed form, or on a method that shares nothing with this
library's solvers: binomial trees, piecewise quadrature, finite differences, an endogenous grid with its
kinks placed exactly, policy iteration by linear solves. They are slow, accurate, and each is itself checked
against published numbers, against another of them, or both.
"""

from bellax.models._references.buffer_stock import buffer_stock, equiprobable, gauss_hermite, unemployed
from bellax.models._references.bus_engine import bus_engine
from bellax.models._references.differences import regime_switching_put_by_differences
from bellax.models._references.discrete import discrete_dp, mccall, puterman_621, rust_replacement
from bellax.models._references.durables import costly_durable, frictionless_durable
from bellax.models._references.european import black_scholes_put, merton_series
from bellax.models._references.firm import Firm, firm
from bellax.models._references.growth import brock_mirman, partial_depreciation, sectors
from bellax.models._references.inventory import Inventory, inventory
from bellax.models._references.life_cycle import carroll_deaton_egm, lognormal_incomes
from bellax.models._references.lifestyle import Lifestyle, lifestyle
from bellax.models._references.linear_quadratic import riccati
from bellax.models._references.max_call import bermudan_max_call_lattice
from bellax.models._references.options import bermudan_put, jump_diffusion_put, regime_switching_put
from bellax.models._references.portfolio import merton_crra, merton_log, two_asset_merton
from bellax.models._references.precautionary_savings import precautionary_savings, rouwenhorst
from bellax.models._references.quadratic_control import QuadraticControl, linear_quadratic
from bellax.models._references.regimes import work_and_retirement
from bellax.models._references.retirement import retirement
from bellax.models._references.storage import Cavern, Storage, storage
from bellax.models._references.tariff import Path, Tariff, tariff
from bellax.models._references.trees import american_put_tree, crr_tree
from bellax.models._references.two_rates import TwoRates, thresholds, two_rates

__all__ = [
    "Cavern",
    "Firm",
    "Inventory",
    "Lifestyle",
    "Path",
    "QuadraticControl",
    "Storage",
    "Tariff",
    "TwoRates",
    "american_put_tree",
    "bermudan_max_call_lattice",
    "bermudan_put",
    "black_scholes_put",
    "brock_mirman",
    "buffer_stock",
    "bus_engine",
    "carroll_deaton_egm",
    "costly_durable",
    "crr_tree",
    "discrete_dp",
    "equiprobable",
    "firm",
    "gauss_hermite",
    "frictionless_durable",
    "inventory",
    "jump_diffusion_put",
    "lifestyle",
    "linear_quadratic",
    "lognormal_incomes",
    "mccall",
    "merton_crra",
    "merton_log",
    "merton_series",
    "partial_depreciation",
    "precautionary_savings",
    "puterman_621",
    "regime_switching_put",
    "regime_switching_put_by_differences",
    "retirement",
    "riccati",
    "rouwenhorst",
    "rust_replacement",
    "sectors",
    "storage",
    "tariff",
    "thresholds",
    "two_asset_merton",
    "two_rates",
    "unemployed",
    "work_and_retirement",
]
