"""What a user sees of the package: its public names and no others, each in one line, and hints for misspelt ones."""

import pydoc
import subprocess
import sys

import pytest

import bellax as bx

NAMESPACES = ("grids", "interpolants", "maximise", "quadrature", "scales", "shocks", "solvers")


def test_help_has_a_line_for_each_public_name():
    text = pydoc.plain(pydoc.render_doc(bx))
    lines = text.splitlines()
    assert len(lines) < 135
    lines = lines[: lines.index("PACKAGE CONTENTS")]
    public = dir(bx)
    assert {"Model", "solve", "shocks", "certify"} <= set(public)
    for name in public:
        (line,) = [line for line in lines if line.startswith(f"    {name} ") and line.split()[0] == name]
        assert len(line.split()) > 3


def test_a_star_imports_the_public_names():
    script = "before = {*dir()}; from bellax import *; import bellax; print(sorted({*dir()} - before - {'before'}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert set(eval(done.stdout)) - {"bellax"} == set(dir(bx))


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_shows_its_own_names_alone(name):
    module = getattr(bx, name)
    assert dir(module) == sorted(module.__all__)
    assert not {"jnp", "jax", "np", "Any", "Array", "ModelError", "dataclass"} & set(dir(module))
    for entry in dir(module):
        assert getattr(getattr(module, entry), "__doc__", None), entry


@pytest.mark.parametrize(
    ("namespace", "name", "message"),
    [
        (bx.shocks, "LogNormal", r"bx.shocks has no 'LogNormal'. Did you mean 'Lognormal'\?"),
        (bx.solvers, "BackwardsInduction", r"Did you mean 'BackwardInduction'\?"),
        (bx.maximise, "Goldn", r"Did you mean 'Golden'\?"),
        (bx.grids, "Tauchn", r"Did you mean 'Tauchen'\?"),
        (bx.scales, "logg", r"Did you mean 'log'\?"),
        (bx.quadrature, "GaussHermit", r"Did you mean 'GaussHermite'\?"),
        (bx.interpolants, "linear", r"Did you mean 'Linear'\?"),
        (bx, "Modle", r"bellax has no 'Modle'. Did you mean 'Model'\?"),
        (bx, "cli", "bellax.cli is a module of its own; write import bellax.cli first"),
        (bx.scales, "quadratic", "bx.scales has no 'quadratic'. It has 'asinh', 'linear'"),
    ],
)
def test_a_misspelt_name_gets_a_hint(namespace, name, message, monkeypatch):
    monkeypatch.delattr(namespace, name, raising=False)  # a submodule that another test imported
    with pytest.raises(AttributeError, match=message) as caught:
        getattr(namespace, name)
    assert isinstance(caught.value, bx.BellaxError)
    assert not hasattr(namespace, name)
