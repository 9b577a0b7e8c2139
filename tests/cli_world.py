"""What the tests of the command line share: a way to run it, and a small world of scenes, truth and a cube."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esd.cli.app import app


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output."""
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


def esd(*words: object) -> Outcome:
    """Run `esd` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app([str(word) for word in words], prog_name="esd")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def listing(folder: Path) -> set[str]:
    """All that lies in a folder, hidden files too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@dataclass(frozen=True)
class World:
    """A simulated landscape of 64 x 64 pixels in 2004 and 2005, and its cube by a codec of random weights."""

    scenes: Path
    truth: Path
    cube: Path
    codec: Path
    samples: Path
    point: str
