import io

import numpy as np
import pytest
from cohort_pictures import paint
from PIL import Image

from medfm.cohorts.checks.near import Print, _bit_count, fingerprint, near_pairs, turned


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def is_pair(a: np.ndarray, b: np.ndarray) -> bool:
    return near_pairs([fingerprint(a)], [fingerprint(b)]) == [(0, 0)]


PICTURE = paint(1, 90, 90)


@pytest.mark.parametrize("quality", [95, 60, 35])
def test_a_picture_saved_again_is_found(quality: int) -> None:
    assert is_pair(PICTURE, jpeg(PICTURE, quality))


@pytest.mark.parametrize("side", [40, 75, 224])
def test_a_resized_picture_is_found(side: int) -> None:
    assert is_pair(PICTURE, resized(PICTURE, side, side))


@pytest.mark.parametrize("k", range(8))
def test_every_mirrored_or_turned_copy_is_found(k: int) -> None:
    assert is_pair(PICTURE, jpeg(np.ascontiguousarray(turned(PICTURE, k)), 80))
    assert is_pair(np.ascontiguousarray(np.rot90(PICTURE, k % 4)), PICTURE)


@pytest.mark.parametrize("k", range(8))
def test_hashes_of_turned_pictures_are_those_computed_from_one_transform(k: int) -> None:
    square = resized(PICTURE, 64, 64)
    direct = fingerprint(np.ascontiguousarray(turned(square, k))).hashes[0]
    assert int(_bit_count(np.array([direct ^ fingerprint(square).hashes[k]]))[0]) <= 2


def test_different_pictures_are_no_pairs() -> None:
    prints = [fingerprint(paint(seed)) for seed in range(60)]
    assert near_pairs(prints[:20], prints[20:]) == []


def test_equal_shapes_in_other_colours_are_no_pair() -> None:
    assert not is_pair(PICTURE, np.ascontiguousarray(PICTURE[..., ::-1]))


def test_pairs_are_indexed_from_both_sides_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfm.cohorts.checks.near._PAIRS_AT_ONCE", 50)
    left = [fingerprint(paint(seed, 96, 96)) for seed in range(12)]
    right = [fingerprint(jpeg(paint(seed, 96, 96), 90)) for seed in range(30, 2, -1)]
    expected = [(i, 30 - i) for i in range(3, 12)]
    assert near_pairs(left, right) == expected
    assert near_pairs(right, left) == sorted((j, i) for i, j in expected)


def test_nothing_to_compare() -> None:
    assert near_pairs([], [fingerprint(PICTURE)]) == near_pairs([fingerprint(PICTURE)], []) == []


def test_twenty_thousand_prints_are_searched_exactly() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 20_000, dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (20_000, 16, 16, 3)).astype(np.uint8)
    left = [Print(np.repeat(hashes[i], 8), thumbnails[i]) for i in range(2_000)]
    right = [Print(np.repeat(hashes[i], 8), thumbnails[i]) for i in range(1_990, 20_000)]
    assert near_pairs(left, right) == [(1_990 + i, i) for i in range(10)]


def test_counting_bits() -> None:
    values = np.array([0, 1, 2**63 + 1, 2**64 - 1], dtype=np.uint64)
    assert _bit_count(values).tolist() == [0, 1, 2, 64]
