"""Encoders: the trained codecs that come with the package, and what trains and judges them.

Only `train`, `model` and `export` need torch; finding and loading a shipped codec does not.
"""

from __future__ import annotations

from .weights import default, find, shipped

__all__ = ["default", "find", "shipped"]
