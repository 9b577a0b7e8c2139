"""The fixture that makes the small world of the command line's tests; modules name it as a pytest plugin."""

from __future__ import annotations

import json

import pytest
from cli_world import World, esd

from esd.codec import Codec


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> World:
    folder = tmp_path_factory.mktemp("world")
    weights = folder / "random.safetensors"
    weights.write_bytes(codec.data)
    years = ("--years", "2004/2005", "--products", "landsat", "--revisit-days", 32)
    assert esd("simulate", folder / "scenes", "--size", 64, *years).code == 0
    cube = folder / "world.esd.zarr"
    assert esd("ingest", folder / "scenes" / "landsat", "--out", cube, "--encoder", weights).code == 0
    truth = folder / "scenes" / "truth"
    samples = truth / "samples.geojson"
    longitude, latitude = json.loads(samples.read_text())["features"][0]["geometry"]["coordinates"]
    return World(folder / "scenes" / "landsat", truth, cube, weights, samples, f"{longitude},{latitude}")
