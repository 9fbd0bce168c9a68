from __future__ import annotations

import json

import pytest

from medfm.evaluation.summary import Estimate
from medfm.reporting.reproduction import BRIEF, HEADER, Claim, Outcome, Reproduction


def claim(**changes) -> Claim:
    settings = {
        "name": "Acevedo, weighted F1",
        "dataset": "Acevedo (PBC)",
        "cohort": "acevedo",
        "target": "label",
        "protocol": "dinobloom-linear@1",
        "metric": "f1_weighted",
        "value": 0.9,
        "source": "table 2",
        "sourcing": "paper table",
        "tolerance": 0.01,
    }
    return Claim(**(settings | changes))


ESTIMATE = Estimate(metric="f1_weighted", value=0.895, low=0.88, high=0.91)


def outcome(verdict, **changes) -> Outcome:
    settings = {"claim": claim(), "verdict": verdict}
    if verdict != "could not run":
        settings |= {"measured": 0.895, "estimate": ESTIMATE, "result_id": "ab"}
    return Outcome(**(settings | changes))


def table(*verdicts, **changes) -> Reproduction:
    settings = {"encoder": "dinobloom-s", "outcomes": tuple(outcome(v) for v in verdicts)}
    return Reproduction(**(settings | changes))


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), 2),
        (("could not run",), 2),
        (("could not run", "could not run"), 2),
        (("reproduced",), 0),
        (("reproduced", "could not run"), 0),
        (("reproduced", "not sourced"), 0),
        (("reproduced", "not reproduced"), 1),
        (("not reproduced",), 1),
        (("not sourced",), 1),
        (("not sourced", "could not run"), 1),
    ],
)
def test_exit_codes(verdicts, code):
    assert table(*verdicts).exit_code == code


def test_rows_hold_published_measured_tolerance_verdict():
    (row,) = table("reproduced").rows()
    assert len(row) == len(HEADER)
    assert row == (
        "Acevedo (PBC)",
        "dinobloom-linear@1",
        "F1 (weighted)",
        "0.900",
        "0.895",
        "0.895 (0.880–0.910)",
        "±0.01",
        "reproduced",
    )


def test_spreads_variants_and_reasons_are_shown():
    made = outcome(
        "not reproduced",
        claim=claim(spread=0.004, variant="k=20"),
        spread=0.006,
        reason="off by -0.050",
    )
    (row,) = Reproduction(encoder="e", outcomes=(made,)).rows()
    assert row[1] == "dinobloom-linear@1, k=20"
    assert row[3] == "0.900 ± 0.004"
    assert row[4] == "0.895 ± 0.006"
    assert row[7] == "not reproduced"
    (reason,) = Reproduction(encoder="e", outcomes=(made,)).reasons()
    assert reason == "Acevedo, weighted F1: not reproduced: off by -0.050"


def test_what_was_not_sourced_or_not_run_shows_no_figure():
    unknown = outcome("not sourced", claim=claim(value=None))
    lost = outcome("could not run", reason="no data")
    first, second = Reproduction(encoder="e", outcomes=(unknown, lost)).rows()
    assert first[3] == "not sourced" and first[4].startswith("0.895")
    assert second[4] == second[5] == "–"


@pytest.mark.parametrize("spread", [None, 0.0123])
def test_the_terminals_tables_fit_80_columns(spread):
    """The widest words that can come up stand side by side."""
    from rich.cells import cell_len

    verdicts = ("reproduced", "not reproduced", "not sourced", "could not run")
    made = [outcome(v, claim=claim(metric="balanced_accuracy", spread=spread), spread=spread) for v in verdicts]
    made += [outcome("not sourced", claim=claim(value=None, variant="k=20", tolerance=0.025))]
    groups = Reproduction(encoder="e", outcomes=tuple(made)).groups()
    assert [heading for heading, _ in groups] == [
        "acevedo: dinobloom-linear@1, tolerance ±0.01",
        "acevedo: dinobloom-linear@1, k=20, tolerance ±0.025",
    ]
    rows = [row for _, group in groups for row in group]
    assert len(rows) == 5 and all(len(row) == len(BRIEF) for row in rows)
    widths = [max(cell_len(line[i]) for line in [BRIEF, *rows]) for i in range(len(BRIEF))]
    assert sum(widths) + 2 * (len(widths) - 1) <= 80


def test_figures_of_one_source_stand_together():
    made = [outcome("reproduced", claim=claim(name=n, source=s)) for n, s in (("a", "x"), ("b", "y"), ("c", "x"))]
    sources = Reproduction(encoder="e", outcomes=tuple(made)).sources()
    assert [names for names, _ in sources] == ["a; c", "b"]


def test_on_a_phone_every_cell_says_what_it_is():
    page = table("reproduced", "not reproduced").to_html()
    for name in HEADER[1:]:
        assert page.count(f'data-label="{name}"') == 2


def test_the_counts_in_a_sentence():
    made = table("reproduced", "reproduced", "not reproduced", "could not run")
    assert made.sentence() == ("4 published results of dinobloom-s: 2 reproduced, 1 not reproduced, 1 could not run.")
    assert table().sentence() == "The card of dinobloom-s holds no published result."


def test_equal_reasons_are_said_once():
    outcomes = tuple(outcome("could not run", claim=claim(cohort=c), reason="no data") for c in ("a", "a", "b"))
    assert Reproduction(encoder="e", outcomes=outcomes).reasons() == ["a, b: could not run: no data"]


def test_the_weights_are_named():
    assert table().about() == ["The encoder was not loaded."]
    made = table(fingerprint="ff", weights_kind="local file", weights_note="file.pth")
    assert made.about() == ["Weights: local file: file.pth; fingerprint ff."]
    again = table(fingerprint="ff", weights_kind="local file", weights_note="local file: file.pth")
    assert again.about() == made.about()


def test_saved_as_json_page_and_markdown(tmp_path):
    made = table("reproduced", "could not run", fingerprint="ff", weights_kind="published")
    made.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "reproduce.html",
        "reproduce.json",
        "reproduce.md",
    ]
    head = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    assert head.pop("exit_code") == 0
    assert Reproduction.model_validate(head) == made
    page = (tmp_path / "out" / "reproduce.html").read_text()
    assert page.count("<tr class=") == 2 and "<script" not in page
    text = (tmp_path / "out" / "reproduce.md").read_text()
    assert text.count("| Acevedo (PBC) |") == 2
    assert "table 2; sourcing: paper table" in text


def test_the_card_cannot_inject_markup(tmp_path):
    evil = "<script>alert(1)</script> | x"
    made = Reproduction(
        encoder="e", title=evil, outcomes=(outcome("reproduced", claim=claim(dataset=evil, note=evil)),)
    )
    assert "<script>" not in made.to_html()
    assert "\\<script" in made.to_markdown()
