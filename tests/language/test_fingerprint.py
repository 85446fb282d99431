"""What tells two models apart: all numbers that their functions read, wherever these are held."""

import collections
import functools
import importlib
import subprocess
import sys
import threading
import types
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import interpolate, stats

import bellax as bx
from bellax.model.fingerprint import differences, fingerprint, hashed, parts

alpha = 1.0


def growth(output):
    """Full depreciation, with output a function of capital."""
    return bx.Model(
        states={"capital": bx.Continuous(0.1, 0.3)},
        actions={"saved": bx.Continuous(0.0, "output")},
        functions={"output": output},
        transitions={"capital": lambda saved: saved},
        reward=lambda output, saved: jnp.log(output - saved),
    )


class Plain:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x):
        return x * self.rate


class Slotted:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


class Module(eqx.Module):
    rate: float


class Circular:
    def __init__(self, rate):
        self.rate, self.me = rate, [self]


def class_of(rate):
    class Rates:
        low = rate

    return Rates


def with_attribute(rate):
    def function(x):
        return x * function.rate

    function.rate = rate
    return function


def with_derivative(rate):
    @jax.custom_jvp
    def same(x):
        return x

    same.defjvp(lambda primals, tangents: (primals[0], rate * tangents[0]))
    return same


def with_weak_reference(rate):
    def function(x):
        return x * rate

    function.me = weakref.ref(function)
    return function


HOLDERS = {
    "weak reference": with_weak_reference,
    "namespace": lambda rate: types.SimpleNamespace(inner=types.SimpleNamespace(rate=rate)),
    "object": Plain,
    "slots": Slotted,
    "circle": Circular,
    "class": class_of,
    "equinox": Module,
    "method": lambda rate: Plain(rate).__call__,
    "attribute": with_attribute,
    "partial": lambda rate: functools.partial(lambda x, rate: x * rate, rate=rate),
    "cache": lambda rate: functools.lru_cache(lambda x: x * rate),
    "order of names": lambda rate: collections.namedtuple("Rates", "low high" if rate < 0.5 else "high low")(1, 2),
    "deque": lambda rate: collections.deque([rate]),
    "derivative": with_derivative,
    "vmap": lambda rate: jax.vmap(lambda x: x * rate),
    "array of objects": lambda rate: np.array([rate, "x"], dtype=object),
    "frozen distribution": lambda rate: stats.norm(0.0, rate),
    "its density": lambda rate: stats.norm(0.0, rate).pdf,
    "interpolator": lambda rate: interpolate.PchipInterpolator([0.0, 1.0, 2.0], [0.0, 1.0, rate]),
    "spline": lambda rate: interpolate.make_interp_spline([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, rate]),
    "vectorised": lambda rate: np.vectorize(lambda x: x * rate),
    "bound": lambda rate: np.array([0.0, rate]).searchsorted,
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_numbers_count_wherever_they_are_held(holder):
    def told(rate):
        held = holder(rate)
        return hashed(lambda capital: capital * held)

    assert told(0.36) == told(0.36) != told(0.72)


def test_a_file_of_another_model_is_refused_where_an_object_holds_the_difference(tmp_path):
    def model(par):
        return growth(lambda capital: capital**par.rate)

    solution = bx.solve(model(Plain(0.36)), {"discount": 0.95}, bx.solvers.ILQG(start={"capital": 0.2}))
    solution.save(tmp_path / "growth.nc")
    bx.load(tmp_path / "growth.nc", model(Plain(0.36)))
    with pytest.raises(bx.ModelError, match=r"another model: functions\['output'\] differ"):
        bx.load(tmp_path / "growth.nc", model(Plain(0.72)))


HELPERS = "import math\nimport {other}\nRATE = {rate}\nalpha = {alpha}\ndef output(capital): return capital**RATE\n"


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """Makes modules of the user's own, which know each other."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(rate, name="helpers_of_test", alpha=1.0):
        (tmp_path / "other_of_test.py").write_text(f"import {name} as home\nSCALE = {rate}\n")
        (tmp_path / f"{name}.py").write_text(HELPERS.format(rate=rate, alpha=alpha, other="other_of_test"))
        for each in (name, "other_of_test"):
            sys.modules.pop(each, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield made
    for each in ("helpers_of_test", "other_of_test"):
        sys.modules.pop(each, None)


def by_import(capital):
    from helpers_of_test import output

    return output(capital)


def by_alias(capital):
    home = module
    return home.other_of_test.SCALE * capital


READERS = {
    "function": lambda capital: module.output(capital),
    "number": lambda capital: capital**module.RATE,
    "of a module in it": lambda capital: capital**module.other_of_test.SCALE,
    "import": by_import,
    "alias": by_alias,
}
module: types.ModuleType


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_what_a_function_reads_of_a_module_counts(helpers, monkeypatch, reader):
    found = []
    for rate, other in ((0.36, 1.0), (0.36, 2.0), (0.72, 1.0)):  # nobody reads alpha
        monkeypatch.setitem(globals(), "module", helpers(rate, alpha=other))
        found.append(fingerprint(growth(reader)))
    assert found[0] == found[1] != found[2]


def test_an_attribute_is_no_global_of_the_same_name(monkeypatch):
    par = types.SimpleNamespace(alpha=0.36)
    one = parts(growth(lambda capital: capital**par.alpha))
    monkeypatch.setitem(globals(), "alpha", 2.0)
    assert not differences(one, parts(growth(lambda capital: capital**par.alpha)))
    assert hashed(lambda capital: alpha * capital) != hashed(lambda capital: capital)


def test_tokens_of_objects_are_the_same_in_another_process():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_fingerprint import HOLDERS, hashed\n"
        "print(*[hashed(holder(.36)) for holder in HOLDERS.values()])"
    )
    folder = __file__.rpartition("/")[0]
    found = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    again = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
    assert found.stdout == again.stdout and len(set(found.stdout.split())) == len(HOLDERS)


def deep(levels):
    return [deep(levels - 1)] if levels else 0.36


@pytest.mark.parametrize(
    ("held", "match"),
    [
        (threading.Lock(), r"output'\] reads .*lock object.*cannot be told"),
        (np.frompyfunc(lambda x: x, 1, 1), "ufunc"),
        ([sys.modules[__name__]], "the module .* as a whole"),
        (deep(61), "more than 60 objects deep"),
        (deep(500), "deep"),
    ],
)
def test_what_nobody_can_tell_apart_is_refused_by_name(held, match):
    with pytest.raises(bx.ModelError, match=match):
        fingerprint(growth(lambda capital: capital * bool(held)))


def test_a_number_that_is_traced_is_refused():
    with pytest.raises(bx.ModelError, match="a number that jax traces"):
        jax.jit(lambda rate: hashed(lambda capital: capital * rate) and rate)(0.36)
