"""Points: read from GeoJSON, Parquet or CSV, and sampled from a cube, one read for each chunk that holds any."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from esd.answering import answering, chunks_with_points
from esd.codec import Codec
from esd.cube import Cube
from esd.dekad import BANDS, DEKADS, STEPS, dekad_dates
from esd.errors import SpaceError, TableError
from esd.grid import lonlat_to_pixels, region_of
from esd.series import ENCODER, encoder_facts, step_columns

__all__ = ["SPACES", "embedding_columns", "features_of", "read_points", "sample_cube"]

SPACES = ("codes", "embedding", "reflectance")
RESERVED = ("window", "status", "date", *BANDS)
WANTED = "longitude and latitude, lon and lat, or geometry"

Codes = npt.NDArray[np.unsignedinteger]
Indices = npt.NDArray[np.int64]


def embedding_columns(dims: int, steps: int = STEPS) -> tuple[str, ...]:
    """Return the column names of a whole embedding vector, step slowest: step_00_e0, step_00_e1, ... step_11_e5."""
    return tuple(f"step_{step:02d}_e{dim}" for step in range(steps) for dim in range(dims))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:80]


def _of_geometries(frame: pd.DataFrame, geometries: npt.NDArray[Any], name: str, crs: str | None) -> pd.DataFrame:
    """Return the frame with longitude and latitude of point geometries, reprojected where they are in another CRS."""
    others = geometries[shapely.get_type_id(geometries) != shapely.GeometryType.POINT]
    if len(others):
        kind = "nothing" if others[0] is None else others[0].geom_type
        raise TableError(f"{name} has {len(others)} geometries that are no points ({kind} first); give points")
    x, y = shapely.get_x(geometries), shapely.get_y(geometries)
    if crs is not None:
        try:
            x, y = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True).transform(x, y)
        except CRSError as error:
            raise TableError(f"{name} has coordinate system {crs[:60]!r}, which is not understood; write WGS 84") from error
    return frame.assign(longitude=x, latitude=y)


def _read_geojson(path: Path) -> pd.DataFrame:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        features = document["features"] if document["type"] == "FeatureCollection" else [document]
        geometries = np.array([shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features], dtype=object)
        frame = pd.DataFrame([dict(feature.get("properties") or {}) for feature in features])
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
        raise TableError(f"{path.name} is not GeoJSON ({type(error).__name__}: {_line(error)}); give points") from error
    crs = document.get("crs", {}).get("properties", {}).get("name")
    return _of_geometries(frame, geometries, path.name, crs)


def _geometry_crs(metadata: dict[bytes, bytes]) -> str | None:
    """Return the CRS that GeoParquet metadata give to the geometry column; none means WGS 84."""
    column = json.loads(metadata.get(b"geo", b"{}")).get("columns", {}).get("geometry", {})
    crs = column.get("crs")
    return json.dumps(crs) if crs else None


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path.name} is not a Parquet table ({_line(error)})") from error
    frame = table.to_pandas()
    if "geometry" not in frame.columns or _coordinates(frame):
        return frame
    geometries = shapely.from_wkb(frame["geometry"].to_numpy())
    return _of_geometries(frame.drop(columns="geometry"), geometries, path.name, _geometry_crs(table.schema.metadata or {}))


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise TableError(f"{path.name} is not a CSV table ({_line(error)})") from error
    if "geometry" not in frame.columns or _coordinates(frame):
        return frame
    try:
        geometries = shapely.from_wkt(frame["geometry"].to_numpy())
    except (TypeError, shapely.errors.GEOSException) as error:
        raise TableError(f"column geometry of {path.name} is not WKT ({_line(error)}); write POINT (12.5 41.9)") from error
    return _of_geometries(frame.drop(columns="geometry"), geometries, path.name, None)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".geojson": _read_geojson,
    ".json": _read_geojson,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}


def _coordinates(frame: pd.DataFrame) -> tuple[str, str] | None:
    for names in (("longitude", "latitude"), ("lon", "lat")):
        if set(names) <= set(frame.columns):
            return names
    return None


def _with_places(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the frame with columns sample_id, longitude and latitude, checked. Raises TableError otherwise."""
    names = _coordinates(frame)
    if names is None:
        raise TableError(f"{name} has columns {', '.join(map(str, frame.columns))}; it needs {WANTED}")
    if len(frame) == 0:
        raise TableError(f"{name} has no points")
    frame = frame.rename(columns=dict(zip(names, ("longitude", "latitude"), strict=True))).reset_index(drop=True)
    for column, most in (("longitude", 180.0), ("latitude", 90.0)):
        numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
        bad = ~(numbers.abs() <= most)
        if bad.any():
            raise TableError(
                f"{name}: {column} {str(frame[column][bad].iloc[0])!r} in row {int(np.argmax(bad))} is not a number of "
                f"degrees within {most:g}; give WGS 84"
            )
        frame[column] = numbers
    if "sample_id" not in frame.columns:
        frame.insert(0, "sample_id", np.arange(len(frame)))
    return frame


def read_points(path: str | Path) -> pd.DataFrame:
    """Read points from GeoJSON, Parquet (GeoParquet too) or CSV, by the ending of the name.

    Places are columns longitude and latitude, lon and lat, or geometry (WKB in Parquet, WKT in CSV), in WGS 84 degrees
    unless the file names another CRS. The result has columns sample_id (the row's number where the file has none),
    longitude, latitude, and all others of the file. Raises TableError for a file that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"points {str(path)!r} are not there; give the path of a GeoJSON, Parquet or CSV file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"points {path.name!r} are of an unknown form; give a file named {', '.join(_READERS)}")
    return _with_places(reader(path), path.name)


def _gather(
    cube: Cube, grid: str | None, window: dt.date, points: pd.DataFrame, with_counts: bool
) -> tuple[Codes, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return codes and counts [steps, n] of the points in one window, and which of them lie inside of the cube."""
    codec = cube.codec
    codes = np.full((codec.steps, len(points)), codec.fill, dtype=codec.code_dtype)
    counts = np.zeros(codes.shape, dtype=np.uint8)
    rows, columns, groups = _places(cube, grid, window, points)
    inside = np.zeros(len(points), dtype=bool)
    for name, mine in groups:
        inside |= mine
        for part, region in chunks_with_points(rows, columns, mine):
            y, x = rows[part] - region.y0, columns[part] - region.x0
            codes[:, part] = cube.read("codes", name, window, region)[:, y, x]
            if with_counts:
                counts[:, part] = cube.read("count", name, window, region)[:, y, x]
    return codes, counts, inside


def _places(
    cube: Cube, grid: str | None, window: dt.date, points: pd.DataFrame
) -> tuple[Indices, Indices, list[tuple[str, npt.NDArray[np.bool_]]]]:
    """Return rows and columns of points, and which of them each grid answers: one that is named, else by the mosaic."""
    if grid is None and len(cube.grids) > 1:
        found = answering(cube, window, points["longitude"], points["latitude"])
        return found.rows, found.columns, [(name, found.group == found.names.index(name)) for name, _ in found.by_group()]
    name = cube.grid(grid)
    rows, columns = lonlat_to_pixels(cube.grids[name], points["longitude"], points["latitude"])
    whole = region_of(cube.grids[name])
    return rows, columns, [(name, (rows >= 0) & (rows < whole.y1) & (columns >= 0) & (columns < whole.x1))]


def _code_columns(codes: Codes, counts: npt.NDArray[np.uint8]) -> pd.DataFrame:
    steps = len(codes)
    codes_by_name = zip(step_columns("code", steps), codes, strict=True)
    return pd.DataFrame({**dict(codes_by_name), **dict(zip(step_columns("count", steps), counts, strict=True))})


def _embedding_columns(codes: Codes, codec: Codec) -> pd.DataFrame:
    vectors = np.moveaxis(codec.embed(codes), 1, 0).reshape(codes.shape[1], -1)
    vectors[(codes == codec.fill).any(axis=0)] = np.nan
    return pd.DataFrame(vectors, columns=list(embedding_columns(codec.fsq.dims, codec.steps)))


def _reflectance_rows(frame: pd.DataFrame, codes: Codes, codec: Codec, window: dt.date) -> pd.DataFrame:
    """Repeat the points' rows for each dekad, with its date and reflectance; NaN for no data."""
    reflectance = codec.decode(codes)
    reflectance[..., (codes == codec.fill).any(axis=0)] = np.nan
    tidy = frame.loc[frame.index.repeat(DEKADS)].reset_index(drop=True)
    tidy["date"] = np.tile(dekad_dates(window).astype("datetime64[ms]"), len(frame))
    by_band = np.ascontiguousarray(reflectance.transpose(1, 2, 0)).reshape(len(BANDS), -1)
    return tidy.assign(**dict(zip(codec.bands, by_band, strict=True)))


def _sample_window(cube: Cube, grid: str | None, window: dt.date, points: pd.DataFrame, space: str) -> pd.DataFrame:
    codes, counts, inside = _gather(cube, grid, window, points, with_counts=space == "codes")
    seen = (codes != cube.codec.fill).all(axis=0)
    status = np.where(~inside, "outside", np.where(seen, "valid", "nodata"))
    frame = points.assign(window=np.datetime64(window, "ms"), status=status)
    if space == "codes":
        return pd.concat([frame, _code_columns(codes, counts)], axis=1)
    if space == "embedding":
        return pd.concat([frame, _embedding_columns(codes, cube.codec)], axis=1)
    return _reflectance_rows(frame, codes, cube.codec, window)


def sample_cube(
    cube: Cube,
    points: pd.DataFrame,
    space: str = "codes",
    windows: Sequence[int | str | dt.date] | None = None,
    grid: str | None = None,
) -> pd.DataFrame:
    """Return the cube's numbers at points: all columns of the points, then window, status and the numbers.

    `points` has columns longitude and latitude (or lon and lat), WGS 84 degrees; sample_id is added where there is none.
    All windows are sampled unless `windows` names some, window by window. `status` is valid, nodata or outside. `space`:
    codes        one row a point and window: code_0, code_1, ... and count_0, ... for each step; `codec.fill` where not valid
    embedding    one row a point and window: step_00_e0, step_00_e1, ..., step slowest (float32, NaN where not valid)
    reflectance  one row a point and dekad: date (its middle), blue to swir2 (float32 0..1, NaN where not valid)
    Of a cube of several grids each point is told by the one that answers in the mosaic (`esd.mosaic`), or by `grid`.
    Only chunks that hold points are read, each once a window. A result of codes can be written by `esd.series.write_table`
    and decoded later. Raises SpaceError for another space, TableError for unusable points.
    """
    if space not in SPACES:
        raise SpaceError(f"space {space!r} is not one of {', '.join(SPACES)}")
    placed = _with_places(points, "the table of points")
    taken = [column for column in RESERVED if column in placed.columns]
    if taken:
        raise TableError(f"the points have a column {', '.join(taken)}, which the sample writes itself; rename it")
    chosen = [cube.window(window) for window in windows] if windows is not None else list(cube.windows)
    sampled = pd.concat([_sample_window(cube, grid, window, placed, space) for window in chosen], ignore_index=True)
    if space == "codes":
        sampled.attrs[ENCODER] = encoder_facts(cube.codec)
    return sampled


def features_of(sampled: pd.DataFrame) -> tuple[npt.NDArray[np.float32], pd.DataFrame]:
    """Return feature vectors float32 [n, d] of a result of `sample_cube`, and the rows (one each) that they belong to.

    Embeddings give steps x dims features, step slowest; reflectance 36 x 6, dekad slowest: the order of classifiers.
    Only valid rows are kept. Raises TableError for codes, or where nothing is valid.
    """
    valid = sampled[sampled["status"] == "valid"].reset_index(drop=True)
    embedding = [column for column in sampled.columns if str(column).startswith("step_")]
    if not embedding and "date" not in sampled.columns:
        raise TableError("a table of codes has no features; sample the cube with space='embedding' or 'reflectance'")
    if len(valid) == 0:
        raise TableError("none of the points is valid in any window (outside or no data); give points inside of the cube")
    if embedding:
        return valid[embedding].to_numpy(dtype=np.float32), valid.drop(columns=embedding)
    bands = [band for band in BANDS if band in valid.columns]
    features = valid[bands].to_numpy(dtype=np.float32).reshape(-1, DEKADS * len(bands))
    return features, valid.iloc[::DEKADS].drop(columns=[*bands, "date"]).reset_index(drop=True)
