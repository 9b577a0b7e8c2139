"""STAC in small: items of scenes in files, a static catalog, and an API on this machine that fails at first."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from esd.grid import bounds_lonlat
from esd.ingest.scene import Scene

COLLECTION = "landsat-c2-l2"
KEYS = {"nir": "nir08", "swir1": "swir16", "swir2": "swir22"}


def item_of(scene: Scene, root: str, with_grid: bool = True) -> dict[str, Any]:
    """Return the STAC item of a Landsat Collection 2 scene whose folder lies under `root`, as its archive writes it."""
    west, south, east, north = bounds_lonlat(scene.geobox)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    base = f"{root}/{scene.path.name}"
    assets: dict[str, Any] = {
        KEYS.get(layer.name, layer.name): {
            "href": f"{base}/{layer.file}",
            "raster:bands": [{"scale": layer.scale, "offset": layer.offset, "nodata": 0}],
        }
        for layer in scene.layers
    }
    assets |= {layer.name.lower(): {"href": f"{base}/{layer.file}"} for layer in scene.quality}
    grid = {
        "proj:epsg": scene.geobox.crs.epsg,
        "proj:shape": list(scene.shape),
        "proj:transform": list(scene.geobox.affine)[:6],
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"{scene.id}_SR",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"{scene.acquired}T10:00:00Z",
            "platform": scene.platform.lower(),
            "instruments": ["tm"],
            "eo:cloud_cover": scene.cloud_cover,
            "view:sun_elevation": scene.sun_elevation,
            **(grid if with_grid else {}),
        },
        "assets": assets,
        "links": [],
    }


def write_static(folder: Path, items: list[dict[str, Any]]) -> Path:
    """Write a static catalog of items, one file each; return its root."""
    folder.mkdir(parents=True)
    names = [f"{item['id']}.json" for item in items]
    for name, item in zip(names, items, strict=True):
        parent = {"rel": "root", "href": "./catalog.json"}
        (folder / name).write_text(json.dumps({**item, "links": [parent, {"rel": "parent", "href": "./catalog.json"}]}))
    links = [{"rel": "root", "href": "./catalog.json"}, *({"rel": "item", "href": f"./{name}"} for name in names)]
    root = {"type": "Catalog", "id": "static", "stac_version": "1.0.0", "description": "test", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


class Api:
    """An API with item search, two items a page, that also serves files, each after `failures` failures."""

    def __init__(self, files: Path, failures: int) -> None:
        self.files, self.failures = files, failures
        self.items: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self.url = ""

    def root(self) -> dict[str, Any]:
        """The landing page."""
        conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
        links = [
            {"rel": "self", "href": self.url},
            {"rel": "root", "href": self.url},
            {"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json", "method": "POST"},
        ]
        about = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "test"}
        return {**about, "conformsTo": conforms, "links": links}

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a page of a search; only the days are looked at, as by a server that ignores what it does not know."""
        self.asked.append(body)
        first, last = (part[:10] for part in body.get("datetime", "0000-00-00/9999-99-99").split("/"))
        found = [item for item in self.items if first <= item["properties"]["datetime"][:10] <= last]
        start = int(body.get("token", 0))
        links = []
        if start + 2 < len(found):
            rest = {**body, "token": start + 2}
            links = [{"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": rest}]
        return {"type": "FeatureCollection", "features": found[start : start + 2], "links": links}


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: object) -> None:
            """Stay silent."""

        def send(self, code: int, body: bytes, **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send(200, json.dumps(api.search(body)).encode(), Content_Type="application/geo+json")

        def do_GET(self) -> None:
            if self.path in ("", "/"):
                self.send(200, json.dumps(api.root()).encode(), Content_Type="application/json")
                return
            file = api.files / self.path.lstrip("/")
            api.seen[self.path] += 1
            if api.seen[self.path] <= api.failures:
                self.send(503, b"")
            elif not file.is_file():
                self.send(404, b"")
            else:
                self.send_part(file.read_bytes())

        def send_part(self, content: bytes) -> None:
            asked = self.headers.get("Range")
            if asked is None:
                self.send(200, content, Accept_Ranges="bytes")
                return
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last or len(content) - 1), len(content) - 1)
            told = f"bytes {first}-{end}/{len(content)}"
            self.send(206, content[int(first) : end + 1], Content_Range=told, Accept_Ranges="bytes")

    return Handler


@contextmanager
def serving(files: Path, failures: int = 0) -> Iterator[Api]:
    """Serve an API and the files of a folder on a free port of this machine."""
    api = Api(files, failures)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(api)) as server:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
