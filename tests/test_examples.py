"""The pages under examples/ run as plain scripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_page_of_the_firm(tmp_path):
    """The wrong branch that a residual does not tell from the right one is refused, and V by nets is that of
    polynomials."""
    page = [sys.executable, str(ROOT / "examples" / "firm_irreversible.py"), str(tmp_path), "--small"]
    ran = subprocess.run(page, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert ran.returncode == 0, ran.stderr
    assert "infeasible" in ran.stdout and "rank correlation of k and z: 1.000 with one key" in ran.stdout
    assert float(re.search(r"V of nets, relative: .*median ([0-9.e-]+)", ran.stdout)[1]) < 5e-3
    for name in ("finite_differences", "residuals", "density_and_price"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.long
def test_the_page_of_growth_by_nets(tmp_path):
    """Solvers by nets meet the closed form, and an agent that begins with the answer is nearer to it than one that
    does not: the page's own numpy says so."""
    page = [sys.executable, str(ROOT / "examples" / "neural_rbc.py"), str(tmp_path), "--small"]
    ran = subprocess.run(page, capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert ran.returncode == 0, ran.stderr
    rows = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")]
    mean = {row[0]: float(row[2]) for row in rows[2:]}
    assert max(mean["grid"], mean["neural grid"], mean["EulerNet"]) < 1e-3
    assert 1e-3 < mean["DDPG briefly"] < 1
    assert (tmp_path / "side_by_side.png").stat().st_size > 10_000
