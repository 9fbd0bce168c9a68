"""The canonical ECG record: order, units, derived leads, gaps, and every refusal."""

import itertools
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ReadError
from medfm.io.ecg.leads import LEADS
from medfm.io.ecg.raw import RawECG
from medfm.modalities.ecg import ECG
from medfm.modalities.ecg_canonical import canonical
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities, read_record

TIME = np.arange(1500) / 500
TWELVE = np.stack([(0.2 + 0.02 * k) * np.sin(2 * np.pi * (1 + k / 3) * TIME + k) for k in range(12)])
TWELVE[2], TWELVE[3] = TWELVE[1] - TWELVE[0], -(TWELVE[0] + TWELVE[1]) / 2
TWELVE[4], TWELVE[5] = TWELVE[0] - TWELVE[1] / 2, TWELVE[1] - TWELVE[0] / 2


def raw(
    values: np.ndarray = TWELVE, names: list[str] | None = None, unit: str | None = "mV", hz: float | None = 500
) -> RawECG:
    return RawECG("made", np.array(values, float), list(LEADS) if names is None else names, [unit] * len(values), hz)


def test_the_registry_knows_it() -> None:
    assert "ecg" in list_modalities()
    assert get_modality("ecg") is ECG
    assert "NaN only inside" in ECG.contract


def test_twelve_leads_pass_unchanged() -> None:
    array, facts = canonical(raw(), {}, "r")
    assert array.dtype == np.float32
    assert np.array_equal(array, TWELVE.astype(np.float32))
    assert facts["leads"] == list(LEADS)
    assert (facts["sampling_hz"], facts["samples"], facts["seconds"]) == (500, 1500, 3.0)
    assert facts["derived_leads"] == facts["absent_leads"] == facts["missing"] == facts["flat_leads"] == []


@settings(max_examples=30, deadline=None)
@given(
    order=st.permutations(range(12)),
    style=st.sampled_from(["{}", "Lead {}", "MDC_ECG_LEAD_{}", " {} ", "ECG {}"]),
    upper=st.booleans(),
)
def test_leads_are_matched_by_name_whatever_their_order(order: list[int], style: str, upper: bool) -> None:
    names = [style.format(LEADS[i].upper() if upper else LEADS[i]) for i in order]
    array, _ = canonical(raw(TWELVE[order], names), {}, "r")
    assert np.array_equal(array, TWELVE.astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(absent=st.sets(st.sampled_from(["III", "aVR", "aVL", "aVF"])))
def test_limb_leads_follow_from_one_and_two(absent: set[str]) -> None:
    keep = [i for i, name in enumerate(LEADS) if name not in absent]
    array, facts = canonical(raw(TWELVE[keep], [LEADS[i] for i in keep]), {}, "r")
    np.testing.assert_allclose(array, TWELVE, atol=1e-6)
    assert set(facts["derived_leads"]) == absent


@pytest.mark.parametrize("pair", list(itertools.combinations(LEADS[:6], 2)), ids="-".join)
def test_any_two_limb_leads_give_the_other_four(pair: tuple[str, str]) -> None:
    """Fifteen pairs: each determines I and II, and through them the rest."""
    keep = [LEADS.index(name) for name in (*pair, *LEADS[6:])]
    array, facts = canonical(raw(TWELVE[keep], [LEADS[i] for i in keep]), {}, "r")
    np.testing.assert_allclose(array, TWELVE, atol=1e-6)
    assert facts["derived_leads"] == [name for name in LEADS[:6] if name not in pair]
    assert facts["absent_leads"] == []


def test_lead_two_derived_from_channels_in_different_units() -> None:
    values = np.concatenate([TWELVE[[0]] * 1000, TWELVE[2:]])
    made = raw(values, [LEADS[0], *LEADS[2:]])
    made.units[0] = "uV"
    np.testing.assert_allclose(canonical(made, {}, "r")[0], TWELVE, atol=1e-6)


def test_stored_limb_leads_are_kept_even_where_they_disagree() -> None:
    values = TWELVE.copy()
    values[2] += 0.5
    assert np.array_equal(canonical(raw(values), {}, "r")[0][2], values[2].astype(np.float32))


def test_absent_chest_leads_are_missing_as_a_whole() -> None:
    array, facts = canonical(raw(TWELVE[[0, 1, 7]], ["I", "II", "V2"]), {}, "r")
    assert facts["absent_leads"] == ["V1", "V3", "V4", "V5", "V6"]
    assert facts["missing"] == [(lead, 0, 1500) for lead in facts["absent_leads"]]
    assert np.isnan(array[[6, 8, 9, 10, 11]]).all()
    assert np.isfinite(array[[0, 1, 2, 3, 4, 5, 7]]).all()


def test_further_leads_and_channels_are_dropped_without_their_text() -> None:
    names = [*LEADS, "V7", "vx", "Mustermann, Erika"]
    array, facts = canonical(raw(np.concatenate([TWELVE, TWELVE[:3]]), names), {}, "r")
    assert array.shape[0] == 12
    assert facts["extra_leads"] == ["V7", "VX"]
    assert facts["other_channels"] == 1
    assert "Mustermann" not in repr(facts)


@settings(max_examples=40, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1490), st.integers(1, 400)), max_size=5),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_values_are_missing_exactly_where_listed(gaps: list[tuple[int, int, int]], value: float) -> None:
    values = TWELVE.copy()
    for lead, start, length in gaps:
        values[lead, start : start + length] = value
    array, facts = canonical(raw(values), {}, "r")
    listed = np.zeros(array.shape, bool)
    for lead, start, stop in facts["missing"]:
        assert start < stop
        listed[LEADS.index(lead), start:stop] = True
    assert np.array_equal(listed, ~np.isfinite(values))
    assert np.array_equal(np.isnan(array), listed)
    assert np.array_equal(array[~listed], values[~listed].astype(np.float32))


def test_a_gap_in_lead_one_is_a_gap_in_what_is_derived_from_it() -> None:
    values = TWELVE[[0, 1]].copy()
    values[0, 10:20] = np.nan
    _, facts = canonical(raw(values, ["I", "II"]), {}, "r")
    assert facts["missing"][1:5] == [("III", 10, 20), ("aVR", 10, 20), ("aVL", 10, 20), ("aVF", 10, 20)]


@pytest.mark.parametrize(("unit", "per_mv"), [("uV", 1e3), ("µV", 1e3), ("μV", 1e3), ("nV", 1e6), ("V", 1e-3), ("mv", 1), ("MICROVOLTS", 1e3), ("millivolt", 1)])  # fmt: skip
def test_units_become_millivolts(unit: str, per_mv: float) -> None:
    array, facts = canonical(raw(TWELVE * per_mv, unit=unit), {}, "r")
    np.testing.assert_allclose(array, TWELVE, atol=1e-6)
    assert facts["units"] == "mV"
    stated, facts = canonical(raw(TWELVE * per_mv, unit=None), {"units": unit}, "r")
    assert np.array_equal(stated, array)
    assert facts["units_source"] == "cohort"


def test_units_may_differ_between_channels() -> None:
    values = TWELVE.copy()
    values[3] *= 1000
    source = raw(values)
    source.units[3] = "uV"
    np.testing.assert_allclose(canonical(source, {}, "r")[0], TWELVE, atol=1e-6)


@pytest.mark.parametrize(("factor", "unit", "words"), [(1000, "mV", "uV were taken for mV"), (1, "uV", "mV were taken for uV"), (1, "V", "uV were taken for mV")])  # fmt: skip
def test_a_wrong_unit_is_noticed_and_can_be_put_right(factor: float, unit: str, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        canonical(raw(TWELVE * factor, unit=unit), {}, "row 3")
    assert "units" in str(caught.value.fix)
    array, _ = canonical(raw(TWELVE * factor, unit=unit), {"units": "uV" if factor == 1000 else "mV"}, "row 3")
    np.testing.assert_allclose(array, TWELVE, atol=1e-6)


def test_an_offset_is_no_wrong_unit() -> None:
    assert canonical(raw(TWELVE + 300), {}, "r")[0].shape == (12, 1500)


def test_flat_leads_are_listed_and_a_flat_record_is_refused() -> None:
    flat = TWELVE.copy()
    flat[6], flat[9] = 0.0, 0.5
    assert canonical(raw(flat), {}, "r")[1]["flat_leads"] == ["V1", "V4"]
    with pytest.raises(ReadError, match="constant"):
        canonical(raw(np.ones((12, 1500))), {}, "r")
    with pytest.raises(ReadError, match="sample of the recording is missing"):
        canonical(raw(np.full((12, 1500), np.nan)), {}, "r")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"values": np.zeros((12, 0))}, {}, "no samples"),
        ({"values": TWELVE[5:], "names": list(LEADS[5:])}, {}, "fewer than two limb leads; found: aVF, V1"),
        ({"names": ["MLII"] * 12}, {}, "none of the twelve"),
        ({"names": ["I", "II", "V1", "Lead V1", *LEADS[4:]]}, {}, "Two channels are named as lead V1"),
        ({"names": []}, {}, "does not name its leads"),
        ({}, {"leads": ["I", "II"]}, "states 2 leads, the file has 12"),
        ({"unit": None}, {}, "does not say in which unit"),
        ({"unit": " "}, {}, "does not say in which unit"),
        ({"unit": "mmHg"}, {}, "no voltage"),
        ({}, {"units": "bananas"}, "stated in the cohort is no voltage"),
        ({"hz": None}, {}, "does not say its sampling rate"),
        ({"hz": 500}, {"sampling_hz": 1000}, "states 1000 Hz, the file 500 Hz"),
    ],
)
def test_refusals(change: dict, options: dict, words: str) -> None:
    with pytest.raises(ReadError, match=words) as caught:
        canonical(raw(**change), options, "row 3")
    assert caught.value.where == "row 3"


@pytest.mark.parametrize(("hz", "samples"), [(500, 1500), (1000, 1500), (128, 400), (257, 900)])
def test_any_rate_and_length(hz: float, samples: int) -> None:
    array, facts = canonical(raw(TWELVE[:, :samples], hz=hz), {}, "r")
    assert array.shape == (12, samples)
    assert facts["sampling_hz"] == hz
    assert facts["seconds"] == pytest.approx(samples / hz)


def test_options_of_a_cohort_row() -> None:
    row = {"sampling_hz": "500", "units": " uV ", "leads": "I, II;V1  V2", "dataset": np.nan}
    assert ECG.options(row) == {"sampling_hz": 500.0, "units": "uV", "leads": ["I", "II", "V1", "V2"]}
    assert ECG.options(dict.fromkeys(ECG.option_columns, "")) == {}
    assert ECG.options(dict.fromkeys(ECG.option_columns, float("nan"))) == {}
    for wrong in ("fast", -1, 0, float("inf")):
        with pytest.raises(ReadError, match="sampling_hz"):
            ECG.options({"sampling_hz": wrong})


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no option 'gain'"):
        read_record(tmp_path / "a.csv", "ecg", gain=3)


def test_read_by_hand_from_bare_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TWELVE.T)
    record = read_record(tmp_path / "a.npy", "ecg", sampling_hz=500, units="mV", leads=",".join(LEADS))
    assert record.record_id == "a.npy"
    assert record.modality == "ecg"
    assert np.array_equal(record.array, TWELVE.astype(np.float32))
    assert record.facts["leads_source"] == "cohort"
    assert pickle.loads(pickle.dumps(record)).facts == record.facts


def test_files_names_everything_that_is_read(ecg: Path, tmp_path: Path) -> None:
    base = ecg / "records" / "georgia" / "E00002"
    for path in (base, base.with_suffix(".hea"), base.with_suffix(".mat")):
        assert ECG.files(RecordRef("r", path)) == (base.with_suffix(".hea"), base.with_suffix(".mat"))
    alone = tmp_path / "a.csv"
    assert ECG.files(RecordRef("r", alone)) == (alone,)


def test_every_real_record_becomes_canonical(ecg: Path) -> None:
    labels = pd.read_csv(ecg / "labels.csv")
    for path in labels["path"][::3]:
        record = read_record(ecg / path, "ecg")
        assert record.array.shape == (12, record.facts["samples"])
        assert record.facts["missing"] == []
        assert np.isfinite(record.array).all()
        # Einthoven's law, up to the two bits of rounding in the files.
        error = np.abs(record.array[0] + record.array[2] - record.array[1])
        assert np.median(error) < 0.011
