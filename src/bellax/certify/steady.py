"""The deterministic steady state under a policy, and whether paths come back to it.

Without noise a policy leads from x to f(x). Where that settles, x = f(x), the largest modulus of the eigenvalues of f's
Jacobian there says at which rate deviations die out, or that they grow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.certify.linear_quadratic import states_of
from bellax.numerics import loops
from bellax.problem.averages import Averages
from bellax.solution.gridless import GridlessPolicy, GridlessSetting

_STEPS, _SETTLED = 20_000, 1e-11


@dataclass(frozen=True)
class Steady:
    """A steady state, and what is known of paths around it.

    Attributes:
        states: by name.
        radius: the largest modulus of the eigenvalues of the closed loop.
    """

    states: Mapping[str, Any]
    radius: float


def steady(setting: GridlessSetting, policy: GridlessPolicy, start: Mapping[str, Any]) -> tuple[Steady | None, str]:
    """The steady state to which paths without noise lead, or why there is none; neither for a finite horizon.

    Args:
        start: where they begin, by state.
    """
    if setting.problem.finite:
        return None, ""
    missing = _missing(setting, policy)
    if missing:
        return None, missing
    run = setting.program("steady", lambda: jax.jit(_program(setting)))
    x, change, jacobian = (np.asarray(leaf) for leaf in run(policy, dict(start)))
    if not np.all(np.isfinite(x)) or not change <= _SETTLED:
        return None, f"paths without noise do not settle in {_STEPS} periods"
    if not np.all(np.isfinite(jacobian)):
        return None, "the policy has no derivative where paths without noise settle"
    radius = float(np.abs(np.linalg.eigvals(jacobian)).max()) if x.size else 0.0
    return Steady(states_of(setting, x), radius), ""


def _missing(setting: GridlessSetting, policy: GridlessPolicy) -> str:
    plan = setting.plan
    if plan.choices or plan.evaluate_stop is not None or plan.discrete or not policy.smooth:
        return "choices or states are discrete"
    averages: list[Any] = []
    jax.eval_shape(lambda given: averages.append(Averages(setting.problem, given, 0)), policy.arguments)
    return "" if averages[0].normal is not None else "what is random is not made of normal numbers"


def _program(setting: GridlessSetting) -> Callable[..., Any]:
    def run(policy: GridlessPolicy, start: dict[str, Array]) -> Any:
        averages = Averages(setting.problem, policy.arguments, 0)
        still = {leaf: jnp.zeros(size) for leaf, size in (averages.normal or {}).items()}
        choose = policy.at(0)

        def after(x: Float[Array, "n"]) -> Float[Array, "n"]:
            states = states_of(setting, x)
            return _joined(setting, averages.at(states, choose(states).actions, still).following)

        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            x, _, number = state
            new = after(x)
            return new, jnp.max(jnp.abs(new - x) / jnp.maximum(1.0, jnp.abs(x))), number + 1

        def done(state: tuple[Array, Array, Array]) -> Array:
            return (state[1] <= _SETTLED) | (state[2] >= _STEPS) | jnp.isnan(state[1])

        x = _joined(setting, start)
        x, change, _ = loops.until(done, step, (x, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32)))
        return x, change, jax.jacfwd(after)(x)

    return run


def _joined(setting: GridlessSetting, states: Mapping[str, Any]) -> Array:
    parts = [jnp.ravel(jnp.asarray(states[name])) for name in setting.plan.states]
    return jnp.concatenate(parts) if parts else jnp.zeros(0)
