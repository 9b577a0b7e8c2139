"""Every error that esd raises for a user's input.

    EsdError                 base; the command line prints its one line and exits with `exit_code`
    ├── SceneError           a scene file that cannot be read or used
    ├── GridError            grids or coordinate systems that do not fit
    ├── WindowError          a date or window outside of what is there
    ├── BandError            an unknown band
    ├── SpaceError           an operator asked of numbers that do not mean what it needs
    ├── ExpressionError      a text expression or operator call that cannot be understood
    │   └── ProcessGraphError  a process graph that cannot be read or run
    ├── CubeError            a store that is not a cube, or a damaged one
    ├── EncoderError         codes of another encoder, or no encoder where one is needed
    ├── TableError           a table without the columns or values that it needs
    ├── MemoryLimitError     a plan that cannot fit into the memory allowed
    ├── JobError             a job that could not be finished, though its input is right
    └── StoppedError         a computation that was stopped on request
        ├── DeadlineError    by the time that was allowed for it
        └── CancelledError   by somebody who no longer needs it

A message is one line: the thing, the value, and what fixes it.
"""

from __future__ import annotations

__all__ = [
    "BandError",
    "CancelledError",
    "CubeError",
    "DeadlineError",
    "EncoderError",
    "EsdError",
    "ExpressionError",
    "GridError",
    "JobError",
    "MemoryLimitError",
    "ProcessGraphError",
    "SceneError",
    "SpaceError",
    "StoppedError",
    "TableError",
    "WindowError",
]


class EsdError(Exception):
    """Base of all errors that a user's input can cause."""

    exit_code = 2


class SceneError(EsdError):
    """A scene file that cannot be read or used."""


class GridError(EsdError):
    """Grids or coordinate systems that do not fit."""


class WindowError(EsdError):
    """A date or window outside of what is there."""


class BandError(EsdError):
    """An unknown band."""


class SpaceError(EsdError):
    """An operator asked of numbers that do not mean what it needs."""


class ExpressionError(EsdError):
    """A text expression or operator call that cannot be understood."""


class ProcessGraphError(ExpressionError):
    """A process graph that cannot be read or run; `code` is openEO's name of the error, where it has one."""

    def __init__(self, message: str, code: str = "ProcessGraphInvalid") -> None:
        super().__init__(message)
        self.code = code


class CubeError(EsdError):
    """A store that is not a cube, or a damaged one."""


class EncoderError(EsdError):
    """Codes of another encoder, or no encoder where one is needed."""


class TableError(EsdError):
    """A table without the columns or values that it needs."""


class MemoryLimitError(EsdError):
    """A plan that cannot fit into the memory allowed."""


class JobError(EsdError):
    """A job that could not be finished, though its input is right."""


class StoppedError(EsdError):
    """A computation that was stopped on request."""


class DeadlineError(StoppedError):
    """A computation that took longer than was allowed for it."""


class CancelledError(StoppedError):
    """A computation that was cancelled."""
