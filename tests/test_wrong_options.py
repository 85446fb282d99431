"""Options of the wrong kind, as a user meets them: in a process of its own, where no types are checked at run time."""

import json
import re
import subprocess
import sys

import pytest

SETTING = """
import enum, json, math, sys
import jax, jax.numpy as jnp, numpy as np
import bellax as bx

def model(**slots):
    base = dict(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": lambda w, c: w - c + 1.0},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=2,
    )
    return bx.Model(**{**base, **slots})

class Health(enum.IntEnum):
    bad = 0
    good = 1

B = bx.solvers.BackwardInduction(grid={"w": 8})
solution = bx.solve(model(), {}, B)
healthy = dict(
    states={"w": bx.Continuous(0.5, 4.0), "h": bx.Discrete(Health)},
    transitions={"w": lambda w, c: w - c + 1.0, "h": bx.fixed},
)
healthy = bx.solve(model(**healthy), {}, B)

def message(code):
    try:
        eval(code)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["none", ""]

print(json.dumps({code: message(code) for code in json.load(sys.stdin)}))
"""

CASES = [
    ("bx.solvers.BackwardInduction(gird={'w': 5})", "ModelError", "option 'gird' is unknown. Did you mean 'grid'"),
    ("bx.solvers.BackwardInduction(grid=5)", "ModelError", "grid is 5; give a dict"),
    ("bx.solvers.BackwardInduction(quadrature=5)", "ModelError", "quadrature is 5; give a dict"),
    ("bx.solvers.BackwardInduction(memory='a')", "ModelError", "memory, in bytes, is 'a'"),
    ("bx.solvers.ValueIteration(memory=0)", "ModelError", "memory, in bytes, is 0.*at least 1"),
    ("bx.solvers.ValueIteration(tolerance='a')", "ModelError", "tolerance is 'a'; give a positive number"),
    ("bx.solvers.ValueIteration(tolerance=0.0)", "ModelError", "tolerance is 0.0; give a positive number"),
    ("bx.solvers.ValueIteration(max_steps=-1)", "ModelError", "max_steps is -1; give a whole number"),
    ("bx.solvers.PolicyIteration(max_steps=2.5)", "ModelError", "max_steps is 2.5; give a whole number"),
    ("bx.solvers.PolicyIteration(evaluation_steps=0)", "ModelError", "evaluation_steps is 0"),
    ("bx.Ages('25', 80)", "ModelError", "Ages has first='25'; it must be a number of years"),
    ("bx.Ages(25, 80, 3)", "ModelError", "Ages has step 3; write"),
    ("bx.solve(model(horizon=math.inf), {}, horizon=[1])", "ModelError", r"horizon is \[1\]; give a whole number"),
    ("bx.solve(model(), {}, bx.solvers.BackwardInduction(maximiser=3))", "ModelError", "maximiser is 3; give one of"),
    ("bx.solve(model(), {}, bx.solvers.BackwardInduction(interpolant='x'))", "ModelError", "interpolant is 'x'; give"),
    ("bx.solve(model(), {}, bx.solvers.BackwardInduction)", "ModelError", "solver is .* give one of bx.solvers"),
    ("bx.solve(model(), {}, B, progress=3)", "ModelError", "progress is 3; give a function"),
    ("bx.solve(model(), 3)", "ParameterError", "parameters are 3; give a dict"),
    ("bx.maximise.Newton(steps=0)", "ModelError", "Newton: steps is 0"),
    ("bx.maximise.Newton(grid=5)", "ModelError", "Newton: grid is 5; give a dict"),
    ("bx.maximise.Golden(tolerance=0)", "ModelError", "Golden: tolerance is 0"),
    ("bx.maximise.Golden(rounds='a')", "ModelError", "Golden: rounds is 'a'"),
    ("bx.maximise.Enumerate(single_peaked='c')", "ModelError", r"single_peaked is 'c'; give \('c',\)"),
    ("bx.maximise.Enumerate(monotone='c')", "ModelError", "monotone is 'c'; give a dict"),
    ("bx.maximise.Enumerate(polish=3)", "ModelError", r"polish is 3; give bx.maximise.Newton\(\)"),
    ("bx.maximise.Enumerate(polsh=3)", "ModelError", "'polsh' is unknown. Did you mean 'polish'"),
    ("model(reword=lambda c: c)", "ModelError", "option 'reword' is unknown. Did you mean 'reward'"),
    ("bx.Continuous(0, 1, scal=3)", "ModelError", "'scal' is unknown. Did you mean 'scale'"),
    ("bx.MarkovChain([1, 2], transitoin=[[1, 0], [0, 1]])", "ModelError", "Did you mean 'transition'"),
    ("bx.shocks.Normal(0.0, std=1.0)", "ModelError", "Normal: option 'std' is unknown. Did you mean 'sd'"),
    ("bx.grids.Scaled(cuont=3)", "ModelError", "Did you mean 'count'"),
    ("solution.value(0, w='a')", "ParameterError", "state 'w' has 'a', which it does not know. It takes numbers"),
    ("solution.value(0, w=None)", "ParameterError", "state 'w' is None, which is no number"),
    ("solution.policy(0, w=[1.0, np.nan])", "ParameterError", "state 'w' is nan; it must be finite"),
    ("solution.value('a', w=1.0)", "ParameterError", "period is 'a'; it must be one whole number"),
    ("solution.value(age='a', w=1.0)", "ParameterError", "age is 'a'; it must be one number"),
    ("healthy.value(0, w=1.0, h='goood')", "ParameterError", "'goood'.* Did you mean 'good'"),
    ("healthy.value(0, w=1.0, h=2)", "ParameterError", "none of its categories"),
    ("bx.simulate(solution, 5, {'w': 1.0}, seed='a')", "ParameterError", "seed is 'a'; give a whole number"),
    ("bx.simulate(solution, 5, {'w': 1.0}, seed=1.5)", "ParameterError", "seed is 1.5; give a whole number"),
    ("bx.certify(solution, points=0)", "ModelError", "points is 0; give a whole number"),
    ("bx.certify(solution, points='a')", "ModelError", "points is 'a'; give a whole number"),
    ("bx.certify(solution, seed='a')", "ParameterError", "seed is 'a'; give a whole number"),
    ("bx.certify(3)", "ModelError", "certify takes a Solution, not 'int'"),
    ("solution.save(3)", "SolveError", "path is 3; give the path of a file"),
    ("bx.load(3, model())", "SolveError", "path is 3; give the path of a file"),
    ("bx.solvers.EulerNet(hidden=16)", "ModelError", r"EulerNet: hidden is 16; .* such as \(16, 16\)"),
    ("bx.solvers.EulerNet(hidden=(8, 0))", "ModelError", r"hidden\[1\] is 0; give a whole number"),
    ("bx.solvers.EulerNet(visited='x')", "ModelError", "visited is 'x'; give a share of the points"),
    ("bx.solvers.EulerNet(wider='x')", "ModelError", "wider is 'x'; give a positive number"),
    ("bx.solvers.EulerNet(symmetric='capital')", "ModelError", "symmetric is 'capital'; give a tuple of names"),
    ("bx.solvers.EulerNet(costates='x')", "ModelError", "costates is 'x'; give True or False"),
    ("bx.solvers.EulerNet(checkpoint=3)", "ModelError", "checkpoint is 3; give the path of a folder"),
    ("bx.solvers.EulerNet(degree=[3, 5])", "ModelError", r"degree is \[3, 5\]; give one degree, or two .* \(3, 5\)"),
    ("bx.solve(model(), {}, bx.solvers.EulerNet(visited=0.5))", "ModelError", "visited is 0.5, and the horizon has"),
    ("bx.solve(model(), {}, bx.solvers.EulerNet(wider=2.0))", "ModelError", "wider is 2.0, and the horizon has"),
    ("bx.solvers.PINN(hidden=12)", "ModelError", "PINN: hidden is 12; give the widths"),
    ("bx.solvers.PINN(checkpoint=3)", "ModelError", "PINN: checkpoint is 3; give the path"),
    ("bx.solvers.DDPG(worth=6)", "ModelError", "worth is 6; give the widths"),
    ("bx.solvers.DDPG(noise=.3)", "ModelError", "noise is 0.3; give it in the beginning and in the end"),
    ("bx.solvers.DDPG(noise=('a', .1))", "ModelError", "noise is .*; give it in the beginning and in the end"),
    ("bx.solvers.DDPG(restarts='a')", "ModelError", "restarts is 'a'; give a share of the agents"),
    ("bx.solvers.DDPG(steps=500)", "ModelError", "wait=1000 of steps=500 is all .* would never learn"),
    ("bx.solvers.ActorCritic(expected=1)", "ModelError", "expected is 1; give True or False"),
    ("bx.solvers.PolicyGradient(critic=16)", "ModelError", "critic is 16; give the widths"),
    ("bx.solvers.PolicyGradient(by_period='x')", "ModelError", "by_period is 'x'; give True or False"),
    ("bx.solvers.PolicyGradient(visited='x')", "ModelError", "visited is 'x'; give a share of the paths"),
    ("bx.solvers.PolicyGradient(rounds=0, finishes=0)", "ModelError", "leave nothing of the training"),
    ("bx.solvers.Quadratic(hidden=8)", "ModelError", "Quadratic: hidden is 8; give the widths"),
    ("bx.solve(model(reward=lambda c: np.log(c)), {})", "ModelError", r"reward cannot be evaluated.*Use jax.numpy"),
    ("bx.solve(model(reward=lambda c: math.log(c)), {})", "ModelError", r"reward cannot be evaluated.*Use jax.numpy"),
    ("bx.solve(model(reward=lambda c: c if c > 1 else 0.0), {})", "ModelError", "whether an array is true.*jnp.where"),
    ("bx.solve(model(reward=lambda c: 'a'), {})", "ModelError", "reward cannot be evaluated: it gives <class 'str'>"),
    ("bx.solve(model(reward=lambda c: None), {})", "ModelError", "reward gives None, which is no array"),
    ("bx.solve(model(reward=lambda c: 1 / 0), {})", "ModelError", "reward cannot be evaluated: ZeroDivisionError"),
]
RIGHT = [
    "healthy.value(0, w=1.0, h='good')",
    "healthy.policy(0, w=1.0, h=Health.good)",
    "healthy.value(0, w=1.0, h=['good', 'bad'])",
    "bx.simulate(solution, 5, {'w': 1.0}, seed=jax.random.key(3))",
]


@pytest.fixture(scope="module")
def messages():
    codes = json.dumps([*(code for code, _, _ in CASES), *RIGHT])
    ran = subprocess.run([sys.executable, "-c", SETTING], input=codes, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(("code", "error", "pattern"), CASES, ids=[code for code, _, _ in CASES])
def test_a_named_exception_that_says_what_to_do(messages, code, error, pattern):
    kind, text = messages[code]
    assert kind == error, text
    assert re.search(pattern, text), text


@pytest.mark.parametrize("code", RIGHT)
def test_what_is_right_passes(messages, code):
    assert messages[code] == ["none", ""]
