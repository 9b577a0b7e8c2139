"""The command `esd`: its verbs and their help."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import (
    change,
    classify,
    compute,
    demo,
    evaluate,
    export,
    import_verb,
    info,
    ingest_verbs,
    operators_verb,
    search,
    series,
    similar,
    train,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="esd",
    help="Decades of Landsat and MODIS as a small cube of quantized embeddings that answers questions.",
    epilog="Start with [bold]esd demo[/bold]: it makes scenes, a cube, maps and a report in a few minutes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS: tuple[Callable[..., None], ...] = (
    demo.demo,
    ingest_verbs.simulate,
    ingest_verbs.ingest,
    import_verb.import_,
    info.info,
    search.search,
    compute.compute,
    series.sample,
    similar.similar,
    classify.classify,
    change.change,
    export.export,
    series.encode,
    series.decode,
    operators_verb.operators,
    train.train,
    evaluate.evaluate,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"esd {version('esd-toolkit')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Say nothing by itself: the options before a verb."""


def _epilog(examples: tuple[str, ...]) -> str:
    lines = [f"[cyan]{example.replace('[', chr(92) + '[')}[/cyan]" for example in examples]
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def _help(function: Callable[..., None]) -> str:
    """Return a verb's docstring with each paragraph on one line, to be wrapped to the terminal."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _register(function: Any) -> None:
    command = app.command(help=_help(function), epilog=_epilog(function.examples), rich_help_panel=function.panel)
    command(function)


for _function in VERBS:
    _register(_function)


def main() -> None:
    """Run the command line; ends with its exit code."""
    # Warnings are for those who write code; what a user has to know is told as a note.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    app()
