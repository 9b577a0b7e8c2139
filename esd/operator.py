"""Operators: each is declared once, and everything else is derived from the declaration.

`@primitive`  a NumPy function of arrays, per pixel; the engine adds broadcasting, dtype and validity.
`@operator`   a kernel on blocks, for whatever needs more than one pixel's numbers at a time.
`@composite`  (in `esd.image`) an operator written as an expression of others, so that it fuses by itself.

The signature of the decorated function is the operator's: parameters annotated `Image` (`Block` in a kernel) are its
inputs, the rest its arguments. `Band` marks a text argument that names a band.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NewType

from .errors import ExpressionError
from .expr import Expr
from .per_step import PerStep
from .space import CubeType, Space

__all__ = [
    "ENGINE",
    "Band",
    "Operator",
    "Tile",
    "bind",
    "get_operator",
    "operator",
    "operators",
    "primitive",
    "register",
    "unary_result",
]

Band = NewType("Band", str)
"""Text that names a band of the input."""

TypeRule = Callable[..., CubeType]
Kernel = Callable[..., Any]
Halo = Callable[[Mapping[str, Any]], int]
Work = Callable[[Sequence[CubeType], Mapping[str, Any], int], int]


class Tile(enum.Enum):
    """How an operator's result depends on the pixels around and the times before and after."""

    PIXEL = "L"
    """Each number of the result needs the same pixel, band and time of the inputs only: fuses."""
    ARRAY = "B"
    """Each pixel of the result needs all bands and times of the same pixel."""
    FOCAL = "F"
    """Each pixel needs its neighbourhood: the region read grows by the halo."""
    TIME = "T"
    """Each pixel needs all times of the same pixel and band."""
    GLOBAL = "X"
    """Each pixel may need the whole grid: the kernel takes an `esd.engine.scene.Scene`, its result is kept for the run."""
    STRUCTURE = "M"
    """Chooses, names, converts or loads: the engine knows it by name."""


_NO_CODE = {
    Tile.FOCAL: "neighbourhoods are computed by NumPy over whole rows, which is vector code already",
    Tile.GLOBAL: "needs the whole grid, which is more than a kernel sees",
    Tile.STRUCTURE: "moves or joins numbers and computes none",
}
"""Why operators of these classes have no vector code, where the declaration says nothing else."""


@dataclass(frozen=True)
class Operator:
    """A declared operator.

    `space` is what it asks of its inputs; a callable where that depends on the arguments. `rule` gives the type of the
    result from the types of the inputs and the arguments; `kernel` computes it on blocks; `function`, for primitives, on
    arrays. A composite has `expand` instead. `emit` names its vector code; `interpreted` says why there is none. `work`
    tells the bytes that a kernel takes beside its inputs and its result, from the types of the inputs, the arguments and
    the pixels of a tile (of the whole grid for GLOBAL).
    """

    name: str
    doc: str
    group: str
    tile: Tile
    signature: inspect.Signature
    space: Space | Callable[[CubeType, Mapping[str, Any]], Space] = Space.NUMBER
    rule: TypeRule | None = None
    kernel: Kernel | None = None
    function: Callable[..., Any] | None = None
    emit: str | None = None
    interpreted: str | None = None
    per_step: Callable[[Mapping[str, Any]], PerStep | None] | None = None
    expand: Callable[[Sequence[Expr], Mapping[str, Any]], Expr] | None = None
    halo: Halo = field(default=lambda _args: 0)
    work: Work | None = None
    openeo: str | None = None
    example: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the parameters that take images."""
        return tuple(p.name for p in self.signature.parameters.values() if _is_image(p))

    @property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """The parameters that do not take images."""
        return tuple(p for p in self.signature.parameters.values() if not _is_image(p))

    @property
    def variadic(self) -> bool:
        """Whether the operator takes any number of images."""
        return any(p.kind is p.VAR_POSITIONAL and _is_image(p) for p in self.signature.parameters.values())

    @property
    def call(self) -> str:
        """The operator's name and parameters, as a person would write them."""
        parts = [str(p).split(":")[0].strip() + _default(p) for p in self.signature.parameters.values()]
        return f"{self.name}({', '.join(parts)})"

    @property
    def summary(self) -> str:
        """First line of the documentation."""
        return self.doc.strip().splitlines()[0]

    def sums(self, args: Mapping[str, Any]) -> PerStep | None:
        """Return how the operator is made up of sums over the numbers of a vector, None where it is not."""
        return None if self.per_step is None else self.per_step(args)

    def needs(self, given: CubeType, args: Mapping[str, Any]) -> Space:
        """Return the space that the operator asks for, given an input's type and the arguments."""
        return self.space if isinstance(self.space, Space) else self.space(given, args)


def _is_image(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in ("Image", "Image | float", "Block", "Scene")


def _default(parameter: inspect.Parameter) -> str:
    return "" if parameter.default is parameter.empty else f"={parameter.default!r}"


ENGINE = "engine"
"""Group of the operators that passes put in, which nobody calls by name."""
_REGISTRY: dict[str, Operator] = {}
_PLUGINS_LOADED = False
OWN = "esd.analytics"
"""The package of operators that comes with this one: known by name, so that it is found without reading the metadata of all
that is installed. Its `declared_in` tells the module of a name, so that an operator imports its own module only."""


def register(declared: Operator, replace: bool = False) -> None:
    """Add a declared operator. Raises ExpressionError if its name is taken or it has no documentation."""
    if declared.name in _REGISTRY and not replace:
        raise ExpressionError(f"operator {declared.name!r} is declared twice; choose another name")
    if not declared.doc.strip():
        raise ExpressionError(f"operator {declared.name!r} has no documentation; write what it computes")
    _REGISTRY[declared.name] = declared


def load_plugins() -> None:
    """Import all own operators and those of other packages (entry points `esd.operators`), once a process."""
    global _PLUGINS_LOADED
    if _PLUGINS_LOADED:
        return
    _PLUGINS_LOADED = True
    from importlib.metadata import entry_points

    import_module(f"{OWN}.declared")
    for entry in sorted(entry_points(group="esd.operators"), key=lambda entry: entry.name):
        entry.load()


def _import_declaring(name: str) -> None:
    """Import the module of this package that declares an operator, if one does."""
    module = import_module(f"{OWN}.declared_in").MODULES.get(name)
    if module is not None:
        import_module(f"{OWN}.{module}")


def get_operator(name: str) -> Operator:
    """Return a declared operator. Raises ExpressionError with the nearest names for an unknown one."""
    if name not in _REGISTRY:
        _import_declaring(name)
    if name not in _REGISTRY:
        load_plugins()
    if name not in _REGISTRY:
        import difflib

        near = difflib.get_close_matches(name, _REGISTRY, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "'esd operators' lists all"
        raise ExpressionError(f"there is no operator {name!r}; {hint}")
    return _REGISTRY[name]


def operators() -> dict[str, Operator]:
    """Return the declared operators by name, in order of group and name; not those that only the engine puts in."""
    load_plugins()
    public = (item for item in _REGISTRY.items() if item[1].group != ENGINE)
    return dict(sorted(public, key=lambda item: (item[1].group, item[0])))


def unary_result(given: CubeType, **_args: Any) -> CubeType:
    """Type rule: the result is like the input."""
    return given


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def primitive(
    group: str,
    function: Callable[..., Any],
    openeo: str | None = None,
    space: Space = Space.NUMBER,
    emit: str | None = None,
    interpreted: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a per-pixel operator computed by a NumPy function; the decorated one gives name, signature and documentation.

    `function` takes the arrays of the inputs in order, then the arguments by name, and returns an array of the same shape.
    `emit` names its vector code (`esd.engine.emit`); without one it is evaluated by NumPy only, and `interpreted` says why.
    """

    def declare(declaration: Callable[..., Any]) -> Callable[..., Any]:
        register(
            Operator(
                name=declaration.__name__,
                doc=inspect.getdoc(declaration) or "",
                group=group,
                tile=Tile.PIXEL,
                signature=_signature(declaration),
                space=space,
                function=function,
                emit=emit,
                interpreted=interpreted,
                openeo=openeo,
            )
        )
        return declaration

    return declare


def operator(
    group: str,
    tile: Tile,
    rule: TypeRule,
    space: Space | Callable[[CubeType, Mapping[str, Any]], Space] = Space.NUMBER,
    halo: Halo = lambda _args: 0,
    work: Work | None = None,
    emit: str | None = None,
    interpreted: str | None = None,
    per_step: Callable[[Mapping[str, Any]], PerStep | None] | None = None,
    openeo: str | None = None,
    name: str | None = None,
    example: str | None = None,
) -> Callable[[Kernel], Kernel]:
    """Declare an operator by its kernel: blocks in the order of the inputs, then arguments by name, to one block.

    `emit` names the vector code of a per-pixel one; without it, `interpreted` says why there is none.
    """

    def declare(kernel: Kernel) -> Kernel:
        register(
            Operator(
                name=name or kernel.__name__,
                doc=inspect.getdoc(kernel) or "",
                group=group,
                tile=tile,
                signature=_signature(kernel),
                space=space,
                rule=rule,
                kernel=kernel,
                halo=halo,
                work=work,
                emit=emit,
                interpreted=interpreted or (None if emit else _NO_CODE.get(tile)),
                per_step=per_step,
                openeo=openeo,
                example=example,
            )
        )
        return kernel

    return declare


def bind(declared: Operator, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Sort a call's arguments into inputs and parameters, defaults filled in. Raises ExpressionError if they do not fit."""
    try:
        bound = declared.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ExpressionError(f"{declared.call}: {error}") from error
    bound.apply_defaults()
    inputs: list[Any] = []
    parameters: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        parameter = declared.signature.parameters[name]
        if not _is_image(parameter):
            parameters[name] = _checked(declared, parameter, value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            inputs.extend(value)
        else:
            inputs.append(value)
    return inputs, parameters


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "Band": (str,),
    "bool": (bool,),
    "tuple[float, ...]": (tuple, list),
    "tuple[Band, ...]": (tuple, list),
    "tuple[str, ...]": (tuple, list),
}


def _checked(declared: Operator, parameter: inspect.Parameter, value: Any) -> Any:
    wanted = str(parameter.annotation).removesuffix(" | None")
    if value is None and "None" in str(parameter.annotation):
        return None
    if parameter.kind is parameter.VAR_POSITIONAL:
        return tuple(_checked(declared, parameter.replace(kind=parameter.POSITIONAL_ONLY), item) for item in value)
    kinds = _KINDS.get(wanted)
    wrong_bool = isinstance(value, bool) and wanted in ("int", "float")
    if kinds is not None and (not isinstance(value, kinds) or wrong_bool):
        raise ExpressionError(f"{declared.name}: {parameter.name}={value!r} is not of type {wanted}; usage {declared.call}")
    return float(value) if wanted == "float" else value
