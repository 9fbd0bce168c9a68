"""Published zero-shot figures on the cards of retina and histopathology: sourced, and asked by their protocols."""

from __future__ import annotations

import pytest

from medfm.encoders.registry import get_card
from medfm.evaluation.metrics import metric
from medfm.evaluation.protocol import load_protocol
from medfm.workflows.reproduce_zero_shot import label_set_of

CARDS = {
    "flair-resnet50": "flair-zeroshot@1",
    "quiltnet-b-16": "quilt-zeroshot@1",
    "quiltnet-b-32": "quilt-zeroshot@1",
    "pathgen-clip": "pathgen-zeroshot@1",
    "pathgen-clip-l": "pathgen-zeroshot@1",
}


@pytest.mark.parametrize("name", CARDS)
def test_every_figure_is_marked_and_has_a_protocol(name: str) -> None:
    results = get_card(name).spec.results
    assert results
    for result in results:
        assert result.protocol == CARDS[name] and load_protocol(result.protocol)
        assert metric(result.metric, "multiclass")
        # Nobody has read the papers' tables: nothing is marked as read there.
        assert result.sourcing == ("unverified" if result.value is None else "secondary")
        assert result.value is None or 0 < result.value < 1
        assert result.note and result.source
    assert len({(r.cohort, r.metric) for r in results}) == len(results)


def test_metrics_are_those_of_the_protocol() -> None:
    for name, protocol in CARDS.items():
        assert {r.metric for r in get_card(name).spec.results} <= set(load_protocol(protocol).metrics)


@pytest.mark.parametrize(
    ("name", "cohort", "metric_name", "value"),
    [
        ("flair-resnet50", "messidor", "balanced_accuracy", 0.604),
        ("flair-resnet50", "odir-200x3", "quadratic_kappa", 0.406),
        ("quiltnet-b-32", "nct_crc@quilt", "accuracy", 0.5195),
        ("quiltnet-b-16", "nct_crc@quilt", "accuracy", 0.2838),
        ("pathgen-clip", "lc25000-colon@pathgen", "accuracy", 0.9663),
        ("pathgen-clip-l", "nct_crc@pathgen", "accuracy", None),
    ],
)
def test_figures_as_sourced(name: str, cohort: str, metric_name: str, value: float | None) -> None:
    (found,) = [r for r in get_card(name).spec.results if (r.cohort, r.metric) == (cohort, metric_name)]
    assert found.value == value


@pytest.mark.parametrize("name", CARDS)
def test_every_figure_has_the_label_set_of_its_cohort(name: str) -> None:
    """The published names that its protocol asks with."""
    spec = get_card(name).spec
    for result in spec.results:
        assert label_set_of(result.cohort, spec.modality), result.cohort


def test_cohorts_without_a_label_set_of_their_name() -> None:
    assert label_set_of("ptbxl-super@published", "ecg") is None
    assert label_set_of("nct_crc@quilt", "no such modality") is None
    assert label_set_of("nct_crc@quilt", "histopathology") == "nct-crc-quilt"
