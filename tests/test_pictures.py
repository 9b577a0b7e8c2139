"""Pictures: colours equal matplotlib's and plain arithmetic, masks are transparent, files are whole and can be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import LightSource, to_rgb
from PIL import Image as Pillow
from sample_images import grid, noise, odd_noise

import esd
from esd.collection import ImageCollection
from esd.colors import palette_of
from esd.errors import BandError, EsdError, ExpressionError, GridError
from esd.image import Image

BANDS = ("red", "green", "blue")


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGBA"))


def three(rows: int = 21, columns: int = 34) -> Image:
    parts = [noise(rows, columns, seed=seed).rename(band) for seed, band in enumerate(BANDS)]
    return esd.call("add_bands", *parts)


def relief(rows: int = 21, columns: int = 34) -> Image:
    y, x = np.mgrid[:rows, :columns]
    return esd.from_array((60 * np.sin(x / 4) * np.cos(y / 3)).astype(np.float32), grid(rows, columns), ("height",))


@pytest.mark.parametrize("gamma", [1.0, 1.4, (0.5, 1.0, 2.0)])
def test_visualize_stretches_each_band(gamma: float | tuple[float, ...]) -> None:
    image = three()
    found = image.visualize(BANDS, (0.1, 0.2, 0.3), 0.9, gamma).compute()
    given = image.compute()
    lows, powers = np.array([0.1, 0.2, 0.3])[:, None, None], np.broadcast_to(gamma, 3)[:, None, None]
    share = np.clip((given.values[0].astype(np.float64) - lows) / (0.9 - lows), 0, 1)
    seen = given.valid[0].all(axis=0)
    assert found.type.bands == BANDS
    assert found.values.dtype == np.uint8
    assert np.array_equal(found.valid[0], np.broadcast_to(seen, (3, *seen.shape)))
    off = np.abs(found.values[0].astype(float) - 255 * share ** (1 / powers))[:, seen]
    assert off.max() < 0.5 + 1e-4  # rounded, of numbers in float32


def test_one_band_is_grey_and_nan_is_transparent() -> None:
    image = odd_noise(12, 17)
    found = image.visualize(("a",), -1.0, 1.0).compute()
    given = image.select("a").compute()
    assert np.array_equal(found.values[:, 0], found.values[:, 2])
    assert np.array_equal(found.valid[:, 1], (given.valid & ~np.isnan(given.values))[:, 0])
    assert set(np.unique(found.values[:, 0][np.isposinf(given.values[:, 0])])) <= {0, 255}  # 0 where masked


def test_a_palette_is_run_through_in_straight_lines() -> None:
    image, colors = noise(15, 22), ("#1c5638", "gold", "ffffff")
    found, given = image.visualize((), 0.0, 1.0, palette=colors).compute(), image.compute()
    table = np.array([to_rgb(color if color[0] != "f" else f"#{color}") for color in colors]) * 255
    expected = np.stack([np.interp(given.values[0, 0], (0, 0.5, 1), table[:, place]) for place in range(3)])
    known = found.valid[0]
    assert np.array_equal(known, np.broadcast_to(given.valid[0], known.shape))
    assert np.abs(found.values[0].astype(float) - expected)[known].max() < 0.5 + 1e-4


@pytest.mark.parametrize("name", ["viridis", "RdYlGn", "tab20"])
def test_colormap_is_matplotlibs(name: str) -> None:
    image = odd_noise(13, 19).select("b")
    found, given = image.colormap(name, -1.5, 2.0).compute(), image.compute()
    seen = given.valid[:, 0] & ~np.isnan(given.values[:, 0])
    share = np.clip((np.where(seen, given.values[:, 0], 0).astype(np.float64) + 1.5) / 3.5, 0, 1)
    expected = np.moveaxis(colormaps[name](share, bytes=True)[..., :3], -1, 1)
    assert np.array_equal(found.valid, np.repeat(seen[:, None], 3, axis=1))
    assert np.array_equal(found.values[found.valid], expected[found.valid])
    assert len(palette_of(name)) == colormaps[name].N


@pytest.mark.parametrize("blend", ["soft", "overlay", "multiply"])
def test_the_relief_lights_a_picture_as_matplotlib_does(blend: str) -> None:
    dem, picture = relief(), three().visualize()
    found = picture.hillshade_blend(dem, blend, z_factor=2.0).compute()
    shade, colors = dem.hillshade(z_factor=2.0).compute(), picture.compute()
    light, rgb = ((shade.values[0, 0] - 1.0) / 254)[..., None], np.moveaxis(colors.values[0], 0, -1) / 255
    blends = {"soft": LightSource().blend_soft_light, "overlay": LightSource().blend_overlay, "multiply": np.multiply}
    expected = np.moveaxis(blends[blend](rgb, light), -1, 0) * 255
    assert np.array_equal(found.valid[0], colors.valid[0] & shade.valid[0])
    assert np.abs(found.values[0] - expected)[found.valid[0]].max() < 0.5 + 1e-3


def test_any_tiling_gives_the_same_picture() -> None:
    image, dem = three(70, 90), relief(70, 90)
    for made in (
        image.visualize(BANDS, 0.1, 0.8, 1.3).hillshade_blend(dem),
        image.select("red").visualize(palette=("navy", "white", "maroon")),
        image.select("red").colormap("magma"),
    ):
        whole = made.compute()
        for tile in (16, 37):
            cut = made.compute(tile=tile)
            assert np.array_equal(cut.values, whole.values)
            assert np.array_equal(cut.valid, whole.valid)


def test_what_cannot_be_painted_is_refused() -> None:
    image, dem = three(), relief()
    for make, error in (
        (lambda: image.visualize(("red", "green")), BandError),
        (lambda: image.visualize(min=1.0, max=1.0), ExpressionError),
        (lambda: image.visualize(min=(0.1, 0.2)), ExpressionError),
        (lambda: image.visualize(palette=("red", "blue")), ExpressionError),
        (lambda: image.visualize(("red",), palette=("red", "no colour")), ExpressionError),
        (lambda: image.visualize(gamma=0.0), ExpressionError),
        (lambda: image.colormap(), BandError),
        (lambda: image.select("red").colormap("no map"), ExpressionError),
        (lambda: image.hillshade_blend(dem), ExpressionError),
        (lambda: image.visualize().hillshade_blend(dem, "hard"), ExpressionError),
    ):
        with pytest.raises(error) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_a_thumbnail_is_the_picture_on_the_grid_of_its_size(tmp_path: Path) -> None:
    image = three(21, 34).visualize()
    data = image.thumbnail(34, path=tmp_path / "deep" / "a.png")
    assert (tmp_path / "deep" / "a.png").read_bytes() == data
    found, raster = pixels_of(data), image.compute()
    assert np.array_equal(found[..., 3] > 0, raster.valid[0, 0])
    assert np.array_equal(found[..., :3], np.moveaxis(np.where(raster.valid[0], raster.values[0], 0), 0, -1))
    assert pixels_of(image.thumbnail(68)).shape == (42, 68, 4)
    assert np.array_equal(pixels_of(image.thumbnail(68)), found.repeat(2, axis=0).repeat(2, axis=1))
    assert pixels_of(image.thumbnail((10, 40))).shape == (40, 10, 4)


def test_a_thumbnail_of_a_region_is_cut_out() -> None:
    image = noise(20, 30).visualize()
    west, south, east, north = image.bounds()
    half = pixels_of(image.thumbnail(20, region=(west, south, (west + east) / 2, north)))
    assert abs(half.shape[1] - 15) <= 1
    assert np.array_equal(half, pixels_of(image.thumbnail((30, 20)))[:, : half.shape[1]])
    for region in ((0, 0, 1, 1), (east, south, west, north)):
        with pytest.raises(GridError):
            image.thumbnail(10, region=region)
    for dimensions in (0, 5000, (10,), (10, 0)):
        with pytest.raises(GridError):
            image.thumbnail(dimensions)
    with pytest.raises(ExpressionError):
        odd_noise(5, 5).select("a").thumbnail()
    with pytest.raises(BandError):
        three().select("red", "green").thumbnail()


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_a_film_has_a_frame_for_each_time_and_the_same_colours_in_all(suffix: str, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 4 * 8 * 9, dtype=np.float32).reshape(4, 1, 8, 9)
    valid = np.ones(values.shape, dtype=bool)
    valid[:, :, 0, 0] = False
    times = [f"2004-0{month}-01" for month in range(1, 5)]
    images = [esd.from_array(values[i : i + 2], grid(8, 9), ("x",), times[i : i + 2], valid[i : i + 2]) for i in (0, 2)]
    path = ImageCollection.from_images(images).animate(tmp_path / f"film{suffix}", 9, fps=4)
    film = Pillow.open(io.BytesIO(path.read_bytes()))
    assert film.n_frames == 4
    assert film.info["duration"] == 250
    low, high = np.percentile(values[valid], (2, 98))
    for frame in range(4):
        film.seek(frame)
        pixels = np.asarray(film.convert("RGBA")).astype(int)
        expected = colormaps["viridis"](np.clip((values[frame, 0] - low) / (high - low), 0, 1), bytes=True).astype(int)
        assert pixels[0, 0, 3] == 0
        off = np.abs(pixels - expected)[valid[frame, 0]]
        assert off.max() <= (24 if suffix == ".gif" else 0)  # a GIF's frame has 256 colours of its own
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_films_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    one, other = noise(5, 6), noise(6, 5)
    for images, name, fps in (([one], "a.mp4", 2), ([one], "a.gif", 0), ([one, other], "a.gif", 2)):
        with pytest.raises(EsdError):
            ImageCollection.from_images(images).animate(tmp_path / name, (5, 5) if fps != 2 else 6, fps=fps)
    assert not list(tmp_path.iterdir())
