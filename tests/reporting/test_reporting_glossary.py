from __future__ import annotations

from medfm.reporting.glossary import glossary
from medfm.reporting.words import word


def terms(result) -> list[str]:
    return [term for term, _ in glossary(result)]


def test_every_figure_shown_is_explained_once(result):
    found = terms(result)
    assert len(found) == len(set(found))
    shown = {e.metric for e in result.summary.headline}
    shown |= {e.metric for row in result.summary.per_class for e in row.estimates}
    assert {word(metric).title for metric in shown} <= set(found)


def test_the_method_and_the_general_terms_are_explained(result, make):
    for term in ("linear probe", "confidence interval (CI)", "calibration", "training fraction", "fingerprint, hash"):
        assert term in terms(result)
    assert "k nearest neighbours" in terms(make(kind="knn"))
    assert "linear probe" not in terms(make(kind="knn"))


def test_only_what_is_used_is_explained(make, tasks):
    assert "net benefit" in terms(make(tasks["binary"]))
    found = terms(make(tasks["regression"]))
    assert "net benefit" not in found and "calibration" not in found and "training fraction" not in found


def test_meanings_are_sentences(result):
    assert all(meaning.endswith(".") for _, meaning in glossary(result))
