"""Programs on disk: a second process reads what the first compiled; a folder that cannot be written is a warning."""

import subprocess
import sys

import jax
import pytest

import bellax as bx

SCRIPT = """
import jax, sys
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
import bellax as bx
print(bx.cache(sys.argv[1]))
model = bx.Model(
    states={"x": bx.Discrete(2)}, actions={"a": bx.Discrete(2)}, transitions={"x": lambda a: a},
    reward=lambda x, a: 1.0 * x - 0.1 * a, horizon=2,
)
print(float(bx.solve(model, {"discount": 0.5}).value(period=0, x=0)), len(hits))
"""


@pytest.fixture
def disabled():
    """Without a cache, as a user may want it; afterwards as the tests have it."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def test_a_second_process_reads_what_the_first_compiled(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    first, second = (subprocess.check_output(command, text=True).split() for _ in range(2))
    assert first[0] == second[0] and first[0].startswith(str(tmp_path))
    # V = max(0, -.1 + .5 max(1 - .1 a))
    assert float(first[1]) == float(second[1]) == pytest.approx(0.4, rel=1e-12)
    assert int(first[2]) == 0 and int(second[2]) > 0


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cache folder cannot be written.*bx.cache"):
        assert bx.cache(tmp_path / "file") is None


def test_a_cache_that_is_off_stays_off(tmp_path, disabled):
    assert bx.cache(tmp_path) is None
    assert not list(tmp_path.iterdir())
