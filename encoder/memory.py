"""How the process gets its memory while it trains."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of settings in <malloc.h> of the GNU C library."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; return whether its C library can be told so.

    The GNU C library gives blocks above 32 MB at most back at once, and every layer of the next step pays for new
    pages: about a third of a training step. Call it in a process that does nothing else than train.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, 1 << 30)) and bool(library.mallopt(TRIM_THRESHOLD, (1 << 31) - 1))
