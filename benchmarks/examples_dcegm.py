"""Work and retirement with taste shocks, stated for the package `dcegm`: its own example with this calibration."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from dcegm import setup_model
from dcegm.toy_models.cons_ret_model_dcegm_paper import (
    create_final_period_utility_function_dict,
    create_state_space_function_dict,
    create_utility_function_dict,
)

WORK, RETIRE = 0, 1


def wealth(
    lagged_choice: Any, asset_end_of_previous_period: Any, income_shock_previous_period: Any, params: Any
) -> Any:
    earned = params["income"] * (lagged_choice == WORK)
    return jnp.maximum(asset_end_of_previous_period + earned, params["consumption_floor"])


def retirement(periods: int, nodes: int, scale: float) -> tuple[Any, dict[str, float]]:
    """The model, to be solved as `model.solve(params)`, and its parameters."""
    # denser at zero, as ours
    savings = 400 * np.expm1(6 * np.linspace(0, 1, nodes)) / np.expm1(6)
    model = setup_model(
        model_config={
            "n_periods": periods,
            "choices": [WORK, RETIRE],
            "continuous_states": {"assets_end_of_period": jnp.asarray(savings)},
            "n_quad_points": 1,
        },
        model_specs={"min_age": 20, "n_choices": 2},
        utility_functions=create_utility_function_dict(),
        utility_functions_final_period=create_final_period_utility_function_dict(),
        budget_constraint=wealth,
        state_space_functions=create_state_space_function_dict(),
    )
    params = {
        "discount_factor": 0.98,
        "delta": 1.0,
        "rho": 1.0,
        "income": 20.0,
        "income_shock_std": 1.0,
        "income_shock_mean": 0.0,
        "taste_shock_scale": scale,
        "interest_rate": 0.0,
        "consumption_floor": 1e-9,
    }
    return model, params


def choice_values(solved: Any, at: float) -> np.ndarray:
    """V in period 0 at a wealth, of retiring and of working."""
    found = []
    for choice in (RETIRE, WORK):
        states = {"period": np.array([0]), "lagged_choice": np.array([WORK]), "assets_begin_of_period": np.array([at])}
        found.append(float(np.squeeze(solved.value_for_states_and_choices(states, np.array([choice])))))
    return np.array(found)
