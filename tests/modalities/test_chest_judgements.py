"""What is judged at a glance: the bits, and that they agree with the long look of a full check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.modalities.chest_judgements import ODD_HEADERS, Glance, glance, inverted, not_a_chest, other_way_up
from medfm.modalities.chest_quality import at_a_glance, drawn, measure
from medfm.modalities.chest_xray import ChestXray
from medfm.modalities.record import Record

DRAWN = np.kron((drawn() - drawn().min()) / np.ptp(drawn()), np.ones((8, 8))).astype(np.float32)
FRONTAL = {"view": "PA", "plane": "frontal"}


def test_a_drawn_radiograph_is_worth_no_warning() -> None:
    assert glance(DRAWN, FRONTAL) == Glance.SEEN | Glance.PA
    assert glance(DRAWN, {**FRONTAL, "view": "AP"}) == Glance.SEEN | Glance.AP
    assert glance(DRAWN, {}) == Glance.SEEN


@pytest.mark.parametrize(
    ("picture", "mark"),
    [(1 - DRAWN, Glance.NEGATIVE), (DRAWN[::-1], Glance.NOT_UPRIGHT), (np.rot90(DRAWN), Glance.NOT_UPRIGHT)],
    ids=["negative", "upside down", "turned"],
)
def test_faults_of_the_picture(picture: np.ndarray, mark: Glance) -> None:
    found = glance(np.ascontiguousarray(picture), FRONTAL)
    assert found == Glance.SEEN | Glance.PA | mark
    # A crop and a lateral view are not compared with a whole frontal radiograph.
    assert glance(picture, {**FRONTAL, "crop": [0, 0, 9, 9]}) == Glance.SEEN | Glance.PA
    assert glance(picture, {"view": "LL"}) == Glance.SEEN | Glance.LATERAL


@pytest.mark.parametrize(
    ("facts", "mark"),
    [
        ({"plane": "lateral"}, Glance.LATERAL),
        ({"view": "RL", "plane": "lateral"}, Glance.LATERAL),
        ({"kind": "DX for processing"}, Glance.RAW),
        ({"above_bits_stored": 0.01}, Glance.ABOVE_BITS),
        ({"notes": ["presentation is INVERSE although the picture is MONOCHROME2; turned over once"]}, Glance.TWO_POLARITIES),
        ({"burned_in": True}, Glance.WRITTEN),
        ({"burned_in": False}, Glance(0)),
        ({"patient_orientation": ["R", "F"]}, Glance.NOT_UPRIGHT),
        ({"patient_orientation": ["L", "F"]}, Glance(0)),
    ],
)  # fmt: skip
def test_faults_of_the_header(facts: dict[str, Any], mark: Glance) -> None:
    assert glance(DRAWN, facts) == Glance.SEEN | mark


def test_noise_and_a_constant_are_no_chest() -> None:
    noise = np.random.default_rng(0).random((300, 260)).astype(np.float32)
    for picture in (noise, np.zeros((64, 64), np.float32)):
        assert Glance.STRANGE in glance(picture, FRONTAL)


def test_every_odd_header_has_its_words_and_bits_fit_the_store() -> None:
    assert len(set(ODD_HEADERS.values())) == 3
    assert max(int(mark) for mark in Glance) < 2**16
    assert Glance.SEEN == 1, "0 means that nobody looked"


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (1500, 1500), (513, 40)])
def test_any_size(shape: tuple[int, int]) -> None:
    assert Glance.SEEN in glance(np.ones(shape, np.float32), {})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), turned=st.integers(0, 3), negative=st.booleans())
def test_small_pictures_are_judged_as_by_the_long_look(seed: int, turned: int, negative: bool) -> None:
    noise = np.random.default_rng(seed).random(DRAWN.shape).astype(np.float32)
    picture = np.rot90(0.6 * DRAWN + 0.4 * noise, turned)
    picture = np.ascontiguousarray(1 - picture if negative else picture)
    long, found = measure(picture, FRONTAL), glance(picture, FRONTAL)
    assert (Glance.NEGATIVE in found) == inverted(long)
    assert (Glance.NOT_UPRIGHT in found) == (other_way_up(long) is not None)
    assert (Glance.STRANGE in found) == not_a_chest(long)
    short = at_a_glance(picture, FRONTAL)
    assert (short.likeness, short.upside_down, short.turned) == (long.likeness, long.upside_down, long.turned)


def test_large_pictures_are_sampled_to_the_same_end() -> None:
    large = np.kron(DRAWN, np.ones((6, 6), np.float32))  # 1536 pixels: every third is looked at
    noisy = np.clip(large + np.random.default_rng(1).normal(0, 0.05, large.shape), 0, 1).astype(np.float32)
    assert glance(noisy, FRONTAL) == glance(DRAWN, FRONTAL)
    assert glance(1 - noisy, FRONTAL) == glance(1 - DRAWN, FRONTAL)


def test_the_modality_offers_it() -> None:
    record = Record("r", "chest_xray", 1 - DRAWN, FRONTAL)
    assert ChestXray().glance(record) == int(Glance.SEEN | Glance.PA | Glance.NEGATIVE)
    assert type(ChestXray().glance(record)) is int
