"""Held-out groups stay out, hidden observations stay hidden, varied pixels stay real."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from esd.encoder.sampling import (
    Augmentation,
    Hiding,
    Sampling,
    Source,
    calibration_pixels,
    class_names,
    draw_batch,
    held_out,
    hide,
    hide_dekads,
    split,
    vary,
)
from esd.encoder.sources import chip_source, collection2_source, table_source
from esd.errors import EncoderError, TableError


def source(pixels: int = 60, groups: int = 12, seed: int = 0, share: float = 1.0) -> Source:
    rng = np.random.default_rng(seed)
    weights = np.broadcast_to(rng.random((36, 1, pixels)) < 0.5, (36, 6, pixels)).astype(np.uint8)
    values = np.where(weights > 0, rng.uniform(0.1, 0.4, weights.shape), 0).astype(np.float32)
    return Source("random", values, weights, np.arange(pixels) % groups, share)


def test_groups_are_held_out_whole_and_every_group_once() -> None:
    groups = source().groups
    masks = [held_out(groups, 5, fold) for fold in range(5)]
    assert (np.sum(masks, axis=0) == 1).all()
    for mask in masks:
        assert not set(groups[mask].tolist()) & set(groups[~mask].tolist())


def test_holding_out_depends_on_the_names_of_groups_alone() -> None:
    groups = np.array(["a", "b", "c", "d", "e"])
    shuffled = np.array(["d", "a", "e", "b", "b", "c"])
    assert set(groups[held_out(groups)]) == set(shuffled[held_out(shuffled)])


def test_a_source_of_one_group_cannot_be_split() -> None:
    with pytest.raises(EncoderError, match="1 groups"):
        split(source(groups=1))


def test_what_is_hidden_was_observed_and_something_stays() -> None:
    weights = source(400).weights
    weights[:, :, 0] = 0
    weights[3, :, 0] = 2
    for seed in range(5):
        shown = hide(weights, Hiding(0.9, 0.9, 0.9, 0.5, 0.5), np.random.default_rng(seed))
        assert ((shown == 0) | (shown == weights)).all()
        assert (shown > 0).any(axis=(0, 1)).all()
        assert (shown > 0).sum() < 0.7 * (weights > 0).sum()


def test_nothing_is_hidden_where_no_pattern_is_asked_for() -> None:
    weights = source().weights
    np.testing.assert_array_equal(hide(weights, Hiding(0, 0.5, 0, 0, 0), np.random.default_rng(0)), weights)


def test_evaluation_hides_whole_dekads_and_keeps_one() -> None:
    weights = source(200).weights
    weights[:, :, 0] = 0
    weights[7, :, 0] = 1
    shown = hide_dekads(weights, 0.5, seed=1)
    seen, left = (weights > 0).any(axis=1), (shown > 0).any(axis=1)
    assert left.any(axis=0).all()
    np.testing.assert_array_equal(left.sum(axis=0)[1:], seen.sum(axis=0)[1:] - np.rint(seen.sum(axis=0)[1:] / 2))
    np.testing.assert_array_equal(shown, np.where(left[:, None], weights, 0))


def test_varied_pixels_without_gain_are_mixtures_at_another_phase() -> None:
    pixels = source(200)
    pixels.weights[:] = 1
    pixels.values[:] = np.random.default_rng(2).uniform(0.1, 0.4, pixels.values.shape)
    values, weights, _blended = vary(
        pixels.values, pixels.weights, Augmentation(1.0, 0.5, 0.0, 0.0), np.random.default_rng(3)
    )
    assert (weights == 1).all()
    assert values.min() >= pixels.values.min()
    assert values.max() <= pixels.values.max()
    same = np.isclose(np.sort(values, axis=0), np.sort(pixels.values, axis=0)).all(axis=(0, 1))
    assert 0.3 < same.mean() < 0.7


def test_a_batch_holds_every_source_by_its_share_and_is_drawn_from_the_seed() -> None:
    low, high = source(share=1.0), source(seed=1, share=3.0)
    low.values[:] = np.where(low.weights > 0, 0.01, 0)
    sampling = Sampling(batch=80, augmentation=Augmentation(0, 0, 0, 0))
    first = draw_batch([low, high], sampling, np.random.default_rng((0, 7)))
    again = draw_batch([low, high], sampling, np.random.default_rng((0, 7)))
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.shown, again.shown)
    assert (first.values.max(axis=(0, 1)) < 0.05).sum() == 20


def test_a_table_gives_a_pixel_year_for_every_sample_and_window(tmp_path: Path) -> None:
    dates = pd.to_datetime(["2018-01-03", "2018-01-07", "2018-02-15", "2019-01-01", "2018-03-01"])
    table = pd.DataFrame(
        {
            "sample_id": ["a", "a", "a", "a", "b"],
            "longitude": [-59.5, -59.5, -59.5, -59.5, 3.2],
            "latitude": [-13.4, -13.4, -13.4, -13.4, 40.9],
            "date": dates,
            "red": [0.1, 0.3, np.nan, 0.5, 0.6],
            "nir": [0.2, 0.2, 0.4, 0.4, 0.4],
        }
    )
    table.to_parquet(tmp_path / "pixels.parquet")
    found = table_source(tmp_path / "pixels.parquet", "pixels", 1.0)
    assert found.size == 3
    assert found.groups.tolist() == ["-60,-14", "-60,-14", "3,40"]
    np.testing.assert_allclose(found.values[0, 2, 0], 0.2, rtol=1e-6)
    assert found.weights[0, 2, 0] == 2
    assert found.weights[4, 2, 0] == 0
    assert found.weights[4, 3, 0] == 1
    assert found.weights[0, 2, 1] == 1
    assert (found.weights[:, 0] == 0).all()


def test_a_table_without_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pd.DataFrame({"sample_id": ["a"], "date": [pd.Timestamp(0)], "red": [0.1]}).to_parquet(path)
    with pytest.raises(TableError, match="no longitude and latitude"):
        table_source(path, "p", 1.0)
    with pytest.raises(TableError, match="lacks the column 'site_id'"):
        collection2_source(path, "p", 1.0)


def test_a_chip_is_held_out_in_blocks_over_all_years() -> None:
    weights = np.ones((36, 6, 2, 64, 64), np.uint8)
    weights[..., 1, 0, 0] = 0
    chip = chip_source(np.zeros(weights.shape, np.float32), weights, "chip", 1.0)
    assert chip.size == 2 * 64 * 64 - 1
    assert sorted(set(chip.groups.tolist())) == ["0,0", "0,1", "1,0", "1,1"]


def test_raw_collection_2_pixels_are_scaled_masked_and_renumbered(tmp_path: Path) -> None:
    clear, cloud = 1 << 6, 1 << 3
    number = lambda reflectance: round((reflectance + 0.2) / 2.75e-5)  # noqa: E731 - the formula beside its inverse
    rows = [("LANDSAT_5", clear, 0.1), ("LANDSAT_8", clear, 0.2), ("LANDSAT_8", cloud, 0.9), ("LANDSAT_8", clear, -0.2)]
    table = pd.DataFrame(
        {
            "site_id": "s",
            "date": pd.to_datetime(["2014-06-01", "2014-07-01", "2014-08-01", "2014-09-01"]),
            "spacecraft": [row[0] for row in rows],
            "QA_PIXEL": [row[1] for row in rows],
            **{f"SR_B{band}": [number(row[2] + band / 100) for row in rows] for band in range(1, 8)},
        }
    )
    table.to_parquet(tmp_path / "raw.parquet")
    found = collection2_source(tmp_path / "raw.parquet", "raw", 1.0)
    np.testing.assert_allclose(found.values[15, :, 0], 0.1 + np.array([1, 2, 3, 4, 5, 7]) / 100, atol=2e-5)
    np.testing.assert_allclose(found.values[18, :, 0], 0.2 + np.array([2, 3, 4, 5, 6, 7]) / 100, atol=2e-5)
    assert (found.weights[21] == 0).all()
    assert (found.weights[24] == 0).all()


def test_overlooked_clouds_lie_on_one_or_two_neighbouring_dekads() -> None:
    pixels = source(200)
    pixels.weights[:] = 1
    pixels.values[:] = 0.2
    values, _weights, _blended = vary(
        pixels.values, pixels.weights, Augmentation(0.0, 0.0, 1.0, 0.0), np.random.default_rng(5)
    )
    changed = np.abs(values - 0.2).max(axis=1) > 1e-6
    assert (changed.sum(axis=0) <= 2).all()
    assert changed.any(axis=0).mean() > 0.95
    twice = changed[:, changed.sum(axis=0) == 2]
    assert (twice & np.roll(twice, 1, axis=0)).any(axis=0).all()
    assert (values > 0.2).any()
    assert (values < 0.2).any()


def test_a_spike_is_of_one_band_and_half_as_bright_where_it_lasts() -> None:
    pixels = source(400)
    pixels.weights[:] = 1
    pixels.values[:] = 0.25
    how = Augmentation(shift=0.0, blend=0.0, clouds=0.0, gain=0.0, spikes=0.5)
    values, _weights, _blended = vary(pixels.values, pixels.weights, how, np.random.default_rng(6))
    risen = (values - np.float32(0.25)) > 1e-6
    assert (risen.any(axis=0).sum(axis=0) <= 1).all()
    assert 0.4 < risen.any(axis=(0, 1)).mean() < 0.6
    sizes = np.sort((values - np.float32(0.25)).max(axis=1), axis=0)[::-1]
    assert (sizes[0][risen.any(axis=(0, 1))] >= 0.25).all()
    lasting = risen.sum(axis=(0, 1)) == 2
    assert 0.3 < lasting.sum() / risen.any(axis=(0, 1)).sum() < 0.7
    np.testing.assert_allclose(sizes[1][lasting], sizes[0][lasting] / 2, rtol=1e-5)


@pytest.mark.parametrize("even", ["class", "place"])
def test_rare_classes_and_small_places_are_drawn_as_often_as_others(even: str) -> None:
    rare = np.where(np.arange(1000) < 10, "ice", np.where(np.arange(1000) < 200, "water", "forest"))
    pixels = source(1000)
    given = dataclasses.replace(pixels, groups=rare, labels=rare, even=even)
    drawn = given.draw(6000, np.random.default_rng(3))
    shares = np.unique(rare[drawn], return_counts=True)[1] / 6000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    of_ice = np.bincount(drawn[rare[drawn] == "ice"], minlength=10)
    assert of_ice.min() > 150  # each of the ten about 200 times
    kept = given.take(np.arange(500))
    assert kept.even == even
    assert set(kept.draw(100, np.random.default_rng(0))) <= set(range(500))


def test_every_pixel_is_drawn_alike_unless_asked_otherwise() -> None:
    given = source(50)
    np.testing.assert_array_equal(given.draw(20, np.random.default_rng(1)), np.random.default_rng(1).integers(0, 50, 20))
    with pytest.raises(EncoderError, match="has no labels to draw its classes evenly"):
        dataclasses.replace(given, even="class")
    with pytest.raises(EncoderError, match="even is 'biome'; use 'class', 'place' or nothing"):
        dataclasses.replace(given, even="biome")


def test_mixed_pixels_teach_no_class() -> None:
    labelled = source(300)
    labelled.weights[:] = 1
    labels = np.array(["forest", "water"])[np.arange(300) % 2]
    given = Source(labelled.name, labelled.values, labelled.weights, labelled.groups, 1.0, labels)
    names = class_names([given, labelled])
    assert names == ("forest", "water")
    plain = draw_batch(
        [given, labelled], Sampling(100, classes=names, augmentation=Augmentation(0, 0, 0, 0)), np.random.default_rng(1)
    )
    assert set(plain.classes[:50]) == {0, 1}
    assert (plain.classes[50:] == -1).all()
    mixed = draw_batch(
        [given], Sampling(100, classes=names, augmentation=Augmentation(0, 1.0, 0, 0)), np.random.default_rng(1)
    )
    assert (mixed.classes == -1).all()


def test_calibration_takes_whole_groups_and_spares_small_sources() -> None:
    pixels = source(320)
    many = Source("many", pixels.values, pixels.weights, np.arange(320) % 32)
    chosen = calibration_pixels(many)
    groups = set(many.groups[chosen])
    assert 0 < len(groups) <= 2
    assert not groups & set(many.groups[~chosen])
    few = Source("few", pixels.values, pixels.weights, np.arange(320) % 6)
    assert not calibration_pixels(few).any()
