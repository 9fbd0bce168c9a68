"""What a run changed in a protocol, and what the report says of it."""

from __future__ import annotations

import pytest

from medfm.evaluation.protocol import list_protocols, load_protocol
from medfm.reporting.banners import banners
from medfm.reporting.html import render_report
from medfm.reporting.protocols import protocol_changes


@pytest.mark.parametrize("name", list_protocols())
def test_a_shipped_protocol_is_unchanged(name):
    assert protocol_changes(load_protocol(name)) == []


@pytest.mark.parametrize(
    ("name", "override", "line"),
    [
        ("knn@1", "method.k=[5, 20]", "method.k: 5, 20 (the protocol has 20, 5, 10)"),
        ("linear-probe@1", "scheme.seed=3", "scheme.seed: 3 (the protocol has 0)"),
        ("linear-probe@1", "method.standardise=false", "method.standardise: no (the protocol has yes)"),
        (
            "dinobloom-linear@1",
            "metrics=[accuracy]",
            "metrics: accuracy (the protocol has accuracy, balanced_accuracy,",
        ),
        ("linear-probe@1", "metrics=[accuracy]", "metrics: accuracy (the protocol has nothing)"),
        ("dinobloom-linear@1", "metrics=[]", "metrics: not set (the protocol has accuracy, balanced_accuracy,"),
    ],
)
def test_a_changed_setting_is_named_with_both_values(name, override, line):
    (found,) = protocol_changes(load_protocol(name, overrides=(override,)))
    assert found.startswith(line)


def test_words_about_a_protocol_are_no_settings():
    plan = load_protocol("knn@1").model_copy(update={"title": "x", "source": "y", "deviations": ("z",)})
    assert protocol_changes(plan) == []


def test_a_protocol_of_ones_own_has_nothing_to_differ_from(make):
    assert protocol_changes(load_protocol("knn@1").model_copy(update={"id": "mine@1"})) == []


def test_report_banner_and_summary_say_that_the_protocol_was_changed(make):
    changed = make(protocol=load_protocol("linear-probe@1", overrides=("scheme.seed=3", "scheme.folds=4")))
    (banner,) = [b for b in banners(changed) if b.title == "Changed protocol"]
    assert "scheme.seed: 3" in banner.text and "scheme.folds: 4" in banner.text
    assert "Changed for this run" in render_report(changed)
    assert "protocol linear-probe@1 (changed, see the report)" in str(changed)
    plain = make(protocol=load_protocol("linear-probe@1"))
    assert "Changed for this run" not in render_report(plain) and "(changed" not in str(plain)
    assert "Changed protocol" not in {b.title for b in banners(plain)}


def test_a_long_list_of_changes_is_cut_in_the_banner_only(make):
    overrides = tuple(f"statistics.{k}" for k in ("seed=1", "level=0.9", "resamples=10", "minimum_cell=5"))
    changed = make(protocol=load_protocol("linear-probe@1", overrides=(*overrides, "scheme.seed=1", "scheme.folds=3")))
    (banner,) = [b for b in banners(changed) if b.title == "Changed protocol"]
    assert banner.text.endswith("and 2 more settings.")
    assert all(line.split(":")[0] in render_report(changed) for line in protocol_changes(changed.protocol))
