"""Fixtures of the tests of continuous time."""

import jaxtyping
import pytest


@pytest.fixture
def untyped():
    """Users run without the type checker of the tests; the library's own messages are what they see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
