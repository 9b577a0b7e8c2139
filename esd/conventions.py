"""Attributes of a cube by the conventions of the Zarr community: `geoemb:`, `proj:` and `spatial:`.

FSQ has no field in `geoemb:quantization` (its scale is a scalar or an array), so the method is named there, and the levels,
basis, offset rule and fill value stand beside it as `esd:fsq`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from affine import Affine

from .codec import Codec
from .errors import CubeError
from .geobox import lazy_geobox

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["embedding_attributes", "geobox_from_attributes", "grid_attributes"]

_HOST = "https://github.com"
_RAW = "https://raw.githubusercontent.com"


def _convention(name: str, uuid: str, repository: str, tag: str, description: str) -> dict[str, str]:
    return {
        "uuid": uuid,
        "name": name,
        "schema_url": f"{_RAW}/{repository}/refs/tags/{tag}/schema.json",
        "spec_url": f"{_HOST}/{repository}/blob/{tag}/README.md",
        "description": description,
    }


GEOEMB = _convention(
    "geoemb:",
    "61c12cc5-0e28-4056-999a-480cf3fb7e4c",
    "geo-embeddings/embeddings-zarr-convention",
    "v1",
    "Geoembeddings convention for geospatial embedding arrays with model provenance",
)
PROJ = _convention(
    "proj:",
    "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "zarr-conventions/proj",
    "v0.1",
    "Coordinate reference system information for geospatial data",
)
SPATIAL = _convention(
    "spatial:",
    "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "zarr-conventions/spatial",
    "v0.1",
    "Spatial coordinate information",
)


def grid_attributes(geobox: GeoBox) -> dict[str, Any]:
    """Return the `proj:` and `spatial:` attributes of a grid."""
    crs, box, affine = geobox.crs, geobox.boundingbox, geobox.affine
    if crs is None:
        raise CubeError("a cube needs a grid with a coordinate system; write one into the scenes (gdal_edit -a_srs)")
    attributes: dict[str, Any] = {
        "zarr_conventions": [PROJ, SPATIAL],
        "proj:wkt2": crs.proj.to_wkt("WKT2_2019"),
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": [affine.a, affine.b, affine.c, affine.d, affine.e, affine.f],
        "spatial:shape": [geobox.shape.y, geobox.shape.x],
        "spatial:bbox": [box.left, box.bottom, box.right, box.top],
        "spatial:registration": "pixel",
    }
    if crs.epsg is not None:
        attributes["proj:code"] = f"EPSG:{crs.epsg}"
    return attributes


def geobox_from_attributes(attributes: Mapping[str, Any]) -> GeoBox:
    """Return the grid that `proj:` and `spatial:` attributes describe. Raises CubeError where they are missing."""
    try:
        crs = attributes.get("proj:code") or attributes["proj:wkt2"]
        rows, columns = attributes["spatial:shape"]
        return lazy_geobox((rows, columns), Affine(*attributes["spatial:transform"]), crs)
    except KeyError as error:
        raise CubeError(f"grid attribute {error} is missing; the store was not written by esd or is damaged") from error


def embedding_attributes(codec: Codec, geobox: GeoBox, sources: list[str]) -> dict[str, Any]:
    """Return the `geoemb:` attributes of a cube, with the fields that its quantization table has no room for."""
    fsq = codec.fsq
    return {
        "zarr_conventions": [GEOEMB, PROJ, SPATIAL],
        "geoemb:type": "pixel",
        "geoemb:dimensions": codec.dims,
        "geoemb:model": f"{codec.id}@sha256:{codec.sha256}",
        "geoemb:source_data": sources,
        "geoemb:data_type": str(fsq.dtype),
        "geoemb:gsd": abs(geobox.affine.a),
        "geoemb:spatial_layout": "utm_zones",
        "geoemb:quantization": {
            "method": "fsq",
            "original_dtype": "float32",
            "quantized_dtype": str(fsq.dtype),
            "link": "https://arxiv.org/abs/2309.15505",
        },
        "esd:fsq": {
            "levels": list(fsq.levels),
            "basis": list(fsq.basis),
            "value": "scale * (level - L // 2) / (L // 2), level = index // basis % L",
            "scale": codec.scale.tolist(),
            "fill": fsq.fill,
            "steps": codec.steps,
            "dims": fsq.dims,
        },
        "esd:encoder": {
            "id": codec.id,
            "sha256": codec.sha256,
            "levels": list(fsq.levels),
            "basis": list(fsq.basis),
            "steps": codec.steps,
            "bands": list(codec.bands),
        },
    }
