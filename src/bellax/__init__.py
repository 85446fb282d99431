"""bellax: write a dynamic model once, as functions of names, and solve it with what its structure allows."""

import os
import sys

import jax

if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)

from bellax import solvers
from bellax.bellman import maximise, outside
from bellax.cache import cache
from bellax.certify import Certificate, FlowCertificate, RegimeCertificate, certify
from bellax.equilibrium import Equilibrium, TransitionPath, equilibrium, transition_path
from bellax.equilibrium import methods as clearing
from bellax.errors import (
    BellaxError,
    CoarseWarning,
    KinkWarning,
    ModelError,
    OutsideWarning,
    ParameterError,
    SolveError,
    introduce,
)
from bellax.evaluate import evaluate
from bellax.front import solve
from bellax.io import load, save
from bellax.model import shocks
from bellax.model.conditions import Complementarity, Conditions
from bellax.model.constraints import nonnegative
from bellax.model.diffusion import Absorbing, DiffusionModel, Natural, Reflecting, Reset, StateConstraint
from bellax.model.laws import Markov, ergodic, fixed
from bellax.model.model import Model
from bellax.model.preferences import EpsteinZin, ExtremeValue, QuasiHyperbolic, Recursive, RiskSensitive
from bellax.model.quantity import by_age, by_period
from bellax.model.regime import Regime, Terminal
from bellax.model.spaces import AR1, IID, VAR, Continuous, Discrete, MarkovChain
from bellax.model.time import Ages
from bellax.numerics import draws, grids, interpolants, scales, shares
from bellax.numerics import rules as quadrature
from bellax.operators import operators
from bellax.panel import Panel, RegimePanel
from bellax.plot import plot
from bellax.population import Density, stationary
from bellax.simulate import simulate
from bellax.simulate_flows import FlowPanel
from bellax.solution.flowing import FlowSolution
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result, Solution
from bellax.solve import choose_solver, compile

__all__ = [
    "AR1", "Absorbing", "Ages", "BellaxError", "Certificate", "CoarseWarning", "Complementarity", "Conditions",
    "Continuous", "Density", "DiffusionModel", "Discrete", "EpsteinZin", "Equilibrium", "ExtremeValue",
    "FlowCertificate", "FlowPanel", "FlowSolution", "IID", "KinkWarning", "Markov", "MarkovChain", "Model",
    "ModelError", "Natural", "OutsideWarning", "Panel", "ParameterError", "QuasiHyperbolic", "Recursive", "Reflecting",
    "Regime", "RegimeCertificate", "RegimePanel", "RegimeSolution", "Reset", "Result", "RiskSensitive", "Solution",
    "SolveError", "StateConstraint", "Terminal", "TransitionPath", "VAR", "by_age", "by_period", "cache", "certify",
    "choose_solver", "clearing", "compile", "draws", "equilibrium", "ergodic", "evaluate", "fixed", "grids",
    "interpolants", "load", "maximise", "nonnegative", "operators", "outside", "plot", "quadrature", "save", "scales",
    "shares", "shocks", "simulate", "solve", "solvers", "stationary", "transition_path",
]  # fmt: skip

for _name in (
    "clearing",
    "draws",
    "grids",
    "interpolants",
    "maximise",
    "outside",
    "quadrature",
    "scales",
    "shares",
    "shocks",
    "solvers",
):
    introduce(globals()[_name], f"bx.{_name}")
introduce(sys.modules[__name__], "bellax", brief=True)
