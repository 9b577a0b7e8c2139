"""How every verb speaks (tables for people, one JSON document for machines) and fails (one line, an exit code).

Exit codes: 0 done; 2 something in the input or the usage is wrong; 3 an ingest is done but left scenes out;
130 interrupted.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from esd.errors import EsdError
from esd.store_paths import ObjectPath

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "AsJson",
    "command_again",
    "count",
    "emit",
    "facts",
    "fail",
    "listing",
    "note",
    "number",
    "plain",
    "size",
    "stderr",
    "verb",
]

INTERRUPTED = 130
Parameters = ParamSpec("Parameters")

AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output, and nothing else.")]


@functools.cache
def stderr() -> Console:
    """Return the console for progress, notes and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def fail(message: str, code: int) -> NoReturn:
    """Say in one line on standard error what is wrong, and end with an exit code."""
    print("esd: error: " + " ".join(message.split()), file=sys.stderr)  # noqa: T201 - the command line's own voice
    raise typer.Exit(code)


def note(message: str) -> None:
    """Say something in one line on standard error that a person ought to know."""
    print("esd: note: " + " ".join(message.split()), file=sys.stderr)  # noqa: T201 - the command line's own voice


def verb(
    panel: str, *examples: str, resume: str = "nothing was left half-written; run it again"
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Declare a verb: its panel in `esd --help`, real examples, and what to do after an interruption.

    The verb's errors become one line and an exit code; anything else is a fault of esd and keeps its traceback.
    """

    def declare(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @functools.wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except EsdError as error:
                fail(str(error), error.exit_code)
            except KeyboardInterrupt:
                fail(f"interrupted; {resume}", INTERRUPTED)
            except BrokenPipeError:
                raise
            except OSError as error:
                place = f"{error.filename}: " if error.filename else ""
                fail(f"{place}{error.strerror or error}; check the path, its permissions and the free space", 2)

        run.panel, run.examples = panel, examples  # type: ignore[attr-defined]  # read when the verbs are registered
        return run

    return declare


def command_again(context: typer.Context, *more: str) -> str:
    """Return the command line that is being carried out, with `more` options unless it has them."""
    import shlex

    words = ["esd", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value == parameter.get_default(context) or value is None:
            continue
        flag = "" if parameter.param_type_name == "argument" else max(parameter.opts, key=len)
        for item in value if isinstance(value, list | tuple) else (value,):
            words += [flag] if item is True else [flag, str(item)] if flag else [str(item)]
    return shlex.join([*words, *(option for option in more if option not in words)])


def plain(value: Any) -> Any:
    """Turn what verbs report into what JSON can hold; NaN and infinities become null, dates and paths text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, dt.date | Path | ObjectPath):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit(document: Mapping[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    """Answer: the document as JSON, or what `show` prints for a person."""
    if as_json:
        sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console

    show(Console(highlight=False))


def facts(rows: Iterable[tuple[str, Any]], title: str | None = None) -> Table:
    """Return a table of names and values, one a line; a row whose value is None is left out."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, show_header=False, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            table.add_row(name, str(value))
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """Return a table with a header; columns whose name starts with ">" are numbers, set to the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(number(cell) if isinstance(cell, float) else "" if cell is None else str(cell) for cell in row))
    return table


def number(value: float, digits: int = 4) -> str:
    """Return a number with a few significant digits."""
    return "-" if not math.isfinite(value) else f"{value:.{digits}g}"


def count(many: int, thing: str) -> str:
    """Return "1 scene" or "12 scenes"."""
    return f"{many:,} {thing}{'' if many == 1 else 's'}"


def size(octets: float) -> str:
    """Return bytes in units of 1000: "12.3 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(octets) < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.2f} TB"
