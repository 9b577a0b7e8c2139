"""Scenes from STAC, static catalogs and APIs: into the catalog first, each with its item as a file beside it.

Such a file, <collection>_<id>.item.json, has absolute links and is what `esd ingest` takes. The conditions are the catalog's
own, whatever the server makes of them: an API is asked for the box and the days, and the rest is tested here.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import shape

from esd.errors import TableError

from .catalog import Catalog, Item, day_of
from .filters import Where

if TYPE_CHECKING:
    import pystac

__all__ = ["add_stac", "items_folder"]

ITEM_SUFFIX = ".item.json"
RETRIES = 5
SECONDS = 30
PAGE = 100
Box = tuple[float, float, float, float]


def items_folder(catalog: Path) -> Path:
    """Return the folder beside a catalog that holds the items that it got from STAC."""
    return catalog.with_name(f"{catalog.stem}.items")


def add_stac(
    catalog: Catalog,
    url: str | Path,
    folder: Path,
    bbox: Box | None = None,
    start: str | dt.date | None = None,
    end: str | dt.date | None = None,
    where: Where | None = None,
    collections: Sequence[str] = (),
    limit: int | None = None,
) -> int:
    """Add what a STAC catalog (file or URL) or API holds under the conditions of `Catalog.search`; return how many.

    `collections` are names, none means all. The items are written into `folder`. Raises TableError if the catalog cannot be
    read, or pystac-client is not installed.
    """
    found: dict[str, tuple[Item, dict[str, Any]]] = {}
    for item in _read(str(url), bbox, start, end, collections):
        row, document = _row(item, folder)
        found[row.id] = (row, document)
    with Catalog() as everything:
        everything.add_items(row for row, _document in found.values())
        chosen = everything.search(bbox, None, start, end, where, limit=limit)
    folder.mkdir(parents=True, exist_ok=True)
    for row in chosen:
        Path(row.path).write_text(json.dumps(found[row.id][1], indent=1, sort_keys=True), encoding="utf-8")
    return catalog.add_items(chosen)


def _read(
    url: str, bbox: Box | None, start: str | dt.date | None, end: str | dt.date | None, collections: Sequence[str]
) -> Iterator[pystac.Item]:
    try:
        import pystac
        from pystac_client import Client
        from pystac_client.exceptions import APIError
        from pystac_client.stac_api_io import StacApiIO
        from requests.exceptions import RequestException
        from urllib3.util.retry import Retry
    except ImportError as error:
        raise TableError("searching STAC needs pystac-client; install it with: pip install 'esd-toolkit[stac]'") from error
    retry = Retry(RETRIES, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None)
    try:
        with warnings.catch_warnings():
            # Static catalogs state no conformance, which the client warns of; they are walked instead.
            warnings.simplefilter("ignore")
            client = Client.open(url, stac_io=StacApiIO(timeout=SECONDS, max_retries=retry))
            if client.conforms_to("ITEM_SEARCH"):
                asked: dict[str, Any] = {"bbox": bbox, "datetime": _interval(start, end), "limit": PAGE}
                yield from client.search(collections=list(collections) or None, **asked).items()
            else:
                items: Iterable[pystac.Item] = client.get_items(recursive=True)
                yield from (item for item in items if not collections or item.collection_id in collections)
    except (APIError, RequestException, pystac.STACError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise TableError(f"STAC catalog {url} cannot be read ({reason}); give the address of a catalog or API") from error


def _interval(start: str | dt.date | None, end: str | dt.date | None) -> str | None:
    """Return the days start <= day < end as STAC writes them, None for all."""
    if start is None and end is None:
        return None
    first = f"{day_of(start)}T00:00:00Z" if start is not None else ".."
    last = f"{day_of(end) - dt.timedelta(days=1)}T23:59:59Z" if end is not None else ".."
    return f"{first}/{last}"


def _row(item: pystac.Item, folder: Path) -> tuple[Item, dict[str, Any]]:
    """Return an item as a row of the catalog, and as JSON with absolute links. Raises TableError without place or day."""
    properties = item.properties
    start = item.common_metadata.start_datetime or item.datetime
    end = item.common_metadata.end_datetime or start
    if item.geometry is None or start is None or end is None:
        raise TableError(f"STAC item {item.id} has no geometry or no date; it cannot be put into a catalog")
    item.make_asset_hrefs_absolute()
    name = re.sub(r"[^\w.-]", "_", "_".join(part for part in (item.collection_id, item.id) if part))
    row = Item(
        id=item.id,
        kind="scene",
        product=item.collection_id or "stac",
        platform=_constant(properties.get("platform")),
        sensor=_constant("_".join(properties.get("instruments") or ())),
        encoder=None,
        start=start.date(),
        end=end.date(),
        cloud_cover=properties.get("eo:cloud_cover"),
        sun_elevation=properties.get("view:sun_elevation"),
        path=str((folder / f"{name}{ITEM_SUFFIX}").resolve()),
        footprint=shape(item.geometry),
    )
    return row, item.to_dict(include_self_link=False, transform_hrefs=False)


def _constant(name: str | None) -> str | None:
    """Return a name as Landsat's metadata writes it, landsat-8 as LANDSAT_8; None for none."""
    return name.upper().replace("-", "_") if name else None
