"""Full for results, fast for looking: which decoder of a codec turns codes into reflectance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esd.cube import codec_by_hash
from esd.expr import Expr, postorder

from .lower import infer, lower
from .pushing import rebuild

if TYPE_CHECKING:
    from esd.image import Image

__all__ = ["FAST", "FULL", "decoded_by", "decoder_of", "for_looking"]

FULL, FAST = "full", "fast"


def _has(node: Expr, decoder: str) -> bool:
    return decoder in codec_by_hash(str(infer(node.src[0]).encoder)).decoders


def _with_decoder(image: Image, decoder: str, needed: bool) -> Image:
    from esd.image import Image

    def choose(node: Expr) -> Expr:
        if node.op != "decode" or node.args["decoder"] or not (needed or _has(node, decoder)):
            return node
        return Expr("decode", node.src, {**node.args, "decoder": decoder})

    root = lower(image.expr)
    chosen = rebuild(root, choose)
    return image if chosen is root else Image(chosen)


def decoded_by(image: Image, decoder: str) -> Image:
    """Return the image, all that it decodes decoded by one decoder; see `Image.decoded_by`."""
    return _with_decoder(image, decoder, needed=True)


def for_looking(image: Image) -> Image:
    """Return the image decoded by "fast" wherever the encoder has it and nothing else was said."""
    return _with_decoder(image, FAST, needed=False)


def decoder_of(root: Expr) -> str:
    """Return the decoders that a lowered expression uses, with commas between them; "" if it decodes nothing."""
    return ", ".join(sorted({node.args["decoder"] or FULL for node in postorder(root) if node.op == "decode"}))
