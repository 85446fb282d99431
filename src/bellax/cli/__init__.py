"""The command line: run a model of the gallery or of a file, list the gallery, validate it.

Every command imports what it needs when it runs; programs that another run compiled are read from disk (`bx.cache`).
What goes wrong is one line on stderr, and an exit status: 2 where what was given is wrong, 1 where the computation
failed, 130 after Ctrl-C.
"""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Dynamic programming in JAX.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("bellax"))
        raise typer.Exit
    return wanted


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dynamic programming in JAX."""


@app.command("list")
def list_models() -> None:
    """List the models of the gallery."""
    from bellax.cli.listing import show

    show()


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="A name of the gallery, or a file.py that defines model and params.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter; REGIME.NAME=VALUE for one regime."),
    ] = None,
    solver: Annotated[str | None, typer.Option(help="A solver by name, such as ValueIteration.")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="STATE=COUNT", help="The number of nodes of a state.")
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(help="How wrong the value may be, over max(1, |V|): nodes become more until it is not more."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder for results; by default one named after the model.")
    ] = None,
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option(help="The seed of the simulation.")] = 0,
    agents: Annotated[int | None, typer.Option(min=1, help="The number of simulated agents, by default 1000.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="First trace every function twice, which shows random numbers of Python.")
    ] = False,
) -> None:
    """Solve a model, certify and simulate the solution, and write solution, figure and certificate."""
    from bellax.cache import cache
    from bellax.cli.run import Request, run

    cache()
    asked = Request(model, tuple(settings or ()), solver, tuple(grid or ()), out, seed, agents, check, accuracy)
    run(asked, as_json)


@app.command()
def validate(
    models: Annotated[list[str] | None, typer.Argument(help="Names of the gallery; all of them by default.")] = None,
    long: Annotated[bool, typer.Option("--long", help="Make the checks that take a minute or more, too.")] = False,
    honesty: Annotated[bool, typer.Option("--honesty", help="Compare certificates with true errors instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare models of the gallery with their references; the exit status is 1 if one fails."""
    from bellax.cache import cache
    from bellax.cli.validation import honesty as told
    from bellax.cli.validation import validate

    cache()
    if honesty:
        told(models or None, as_json)
    else:
        validate(models or None, long, as_json)
