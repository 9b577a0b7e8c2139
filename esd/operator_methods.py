"""What `Image` has from the registry. The stub beside this file, which `docs/stubs.py` writes, tells type checkers of it."""

from __future__ import annotations

__all__ = ["OperatorMethods"]


class OperatorMethods:
    """The operators as methods: found by name when asked for (`Image.__getattr__`), so that there is nothing here."""

    __slots__ = ()
