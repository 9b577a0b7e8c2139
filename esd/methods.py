"""Operators as methods of an image: the signature and the documentation that `help`, `inspect` and notebooks show."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .cube import codec_by_hash
from .operator import Operator
from .space import CubeType, Space
from .structure import embedding_bands

if TYPE_CHECKING:
    from .image import Image

__all__ = ["bands_within_reach", "method_of", "public_annotation", "public_signature"]

_PUBLIC = {"Block": "Image", "Scene": "Image", "Band": "str", "Band | None": "str | None"}


def public_annotation(parameter: inspect.Parameter) -> str:
    """Return the annotation of an operator's parameter as callers see it: kernels take blocks, callers give images."""
    written = str(parameter.annotation)
    return _PUBLIC.get(written, written).replace("tuple[Band, ...]", "tuple[str, ...]")


def public_signature(declared: Operator, bound: bool = False) -> inspect.Signature:
    """Return the signature of an operator for those who call it; `bound`, that of the method, without the first image."""
    images = declared.inputs
    parameters = []
    for parameter in declared.signature.parameters.values():
        annotation = public_annotation(parameter)
        first = parameter.name == images[0] if images else False
        if annotation == "Image" and not first:
            annotation = "Image | float"
        if bound and first and parameter.kind is not parameter.VAR_POSITIONAL:
            continue
        parameters.append(parameter.replace(annotation=annotation))
    return declared.signature.replace(parameters=parameters, return_annotation="Image")


def method_of(image: Image, declared: Operator, apply: Callable[..., Image]) -> Callable[..., Image]:
    """Return an operator as a function of all but its first image, with name, signature and documentation of its own."""

    def method(*args: Any, **kwargs: Any) -> Image:
        return apply(declared.name, image, *args, **kwargs)

    method.__name__ = declared.name
    method.__qualname__ = f"Image.{declared.name}"
    method.__doc__ = declared.doc
    method.__signature__ = public_signature(declared, bound=True)  # type: ignore[attr-defined]
    return method


def bands_within_reach(given: CubeType) -> list[str]:
    """Return the bands that an image has, and those that its codes are turned into when they are asked for."""
    if given.space is not Space.CODES or given.encoder is None:
        return list(given.bands)
    codec = codec_by_hash(given.encoder)
    decoded = codec.bands if codec.decoders else ()
    return [*given.bands, *embedding_bands(codec.fsq.dims), *decoded]
