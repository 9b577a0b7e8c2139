"""Encoders: the trained codecs that come with the package, and what trains and judges them.

What trains networks and runs them in torch needs it; finding, loading and using a shipped codec does not.
"""

from __future__ import annotations

from .weights import default, find, shipped

__all__ = ["default", "find", "shipped"]
