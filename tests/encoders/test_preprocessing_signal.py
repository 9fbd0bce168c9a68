"""Preprocessing of signals: leads by name, rates, length, gaps, scaling; and that pictures did not change."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_signal import CANONICAL_LEADS
from medfm.encoders.preprocessing_signal_steps import Resample
from medfm.encoders.preprocessing_steps import STEPS, check_order
from medfm.encoders.registry import get_card
from medfm.modalities.record import Record

MIMIC = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
CROP, PAD = {"step": "crop_samples", "samples": 400}, {"step": "pad_samples", "samples": 400}
LEADS = {"step": "lead_order", "leads": MIMIC}
SCALE = {"step": "min_max", "epsilon": 1e-8}
RATE = {"step": "resample", "hz": 500}
REPAIR = {"step": "repair_missing", "max_share": 0.25}
USUAL = [REPAIR, RATE, CROP, PAD, SCALE, LEADS]


def record(samples: int = 400, hz: float = 500, seed: int = 0, **facts: object) -> Record:
    values = np.random.default_rng(seed).standard_normal((12, samples)).astype(np.float32)
    return Record("r-1", "ecg", values, {"sampling_hz": hz, **facts})


def sine(hz: float, seconds: float, frequency: float) -> Record:
    at = np.arange(round(hz * seconds)) / hz
    wave = np.sin(2 * np.pi * frequency * at + np.arange(12)[:, None]).astype(np.float32)
    return Record("sine", "ecg", wave, {"sampling_hz": hz})


def test_leads_are_ordered_by_name():
    plain = Preprocessing([CROP, PAD, LEADS])
    original = record()
    out = plain.array(original)
    for row, lead in enumerate(MIMIC):
        assert np.array_equal(out[row], original.array[CANONICAL_LEADS.index(lead)])
    assert np.array_equal(out[4], original.array[5]) and np.array_equal(out[5], original.array[4])


@given(st.permutations(range(12)))
@settings(max_examples=30, deadline=None)
def test_the_order_in_the_record_does_not_matter(order):
    original = record()
    shuffled = Record(
        "r-1", "ecg", original.array[order], {"sampling_hz": 500, "leads": [CANONICAL_LEADS[i].upper() for i in order]}
    )
    steps = Preprocessing(USUAL)
    assert np.array_equal(steps.array(shuffled), steps.array(original))


def test_missing_and_unnamed_leads_are_errors():
    steps = Preprocessing(USUAL)
    eight = Record("r", "ecg", record().array[:8], {"sampling_hz": 500, "leads": CANONICAL_LEADS[:8]})
    with pytest.raises(ReadError, match="lacks the leads V3, V4, V5, V6"):
        steps(eight)
    with pytest.raises(ReadError, match="8 rows but 12 lead names"):
        steps(Record("r", "ecg", record().array[:8], {"sampling_hz": 500}))
    fifteen = np.concatenate([record().array, record(seed=1).array[:3]])
    names = [*CANONICAL_LEADS, "V7", "V8", "V9"]
    assert steps(Record("r", "ecg", fifteen, {"sampling_hz": 500, "leads": names})).shape == (12, 400)


@pytest.mark.parametrize("samples", [1, 150, 399, 400, 401, 7300])
def test_every_length_becomes_the_same(samples):
    out = Preprocessing([CROP, PAD, LEADS]).array(record(samples))
    assert out.shape == (12, 400) and out.dtype == np.float32 and out.flags.c_contiguous
    kept = min(samples, 400)
    assert np.array_equal(out[:4, :kept], record(samples).array[:4, :kept])
    assert not out[:, kept:].any()


def test_min_max_over_the_whole_array():
    out = Preprocessing([CROP, PAD, SCALE, LEADS]).array(record())
    assert out.min() == 0 and out.max() == pytest.approx(1, abs=1e-6)
    alone = [out[lead].max() for lead in range(12)]
    assert min(alone) < 0.999  # not lead by lead
    scaled = record()
    scaled = Record("r", "ecg", scaled.array * 1000 + 5, scaled.facts)
    assert np.allclose(Preprocessing([CROP, PAD, SCALE, LEADS]).array(scaled), out, atol=1e-5)


def test_padding_before_scaling_gives_the_value_of_zero_millivolt():
    """As CPSC2018 was prepared: the second half is a constant above zero."""
    steps = Preprocessing([{"step": "crop_samples", "samples": 200}, PAD, SCALE, LEADS])
    kept = record().array[:, :200]
    out = steps.array(record())
    low, high = float(kept.min()), float(kept.max())
    assert np.allclose(out[:, 200:], -low / (high - low), atol=1e-6)


def test_a_constant_record_is_refused():
    flat = Record("flat-3", "ecg", np.full((12, 400), 0.25, np.float32), {"sampling_hz": 500})
    with pytest.raises(ReadError, match="constant") as error:
        Preprocessing(USUAL)(flat)
    assert "flat-3" in str(error.value)
    one_flat = record()
    one_flat.array[3] = 0
    assert np.isfinite(Preprocessing(USUAL).array(one_flat)).all()


@pytest.mark.parametrize("hz", [100, 128, 250, 257, 360, 1000])
def test_other_rates_give_the_same_wave(hz):
    wanted = Preprocessing([RATE, {**CROP, "samples": 1000}, {**PAD, "samples": 1000}, LEADS])
    ours, expected = wanted.array(sine(hz, 2, 5)), wanted.array(sine(500, 2, 5))
    assert ours.shape == (12, 1000)
    middle = slice(100, 900)
    assert np.abs(ours[:, middle] - expected[:, middle]).max() < 0.02


def test_what_the_new_rate_cannot_hold_is_filtered_out():
    wanted = Preprocessing([{"step": "resample", "hz": 100}, {**CROP, "samples": 200}, {**PAD, "samples": 200}, LEADS])
    out = wanted.array(sine(1000, 2, 170))  # would alias to 30 Hz
    assert np.abs(out[:, 20:180]).max() < 0.05


def test_the_same_rate_is_left_alone_bit_for_bit():
    assert np.array_equal(Preprocessing([RATE, CROP, PAD, LEADS]).array(record())[0], record().array[0])
    assert np.array_equal(
        Preprocessing([RATE, CROP, PAD, LEADS]).array(record(hz=500.0)),
        Preprocessing([CROP, PAD, LEADS]).array(record()),
    )


def test_an_offset_does_not_ring_at_the_ends():
    far = Record("r", "ecg", np.full((12, 200), 8, np.float32), {"sampling_hz": 250})
    out = Preprocessing([RATE, CROP, PAD, LEADS]).array(far)
    assert np.abs(out - 8).max() < 0.02


@pytest.mark.parametrize("facts", [{}, {"sampling_hz": None}, {"sampling_hz": 0}, {"sampling_hz": "500"}])
def test_an_unknown_rate_is_an_error(facts):
    with pytest.raises(ReadError, match="sampling rate"):
        Preprocessing(USUAL)(Record("r", "ecg", record().array, facts))


def test_gaps_are_joined_by_straight_lines():
    values = np.tile(np.arange(400, dtype=np.float32), (12, 1))
    gappy = values.copy()
    gappy[2, 100:150] = np.nan
    gappy[5, :20] = np.nan
    gappy[7, 390:] = np.nan
    item = Record("r", "ecg", gappy, {"sampling_hz": 500, "leads": MIMIC})
    before = gappy.copy()
    out = Preprocessing([REPAIR, CROP, PAD, LEADS]).array(item)
    assert np.array_equal(gappy, before, equal_nan=True)
    assert np.allclose(out[2], values[2]) and np.allclose(out[5, :20], 20) and np.allclose(out[7, 390:], 389)
    assert np.array_equal(out[0], values[0])


def test_too_much_missing_names_the_lead():
    gappy = record()
    gappy.array[5, :101] = np.nan
    with pytest.raises(ReadError, match="Lead aVF lacks 25% of its samples"):
        Preprocessing(USUAL)(gappy)
    gappy.array[5] = np.nan
    with pytest.raises(ReadError, match="Lead aVF lacks 100%"):
        Preprocessing(USUAL)(gappy)


def test_without_a_repair_step_a_gap_is_an_error():
    gappy = record()
    gappy.array[0, 0] = np.nan
    with pytest.raises(ReadError, match="missing samples"):
        Preprocessing([CROP, PAD, LEADS])(gappy)
    gappy.array[0, 0] = np.inf
    with pytest.raises(ReadError, match="infinite"):
        Preprocessing(USUAL)(gappy)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((12, 0), np.float32),
        np.zeros(400, np.float32),
        np.zeros((12, 400), np.int16),
        np.zeros((1, 12, 400), np.float32),
    ],
    ids=lambda a: f"{a.shape}{a.dtype}",
)
def test_arrays_of_another_kind_are_refused(bad):
    with pytest.raises(ReadError, match="cannot be preprocessed") as error:
        Preprocessing(USUAL)(Record("r-9", "ecg", bad, {"sampling_hz": 500}))
    assert "r-9" in str(error.value)
    with pytest.raises(ReadError, match="bare array"):
        Preprocessing(USUAL)(bad)


def test_quantise_cuts_down():
    out = Preprocessing([CROP, PAD, SCALE, {"step": "quantise", "levels": 10}, LEADS]).array(record())
    fine = Preprocessing([CROP, PAD, SCALE, LEADS]).array(record())
    assert np.allclose(out, np.floor(fine.astype(np.float64) * 10) / 10, atol=1e-6)


def test_digest_copy_pickle_shape_and_writing_into_a_batch():
    steps = Preprocessing(USUAL)
    assert steps.shape == (12, 400)
    for twin in (pickle.loads(pickle.dumps(steps)), copy.deepcopy(steps), Preprocessing(steps.to_list())):
        assert twin == steps and hash(twin) == hash(steps)
        assert torch.equal(twin(record()), steps(record()))
    assert Preprocessing([RATE, CROP, PAD, SCALE, LEADS]) != steps
    batch = np.zeros((2, 12, 400), np.float32)
    steps.array(record(), out=batch[1])
    assert np.array_equal(batch[1], steps.array(record())) and not batch[0].any()
    with pytest.raises(ReadError, match="does not fit"):
        steps.array(record(), out=np.zeros((12, 399), np.float32))


def test_the_record_is_not_changed_and_the_result_is_its_own():
    item = record()
    item.array.flags.writeable = False
    before = item.array.copy()
    out = Preprocessing([CROP, PAD, {"step": "lead_order", "leads": list(CANONICAL_LEADS)}])(item)
    out.zero_()
    assert np.array_equal(item.array, before)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([CROP, PAD], "must hold lead_order"),
        ([LEADS], "must hold crop_samples, pad_samples"),
        ([PAD, CROP, LEADS], "come in the order"),
        ([CROP, CROP, PAD, LEADS], "at most once"),
        ([LEADS, CROP, PAD], "come in the order"),
        ([{"step": "to_rgb"}, *USUAL], "cannot be mixed: to_rgb"),
        ([*USUAL, {"step": "to_unit_range"}], "cannot be mixed: to_unit_range"),
    ],
)
def test_orders_without_a_meaning(order, message):
    with pytest.raises(ValueError, match=message):
        check_order(STEPS.validate_python(order))


@pytest.mark.parametrize(
    "step",
    [
        {"step": "lead_order", "leads": []},
        {"step": "lead_order", "leads": ["I", "i"]},
        {"step": "resample", "hz": 0},
        {"step": "crop_samples", "samples": 0},
        {"step": "repair_missing", "method": "zero"},
        {"step": "repair_missing", "max_share": 1},
        {"step": "min_max", "epsilon": -1},
    ],
)
def test_wrong_steps_are_refused(step):
    with pytest.raises(ValidationError):
        STEPS.validate_python([step])


def test_steps_become_models():
    assert isinstance(STEPS.validate_python([RATE])[0], Resample)


# Digests of the shipped picture cards from before signals existed: embeddings already stored stay valid.
DIGESTS = {
    "color-histogram": "ee5db795c2aaf114fd09e0f3ca81ece3b1f419f6295c1514d5a9e9d0286c78e1",
    "dinov2-tiny": "779fcef02dbbd5b6af3c56a1b142b577d2594ed3066af37971f401e5508953cf",
} | dict.fromkeys(
    ["dinobloom-s", "dinobloom-b", "dinobloom-l", "dinobloom-g", "reddino-small", "reddino-base", "reddino-large"],
    "2a9dc4e17a4d398b6d8e9ad210e0d5c2ab6bdc6dd07c6110222cd10339909824",
)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_digests_of_older_cards_have_not_changed(name):
    assert Preprocessing(get_card(name).spec.preprocessing).digest == DIGESTS[name]


def test_fingerprints_of_older_encoders_have_not_changed():
    from medfm.encoders.load import load_encoder

    assert load_encoder("color-histogram", device="cpu").fingerprint == (
        "67a47ad5deddeb8fab24f3b25582dc7e44e487ca03abfc313bfa8cbfc93ffb44"
    )
