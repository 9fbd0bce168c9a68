from __future__ import annotations

from medfm.cohorts.findings import Finding


def test_one_screen_holds_what_matters(result):
    text = str(result)
    for wanted in (
        "first probe",
        "!! Untrained weights",
        "!! Synthetic data",
        "!! Check L004 failed and was allowed",
        "Better than guessing",
        "120 records, 40 patients",
        "lab-linear@1",
        "weights: random",
        "95 % CI",
        "fraction=0.01",
        result.id[:16],
    ):
        assert wanted in text, wanted


def test_it_fits_on_a_screen(result, make):
    for made in (
        result,
        make(findings=tuple(Finding(code=f"S{i:03d}", severity="warning", title="t") for i in range(99))),
    ):
        lines = str(made).splitlines()
        assert len(lines) <= 45
        assert max(map(len, lines)) <= 100


def test_many_warnings_are_counted(make):
    findings = tuple(Finding(code=f"S{i:03d}", severity="warning", title="t") for i in range(20))
    assert "and 18 more warnings" in str(make(findings=findings))


def test_unknown_patients_are_said(make, result):
    made = make(summary=result.summary.model_copy(update={"patients_known": False}))
    assert "patients unknown" in str(made)


def test_each_headline_metric_has_its_line(result):
    text = str(result)
    for estimate in result.summary.headline:
        assert f"{estimate.value:.3f}" in text
