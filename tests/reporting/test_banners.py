from __future__ import annotations

import pytest

from medfm.cohorts.findings import Finding
from medfm.evaluation.protocol import load_protocol
from medfm.reporting.banners import banners, stamps


def titles(result) -> list[str]:
    return [banner.title for banner in banners(result)]


@pytest.mark.parametrize(
    ("kind", "level", "title"),
    [
        ("random", "stop", "Untrained weights"),
        ("trained here", "caution", "Weights trained here"),
        ("local file", "note", "Weights from a local file"),
        ("", "caution", "Weights unknown"),
    ],
)
def test_the_weights_are_called_what_they_are(make, kind, level, title):
    made = make(provenance={"encoder": "dinobloom-s", "weights_kind": kind}, findings=())
    found = banners(made)
    assert [(b.level, b.title) for b in found] == [(level, title)]


def test_published_weights_need_no_warning(make):
    made = make(provenance={"weights_kind": "published"}, findings=())
    assert banners(made) == []


def test_a_note_on_the_weights_is_kept(make):
    made = make(provenance={"weights_kind": "random", "weights_note": "seed 7"}, findings=())
    assert "seed 7" in banners(made)[0].text
    made = make(provenance={"weights_kind": "published", "weights_note": "from the hub"}, findings=())
    assert [(b.level, b.text) for b in banners(made)] == [("note", "from the hub")]


def test_the_file_of_weights_trained_here_is_named_once(make):
    note = "trained here: encoder.safetensors beside the card"
    made = make(provenance={"weights_kind": "trained here", "weights_note": note}, findings=())
    (banner,) = banners(made)
    assert banner.text.endswith("authors. File: encoder.safetensors beside the card.")


def test_tables_of_several_results_say_which_figures_mean_nothing():
    assert stamps("A", {"weights_kind": "published", "synthetic": False}) == stamps("A", {}) == []
    first, second = stamps("A", {"weights_kind": "random", "synthetic": True})
    assert first.startswith("A: synthetic") and second.startswith("A: untrained weights")


def test_synthetic_data_and_allowed_checks_are_loud(result):
    loud = [b.title for b in banners(result) if b.level == "stop"]
    assert loud == ["Untrained weights", "Synthetic data", "Check L004 failed and was allowed"]


def test_the_loudest_come_first(result):
    order = {"stop": 0, "caution": 1, "note": 2}
    levels = [order[b.level] for b in banners(result)]
    assert levels == sorted(levels)


def test_unknown_patients_are_said(make, result):
    summary = result.summary.model_copy(update={"patients_known": False})
    assert "Patients unknown" in titles(make(summary=summary))
    assert "Patients unknown" not in titles(result)


@pytest.mark.parametrize(("count", "text"), [(1, "1 record could not be embedded and is"), (3, "3 records could not")])
def test_lost_records_are_counted(make, count, text):
    failures = [{"record_id": f"r{i}", "reason": "truncated"} for i in range(count)]
    made = make(provenance={"weights_kind": "published", "failures": failures}, findings=())
    assert text in banners(made)[0].text


@pytest.mark.parametrize(
    ("severity", "allowed", "title"),
    [
        ("error", True, "Check L001 failed and was allowed"),
        ("error", False, "Check L001 failed"),
        ("warning", True, "Check L001 failed and was allowed"),
        ("warning", False, "Check L001"),
    ],
)
def test_findings_become_banners(make, severity, allowed, title):
    finding = Finding(
        code="L001", severity=severity, title="no patient is in two splits", detail="P1.", allowed=allowed
    )
    made = make(provenance={"weights_kind": "published"}, findings=(finding,))
    assert titles(made) == [title]
    assert banners(made)[0].text == "Expected: no patient is in two splits. Found: P1."


@pytest.mark.parametrize("severity", ["passed", "info"])
def test_passed_checks_are_no_banner(make, severity):
    finding = Finding(code="L001", severity=severity, title="t")
    assert titles(make(provenance={"weights_kind": "published"}, findings=(finding,))) == []


def test_unknown_patients_are_said_once(make, result):
    finding = Finding(code="T002", severity="warning", title="patients are known", detail="no patient column")
    unknown = result.summary.model_copy(update={"patients_known": False})
    found = titles(make(summary=unknown, provenance={"weights_kind": "published"}, findings=(finding,)))
    assert found == ["Patients unknown"]
    found = titles(make(provenance={"weights_kind": "published"}, findings=(finding,)))
    assert found == ["Check T002"]


def test_an_epoch_chosen_on_test_records_is_stamped(make):
    for rule, said in (("best_test", True), ("best_validation", False), ("last", False)):
        protocol = load_protocol("merl-linear@1", overrides=(f"method.report_epoch={rule}",))
        stops = [b.title for b in banners(make(protocol=protocol)) if b.level == "stop"]
        assert ("Epoch chosen on the test records" in stops) is said
