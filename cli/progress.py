"""Progress bars on standard error: where it is not a terminal, only the lines that are to stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .console import stderr

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "bar"]


class Bar:
    """One bar. It serves the progress protocols of the packages: `start`/`advance`, and `done(n, of)`."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def start(self, total: int) -> None:
        """Hear how many steps there are."""
        self._progress.reset(self._task, total=total)

    def advance(self, n: int, message: str = "") -> None:
        """Hear that `n` more steps are done, and what is being worked on."""
        self._progress.update(self._task, advance=n, message=message)

    def done(self, steps: int, total: int, message: str = "") -> None:
        """Hear that `steps` of `total` are done."""
        self._progress.update(self._task, completed=steps, total=total, message=message)

    def note(self, line: str) -> None:
        """Print a line that stays, above the bar; where standard error is no terminal too."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(title: str) -> Iterator[Bar]:
    """Show a bar with time passed, time left and what is being worked on, as long as the block lasts."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = stderr()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=None, message=""))
