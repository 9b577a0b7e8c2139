"""Cases of openEO's corpus that are not satisfied, each with its reason; a case that passes must not be listed."""

from __future__ import annotations

__all__ = ["WAIVED"]

WAIVED: dict[tuple[str, int], str] = {
    (
        "aggregate_temporal",
        3,
    ): "the intervals lie in January, the data in June; values are told for January, rounded to 0.01",
    ("aggregate_temporal", 4): "the intervals lie in January, the data in June; values are told for January",
    ("aggregate_temporal", 5): "the reducer is mean, the values are those of the median",
    ("aggregate_temporal_period", 2): "days are labelled 2020-06-01-00, the specification says YYYY-DDD",
    ("aggregate_temporal_period", 4): "the dimension is t2, the result is told to have t",
    ("all", 4): "no-data alone is told to be true, the truth table gives no-data",
    ("any", 4): "no-data alone is told to be false, the truth table gives no-data",
    ("apply", 1): "255 is the cube's no-data value, and is told to become 1650",
    ("apply_dimension", 1): "the cube has no dimension 'bands', and the result is written in another form than all others",
    ("array_append", 0): "0 is appended, 1 is expected",
    ("array_find", 3): "3 is the first element, position 1 is expected",
    ("count", 2): "the condition is no process graph, and its parameter 'element' is called x by the specification",
    ("filter_bands", 2): "red and blue are asked for, green and blue are expected",
    ("mask", 0): "the specification replaces what the mask is not 0 for, the case keeps it",
    ("mask", 1): "the specification replaces what the mask is not 0 for, the case keeps it",
    ("mask_polygon", 0): "with inside=true what lies in the polygon is replaced; nothing does, and all is expected to be",
    ("mask_polygon", 3): "four pixels of one date inside of the polygon are expected to stay, on all other dates they go",
    ("mod", 8): "the result has the sign of the divisor, so mod(2, -inf) is -inf as in IEEE and Python; 2 is expected",
    ("product", 5): "1 * -inf * 3 * inf is -inf; NaN is expected",
    ("rename_dimension", 2): "y is renamed, the result is told to have x renamed",
}
