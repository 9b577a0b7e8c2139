"""The demo's bookkeeping: every step is a verb that a person could type, and is kept with its command, time and answer."""

from __future__ import annotations

import datetime as dt
import shlex
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from odc.geo.geobox import GeoBox

    from esd.cube import Cube

__all__ = ["Step", "Tour", "spelled"]

_FLAGS = {"side": "size", "before": "from", "after": "to", "unlike": "not"}


def spelled(verb: str, *args: Any, **options: Any) -> str:
    """Return the command that a call stands for, as typed in a shell; options that are None are left out."""
    words = ["esd", verb, *(str(arg) for arg in args)]
    for name, value in options.items():
        flag = _FLAGS.get(name, name).replace("_", "-")
        flag = f"-{flag}" if len(flag) == 1 else f"--{flag}"
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is not None:
                words += [flag, str(item)]
    return " ".join(word if _needs_no_quotes(word) else f'"{word}"' for word in words)


def _needs_no_quotes(word: str) -> bool:
    return shlex.quote(word) == word or all(char.isalnum() or char in "-_./:=,#" for char in word)


@dataclass
class Step:
    """One stage: its commands, how long they took, and what they answered."""

    name: str
    commands: list[str] = field(default_factory=list)
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tour:
    """A run of the demo: where it works, its settings, and its steps by name."""

    out: Path
    size: int
    seed: int
    years: tuple[int, int]
    encoder: str | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    _open: Step | None = None

    @property
    def scenes(self) -> Path:
        """Folder of the simulated scenes."""
        return self.out / "scenes"

    @property
    def truth(self) -> Path:
        """Folder of what is true of the landscape."""
        return self.scenes / "truth"

    @property
    def cube_path(self) -> Path:
        """The cube's folder."""
        return self.out / "demo.esd.zarr"

    @property
    def first(self) -> str:
        """The first window, as the verbs take it."""
        return str(self.years[0])

    @property
    def last(self) -> str:
        """The last window, as the verbs take it."""
        return str(self.years[1])

    @cached_property
    def cube(self) -> Cube:
        """The cube, once it is made."""
        from esd.cube import open_cube

        return open_cube(self.cube_path)

    @property
    def geobox(self) -> GeoBox:
        """The cube's grid."""
        return self.cube.grids[self.cube.grid()]

    @property
    def seconds(self) -> float:
        """Time of all steps so far."""
        return sum(step.seconds for step in self.steps.values())

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a stage; what is run inside is kept with it."""
        self._open = self.steps[name] = Step(name)
        started = time.monotonic()
        yield self._open
        self._open.seconds = time.monotonic() - started

    def run(self, verb: str, do: Callable[..., dict[str, Any]], *args: Any, **options: Any) -> dict[str, Any]:
        """Do what a verb does; keep the command and the answer with the open step."""
        answer = do(*args, **options)
        if self._open is not None:
            shown = [item for arg in args for item in (arg if isinstance(arg, list) else [arg])]
            self._open.commands.append(spelled(verb, *shown, **options))
        return answer

    def month(self, year: str, month: int) -> str:
        """Return a filter for one month, as part of an expression."""
        start = dt.date(int(year), month, 1)
        end = dt.date(start.year + month // 12, month % 12 + 1, 1)
        return f"filter_date('{start}', '{end}')"
