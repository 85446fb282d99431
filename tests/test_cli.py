"""The command line: what a run writes and says, and one line for whatever goes wrong."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import bellax as bx
from bellax.cli import app

CAKE = '''"""A cake eaten over three periods.

More about cakes.
"""

import jax.numpy as jnp

import bellax as bx

print("a line of the file's own")
model = bx.Model(
    states={"cake": bx.Continuous(0.05, 10.0, scale=bx.scales.log)},
    actions={"bite": bx.Continuous(0.001, "cake")},
    transitions={"cake": lambda cake, bite: cake - bite},
    reward=lambda bite, taste=1.0: taste * jnp.log(bite),
    terminal=lambda cake: jnp.log(jnp.maximum(cake, 1e-3)),
    horizon=3,
)
params = {"discount": 0.9}
start = {"cake": 5.0}


def reference(params, cake):
    """Shares of what is left: 1 / (1 + b + b^2 + b^3)."""
    b = float(params["discount"])
    return {"bite": float(cake) / (1 + b + b**2 + b**3)}
'''

ENDLESS = """import bellax as bx

model = bx.Model(
    states={"x": bx.Continuous(0.0, 1.0)},
    actions={"a": bx.Continuous(0.0, 1.0)},
    transitions={"x": lambda x, a: 0.5 * x + 0.5 * a},
    reward=lambda x, a: x - a**2,
)
params = {"discount": 0.999999999}
solver = bx.solvers.ValueIteration(grid={"x": 3000}, maximiser=bx.maximise.Enumerate(grid={"a": 2000}), max_steps=10**8)
"""


@pytest.fixture
def cake(tmp_path, monkeypatch):
    """A folder with cake.py, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("cake.py").write_text(CAKE)
    return Path("cake.py")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files():
    return sorted(path for path in Path().rglob("*") if "__pycache__" not in path.parts)


def refused(*arguments, status=2):
    """The one line that a command leaves on stderr; nothing is on stdout and no new file is there."""
    before = files()
    found = invoke(*arguments)
    assert (found.exit_code, found.stdout) == (status, "")
    assert files() == before
    (line,) = found.stderr.splitlines()
    assert line.startswith("bellax: ")
    return line.removeprefix("bellax: ")


# -- what a run does ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run of the cake with all options, as JSON, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "cake.py").write_text(CAKE)
    arguments = ["run", folder / "cake.py", "--out", folder / "deep" / "out", "--json", "--agents", 50, "--seed", 3]
    arguments += ["--check", "--set", "discount=.8", "--set", "taste=2", "--grid", "cake=40"]
    return invoke(*arguments), folder / "deep" / "out"


def test_json_is_one_object_and_nothing_else(ran):
    found, out = ran
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["model"] == "cake"
    assert report["description"] == "A cake eaten over three periods."
    assert report["result"] == "successful"
    assert report["parameters"] == {"discount": 0.8, "taste": 2.0}
    assert report["solver"] == "BackwardInduction"
    assert report["why"].startswith("BackwardInduction: the horizon is finite")
    assert report["files"] == {name: str(out / name) for name in ("certificate.json", "figure.png", "solution.nc")}
    assert "a line of the file's own" in found.stderr


def test_the_numbers_are_those_of_the_solution(ran):
    report = json.loads(ran[0].stdout)
    assert report["start"] == {"cake": 5.0}
    bite = 5.0 / (1 + 0.8 + 0.8**2 + 0.8**3 / 2)  # the last cake counts once, each bite twice
    np.testing.assert_allclose(report["policy"]["bite"], bite, rtol=1e-4)


def test_the_files_are_whole(ran):
    found, out = ran
    report = json.loads(found.stdout)
    assert sorted(path.name for path in out.iterdir()) == ["certificate.json", "figure.png", "solution.nc"]
    assert (out / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "certificate.json").read_text()) == report["certificate"]
    with xr.open_dataset(out / "solution.nc", engine="scipy") as data:
        assert data.sizes["cake"] == 40
        assert float(data["parameter:discount"]) == 0.8


def test_the_solution_can_be_loaded(ran):
    scope = {}
    exec(compile(CAKE.replace("print(", "str("), "cake", "exec"), scope)
    loaded = bx.load(ran[1] / "solution.nc", scope["model"])
    assert float(loaded.value(period=0, cake=5.0)) == json.loads(ran[0].stdout)["value"]


def test_the_table_shows_the_reference_and_results_replace_older_ones(cake):
    Path("cake").mkdir()
    Path("cake/solution.nc").write_text("old")
    Path("cake/mine.txt").write_text("kept")
    found = invoke("run", cake, "--agents", 20)
    assert found.exit_code == 0, found.stderr
    for words in ("A cake eaten", "successful", "cake = 5", "Bellman residual", "cake/solution.nc", "reference"):
        assert words in found.stdout
    bite = next(line.split() for line in found.stdout.splitlines() if line.startswith("bite"))
    np.testing.assert_allclose([float(word) for word in bite[1:3]], 5 / (1 + 0.9 + 0.81 + 0.729), rtol=1e-4)
    written = sorted(path.name for path in Path("cake").iterdir())
    assert written == ["certificate.json", "figure.png", "mine.txt", "solution.nc"]
    assert Path("cake/solution.nc").read_bytes()[:3] == b"CDF"
    assert Path("cake/mine.txt").read_text() == "kept"


def test_a_solver_by_name_keeps_the_options_of_the_file(cake):
    text = CAKE.replace("horizon=3,", "").replace("start =", "periods = 5\nstart =").replace("cake - bite", "cake")
    text = text.replace("    terminal=lambda cake: jnp.log(jnp.maximum(cake, 1e-3)),\n", "")
    Path("forever.py").write_text(text + 'solver = bx.solvers.PolicyIteration(grid={"cake": 17})\n')
    found = invoke("run", "forever.py", "--json", "--agents", 10, "--solver", "ValueIteration", "--out", "o")
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert (report["solver"], report["options"]["grid"]) == ("ValueIteration", {"cake": 17})
    assert report["why"] == "ValueIteration: asked for."


def test_a_run_to_an_accuracy_says_how_it_came_there(cake):
    """The solver of the file, which fixes nodes, is set aside."""
    text = CAKE + "solver = bx.solvers.BackwardInduction(grid={'cake': 7})\n"
    Path("cake.py").write_text(text.replace("print(", "str("))
    found = invoke("run", cake, "--accuracy", "1e-4", "--json", "--agents", 5)
    report = json.loads(found.stdout)
    assert "Accuracy 0.0001 reached" in report["refinement"] and report["options"]["grid"]["cake"] != 7
    assert abs(report["policy"]["bite"] / report["reference"]["bite"] - 1) < 1e-3


def test_list_has_a_line_a_model():
    lines = invoke("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(bx.models.names())
    assert all(len(line.split()) > 3 for line in lines)


def test_version():
    found = invoke("--version")
    assert found.exit_code == 0
    assert found.stdout.strip().count(".") == 2


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_no_such_file(cake):
    assert refused("run", "kake.py") == "there is no file kake.py."


def test_no_such_model_in_the_gallery(cake):
    assert refused("run", "mertn").startswith("the gallery has no model 'mertn'. Did you mean 'merton'?")


def test_a_file_without_its_ending(cake):
    assert refused("run", "cake") == "the gallery has no model 'cake'; for the file here write cake.py."


def test_a_syntax_error_is_shown_where_it_is(cake):
    Path("bad.py").write_text("import bellax as bx\n\nmodel = bx.Model(states={)\n")
    line = refused("run", "bad.py")
    assert line.startswith("bad.py, line 3: ") and line.endswith(": model = bx.Model(states={)")


def test_a_file_that_raises(cake):
    Path("bad.py").write_text("import bellax as bx\n\nx = 1 / 0\n")
    assert refused("run", "bad.py") == "bad.py cannot be run. bad.py, line 3: ZeroDivisionError: division by zero"


def test_a_file_that_leaves(cake):
    Path("bad.py").write_text("raise SystemExit('enough')\n")
    assert "SystemExit: enough" in refused("run", "bad.py")


def test_a_file_without_a_model(cake):
    Path("bad.py").write_text("modell = 1\nparams = {}\n")
    assert "does not define 'model'. Did you mean 'modell'?" in refused("run", "bad.py")


def test_a_file_without_parameters(cake):
    Path("bad.py").write_text(CAKE.replace("params =", "p =").replace("print(", "str("))
    assert "does not define 'params'" in refused("run", "bad.py")


def test_parameters_that_are_none(cake):
    Path("bad.py").write_text(CAKE.replace("print(", "str(") + "params = 3\n")
    assert "params is 3; it must be a dict" in refused("run", "bad.py")


def test_a_model_that_is_none(cake):
    Path("bad.py").write_text("model = 3\nparams = {}\n")
    assert "model is a int" in refused("run", "bad.py")


def test_a_missing_parameter(cake):
    Path("bad.py").write_text(CAKE.replace('"discount": 0.9', "").replace("print(", "str("))
    assert "missing parameters: 'discount'" in refused("run", "bad.py")


def test_a_function_that_breaks_is_found_in_the_file(cake):
    Path("bad.py").write_text(CAKE.replace("taste * jnp.log(bite)", "jnp.logg(bite)").replace("print(", "str("))
    line = refused("run", "bad.py")
    assert line.startswith("reward cannot be evaluated: AttributeError: ") and line.endswith("(bad.py, line 15)")


def test_a_number_that_is_frozen_is_found_when_asked_for(cake):
    Path("bad.py").write_text(
        CAKE.replace("taste * jnp.log(bite)", "bite * __import__('random').random()").replace("print(", "str(")
    )
    line = refused("run", "bad.py", "--check")
    assert "reward differs each time that it is traced" in line and "is a shock" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "tast=2"], "--set tast=2: the model has no parameter 'tast'. Did you mean 'taste'?"),
        (["--set", "taste"], "--set taste: write --set NAME=VALUE."),
        (["--set", "taste=two"], "--set taste=two: 'two' is no number"),
        (["--set", "taste=[1,2]"], "taste"),
        (["--set", "retired.taste=2"], "the model has no parameter 'retired.taste'"),
        (["--grid", "kake=20"], "--grid kake=20: the model has no state 'kake'. Did you mean 'cake'?"),
        (["--grid", "cake=many"], "--grid cake=many: 'many' is no number of nodes."),
        (["--grid", "cake=1"], "at least 2"),
        (["--accuracy", "-1"], "accuracy is -1.0; give a positive number"),
        (["--accuracy", "1e-3", "--grid", "cake=20"], "the solver fixes them by grid="),
        (["--solver", "BackwardInductoin"], "there is no such solver. Did you mean 'BackwardInduction'?"),
        (["--solver", "ValueIteration"], "ValueIteration looks for a stationary value, and the horizon is finite"),
    ],
)
def test_options_that_are_wrong(cake, arguments, words):
    Path("cake.py").write_text(CAKE.replace("print(", "str("))
    assert words in refused("run", cake, *arguments)


def test_a_start_that_is_wrong(cake):
    Path("bad.py").write_text(CAKE.replace('start = {"cake"', 'start = {"kake"').replace("print(", "str("))
    assert "start: state 'kake' is unknown. Did you mean 'cake'?" in refused("run", "bad.py")


def test_an_output_folder_that_cannot_be_written(cake, monkeypatch):
    monkeypatch.setattr(bx, "solve", None)  # it is refused before anything is solved
    line = refused("run", cake, "--out", "cake.py/out")
    assert line.startswith("the output folder cake.py/out cannot be written: Not a directory.")


def test_a_solve_that_fails(cake):
    text = CAKE.replace("print(", "str(").replace("horizon=3,", "").replace("cake - bite", "cake")
    text = text.replace("    terminal=lambda cake: jnp.log(jnp.maximum(cake, 1e-3)),\n", "")
    Path("slow.py").write_text(text + "solver = bx.solvers.ValueIteration(max_steps=2)\n")
    assert "not converged after 2 steps" in refused("run", "slow.py", status=1)


def test_an_option_that_does_not_exist(cake):
    found = invoke("run", cake, "--grit", "cake=3")
    assert found.exit_code == 2 and "No such option" in found.stderr and "Traceback" not in found.stderr


# -- Ctrl-C and the bar -------------------------------------------------------------------------------------------


_STARTED = []


@pytest.fixture(autouse=True)
def nothing_runs_on():
    yield
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def started(folder, *arguments, **options):
    # in the background a shell has Ctrl-C ignored
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{heard}; from bellax.cli import app; app()", *arguments]
    process = subprocess.Popen(program, cwd=folder, start_new_session=True, text=True, **options)
    _STARTED.append(process)
    return process


def wait_for_solve(process, folder):
    """Until the output folder is there and the solve has begun."""
    deadline = time.monotonic() + 60
    while not list(folder.glob("out/.bellax-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(3)
    assert process.poll() is None


def left_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def test_ctrl_c_leaves_at_once_and_earlier_results_as_they_were(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "solution.nc").write_text("old")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = started(tmp_path, "run", "endless.py", "--out", "out", **pipes)
    wait_for_solve(process, tmp_path)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (stdout, stderr) == ("", "bellax: interrupted; nothing was written.\n")
    assert left_in(tmp_path) == ["endless.py", "out", "out/solution.nc"]
    assert (tmp_path / "out" / "solution.nc").read_text() == "old"


def test_long_work_has_a_bar_on_a_terminal_and_ctrl_c_leaves_nothing_behind(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    leader, follower = pty.openpty()
    process = started(tmp_path, "run", "endless.py", "--out", "out", stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    seen, deadline = b"", time.monotonic() + 60
    while b", change " not in seen and time.monotonic() < deadline:
        seen += os.read(leader, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    os.close(leader)
    assert b"solving" in seen and b", change " in seen
    assert left_in(tmp_path) == ["endless.py"]
