"""The text form: parsed against the registry, and nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import esd
from esd.cube import Cube
from esd.errors import BandError, EsdError, ExpressionError

SAME = [
    ("(nir - red) / (nir + red)", lambda i: (i["nir"] - i["red"]) / (i["nir"] + i["red"])),
    ("ndvi().median()", lambda i: i.ndvi().median()),
    ("ndvi().median().focal_mean(2)", lambda i: i.ndvi().median().focal_mean(2)),
    ("focal_mean(ndvi().max(), radius=3)", lambda i: i.ndvi().max().focal_mean(radius=3)),
    (
        "filter_date('2004-07-01', '2004-08-01').nbr().mean()",
        lambda i: i.filter_date("2004-07-01", "2004-08-01").nbr().mean(),
    ),
    ("where(ndvi() > 0.5, nir, 0)", lambda i: esd.call("where", i.ndvi() > 0.5, i["nir"], 0)),
    ("~(nir > 0.2) & (red <= 0.1)", lambda i: ~(i["nir"] > 0.2) & (i["red"] <= 0.1)),
    ("2 * nir ** 2 - -red", lambda i: 2 * i["nir"] ** 2 - -i["red"]),
    ("minimum(nir, 0.5)", lambda i: esd.call("minimum", i["nir"], 0.5)),
    ("select(nir, red).mean()", lambda i: i.select("nir", "red").mean()),
    ("decode().median()", lambda i: i.decode().median()),
    ("unmask(nir, 0.0)", lambda i: i["nir"].unmask(0.0)),
    ("reduce(ndvi(), 'std')", lambda i: i.ndvi().reduce("std")),
]


@pytest.mark.parametrize(("text", "build"), SAME, ids=[text for text, _ in SAME])
def test_text_and_python_build_one_expression(cube: Cube, text: str, build: object) -> None:
    image = cube.image(2004)
    assert esd.parse(text, image).expr is build(image).expr  # type: ignore[operator]  # a lambda of the table


REFUSED = [
    ("nir.__class__", "attributes cannot be read"),
    ("nir.values", "attributes cannot be read"),
    ("__import__('os').system('true')", "cannot be called"),
    ("open('x')", "no operator 'open'"),
    ("ndwii()", "did you mean"),
    ("load(cube='x', array='codes', window='2004-01-01', grid='g')", "cannot be called"),
    ("nir if red else blue", "only bands, numbers"),
    ("[nir for nir in (1, 2)]", "only bands, numbers"),
    ("(lambda: nir)()", "only bands, numbers"),
    ("f'{nir}'", "only bands, numbers"),
    ("nir[0]", "only bands, numbers"),
    ("nir +", "not understood"),
    ("", "not understood"),
    ("nir; red", "not understood"),
    ("1 + 2", "constant"),
    ("ndvi(*nir)", "not allowed"),
    ("median(1, 2, 3)", "too many positional"),
    ("focal_mean(nir, radius='x')", "not of type int"),
    ("nir + 'red'", "no number"),
    ("-" * 200 + "nir", "nested"),
    ("nir + " * 1000 + "nir", "characters"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[text[:30] for text, _ in REFUSED])
def test_everything_else_is_refused_in_one_line(cube: Cube, text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        esd.parse(text, cube.image(2004))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_band_names_those_there_are(cube: Cube) -> None:
    with pytest.raises(BandError, match=r"purple.*blue, green, red"):
        esd.parse("purple + 1", cube.image(2004))


@settings(max_examples=300)
@given(st.text(st.sampled_from(list("nirednvi()+-*/.,'\"=_[]{}: 01")), max_size=30))
def test_no_text_gets_past_the_parser_as_another_error(cube: Cube, text: str) -> None:
    message = ""
    try:
        esd.parse(text, cube.image(2004))
    except EsdError as error:
        message = str(error)
    assert "\n" not in message
