"""The reader of a pipe may leave, as `head` does: then a command ends without a word."""

import subprocess
import sys

import pytest

from bellax.cli.failure import one_line

COMMAND = "import sys; from bellax.cli import app; sys.argv = ['bellax', *sys.argv[1:]]; app()"


def test_a_reader_who_leaves_at_once():
    """What is printed is short, so that the pipe is found closed only when it is flushed at the end."""
    run = subprocess.Popen([sys.executable, "-c", COMMAND, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait(timeout=300) == 1


def test_a_closed_pipe_is_left_to_click():
    with pytest.raises(BrokenPipeError), one_line("model.py"):
        raise BrokenPipeError(32, "Broken pipe")
