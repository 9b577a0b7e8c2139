"""The command line: `esd VERB`. It parses, calls the packages that know, and shows what they answer."""

from __future__ import annotations

__all__: list[str] = []
