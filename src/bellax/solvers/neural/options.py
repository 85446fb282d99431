"""What solvers by nets have in common: where they are trained, what nets, and what they begin with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bellax.bellman.options import key
from bellax.errors import ModelError, check_count, check_folder, check_mapping, check_positive, check_widths
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.numerics.shares import Shares
from bellax.problem.plan import Plan
from bellax.solvers.common import check_solvable
from bellax.solvers.solver import Solver

DEGREES = (None, 0, 3, 5)


@dataclass(frozen=True, kw_only=True)
class NetSolver(Solver):
    """Configuration of the solvers by nets.

    Args:
        hidden: widths of the hidden layers of each net.
        box: by state, the lower and the upper end of where it is sampled; by default its bounds, and of a process that
            moves by normal numbers three standard deviations around its mean, in all periods together.
        shares: by action with two bounds, `bx.shares.Logistic()`, the default, or `bx.shares.Clipped()` where bounds
            bind.
        quadrature: by shock or process, a number of nodes or one of `bx.quadrature`.
        degree: of the monomial rule for all normal numbers together, 3 or 5; 0 for the product of their rules; by
            default the product where it is short.
        points: states at which equations are asked to hold by least squares: those of the policy, of V, or of both; by
            default some hundreds, and more where there are more weights.
        seed: of weights, points and draws.
        tolerance: beyond which what is left of the equations at other points is no success.
        warm_start: what to begin with: a dict of functions of names, one for each action and, under "value", one for
            V; or the `Solution` of another solver.
        checkpoint: a folder; a solve that was killed goes on there, and ends as if it had not been.
    """

    hidden: tuple[int, ...] = (16, 16)
    box: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, Shares] = field(default_factory=dict)
    quadrature: Mapping[str, Any] = field(default_factory=dict)
    degree: Any = None
    points: int | None = None
    seed: int = 0
    tolerance: float = 1e-3
    warm_start: Any = None
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        what = type(self).__name__
        check_widths(self.hidden, f"{what}: hidden")
        check_folder(self.checkpoint, f"{what}: checkpoint")
        check_mapping(self.box, f"{what}: box", "{'capital': (0.1, 0.4)}")
        check_mapping(self.shares, f"{what}: shares", "{'consumption': bx.shares.Clipped()}")
        check_mapping(self.quadrature, f"{what}: quadrature", "{'shock': 7}")
        check_positive(self.tolerance, f"{what}: tolerance")
        check_count(self.seed, f"{what}: seed", 0)
        if self.points is not None:
            check_count(self.points, f"{what}: points")
        self.check_degree()

    @property
    def degrees(self) -> tuple[int | None, int | None]:
        """Of the rule of the training, and of that by which what it found is judged."""
        return self.degree if isinstance(self.degree, tuple) else (self.degree, self.degree)

    def check_degree(self) -> None:
        """Raises ModelError for what is no degree of a rule."""
        if self.degree not in DEGREES:
            what = type(self).__name__
            raise ModelError(f"{what}: degree is {self.degree!r}; give 3 or 5, or 0 for the product of the rules.")

    def kept(self, model: Any, make: Any) -> Any:
        """What `make` makes of a model, once for equal configurations, kept on the model.

        What a training begins with is an argument of its programs, and where it is kept none of their business: one
        set of programs serves all of them, and holds none.
        """
        check_one(model, type(self).__name__)
        plain = replace(self, warm_start=None, checkpoint=None)
        name = ("prepared", key(plain))
        if name not in model.programs:
            model.programs[name] = make(model, plain)
        found = model.programs[name]
        return found if self.warm_start is None and self.checkpoint is None else found.beginning_with(self)


def check_one(model: Any, what: str) -> None:
    """Raises ModelError for what is no `Model` of one regime that expects utility."""
    if isinstance(model, DiffusionModel):
        raise ModelError(f"{what} solves a bx.Model, not a {type(model).__name__}; there is bx.solvers.PINN().")
    check_solvable(model)
    assert isinstance(model, Model)
    if model.regimes is not None:
        raise ModelError(
            f"{what} solves models of one regime, and this one has {len(model.graphs)}. Use "
            "bx.solvers.BackwardInduction()."
        )
    if model.graph.regime.taste_shocks is not None:
        raise ModelError(f"{what} knows no taste shocks; use bx.solvers.BackwardInduction().")


def check_smooth(plan: Plan, what: str, instead: str) -> None:
    """Raises ModelError for decisions that are no numbers.

    Args:
        instead: solvers that take them.
    """
    if plan.choices:
        raise ModelError(f"{what} takes actions that are numbers, and {next(iter(plan.choices))!r} is not; {instead}.")
    if plan.evaluate_stop is not None:
        raise ModelError(f"{what} does not stop, and the model has `stop`; {instead}.")
    if not plan.controls:
        raise ModelError(f"{what}: nothing is decided in this model; {instead}.")


def check_unconstrained(plan: Plan, what: str) -> None:
    """Raises ModelError for constraints, which outputs between bounds do not keep."""
    if plan.constraints:
        name = plan.constraints[0].partition(":")[2]
        raise ModelError(
            f"{what} keeps actions between their bounds, and knows no constraints; the model has {name!r}. State it as "
            "a bound, which may name states and other actions, or use bx.solvers.BackwardInduction()."
        )
