"""What the deep checks make of measurements: thresholds, wording, severities, against plain counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medfm.cohorts.checks import signals
from medfm.cohorts.checks.labels import check_filled, check_labels, label_table
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.core.errors import CohortError
from medfm.io.ecg.leads import LEADS
from medfm.modalities.ecg_beat import LimbFit
from medfm.modalities.ecg_quality import Quality


def quality(**changes: Any) -> Quality:
    sound = {
        "seconds": 10.0,
        "sampling_hz": 500.0,
        "amplitude_mv": 0.15,
        "flat": (),
        "clipped": {},
        "hum_mv": {50: 0.001, 60: 0.001},
        "disagreement": {"III": 0.0, "aVR": 0.0},
        "limbs": LimbFit(2.5, 2.5, -0.02, 10),
        "missing": 0.0,
        "absent": (),
    }
    return Quality(**{**sound, **changes})


def codes(findings: Any) -> dict[str, Finding]:
    made = list(findings)
    assert len({f.code for f in made}) == len(made)
    return {f.code: f for f in made}


@pytest.fixture
def judge(make_cohort: Callable[..., Cohort]) -> Callable[..., dict[str, Finding]]:
    def run(*found: Quality | None) -> dict[str, Finding]:
        cohort = make_cohort(files=False, number=list(range(len(found))))
        return codes(signals.check_signals(cohort, [Seen(quality=q) for q in found]))

    return run


def test_sound_recordings_pass_everything(judge: Callable[..., dict[str, Finding]]) -> None:
    found = judge(*[quality()] * 6)
    assert set(found) == {f"E{n:03d}" for n in range(1, 11)}
    assert {f.severity for f in found.values()} == {"passed"}
    assert found["E009"].detail == "500 Hz" and found["E007"].detail == "median 0.15 mV"


@pytest.mark.parametrize(
    ("one", "two", "kind"),
    [
        (2.5, 2.5, None),
        (-0.5, 2.5, None),
        (-0.51, 2.5, "RA/LA"),
        (2.5, -0.6, "RA/LL"),
        (-2.0, -1.0, "RA/LA"),
        (-1.0, -2.0, "RA/LL"),
        (-1.0, -1.0, "RA/LA"),
    ],
)
def test_which_electrodes(one: float, two: float, kind: str | None) -> None:
    found = quality(limbs=LimbFit(one, two, 0.5, 9))
    assert signals.swapped(found) == kind
    # A hint at the left limbs is given only where polarity says nothing.
    assert signals.arm_for_leg(found) == (kind is None)


def test_nothing_is_said_of_limbs_that_cannot_be_judged(judge: Callable[..., dict[str, Finding]]) -> None:
    blind = quality(limbs=None)
    assert signals.swapped(blind) is None and not signals.arm_for_leg(blind)
    found = judge(blind, quality(limbs=LimbFit(-2, 2, 0, 9)), quality())
    assert found["E001"].records == ("r0001",)
    assert found["E001"].detail == "1 of 2 records look swapped: RA/LA (1); 1 record could not be judged"
    assert judge(blind)["E001"].severity == "passed" and judge(blind)["E002"].detail.startswith("0 records")


def test_a_hint_is_no_warning(judge: Callable[..., dict[str, Finding]]) -> None:
    found = judge(quality(limbs=LimbFit(2, 2, 0.03, 9)), quality(limbs=LimbFit(2, 2, 0.025, 9)))
    assert (found["E002"].severity, found["E002"].records) == ("info", ("r0000",))
    assert found["E001"].severity == "passed"


@pytest.mark.parametrize(("bad", "good", "severity"), [(1, 3, "warning"), (2, 2, "warning"), (3, 2, "error")])
def test_a_fault_of_most_records_is_one_of_the_cohort(
    judge: Callable[..., dict[str, Finding]], bad: int, good: int, severity: str
) -> None:
    wrong = quality(disagreement={"III": 0.5, "aVR": 0.1, "aVL": 0.11})
    found = judge(*[wrong] * bad, *[quality()] * good)["E003"]
    assert found.severity == severity and len(found.records) == bad
    assert f"in III ({bad}), aVL ({bad}); by up to 50%" in found.detail


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(LEADS), st.floats(0, 100)))
def test_clipped_leads_in_the_standard_order(times: dict[str, float]) -> None:
    found = signals.clipped(quality(clipped=times))
    assert found == [lead for lead in LEADS if times.get(lead, 0) >= signals.CLIPPED_MS]


@pytest.mark.parametrize(
    ("levels", "mains"),
    [({}, None), ({50: 0.025, 60: 0.0}, None), ({50: 0.026, 60: 0.03}, 60), ({50: 0.1, 60: 0.03}, 50)],
)
def test_the_louder_hum(levels: dict[int, float], mains: int | None) -> None:
    assert signals.hum(quality(hum_mv=levels)) == mains


def test_hum_and_those_too_short_to_see_it(judge: Callable[..., dict[str, Finding]]) -> None:
    found = judge(quality(hum_mv={}), quality(hum_mv={50: 0.1}), quality())["E006"]
    assert found.severity == "warning" and found.records == ("r0001",)
    assert found.detail == (
        "1 of 3 records have more than 25 uV of it: 50 Hz (1); 1 record too slow or too short to see it"
    )


@pytest.mark.parametrize(
    ("amplitudes", "severity", "records"),
    [
        ([0.15] * 4 + [1.3], "warning", ("r0004",)),
        ([0.15] * 4 + [0.018], "warning", ("r0004",)),
        ([0.15] * 4 + [1.2], "passed", ()),
        ([0.15] * 3 + [1.3], "passed", ()),  # too few to know what is usual
        ([1.21] * 3, "error", ("r0000", "r0001", "r0002")),
        ([0.014] * 2, "error", ("r0000", "r0001")),
        ([1.2] * 2, "passed", ()),
    ],
)
def test_amplitudes(
    judge: Callable[..., dict[str, Finding]], amplitudes: list[float], severity: str, records: tuple[str, ...]
) -> None:
    found = judge(*(quality(amplitude_mv=mv) for mv in amplitudes))["E007"]
    assert (found.severity, found.records) == (severity, records)


def test_lengths_rates_gaps(judge: Callable[..., dict[str, Finding]]) -> None:
    found = judge(
        quality(seconds=4.99, sampling_hz=250.0),
        quality(seconds=5.0, missing=0.1),
        quality(seconds=1800.0, absent=("V1", "V2")),
        quality(missing=0.3),
    )
    assert found["E008"].records == ("r0000",) and found["E008"].detail.endswith("the shortest 4.99 s")
    assert found["E009"].records == ("r0000",) and found["E009"].detail == "500 Hz (3), 250 Hz (1)"
    gaps = found["E010"]
    assert gaps.severity == "warning" and set(gaps.records) == {"r0001", "r0002", "r0003"}
    assert "1 record without V1 (1), V2 (1)" in gaps.detail and "up to 30.0% of the samples" in gaps.detail
    assert judge(quality(missing=0.1), quality())["E010"].severity == "info"


def test_records_nobody_could_measure_are_left_out(judge: Callable[..., dict[str, Finding]]) -> None:
    assert judge(None, None) == {}
    found = judge(None, quality(flat=("V3",)), quality(flat=("V3", "V4")))
    assert found["E004"].records == ("r0001", "r0002")
    assert found["E004"].detail == "2 of 2 records have leads without a signal: V3 (2), V4 (1)"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_label_checks_equal_plain_counts(make_cohort: Callable[..., Cohort], data: st.DataObject) -> None:
    n = 24
    values = st.sampled_from([0.0, 1.0, np.nan])
    columns = {name: data.draw(st.lists(values, min_size=n, max_size=n)) for name in ("a", "b", "c")}
    split = data.draw(st.sampled_from([["train"] * 16 + ["test"] * 8, ["train"] * n]))
    site = data.draw(st.lists(st.sampled_from(["s1", "s2"]), min_size=n, max_size=n))
    patients = data.draw(st.lists(st.sampled_from([f"p{i}" for i in range(9)]), min_size=n, max_size=n))
    cohort = make_cohort(files=False, split=split, site=site, patient_id=patients, **columns)
    labels = list(columns)
    found = codes(check_labels(cohort, labels, 4, 3))
    rows = cohort.table
    in_test = (rows["split"] == "test").to_numpy()
    trained = rows[~in_test] if in_test.any() else rows

    def ones(part: Any, name: str) -> Any:
        return part[part[name].astype(float) == 1]

    constant = [c for c in labels if len(Counter(rows[c].dropna().astype(float))) < 2]
    assert (found["S001"].severity == "error") == bool(constant)
    few = {c: ones(trained, c)["patient_id"].nunique() for c in labels}
    few = {c: k for c, k in few.items() if k < 4}
    assert (found["S002"].severity == "warning") == bool(few)
    for name, number in few.items():
        assert f"{name} ({number})" in found["S002"].detail
    tested = rows[in_test] if in_test.any() else rows
    small = {c: len(ones(tested, c)) for c in labels if len(ones(tested, c)) < 3}
    assert (found["S003"].severity == "warning") == bool(small)
    for name, number in small.items():
        assert f"{name} ({number})" in found["S003"].detail
    if in_test.any():
        unseen = [c for c in labels if len(ones(rows[in_test], c)) and not len(ones(rows[~in_test], c))]
        assert (found["S004"].severity == "warning") == bool(unseen)
    else:
        assert "S004" not in found
    empty = rows[labels].isna().all(axis=1).to_numpy()
    filled = check_filled(cohort, labels)
    assert filled.severity == ("error" if empty.all() else "warning" if empty.any() else "passed")
    if empty.any() and not empty.all():
        assert filled.records == tuple(rows.loc[empty, "record_id"])[:10], "the first ten are named"
    table = label_table(cohort, labels)
    np.testing.assert_array_equal(table.to_numpy(), rows[labels].to_numpy(dtype=float))


def test_a_label_that_is_no_number_names_the_first_such_record(make_cohort: Callable[..., Cohort]) -> None:
    cohort = make_cohort(files=False, a=["0", "1", "yes", "2"])
    with pytest.raises(CohortError, match="label column 'a' holds other values than 0 and 1") as caught:
        label_table(cohort, ["a"])
    assert str(caught.value.where).endswith("record r0002") and caught.value.expected == "1, 0 or empty for unknown"
