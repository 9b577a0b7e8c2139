"""The one node of the expression graph: frozen, and interned by content, so that equal sub-graphs are one node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable
from weakref import WeakValueDictionary

import numpy as np

from .errors import ExpressionError

__all__ = ["Expr", "Tokenized", "postorder"]


@runtime_checkable
class Tokenized(Protocol):
    """An argument that is more than a plain value, such as a trained classifier: it has a hash of its content."""

    @property
    def token(self) -> str:
        """Hash of all that changes the result."""
        ...


def _plain(name: str, value: Any) -> Any:
    """Turn an argument into a plain, hashable value. Raises ExpressionError for anything else."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str | Tokenized):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(name, item) for item in value)
    raise ExpressionError(
        f"argument {name}={value!r} of type {type(value).__name__} cannot be part of an expression; "
        "give a number, a text, or a list of them"
    )


def _spell(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(_spell(item) for item in value) + ")"
    if isinstance(value, Tokenized) and not isinstance(value, bool | int | float | str):
        return f"{type(value).__name__}:{value.token}"
    return f"{type(value).__name__}:{value!r}"


class Expr:
    """An operator's name, its inputs and its arguments. Two nodes of the same content are the same object.

    `key` is the hash of the content, equal across processes.
    """

    __slots__ = ("__weakref__", "arg", "key", "op", "src")

    op: str
    src: tuple[Expr, ...]
    arg: tuple[tuple[str, Any], ...]
    key: str

    def __new__(cls, op: str, src: tuple[Expr, ...] = (), arg: Mapping[str, Any] | None = None) -> Expr:  # noqa: PYI034 - interned: may be made before
        """Return the node of this content, made now or before."""
        pairs = tuple(sorted((name, _plain(name, value)) for name, value in (arg or {}).items()))
        spelled = "|".join([op, *(node.key for node in src), *(f"{name}={_spell(value)}" for name, value in pairs)])
        key = hashlib.blake2b(spelled.encode(), digest_size=16).hexdigest()
        known = _NODES.get(key)
        if known is not None:
            return known
        node = super().__new__(cls)
        for name, value in (("op", op), ("src", src), ("arg", pairs), ("key", key)):
            object.__setattr__(node, name, value)
        return _NODES.setdefault(key, node)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an expression cannot be changed: {name} = {value!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Expr, (self.op, self.src, dict(self.arg))

    @property
    def args(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.arg)

    def with_src(self, src: tuple[Expr, ...]) -> Expr:
        """Return the same operator on other inputs."""
        return self if src == self.src else Expr(self.op, src, self.args)

    def __repr__(self) -> str:
        arguments = [node.op for node in self.src]
        arguments += [f"{name}={value if isinstance(value, Tokenized) else repr(value)}" for name, value in self.arg]
        return f"{self.op}({', '.join(arguments)})"


_NODES: WeakValueDictionary[str, Expr] = WeakValueDictionary()


def postorder(root: Expr) -> Iterator[Expr]:
    """Yield every node once, inputs before the nodes that use them; without recursion, so that depth has no limit."""
    seen: set[str] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node.key not in seen:
            seen.add(node.key)
            stack.append((node, True))
            stack.extend((source, False) for source in reversed(node.src))
