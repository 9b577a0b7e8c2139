"""The entries of the reference: operators of the registry, and their kin: reducers, methods, kernels, processes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import reference_examples as made
from reference_examples import Example, ExampleError

import esd
from esd import analytics, joins, rasters, region_tables, regions, s2_cells, sampling, stored, timeseries, trimming
from esd.analytics import CLUSTERERS, METHODS, accuracy, kernels
from esd.collection import ImageCollection
from esd.engine.lower import lower
from esd.expr import Expr, postorder
from esd.image import Image
from esd.methods import public_signature
from esd.operator import Operator, Tile
from esd.processes import PROCESSES
from esd.reducer import REDUCERS, Reducer

__all__ = ["Entry", "kin", "operators"]

RANK = (Tile.STRUCTURE, Tile.PIXEL, Tile.ARRAY, Tile.TIME, Tile.FOCAL, Tile.GLOBAL)
"""Classes of tiles by how much of the grid or of time they need."""
WORDS = {
    Tile.PIXEL: "the same pixel, band and time",
    Tile.ARRAY: "all bands and times of the same pixel",
    Tile.FOCAL: "the pixels around",
    Tile.TIME: "all times of the same pixel and band",
    Tile.GLOBAL: "the whole grid",
    Tile.STRUCTURE: "the engine",
}


@dataclass(frozen=True)
class Entry:
    """One thing that can be called: what it is called, how, what it does, what is known of it, and an example."""

    name: str
    call: str
    doc: str
    facts: tuple[tuple[str, str], ...] = ()
    example: Example | None = None

    @property
    def summary(self) -> str:
        """First line of the documentation."""
        return self.doc.strip().splitlines()[0] if self.doc.strip() else ""


@dataclass
class Problems:
    """What went wrong with the examples, a line each."""

    lines: list[str] = field(default_factory=list)

    def try_(self, make: Callable[[], Example | None]) -> Example | None:
        """Return what a function makes; None, and the reason kept, where it fails."""
        try:
            return make()
        except ExampleError as error:
            self.lines.append(str(error))
            return None


def signature_of(function: Callable[..., Any], name: str) -> str:
    """Return a function's name, parameters and result as they are written, without self."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.name != "self"]
    returns = signature.return_annotation
    return written(name, own) + (f" -> {returns}" if isinstance(returns, str) else "")


def written(name: str, parameters: Iterable[inspect.Parameter], plain: str = "") -> str:
    """Return a name and parameters as they are written in code; those of the kind `plain` without it."""
    parts: list[str] = []
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        given = "" if one.default is one.empty else f" = {one.default!r}"
        bare = one.annotation is one.empty or one.annotation == plain
        parts.append(f"{star}{one.name}{'' if bare else f': {one.annotation}'}{given}")
    return f"{name}({', '.join(parts)})"


def operators(problems: Problems) -> dict[str, list[Entry]]:
    """Return the operators by group."""
    found: dict[str, list[Entry]] = {}
    for declared in esd.operators().values():
        if declared.group != "user":
            found.setdefault(declared.group, []).append(_operator(declared, problems))
    return found


def _operator(declared: Operator, problems: Problems) -> Entry:
    example = problems.try_(lambda: made.of_operator(declared))
    return Entry(
        declared.name,
        written(declared.name, public_signature(declared).parameters.values(), "Image"),
        declared.doc,
        tuple(_facts(declared, example)),
        example,
    )


def _facts(declared: Operator, example: Example | None) -> Iterator[tuple[str, str]]:
    inside = _made_of(declared, example) if declared.expand else []
    tile = max((one.tile for one in inside), key=RANK.index, default=declared.tile)
    yield "needs", f"{WORDS[tile]} ({tile.value})"
    if callable(declared.space):
        yield "space", "follows from the arguments"
    else:
        yield "space", "that of its parts" if declared.expand else f"{declared.space.value}"
    if declared.expand:
        yield "made of", ", ".join(f"`{one.name}`" for one in inside) or "its input"
    elif declared.function is not None:
        yield "mask", "valid where all inputs are"
    if not declared.expand:
        yield "vector code", f"`{declared.emit}`" if declared.emit else f"none ({declared.interpreted or 'not written'})"
    if declared.openeo:
        yield "openEO", f"`{declared.openeo}`"


def _made_of(declared: Operator, example: Example | None) -> list[Operator]:
    """Return the operators that a composite is written out to, in its example."""
    if example is None or example.image is None or declared.expand is None:
        return []
    node = next((one for one in postorder(example.image.expr) if one.op == declared.name), None)
    if node is None:
        return []
    known = {one.key for source in node.src for one in postorder(lower(source))} | {one.key for one in node.src}
    whole: Expr = lower(declared.expand(node.src, node.args))
    names = dict.fromkeys(one.op for one in postorder(whole) if one.key not in known and one.op not in ("constant", "load"))
    return [esd.get_operator(name) for name in names]


def kin(problems: Problems) -> dict[str, list[Entry]]:
    """Return what is called and is not an operator, by the title of its page."""
    return {
        "reducers by name": [_reducer(one, problems) for one in REDUCERS.values()],
        "image": _members(Image, "Image"),
        "image collection": _members(ImageCollection, "ImageCollection", "collection"),
        "feature collection": _members(esd.FeatureCollection, "FeatureCollection", "fields"),
        "rasters": [*_functions(rasters, ["load_image"]), *_functions(stored, ["from_zarr"])],
        "images and vectors": [
            *(entry for module in (regions, region_tables, sampling) for entry in _functions(module, module.__all__)),
            *_functions(timeseries, timeseries.__all__),
            *_functions(trimming, ["trim_cube"]),
            *_functions(s2_cells, s2_cells.__all__),
        ],
        "conditions of joins": _functions(joins, ["equal", "max_difference", "relation", "within_distance"]),
        "kernels": _functions(kernels, kernels.__all__),
        "classifiers": [_trained(method, problems) for method in (*METHODS, *CLUSTERERS)],
        "accuracy": [
            *_functions(accuracy, accuracy.__all__),
            *_members(accuracy.ConfusionMatrix, "ConfusionMatrix", "matrix"),
        ],
        "analyses": _functions(analytics, analytics.__all__),
        "processes of openEO": [
            Entry(one.id, f"{one.id}({', '.join(map(_parameter, one.parameters))})", one.doc) for one in PROCESSES.values()
        ],
    }


def _parameter(one: inspect.Parameter) -> str:
    return one.name if one.default is one.empty else f"{one.name}={one.default!r}"


def _reducer(reducer: Reducer, problems: Problems) -> Entry:
    facts = [
        ("in parts", "yes: states are combined" if reducer.combine else "no: needs all values at once"),
        ("means", "what the values mean" if reducer.keeps_space else "a number of its own"),
        ("vector code", f"none ({reducer.interpreted})" if reducer.interpreted else "yes"),
    ]
    example = problems.try_(lambda: _run_reducer(reducer.name))
    return Entry(reducer.name, f"image.reduce('{reducer.name}')", reducer.doc, tuple(facts), example)


def _run_reducer(name: str) -> Example:
    code = f"image['nir'].reduce('{name}')"
    try:
        return made.run(code)
    except ExampleError as error:
        with contextlib.suppress(ExampleError):
            return made.run(f"(image['nir'] * 100).to_int16().reduce('{name}')")  # some count bits
        raise ExampleError(f"reducer {name!r}: {code} does not run: {error}") from error


def _trained(method: str, problems: Problems) -> Entry:
    clusters = method in CLUSTERERS
    train = "train_clusterer" if clusters else "train_classifier"
    second = "4" if clusters else "labels"
    code = f"image.classify({train}(samples, {second}, '{method}', space='reflectance'))"
    doc = f"See `{train}` on the page of analyses, and the operator `classify`."

    def run() -> Example:
        try:
            return made.run(code)
        except ExampleError as error:
            raise ExampleError(f"classifier {method!r}: {code} does not run: {error}") from error

    return Entry(method, f"{train}(features, ..., '{method}')", doc, (), problems.try_(run))


def _members(kind: type, title: str, receiver: str = "") -> list[Entry]:
    """Return the methods and properties of a class; without a `receiver` only known examples of them are shown."""
    found = []
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        doc = inspect.getdoc(member) or ""
        call = f"{title}.{name}" if isinstance(member, property) else signature_of(member, f"{title}.{name}")
        example = made.of_class(title, receiver, name, member)
        found.append(Entry(f"{title}.{name}", call, doc, (), example))
    return found


def _functions(module: Any, names: Any) -> list[Entry]:
    functions = {name: getattr(module, name) for name in names if inspect.isfunction(getattr(module, name))}
    return [
        Entry(name, signature_of(one, name), inspect.getdoc(one) or "", (), made.of_function(name, one))
        for name, one in functions.items()
    ]
