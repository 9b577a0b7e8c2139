"""Functions of a user as operators: declared, typed, hashed by their source, and called like any other.

    @esd.udf_pixel
    def soil_line(nir: Image, red: Image, slope: float = 1.2):
        \"\"\"Distance from the soil line.\"\"\"
        return (nir - slope * red) / np.sqrt(1 + slope**2)

    image.select("nir").soil_line(image.select("red"))          # a method of images, lazy
    esd.parse("soil_line(nir, red, slope=1.1)", image)          # and a word of text expressions

Functions take and return NumPy arrays whose last axis is pixels, treat each pixel by itself, and may use modules, constants
and functions around them, as these stood when the function was declared. The first line of documentation and the type of
every parameter (int, float, str, bool, tuple[float, ...]) are asked for. Source and constants are the function's version:
they travel with an expression to other processes, and a result is never taken for that of another version.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ExpressionError
from .expr import Expr, postorder
from .image import Image, call
from .operator import Operator, Tile, get_operator, register
from .source import capture, content_hash, rebuild
from .udf_kernels import (
    KINDS,
    aggregate_kernel,
    aggregate_rule,
    focal_kernel,
    focal_rule,
    pixel_function,
    time_kernel,
    time_rule,
    udf_work,
    window_halo,
)

__all__ = ["Code", "Udf", "load", "pack", "publish", "udf_aggregate", "udf_focal", "udf_pixel", "udf_time", "unpack"]

FORMAT = 1
PARAMETERS = ("int", "float", "str", "bool", "tuple[float, ...]", "tuple[str, ...]")


@dataclass(frozen=True, eq=False)
class Code:
    """One version of a user's function: `text` is JSON of its kind, its window and its captured source."""

    text: str

    @cached_property
    def data(self) -> dict[str, Any]:
        """The text, read."""
        read: dict[str, Any] = json.loads(self.text)
        return read

    @property
    def name(self) -> str:
        """The name that it is called by."""
        return str(self.data["code"]["name"])

    @property
    def kind(self) -> str:
        """What it works on: pixel, focal, time or aggregate."""
        return str(self.data["kind"])

    @property
    def window(self) -> Any:
        """Rows, columns and bands around a pixel that a focal function sees."""
        return self.data["window"]

    @cached_property
    def token(self) -> str:
        """The version: hash of source, constants, kind and window."""
        return content_hash(self.data)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself, rebuilt from its source; a class for an aggregate."""
        return rebuild(self.data["code"])

    def __repr__(self) -> str:
        return f"{self.name}@{self.token[:8]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.text,)


_DECLARED: dict[str, Code] = {}


def _restored(text: str) -> Code:
    """Return a version that came from another process, and declare its name here if it is not known."""
    code = Code(text)
    if code.name not in _DECLARED:
        _declare(code)
    return code


class Udf:
    """A declared function: called with images it gives an image; `function` is the function of arrays itself."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.__name__ = code.name
        self.__doc__ = inspect.getdoc(code.function)

    @property
    def version(self) -> str:
        """Hash of source, constants, kind and window."""
        return self.code.token

    @property
    def function(self) -> Callable[..., Any]:
        """The function of arrays, as it runs in the engine."""
        return self.code.function

    def __call__(self, *images: Image | float, **parameters: Any) -> Image:
        """Return the image that this version of the function makes of others."""
        return call(self.code.name, *images, version=self.code, **parameters)

    def __repr__(self) -> str:
        return f"Udf({self.code!r})"


def _annotation(parameter: inspect.Parameter) -> str:
    """Return a parameter's annotation as it was written, without the quotes that it may stand in."""
    return "" if parameter.annotation is parameter.empty else str(parameter.annotation).strip("'\"")


def _signature(code: Code) -> inspect.Signature:
    """Return the signature that users call: images, typed parameters, and the version."""
    function = code.function.finalize if code.kind == "aggregate" else code.function  # type: ignore[attr-defined]  # a class
    given = list(inspect.signature(function).parameters.values())
    images = [p for p in given if _annotation(p).split(".")[-1] == "Image"] if code.kind == "pixel" else given[:1]
    if not images or images != given[: len(images)]:
        raise ExpressionError(f"{code.name}: the first parameters must be images; annotate them as Image")
    parameters = [p.replace(annotation="Image") for p in images]
    if code.kind == "aggregate":
        parameters = [inspect.Parameter("image", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Image")]
    for parameter in given[len(images) :]:
        if parameter.name == "valid" and code.kind in ("focal", "time"):
            continue
        if _annotation(parameter) not in PARAMETERS:
            raise ExpressionError(
                f"{code.name}: parameter {parameter.name} needs one of the types {', '.join(PARAMETERS)}, "
                f"got {_annotation(parameter) or 'none'}"
            )
        parameters.append(parameter.replace(annotation=_annotation(parameter)))
    parameters.append(inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=code, annotation="Code"))
    return inspect.Signature(parameters)


def _check_name(code: Code) -> None:
    known = _DECLARED.get(code.name)
    if known is not None:
        if known.kind != code.kind:
            raise ExpressionError(f"{code.name} is declared as udf_{known.kind} already; choose another name")
        return
    if hasattr(Image, code.name) or code.name.startswith("_"):
        raise ExpressionError(f"{code.name!r} is part of every image; choose another name for the function")
    try:
        get_operator(code.name)
    except ExpressionError:
        return
    raise ExpressionError(f"{code.name!r} is an operator of esd; choose another name for the function")


_RULES = {"focal": focal_rule, "time": time_rule, "aggregate": aggregate_rule}
_KERNELS = {"focal": focal_kernel, "time": time_kernel, "aggregate": aggregate_kernel}
_TILES = {"pixel": Tile.PIXEL, "focal": Tile.FOCAL, "time": Tile.TIME, "aggregate": Tile.TIME}


def _declare(code: Code) -> None:
    """Make a version the one that its name stands for. Expressions that were made before keep theirs."""
    _check_name(code)
    operator = Operator(
        name=code.name,
        doc=inspect.getdoc(code.function) or "",
        group="user",
        tile=_TILES[code.kind],
        signature=_signature(code),
        rule=_RULES.get(code.kind),
        kernel=_KERNELS.get(code.kind),
        interpreted="a user's function runs as it is written",
        function=pixel_function if code.kind == "pixel" else None,
        halo=window_halo,
        work=udf_work,
    )
    register(operator, replace=code.name in _DECLARED)
    _DECLARED[code.name] = code


def _made(kind: str, given: Any, window: Any = None) -> Udf:
    code = Code(json.dumps({"kind": kind, "window": window, "code": capture(given)}, sort_keys=True))
    _declare(code)
    return Udf(code)


def udf_pixel(function: Callable[..., Any]) -> Udf:
    """Declare a function of pixels: its parameters annotated `Image` are arrays [pixel], and so is its result.

    Each time and band is a pixel of its own: a number of the result comes from the numbers at the same place. A parameter
    may be a plain number where the image is a constant. The result is valid where all inputs are. Raises ExpressionError
    for a lambda, for what has no source or documentation, or refers to what cannot travel.
    """
    return _made("pixel", function)


def udf_focal(*, window: Sequence[Sequence[int] | None]) -> Callable[[Callable[..., Any]], Udf]:
    """Declare a function of neighbourhoods; `window` is (first, last) of rows, columns and bands relative to a pixel.

    `window=((-1, 1), (-1, 1), (0, 0))` is the 3 x 3 pixels of the same band. The function takes an array
    [band, row, column, pixel] and returns [pixel]. With a parameter `valid` it is told which values count (none do outside
    of the grid or its bands), may return values and validity, and is else valid where any of them is; without it the result
    is valid where the whole window is. Each time and band has its own result.
    """
    rows_columns_bands = [list(axis) if axis is not None else [0, 0] for axis in window]
    wrong = len(rows_columns_bands) != 3 or any(len(a) != 2 or not a[0] <= a[1] for a in rows_columns_bands)
    if wrong or any(abs(end) > 50 for axis in rows_columns_bands for end in axis):
        raise ExpressionError(f"udf_focal: window={window} must be (first, last) of rows, columns and bands, within 50")
    return lambda function: _made("focal", function, rows_columns_bands)


def udf_time(function: Callable[..., Any]) -> Udf:
    """Declare a function of time series: an array [time, pixel] to [pixel], or to [time, pixel].

    Each band has its own result. `valid` is as for `udf_focal`; without it a result is valid where all times are.
    """
    return _made("time", function)


def udf_aggregate(aggregate: type) -> Udf:
    """Declare a reduction over time by a class of three functions, none of which takes `self`.

    `chunk(values, valid)` makes a state, a tuple of arrays [pixel], of some times [time, pixel]; `combine(one, other)` makes
    one state of two, the earlier first; `finalize(state, ...)` returns values [pixel], or values and validity, and may have
    typed parameters. The documentation is the class's. Series are taken a few times at once, whatever their length.
    """
    missing = [name for name in ("chunk", "combine", "finalize") if not callable(getattr(aggregate, name, None))]
    if missing:
        raise ExpressionError(f"udf_aggregate: {aggregate.__name__} has no {' and no '.join(missing)}; define them in it")
    return _made("aggregate", aggregate)


def pack(image: Image | Expr) -> str:
    """Return, as JSON, the functions that an expression needs, for a process that it reaches by another way than pickle."""
    root = image.expr if isinstance(image, Image) else image
    codes = {value.token: value for node in postorder(root) for _name, value in node.arg if isinstance(value, Code)}
    return json.dumps({"format": FORMAT, "functions": [_entry(code) for code in codes.values()]}, indent=1)


def unpack(text: str, *, trust: bool = False) -> dict[str, Udf]:
    """Declare the functions of a packed text; see `load`."""
    return _declared(text, "the packed text", trust)


def publish(path: str | Path, *functions: Udf) -> Path:
    """Add functions to a registry file (JSON), each under its name and version, beside those it has; return its path."""
    path = Path(path)
    entries = _entries(path.read_text(), str(path)) if path.is_file() else []
    known = {(entry["name"], entry["version"]) for entry in entries}
    entries += [_entry(f.code) for f in functions if (f.code.name, f.version) not in known]
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps({"format": FORMAT, "functions": entries}, indent=1) + "\n")
    part.replace(path)
    return path


def load(path: str | Path, *, trust: bool = False) -> dict[str, Udf]:
    """Declare the functions of a registry file, by name; of several versions the one published last is what a name means.

    This runs the code in the file, with all that you may do: read it before, and say `trust=True`. Raises ExpressionError
    without, and for an entry that is not what its version says.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise ExpressionError(f"the registry {path} cannot be read: {error.strerror}") from error
    return _declared(text, str(path), trust)


def _entry(code: Code) -> dict[str, Any]:
    return {"name": code.name, "version": code.token, **code.data}


def _entries(text: str, where: str) -> list[dict[str, Any]]:
    try:
        read = json.loads(text)
        if read["format"] != FORMAT:
            raise ExpressionError(f"{where} has format {read['format']}, this esd reads {FORMAT}; upgrade it")
        return [_checked(entry, where) for entry in read["functions"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ExpressionError(f"{where} is no registry of functions; esd.udf.publish writes one") from error


def _checked(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    data = {key: entry[key] for key in ("kind", "window", "code")}
    if entry["kind"] not in KINDS or content_hash(data) != entry["version"] or entry["code"]["name"] != entry["name"]:
        raise ExpressionError(f"{entry['name']} in {where} is not what its version {entry['version']} says; publish it anew")
    return dict(entry)


def _declared(text: str, where: str, trust: bool) -> dict[str, Udf]:
    entries = _entries(text, where)
    if not trust:
        names = ", ".join(f"{entry['name']}@{entry['version'][:8]}" for entry in entries)
        raise ExpressionError(f"loading {where} runs the code of {names}; read it, then say trust=True")
    found = {}
    for entry in entries:
        code = Code(json.dumps({key: entry[key] for key in ("kind", "window", "code")}, sort_keys=True))
        _declare(code)
        found[code.name] = Udf(code)
    return found
