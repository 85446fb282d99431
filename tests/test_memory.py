"""Memory: what is rebuilt in a loop dies with its last name. In a process of its own, whose size is looked at."""

import subprocess
import sys

import pytest


@pytest.mark.long
def test_rebuilding_a_model_leaves_memory_bounded():
    """A model, its programs and its solutions die together: of 100 rebuilds little is left."""
    program = """
import gc, os, psutil, weakref
import jax, jax.numpy as jnp
import bellax as bx
me = psutil.Process(os.getpid())

def once(k, continuous=False):
    if continuous:
        m = bx.Model(states={"s": bx.Continuous(0.0, 1.0)}, actions={"a": bx.Continuous(0.0, "s")},
                     transitions={"s": lambda s, a: s - a}, reward=lambda a, x: x * a - a**2)
        s = bx.solve(m, {"x": 1.0 + k, "discount": 0.9}, bx.solvers.ValueIteration(grid={"s": 3}))
        bx.simulate(s.tabulate(), 4, {"s": 0.3}, periods=2)
        bx.certify(s, points=4, agents=4, periods=2)
    else:
        m = bx.Model(states={"s": bx.Discrete(2)}, actions={"a": bx.Discrete(2)},
                     transitions={"s": lambda a: a}, reward=lambda s, a, x: x * s - a, horizon=2)
        s = bx.solve(m, {"x": 1.0 + k, "discount": 0.9})
        if k % 4 == 0:
            s.value(period=0, s=0)
    return weakref.ref(m), weakref.ref(s.setting), weakref.ref(s.setting.plan)

def left(refs):
    gc.collect()
    gc.collect()
    return sum(r() is not None for group in refs for r in group)

alive = left([once(k) for k in range(12)] + [once(k, True) for k in range(2)])
growth = []
for window in range(4):
    start = me.memory_info().rss
    alive += left([once(k) for k in range(24)])
    growth.append((me.memory_info().rss - start) / 24)
print(alive, min(growth))  # arenas of the allocator grow by leaps; what leaks grows in every window
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    alive, growth = done.stdout.split()
    assert int(alive) == 0
    assert float(growth) < 60_000  # bytes; caches of jax keep a few
