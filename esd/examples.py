"""Small images to try operators on: what the examples of the documentation are computed from.

>>> from esd.examples import image, show
>>> show(image.ndvi().max())
float32, 1 time, 1 band: ndvi
    -0.333    -0.333     0.784     0.787     0.767     0.304
    -0.333    -0.333     0.787     0.789      0.77     0.773
    -0.333     0.787     0.789     0.792     0.773     0.174
     0.787     0.789      0.77     0.773     0.174     0.174
    masked     0.792     0.773     0.775     0.174     0.174

Five rows of six pixels, 30 m in UTM 33N: a lake, a forest, fields and bare soil, in April, July and October of 2004. All
of it is made when it is first asked for.
"""

from __future__ import annotations

import atexit
import base64
import datetime as dt
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .dekad import BANDS, DEKADS
from .grid import geobox_from_bounds
from .image import Image, call, from_array
from .operator import OWN

if TYPE_CHECKING:
    from .collection import ImageCollection
    from .cube import Cube
    from .vector import FeatureCollection

__all__ = ["show"]

WATER, FOREST, FIELD, SOIL = 3, 1, 2, 4
COVER = np.array(
    [[3, 3, 1, 1, 2, 2], [3, 3, 1, 1, 2, 2], [3, 1, 1, 1, 2, 4], [1, 1, 2, 2, 4, 4], [1, 1, 2, 2, 4, 4]], dtype=np.uint8
)
TIMES = ("2004-04-15", "2004-07-15", "2004-10-15")
GRID = geobox_from_bounds(500_000, 5_000_000, 500_180, 5_000_150, "EPSG:32633", 30)
ROWS, COLUMNS = COVER.shape
SPECTRA = {
    WATER: ((4, 5, 4, 2, 1, 1), (4, 5, 4, 2, 1, 1), (4, 5, 4, 2, 1, 1)),
    FOREST: ((3, 5, 5, 25, 15, 8), (3, 5, 4, 32, 15, 7), (4, 6, 6, 24, 16, 9)),
    FIELD: ((8, 10, 12, 20, 26, 20), (4, 8, 5, 36, 18, 9), (8, 11, 13, 21, 28, 22)),
    SOIL: ((11, 15, 19, 27, 34, 30), (11, 15, 19, 27, 34, 30), (11, 15, 19, 27, 34, 30)),
}
"""Reflectance in per cent, by land cover: blue, green, red, nir, swir1, swir2 for each time."""
NETWORK = (
    "c-rIO5Mr=8!pLRI#aJQ4n5)F?Se9Cpn4TJtpP!>8%EgnNT9lWX6JMN>Sdi+#?7+N$kzGrWi=`kjrPzTH0)awY{9KH=T#V&HjFn0(&",
    "iQ#|Ld@l<C0h0zOdM<+j2w&tj82T@UIq+c&|nXx_cNdX7#}9jzz`)0a+LrV9|xll7Z(E;&@>>)kOUO2L=k2J2|KZHF$nMi09G&`7X",
)
"""An ONNX file, packed: the mean of 3 x 3 pixels of six bands, then green - nir and nir - green."""
DOUBLING = (
    "c-rIOuxeuD(&A#Q;9@KnVysl+b<WQ#3n@y>D=x?{PSq0NVlOT!%1lWuc3^T~TENII#G00wms+GH&%p?UOdL!Cj82T@",
    "UIGjZ4fe=5N)%|OkN_7S2cr-d7Xud)2P2SVNCFC1VhTI4a4`t*0s!;{7R3",
)
"""Another one: four pixels of each."""


def _reflectance() -> npt.NDArray[np.float32]:
    table = np.zeros((5, 3, 6), dtype=np.float64)
    for cover, spectra in SPECTRA.items():
        table[cover] = spectra
    values = table[COVER].transpose(2, 3, 0, 1) / 100
    slowly = (np.arange(ROWS)[:, None] + np.arange(COLUMNS)) * 0.005 * (COVER != WATER) * (COVER != SOIL)
    values[:, 3] += slowly
    return values.astype(np.float32)


def _image() -> Image:
    valid = np.ones((3, 1, ROWS, COLUMNS), dtype=bool)
    valid[:, :, 4, 0] = False
    valid[1, :, 0, 5] = False
    return from_array(_reflectance(), GRID, BANDS, TIMES, valid)


def _at(time: int, *bands: str) -> Image:
    whole = call("filter_date", _image(), TIMES[time], f"2004-{TIMES[time][5:7]}-28")
    return call("select", whole, *bands) if bands else whole


def _plane(values: npt.ArrayLike, band: str) -> Image:
    return from_array(values, GRID, (band,))


def _dem() -> Image:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    return _plane(
        (100 + 12 * column + 8 * row - 3 * (column - 2) * (row - 2) + (column - 2) ** 3).astype(np.float32), "height"
    )


def _qa() -> Image:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    return _plane(((row % 4) << 8 | column).astype(np.uint16), "qa")


def _sar() -> Image:
    return _plane(np.linspace(-18, -6, COVER.size, dtype=np.float32).reshape(COVER.shape), "vv")


def _codec() -> Any:
    """Return a codec of six numbers a month: the six bands, less their mean, over twice their standard deviation."""
    from safetensors.numpy import save

    from .codec import Codec

    bands, unseen = np.eye(6), np.zeros((6, 6))
    tensors = {
        "fold.weight": np.concatenate([np.concatenate([bands / 6, unseen], axis=1)] * 3, axis=1),
        "fold.bias": np.zeros(6),
        "out.weight": np.concatenate([bands * 2] * 3),
        "out.bias": np.zeros(18),
        "sure.weight": np.zeros((18, 6)),
        "sure.bias": np.full(18, -1.0),
    }
    spec = {
        "id": "example",
        "format": 2,
        "levels": [8, 8, 8, 5, 5, 5],
        "bands": list(BANDS),
        "steps": 12,
        "dekads": DEKADS,
        "mean": [0.06, 0.08, 0.09, 0.24, 0.2, 0.14],
        "std": [0.03, 0.04, 0.06, 0.1, 0.1, 0.09],
        "encoder": [{"op": "fold", "name": "fold"}],
        "decoders": {"full": [{"op": "unfold", "name": "out"}]},
        "uncertainty": {"coverage": 0.9, "factor": 1.0, "layers": [{"op": "unfold", "name": "sure"}]},
        "card": {},
    }
    data = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
    return Codec(save(data, {"esd": json.dumps(spec)}))


def _cube() -> Cube:
    """Return a cube of 2004 and 2005, in a temporary folder; in 2005 the forest at the left is bare soil."""
    from .cube import Cube

    folder = Path(tempfile.mkdtemp(prefix="esd-examples-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    codec = _codec()
    cube = Cube.create(folder / "example.esd.zarr", GRID, [dt.date(2004, 1, 1), dt.date(2005, 1, 1)], codec, block=256)
    dekads = np.repeat(_reflectance(), 12, axis=0)
    cleared = dekads.copy()
    cleared[:, :, 3:, :2] = dekads[:, :, 3:, 5:]
    weights = np.ones(dekads.shape, dtype=np.uint8)
    weights[:, :, 4, 0] = 0
    name = cube.grid()
    for window, values in zip(cube.windows, (dekads, cleared), strict=True):
        codes = codec.encode(values, weights)
        (region,) = cube.blocks(name)
        cube.write_block(name, window, region, codes, np.ones_like(codes, dtype=np.uint8), np.zeros(COVER.shape, np.uint8))
    return cube


def _coded() -> Image:
    cube: Cube = example("cube")
    return cube.image(2004)


def _yearly() -> Image:
    """Return twelve years of a forest that is cleared in the right half in 2005, and grows again."""
    years = np.arange(12)
    recovery = 0.12 + 0.05 * np.maximum(years - 5, 0)
    nbr = np.where((years[:, None, None] >= 5) & (np.arange(COLUMNS) > 2), recovery[:, None, None], 0.7)
    nbr = np.broadcast_to(nbr - 0.01 * (years[:, None, None] % 2), (12, *COVER.shape))
    swir2 = 0.3 * (1 - nbr) / (1 + nbr)
    values = np.stack([np.full_like(nbr, 0.3), swir2, nbr], axis=1).astype(np.float32)
    return from_array(values, GRID, ("nir", "swir2", "nbr"), [f"{2000 + year}-07-15" for year in years])


def _regressor() -> Any:
    target = _image().compute().values[1, 3].ravel() * 100
    return import_module(OWN).train_regressor(_samples(), target, space="reflectance")


def _samples() -> npt.NDArray[np.float32]:
    return _reflectance().reshape(18, -1).T


def _classifier() -> Any:
    return import_module(OWN).train_classifier(_samples(), _labels(), "logistic", space="reflectance")


def _network() -> Any:
    data = zlib.decompress(base64.b85decode("".join(NETWORK)))
    return import_module(f"{OWN}.chips").as_network(data, ("water", "land"), space="reflectance")


def _doubling() -> Any:
    return import_module(f"{OWN}.chips").as_network(zlib.decompress(base64.b85decode("".join(DOUBLING))), ("finer",))


def _matrix() -> Any:
    found = example("image").classify(example("classifier")).compute()
    names, known = np.array(example("classifier").classes), found.valid.ravel()
    said, there = names[found.values.ravel()[known] - 1], np.array(_labels())[known]
    return import_module(f"{OWN}.accuracy").confusion_matrix(there, said)


def _labels() -> tuple[str, ...]:
    names = {WATER: "water", FOREST: "forest", FIELD: "field", SOIL: "soil"}
    return tuple(names[int(cover)] for cover in COVER.ravel())


def _collection() -> ImageCollection:
    from .collection import ImageCollection

    about = (("TM", 5), ("ETM+", 15), ("ETM+", 40))
    return ImageCollection(tuple(_at(time).set(sensor=name, cloud=cloud) for time, (name, cloud) in enumerate(about)))


def _fields() -> FeatureCollection:
    import geopandas
    import shapely

    from .vector import features

    shapes = [shapely.box(500_000, 5_000_060, 500_060, 5_000_150), shapely.box(500_075, 5_000_030, 500_150, 5_000_105)]
    table = {"name": ["a", "b"], "crop": ["wheat", "maize"], "tons": [3.5, 8.25]}
    return features(geopandas.GeoDataFrame(table, geometry=shapes, crs="EPSG:32633"))


def _points() -> FeatureCollection:
    import shapely

    from .vector import features

    return features([shapely.Point(500_015, 5_000_135), shapely.Point(500_105, 5_000_075)], "EPSG:32633")


MADE: dict[str, tuple[str, Callable[[], Any]]] = {
    "image": ("reflectance of six bands at three times, one pixel masked, another in July", _image),
    "nir": ("near infrared of July, one band and time", lambda: _at(1, "nir")),
    "red": ("red of July", lambda: _at(1, "red")),
    "before": ("all bands in April", lambda: _at(0)),
    "after": ("all bands in July", lambda: _at(1)),
    "change": (
        "near infrared of October less that of April: numbers of either sign",
        lambda: call("subtract", _at(2, "nir"), _at(0, "nir")),
    ),
    "dem": ("heights in metres", _dem),
    "classes": ("land cover, uint8: 1 forest, 2 field, 3 water, 4 soil", lambda: _plane(COVER, "cover")),
    "water": ("where there is water, boolean", lambda: _plane(COVER == WATER, "water")),
    "forest": ("where there is forest, boolean", lambda: _plane(COVER == FOREST, "forest")),
    "qa": ("a quality band, uint16", _qa),
    "sar": ("backscatter in decibels, one band", _sar),
    "yearly": ("twelve years of a forest, cleared in part in 2005: nir, swir2 and nbr", _yearly),
    "cube": ("a cube of 2004 and 2005, of codes for six numbers a month", _cube),
    "coded": ("`cube.image(2004)`: codes, which become embeddings or reflectance as operators need", _coded),
    "collection": ("the three times as an image collection, with properties sensor and cloud", _collection),
    "fields": ("two polygons with properties name, crop and tons", _fields),
    "points": ("two points", _points),
    "samples": ("the vectors of all pixels, [30, 18]", _samples),
    "labels": ("their 30 classes", _labels),
    "matrix": ("the confusion of their classes with what the classifier says", _matrix),
    "classifier": ("a logistic regression trained on them", _classifier),
    "network": ("an ONNX graph: green less near infrared, and the reverse, each a mean of 3 x 3 pixels", _network),
    "doubling": ("an ONNX graph that makes four pixels of each of one band", _doubling),
    "regressor": ("a ridge regression of near infrared in July, in per cent, on them", _regressor),
}
"""What can be imported from here, what it is, and how it is made."""


@cache
def example(name: str) -> Any:
    """Return one of the examples (the names of MADE), made once a process."""
    return MADE[name][1]()


def __getattr__(name: str) -> Any:
    if name in MADE:
        return example(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(MADE)}")


def __dir__() -> list[str]:
    return sorted([*MADE, *__all__])


def show(result: Any) -> None:
    """Print a result with three digits to a number: an image, a collection, a table, an array, or a plain value.

    Of an image its pixels where it has one time and band, else all times (down) and bands of the pixel in the middle. What
    is not valid is `masked`. Of a collection its size and its first image.
    """
    from .collection import ImageCollection
    from .vector import FeatureCollection

    if isinstance(result, Image):
        _show_image(result)
    elif isinstance(result, ImageCollection):
        _say(f"{len(result)} images, the first one:")
        _show_image(result.images[0])
    elif isinstance(result, FeatureCollection):
        _show_table(result.compute())
    elif hasattr(result, "to_string"):
        _show_table(result)
    elif isinstance(result, dict):
        for key, value in result.items():
            _say(f"{key}: {_plain(value)}")
    elif isinstance(result, tuple | list | np.ndarray) and len(np.shape(result)) == 2:
        array = np.asarray(result)
        _show_numbers(array, np.ones(array.shape, dtype=bool))
    else:
        _say(_plain(result))


MOST = 12
"""Rows and columns that are printed."""
ROUNDING = 1e-12
"""Numbers that small are what rounding left, another on each processor: they are printed as 0."""


def _show_image(image: Image) -> None:
    given, raster = image.type, image.compute()
    counts = (f"{len(n)} {what}{'s' * (len(n) != 1)}" for n, what in ((given.time, "time"), (given.bands, "band")))
    shown = ", ".join(given.bands[:6]) + (", ..." if len(given.bands) > 6 else "")
    _say(f"{given.dtype}, {', '.join(counts)}: {shown}")
    if raster.values.shape[:2] == (1, 1):
        _show_numbers(raster.values[0, 0], raster.valid[0, 0])
        return
    row, column = (side // 2 for side in raster.values.shape[2:])
    _say(f"pixel of row {row}, column {column}:")
    _show_numbers(raster.values[:, :, row, column], raster.valid[:, :, row, column])


def _show_numbers(table: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
    for numbers, known in zip(table[:MOST], valid[:MOST], strict=True):
        _say("".join(f"{_plain(n) if k else 'masked':>10}" for n, k in zip(numbers[:MOST], known[:MOST], strict=True)))
    if max(table.shape) > MOST:
        _say(f"... of {table.shape[0]} x {table.shape[1]}")


def _show_table(frame: Any) -> None:
    """Print a table, a row a feature; geometries as text, in whole metres, cut where they are long."""
    import shapely

    def cell(value: Any) -> str:
        if isinstance(value, shapely.Geometry):
            text = shapely.to_wkt(value, rounding_precision=0)
            return text if len(text) <= 60 else f"{text[:57]}..."
        return _plain(value)

    _say(frame.map(cell).head(MOST).to_string(index=False))


def _say(line: str) -> None:
    print(line)  # noqa: T201 - to print is what `show` is for


def _plain(value: Any) -> str:
    """Return a number in three digits, a sequence of them alike, anything else as Python writes it."""
    if isinstance(value, np.ndarray | list | tuple):
        return "[" + ", ".join(_plain(one) for one in list(value)[:MOST]) + (", ...]" if len(value) > MOST else "]")
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        number = 0.0 if abs(float(value)) <= ROUNDING else float(value)
        return f"{number:.0f}" if 1000 <= abs(number) < 1e7 else f"{number:.3g}"
    return str(value)
