"""`bellax list`: names and first lines of the gallery, read without importing the models."""

import ast
import importlib.util
from pathlib import Path

from bellax import models
from bellax.cli.failure import one_line


def description(name: str) -> str:
    """The first line of the docstring of a model of the gallery."""
    spec = importlib.util.find_spec(f"{models.__name__}.{name}")
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def show() -> None:
    """Prints the gallery."""
    with one_line():
        names = models.names()
        width = max((len(name) for name in names), default=0)
        for name in names:
            print(f"{name:{width}}  {description(name)}")
