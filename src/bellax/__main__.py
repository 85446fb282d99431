"""`python -m bellax` is `bellax`."""

from bellax.cli import app

app()
