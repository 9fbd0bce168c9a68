"""What is measured of a recording: each number against a fault of known size put into a synthetic heart."""

import itertools
import time

import numpy as np
import pytest
from heartbeats import LEADS, heart

from medfm.io.ecg.raw import RawECG
from medfm.modalities.ecg import ECG
from medfm.modalities.ecg_beat import limb_fit
from medfm.modalities.ecg_canonical import canonical
from medfm.modalities.ecg_quality import Quality, measure
from medfm.modalities.record import Record


def quality(array: np.ndarray, hz: float = 500, names: tuple[str, ...] = LEADS) -> Quality:
    """Through the canonical form, so that derived and absent leads and gaps are listed as in real use."""
    made = RawECG("made", np.asarray(array, np.float64), list(names), ["mV"] * len(array), hz)
    values, facts = canonical(made, {}, "r")
    return ECG.measure(Record("r", "ecg", values, facts))


def swapped(array: np.ndarray, kind: str) -> np.ndarray:
    """The potentials of the three limbs, exchanged, and the leads made of them anew."""
    one, two = array[0].astype(np.float64), array[1].astype(np.float64)
    limbs = {"RA": -(one + two) / 3, "LA": (2 * one - two) / 3, "LL": (2 * two - one) / 3}
    a, b = kind.split("/")
    limbs[a], limbs[b] = limbs[b], limbs[a]
    one, two = limbs["LA"] - limbs["RA"], limbs["LL"] - limbs["RA"]
    made = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(made), array[6:]]).astype(np.float32)


@pytest.mark.parametrize("hz", [100, 128, 250, 500, 1000])
@pytest.mark.parametrize("rate", [45, 70, 150])
def test_a_heart_lies_as_it_should_at_every_rate(hz: float, rate: float) -> None:
    fit = quality(heart(hz=hz, rate=rate), hz).limbs
    assert fit is not None
    assert fit.one > 1.5
    assert fit.two > 1.5
    assert fit.p_excess_mv < 0
    assert abs(fit.beats - 10 * rate / 60) <= 3


def test_each_swap_turns_the_leads_it_should() -> None:
    for seed in range(3):
        array = heart(seed)
        arms, diagonal, left = (quality(swapped(array, k)).limbs for k in ("LA/RA", "LL/RA", "LA/LL"))
        assert arms is not None and diagonal is not None and left is not None
        assert arms.one < -1.5 < 0 < arms.two
        assert diagonal.two < -1.5
        assert diagonal.two < diagonal.one
        assert left.one > 0 and left.two > 0
        assert left.p_excess_mv > 0.02


def test_a_swap_twice_is_none() -> None:
    array = heart()
    for a, b in itertools.combinations(("RA", "LA", "LL"), 2):
        np.testing.assert_allclose(swapped(swapped(array, f"{a}/{b}"), f"{b}/{a}"), array, atol=1e-6)


def test_where_the_limbs_cannot_be_judged() -> None:
    assert limb_fit(heart(seconds=1.2), 500) is None  # one beat
    assert limb_fit(heart(hz=60), 60) is None
    flat = heart()
    flat[10:] = 0
    assert quality(flat).limbs is None
    noise = np.random.default_rng(0).normal(0, 0.1, (12, 30)).astype(np.float32)
    assert limb_fit(noise, 500) is None


@pytest.mark.parametrize("mains", [50, 60])
@pytest.mark.parametrize("hz", [128, 250, 500, 1000])
def test_hum_is_measured_in_millivolts(mains: int, hz: float) -> None:
    if mains + 3.5 > hz / 2:
        assert mains not in quality(heart(hz=hz), hz).hum_mv
        return
    array = heart(hz=hz)
    hum = 0.1 * np.sin(2 * np.pi * mains * np.arange(array.shape[1]) / hz)
    for row in (0, 8):  # one lead suffices
        noisy = array.copy()
        noisy[row] += hum.astype(np.float32)
        assert quality(noisy, hz).hum_mv[mains] == pytest.approx(0.1 / np.sqrt(2), rel=0.1)
    assert quality(array, hz).hum_mv[mains] < 0.01
    other = ({50, 60} - {mains}).pop()
    if other + 3.5 <= hz / 2:
        assert quality(noisy, hz).hum_mv[other] < 0.01


def test_hum_is_not_seen_in_a_second_of_signal() -> None:
    assert quality(heart(seconds=1.5)).hum_mv == {}
    assert quality(heart(hz=100), 100).hum_mv == {}


def test_clipping_counts_the_time_at_the_end_of_the_range() -> None:
    array = heart(wander=0.0)
    array[7] = np.clip(array[7], -0.3, 10)
    found = quality(array).clipped
    assert list(found) == ["V2"]
    at_end = array[7] == np.float32(-0.3)
    assert found["V2"] == pytest.approx(2 * at_end.sum(), rel=0.05)  # 2 ms each; single samples do not count
    assert quality(heart()).clipped == {}


def test_amplitude_leaves_out_the_wander() -> None:
    still, wandering = quality(heart(wander=0)), quality(heart(wander=1.0))
    assert still.amplitude_mv == pytest.approx(np.median(heart(wander=0).std(axis=1)), rel=0.05)
    assert wandering.amplitude_mv < 0.4 * np.median(heart(wander=1.0).std(axis=1))
    assert quality(heart() * 3).amplitude_mv == pytest.approx(3 * quality(heart()).amplitude_mv, rel=1e-3)


def test_flat_and_nearly_flat_leads() -> None:
    array = heart()
    array[6], array[9] = 0.5, np.random.default_rng(1).normal(0, 0.001, array.shape[1])
    assert quality(array).flat == ("V1", "V4")
    assert quality(heart()).flat == ()


@pytest.mark.parametrize(("lead", "row"), [("III", 2), ("aVR", 3), ("aVL", 4), ("aVF", 5)])
def test_disagreement_is_the_share_of_what_does_not_fit(lead: str, row: int) -> None:
    array = heart(wander=0)
    assert max(quality(array).disagreement.values()) < 1e-5
    array[row] += 0.5 * array[7]
    found = quality(array).disagreement
    assert found[lead] > 0.1
    assert all(value < 1e-5 for name, value in found.items() if name != lead)


@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("share", [0.01, 0.4, 0.9])
def test_a_gap_in_a_limb_lead_contradicts_nothing(row: int, share: float) -> None:
    array = heart(wander=0.3)
    whole = quality(array).disagreement
    array[row, 100 : 100 + int(share * array.shape[1])] = np.nan
    found = quality(array).disagreement
    assert found.keys() == whole.keys()
    assert max(found.values()) < 1e-4


def test_what_does_not_fit_is_found_beside_a_gap_too() -> None:
    array = heart(wander=0)
    array[3] *= -1  # aVR inverted
    share = quality(array).disagreement["aVR"]
    array[3, :2000] = np.nan
    array[1, 3000:3100] = np.nan
    found = quality(array).disagreement
    assert found["aVR"] == pytest.approx(share, rel=0.1)
    assert max(value for lead, value in found.items() if lead != "aVR") < 1e-4


def test_a_lead_without_a_sample_in_common_with_lead_one_is_not_judged() -> None:
    array = heart()
    half = array.shape[1] // 2
    array[0, :half] = np.nan
    array[2, half:] = np.nan
    assert quality(array).disagreement.keys() == {"aVR", "aVL", "aVF"}


def test_derived_leads_cannot_disagree() -> None:
    keep = [0, 1, *range(6, 12)]
    found = quality(heart()[keep], names=tuple(LEADS[k] for k in keep))
    assert found.disagreement == {}
    assert found.absent == ()


def test_gaps_and_absent_leads() -> None:
    array = heart()
    array[:, 1000:1500] = np.nan
    found = quality(array)
    assert found.missing == pytest.approx(0.1)
    assert found.limbs is not None and found.limbs.one > 1.5
    assert found.flat == () and found.clipped == {}
    found = quality(heart()[:8], names=LEADS[:8])
    assert found.absent == ("V3", "V4", "V5", "V6")
    assert found.missing == 0
    assert found.limbs is None
    assert found.flat == ()


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 499, 501])
def test_any_length_is_measured(samples: int) -> None:
    found = measure(heart()[:, :samples], {"sampling_hz": 500})
    assert found.seconds == samples / 500
    assert np.isfinite(found.amplitude_mv)


def test_a_record_is_measured_in_milliseconds() -> None:
    array = heart()
    facts = {"sampling_hz": 500}
    measure(array, facts)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        measure(array, facts)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.02
