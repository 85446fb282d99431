"""The eight problems of bellgrid's README, solved in one fresh process, compilation included.

Each is the model of our gallery with its solver, solved and asked at many states; the seconds are those of these two,
with the CPU seconds beside them. References are computed afterwards, in the same process, and nothing of them is in a
time. No cache of compiled programs is read. An error above its bound fails.

Run as a program it prints its measurements as JSON: `python bench_eight.py`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PRICES = np.linspace(0.7, 1.3, 121)
WEALTH = np.geomspace(1.0, 50.0, 41)
Numbers = dict[str, np.ndarray]


class Problem(NamedTuple):
    """One of the eight.

    Attributes:
        ours: solves, and answers by quantity.
        exact: the same quantities otherwise.
        bounds: the largest error of each quantity.
    """

    ours: Callable[[], dict[str, Any]]
    exact: Callable[[], dict[str, Any]]
    bounds: dict[str, float]


def problems() -> dict[str, Problem]:
    """Imports the models, and says what is solved and what it should be; nothing is computed yet."""
    return {
        "merton": _merton(),
        "carroll_deaton": _carroll_deaton(),
        "american_put": _american_put(),
        "lqg": _lqg(),
        "two_asset_merton": _two_asset_merton(),
        "regime_switching_put": _regime_switching_put(),
        "retirement": _retirement(),
        "jump_diffusion_put": _jump_diffusion_put(),
    }


def _merton() -> Problem:
    import bellax as bx
    from bellax.models import merton as m

    def ours() -> dict[str, Any]:
        solution = bx.solve(m.model, m.params, m.solver)
        share = solution.policy(10, wealth=WEALTH)["consumption"] / WEALTH
        return {"V": solution.value(10, wealth=WEALTH), "c / w": share}

    def exact() -> dict[str, Any]:
        found = m.reference(m.params, wealth=WEALTH)
        return {"V": found["value"], "c / w": found["consumption"] / WEALTH}

    return Problem(ours, exact, {"V": 1e-8, "c / w": 1e-8})


def _carroll_deaton() -> Problem:
    """Consumption relative to the reference, at every age."""
    import bellax as bx
    from bellax.models import carroll_deaton as m

    cash = np.unique(np.concatenate([np.linspace(0.3, 3.0, 300), np.geomspace(3.0, 20.0, 50)]))
    ages = range(m.LAST_AGE + 1 - m.FIRST_AGE)

    def ours() -> dict[str, Any]:
        solution = bx.solve(m.model, m.params, m.solver)
        return {"log c": np.log([solution.policy(t, cash=cash)["consumption"] for t in ages])}

    def exact() -> dict[str, Any]:
        grid = m.endogenous_grid()
        return {"log c": np.log([grid(t, cash) for t in ages])}

    return Problem(ours, exact, {"log c": 1e-5})


def _american_put() -> Problem:
    """With 50 dates, and extrapolated over dates; away from the price where exercise begins."""
    import bellax as bx
    from bellax.models import american_put as m
    from bellax.models import references

    price = m.params["strike"] * np.linspace(0.845, 1.2, 72)
    contract = [m.params[name] for name in ("strike", "rate", "volatility", "years")]

    def ours() -> dict[str, Any]:
        dated = bx.solve(m.model, m.params, m.solver)
        return {"V, 50 dates": dated.value(0, log_price=np.log(price)), "V": m.american(price)}

    def exact() -> dict[str, Any]:
        dated = references.bermudan_put(price, *contract, 50)
        return {"V, 50 dates": dated, "V": references.american_put_tree(price, *contract, 2000)}

    return Problem(ours, exact, {"V, 50 dates": 1e-5, "V": 5e-5})


def _lqg() -> Problem:
    import bellax as bx
    from bellax.models import lqg as m

    x = np.stack([axis.ravel() for axis in np.meshgrid(*[np.linspace(-1.0, 1.0, 21)] * 2)], axis=-1)

    def ours() -> dict[str, Any]:
        solution = bx.solve(m.model, m.params, m.solver)
        at = {"position": x[:, 0], "velocity": x[:, 1]}
        return {"V": solution.value(0, **at), "force": solution.policy(0, **at)["force"]}

    def exact() -> dict[str, Any]:
        solved = m.regulator(m.HORIZON)
        return {
            "V": m.quadratic(solved.value_matrix[0], solved.constant[0], x),
            "force": (-x @ solved.gain[0].T)[:, 0],
        }

    return Problem(ours, exact, {"V": 1e-10, "force": 1e-10})


def _two_asset_merton() -> Problem:
    import bellax as bx
    from bellax.models import two_asset_merton as m

    def ours() -> dict[str, Any]:
        policy = bx.solve(m.model, m.params, m.solver).policy(0, wealth=WEALTH)
        return {"shares": np.stack([policy["first_share"], policy["second_share"]], axis=-1)}

    def exact() -> dict[str, Any]:
        return {"shares": m.condition(m.params, 40).portfolio}

    return Problem(ours, exact, {"shares": 1e-6})


def _regime_switching_put() -> Problem:
    import bellax as bx
    from bellax.models import regime_switching_put as m

    def ours() -> dict[str, Any]:
        solution = bx.solve(m.model, m.params, m.solver)
        return {market.name: solution.value(0, log_price=np.log(PRICES), market=market) for market in m.Market}

    def exact() -> dict[str, Any]:
        return {market.name: m.reference(m.params, np.log(PRICES), market)["value"] for market in m.Market}

    return Problem(ours, exact, {"calm": 1e-4, "turbulent": 1e-4})


def _retirement() -> Problem:
    import bellax as bx
    from bellax.models import retirement as m

    wealth = np.geomspace(2.0, 300.0, 1001)

    def ours() -> dict[str, Any]:
        return {"V": bx.solve(m.model, m.params, m.solver).value(0, wealth=wealth, status=m.Status.working)}

    def exact() -> dict[str, Any]:
        return {"V": m.plans(m.params).value(0, wealth, working=True)}

    return Problem(ours, exact, {"V": 1e-4})


def _jump_diffusion_put() -> Problem:
    """The European one against Merton's series, the one with 50 dates against quadrature."""
    import bellax as bx
    from bellax.models import jump_diffusion_put as m
    from bellax.models import references

    contract = [
        m.params[name] for name in ("strike", "rate", "volatility", "intensity", "jump_mean", "jump_sd", "years")
    ]

    def ours() -> dict[str, Any]:
        kinds = {"V, European": m.european, "V": m.model}
        return {
            name: bx.solve(kind, m.params, m.solver).value(0, log_price=np.log(PRICES)) for name, kind in kinds.items()
        }

    def exact() -> dict[str, Any]:
        series = references.merton_series(PRICES, *contract)
        return {"V, European": series, "V": m.reference(m.params, np.log(PRICES))["value"]}

    return Problem(ours, exact, {"V, European": 1e-5, "V": 1e-4})


def main() -> None:
    started, cpu = time.perf_counter(), time.process_time()
    asked, rows, answers = problems(), [], {}
    rows.append(["import", time.perf_counter() - started, time.process_time() - cpu, {}, {}])
    for name, problem in asked.items():
        started, cpu = time.perf_counter(), time.process_time()
        answers[name] = {quantity: np.asarray(found) for quantity, found in problem.ours().items()}
        rows.append([name, time.perf_counter() - started, time.process_time() - cpu])
    for row, (name, problem) in zip(rows[1:], asked.items(), strict=True):
        errors = {
            quantity: float(np.max(np.abs(answers[name][quantity] - np.asarray(exact))))
            for quantity, exact in problem.exact().items()
        }
        row += [errors, problem.bounds]
    print(json.dumps(rows))


def test_eight(record):
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    total, cpu = sum(row[1] for row in rows), sum(row[2] for row in rows)
    group = "the eight problems of bellgrid's README, one fresh process"
    record(group, "all eight", total, "", f"{cpu:.2f} s of CPU; asked: under 60 s")
    for name, seconds, used, errors, bounds in rows:
        accuracy = ", ".join(f"{quantity} {error:.1e} ({bounds[quantity]:.0e})" for quantity, error in errors.items())
        record(group, name, seconds, accuracy, f"{used:.2f} s of CPU")
    missed = [
        (name, quantity, error)
        for name, _, _, errors, bounds in rows
        for quantity, error in errors.items()
        if not error <= bounds[quantity]
    ]
    assert not missed


if __name__ == "__main__":
    main()
