from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from sheet_records import ecg_record, parsed, texts
from sklearn.metrics import roc_auc_score

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import CardError, ReadError
from medfm.evaluation.predictions import Predictions
from medfm.reporting.error_pictures import error_pictures, error_words, picture_uri, shown_errors
from medfm.reporting.folder import rebuild_report
from medfm.reporting.html import render_report
from medfm.reporting.result import Result, load_result
from medfm.reporting.show_ecg import ECG_SHEET
from medfm.reporting.thumbnails import SHEETS, SHOWN, confident_errors, thumbnails

LABELS = ("AFIB", "LBBB", "MI")


class Ecgs(Cohort):
    """A cohort whose recordings are made of formulas; one of them cannot be read."""

    broken = ""

    def read(self, index: int):
        name = self.record_ids[index]
        if name == Ecgs.broken:
            raise ReadError("The file is cut off.", where=name)
        return ecg_record(name=name)


@pytest.fixture
def cohort(make, tasks) -> Ecgs:
    ids = sorted(set(tasks["binary"].table["record_id"]))
    rows = pd.DataFrame({"record_id": ids, "path": ids, "patient_id": ids, "site": None, "split": None})
    Ecgs.broken = ""
    return Ecgs(rows, "ecg", Path("/nowhere"))


@pytest.fixture
def of_ecgs(make, tasks) -> Result:
    return make(tasks["binary"], provenance={"modality": "ecg", "weights_kind": "local file", "encoder": "e"})


class Looking:
    """Stands in for an encoder that pools by attention."""

    id, modality, has_attention = "looking", "ecg", True


def planted(scores: dict[str, list[float]], truth: dict[str, list[float]]) -> Predictions:
    n = len(next(iter(scores.values())))
    names = [f"r{i}" for i in range(n)]
    table = pd.DataFrame({"record_id": names, "patient_id": names, "variant": "main", "repeat": 0, "fold": 0})
    for label in scores:
        table[f"truth:{label}"], table[f"score:{label}"] = truth[label], scores[label]
    return Predictions(table, "multilabel", tuple(scores), "findings")


def with_predictions(made: Result, predictions: Predictions) -> Result:
    object.__setattr__(made, "predictions", predictions)
    return made


def test_of_each_label_the_extremes_come_first(make, tasks):
    base = make(tasks["multilabel"])
    predictions = planted(
        {"a": [0.01, 0.30, 0.02, 0.03, 0.25, 0.05], "b": [5.0, 1.0, -9.0, 2.0, 3.0, 4.0]},
        {"a": [1, 0, 1, 0, 1, 0], "b": [1, 1, 0, 0, 0, np.nan]},
    )
    rows = confident_errors(with_predictions(base, predictions))
    # a: the negative r1 is above all positives, the positive r0 below all negatives.
    # b: r4 (negative, 3.0) is above one of two positives only, r1 (positive, 1.0) below two of three negatives.
    first = rows.set_index("record_id")
    assert list(rows["record_id"][:2]) == ["r1", "r0"]
    assert tuple(first.loc["r1"])[:3] == ("a: absent", "a: present", 1.0)
    assert tuple(first.loc["r0"])[:3] == ("a: present", "a: absent", 1.0)
    assert "b: present" not in set(rows["truth"]) or rows["record_id"].is_unique
    assert "r5" not in first.index or not first.loc["r5", "truth"].startswith("b")  # its label b is unknown


def test_the_score_is_what_an_error_costs_the_auroc(make, tasks):
    rng = np.random.default_rng(0)
    truth = (rng.random(60) < 0.3).astype(float)
    score = np.round(rng.normal(size=60) + truth, 1)  # ties
    predictions = planted({"x": list(score)}, {"x": list(truth)})
    rows = confident_errors(with_predictions(make(tasks["multilabel"]), predictions), 1000)
    for row in rows.itertuples():
        i = int(str(row.record_id)[1:])
        keep = (truth != truth[i]) | (np.arange(60) == i)
        assert row.score == pytest.approx(1 - roc_auc_score(truth[keep], score[keep]))
        assert row.score > 0.5
    # And every record with more than half on its wrong side is listed.
    expected = {
        f"r{i}"
        for i in range(60)
        if roc_auc_score(
            truth[(truth != truth[i]) | (np.arange(60) == i)], score[(truth != truth[i]) | (np.arange(60) == i)]
        )
        < 0.5
    }
    assert set(rows["record_id"]) == expected


def test_no_threshold_is_needed(make, tasks):
    """All scores far below one half, as of a rare label: both kinds of errors are found all the same."""
    score = np.linspace(0.001, 0.04, 40)
    truth = (np.arange(40) % 7 == 0).astype(float)
    rows = confident_errors(
        with_predictions(make(tasks["multilabel"]), planted({"x": list(score)}, {"x": list(truth)}))
    )
    assert set(rows["truth"]) == {"x: present", "x: absent"}
    assert rows["record_id"].iloc[0] in ("r0", "r39")


def test_a_label_without_both_truths_is_left_out(make, tasks):
    predictions = planted({"x": [0.1, 0.9], "y": [0.9, 0.1]}, {"x": [1, 1], "y": [0, 1]})
    rows = confident_errors(with_predictions(make(tasks["multilabel"]), predictions))
    assert {str(t).split(":")[0] for t in rows["truth"]} == {"y"}
    none = planted({"x": [0.1, 0.9]}, {"x": [np.nan, np.nan]})
    empty = confident_errors(with_predictions(make(tasks["multilabel"]), none))
    assert empty.empty and list(empty.columns) == ["record_id", "truth", "predicted", "score"]


def test_labels_take_turns(make, tasks):
    rng = np.random.default_rng(1)
    scores = {label: list(rng.normal(size=200)) for label in LABELS}
    truth = {label: list((rng.random(200) < 0.4).astype(float)) for label in LABELS}
    rows = confident_errors(with_predictions(make(tasks["multilabel"]), planted(scores, truth)), 6)
    assert len(set(rows["truth"])) == 6  # three labels, both sides each


def test_ecgs_are_shown_fewer_and_larger(make, tasks, of_ecgs):
    assert len(confident_errors(make(tasks["binary"]))) == SHOWN
    assert len(confident_errors(of_ecgs)) == SHEETS
    assert len(confident_errors(of_ecgs, 3)) == 3


def test_sheets_of_the_errors(of_ecgs, cohort):
    found = error_pictures(of_ecgs, cohort)
    assert list(found) == list(confident_errors(of_ecgs)["record_id"])
    for name, data in found.items():
        assert name in texts(data.decode()) and b"looked" not in data


def test_a_record_that_cannot_be_read_is_left_out_and_logged(of_ecgs, cohort, caplog):
    shown = list(confident_errors(of_ecgs)["record_id"])
    Ecgs.broken = shown[2]
    assert list(error_pictures(of_ecgs, cohort)) == shown[:2] + shown[3:]
    assert "cut off" in caplog.text and shown[2] in caplog.text


def test_records_outside_the_cohort_have_no_picture(of_ecgs, cohort):
    shown = list(confident_errors(of_ecgs)["record_id"])
    part = cohort.subset(np.array([name in shown[:3] for name in cohort.record_ids]))
    assert list(error_pictures(of_ecgs, part)) == shown[:3]


def test_without_attention_the_sheet_is_still_there(of_ecgs, cohort, monkeypatch, caplog):
    def fails(encoder, records):
        raise CardError("nothing to see")

    monkeypatch.setattr("medfm.encoders.attention.time_attention", fails)
    found = error_pictures(of_ecgs, cohort, Looking())
    assert len(found) == SHEETS and "without attention" in caplog.text


def test_the_encoder_looks_at_the_records_of_the_errors(of_ecgs, cohort, monkeypatch):
    from medfm.encoders.attention import TimeAttention

    seen = []

    def looks(encoder, records):
        seen.extend(record.record_id for record in records)
        return [TimeAttention(np.array([0.0, 5.0, 10.0]), np.array([0.5, 1.5]), 0.0) for _ in records]

    monkeypatch.setattr("medfm.encoders.attention.time_attention", looks)
    found = error_pictures(of_ecgs, cohort, Looking())
    assert seen == list(found) and all(b"times an even spread" in data for data in found.values())
    words = error_words(_with(of_ecgs, found))
    assert any("not an explanation of the prediction" in line for line in words["sheets"])
    assert not any("untrained" in line for line in words["sheets"])
    of_ecgs.provenance["weights_kind"] = "random"
    assert any("untrained" in line for line in error_words(_with(of_ecgs, found))["sheets"])


def test_a_pooled_encoder_has_no_strip(of_ecgs, cohort):
    class Pooled(Looking):
        has_attention = False

    assert all(b"looked" not in data for data in error_pictures(of_ecgs, cohort, Pooled()).values())


def _with(result: Result, pictures: dict[str, bytes]) -> Result:
    object.__setattr__(result, "thumbnails", pictures)
    return result


def test_the_page_holds_every_sheet_whole(of_ecgs, cohort):
    page = render_report(_with(of_ecgs, error_pictures(of_ecgs, cohort)))
    assert page.count('<figure class="sheet">') == SHEETS and 'class="montage"' not in page
    uris = re.findall(r'src="data:image/svg\+xml,([^"]+)"', page)
    assert len(uris) == SHEETS
    for uri in uris:
        assert not re.search(r"[\s<>#\"]", uri)
        root = parsed(unquote(uri.replace("&#39;", "'").replace("&amp;", "&")))
        assert root.get("width") == "270mm"
    assert "<script" not in page and "Printed at 100 %" in page
    assert len(page) < 1_000_000


def test_a_saved_report_keeps_its_sheets_without_the_recordings(of_ecgs, cohort, tmp_path):
    folder = of_ecgs.save(tmp_path / "r", images=error_pictures(of_ecgs, cohort))
    before = (folder / "report.html").read_bytes()
    back = load_result(folder)
    assert len(back.thumbnails) == SHEETS
    assert all(data.startswith(b"<svg") for data in back.thumbnails.values())
    (folder / "report.html").unlink()
    rebuild_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_saving_with_the_cohort_alone_draws_sheets_too(of_ecgs, cohort):
    assert thumbnails(of_ecgs, cohort) == error_pictures(of_ecgs, cohort)
    assert thumbnails(of_ecgs, lambda name: b"<svg/>")[confident_errors(of_ecgs)["record_id"][0]] == b"<svg/>"


def test_synthetic_recordings_say_so(of_ecgs, cohort):
    made = Ecgs(cohort.table, "ecg", cohort.root, synthetic=True)
    assert all(b"SYNTHETIC" in data for data in error_pictures(of_ecgs, made).values())
    assert b"SYNTHETIC" in ECG_SHEET.in_report([ecg_record()], synthetic=True)[0]


def test_notes_say_what_is_listed(make, tasks):
    assert "surest of" in error_words(make(tasks["binary"]))["note"]
    assert "each label in turn" in error_words(make(tasks["multilabel"]))["note"]
    assert "farthest" in error_words(make(tasks["regression"]))["note"]
    assert {"id", "truth", "predicted", "score", "uri"} == set(shown_errors(make(tasks["binary"]))[0])


def test_uris():
    assert picture_uri(None) == ""
    assert picture_uri(b"\xff\xd8\xff") == "data:image/jpeg;base64,/9j/"
    assert unquote(picture_uri('<svg a="#1">é</svg>'.encode()).partition(",")[2]) == '<svg a="#1">é</svg>'
