"""The Python of the README runs as it stands, from the first block to the last."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    names: dict = {}
    exec("\n".join(blocks), names)
    assert "Bellman residual" in capsys.readouterr().out
    assert names["solution"].result.name == "successful"
    np.testing.assert_allclose(names["panel"].states["wealth"][:, 0], 10.0)
    assert (tmp_path / "shop.png").stat().st_size > 10_000
