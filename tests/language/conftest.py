"""What every test of a statement asks: its table of parameters, and the value of a quantity at a point."""

import jaxtyping
import pytest


@pytest.fixture
def template():
    """A model's table of parameters as a dict: (regime, name), or name, to (used in, default, annotation)."""

    def read(model):
        table = model.template()
        keys = zip(table["regime"], table["name"], strict=True) if "regime" in table else table["name"]
        cells = zip(table["used in"], table["default"], table["annotation"], strict=True)
        return dict(zip(keys, cells, strict=True))

    return read


@pytest.fixture
def evaluate():
    """The value of one node of a graph, from the names that it needs."""

    def at(graph, node, **names):
        return graph.compose([node])(**graph.literals(), **names)[node]

    return at


@pytest.fixture
def untyped():
    """Users run without the type checker of the tests; the library's own messages are what they see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
