"""Published against corrected labels side by side, and what an unverified figure can prove."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_results import tiny_result

from medfm.cli.reproduce import command
from medfm.cohorts.adapters import registry as adapters
from medfm.core.errors import CohortError, UnknownNameError
from medfm.encoders.registry import get_card
from medfm.evaluation.metrics import metric
from medfm.evaluation.protocol import load_protocol
from medfm.reporting.reproduction import CORRECTED, HEADER, SECOND_HAND, UNVERIFIED, Claim, Reproduction
from medfm.workflows import reproduce as module
from medfm.workflows.reproduce import Site, claims_of, corrected_cohort, run_claims
from medfm.workflows.reproduce_plan import plan_reproduction
from medfm.workflows.reproduce_verdict import judge

POOLED = ("merl-resnet18-pooled", "merl-vit-tiny-pooled")


def claim(**changes: Any) -> Claim:
    settings = {
        "name": "super, 1 %",
        "dataset": "A set",
        "cohort": "tiny-super@published",
        "target": None,
        "protocol": "tiny-knn@1",
        "metric": "auroc",
        "value": 0.8,
        "tolerance": 0.01,
    }
    return Claim(**(settings | changes))


@pytest.fixture
def offered(monkeypatch):
    """A registry that knows tiny-super@corrected and nothing else with an @."""

    def get(name: str) -> Any:
        if name == "tiny-super@corrected":
            return SimpleNamespace(id="tiny", name=name, aliases=(), where="nowhere")
        raise UnknownNameError(f"no {name}")

    monkeypatch.setattr(adapters, "get_adapter", get)


def results() -> dict[str, Any]:
    return {"tiny-super@published": tiny_result(seed=0), "tiny-super@corrected": tiny_result(seed=3)}


def auroc(result: Any) -> float:
    return result.summary.estimate("auroc").value


def test_only_published_labels_have_a_corrected_twin(offered):
    assert corrected_cohort("tiny-super@published") == "tiny-super@corrected"
    for name in ("tiny-super", "tiny-super@corrected", "other@published", "acevedo"):
        assert corrected_cohort(name) is None


def test_both_figures_stand_beside_each_other_and_the_published_one_is_judged(offered, tmp_path):
    made = results()
    ran = []

    def runner(c: Claim) -> Any:
        ran.append(c.cohort)
        return made[c.cohort]

    published, corrected = (auroc(made[c]) for c in made)
    assert published != corrected
    claims = [claim(value=published), claim(value=corrected), claim(variant="k=5")]
    outcomes = run_claims(claims, runner, out=tmp_path)
    assert ran == ["tiny-super@published", "tiny-super@corrected"]  # each once, whatever the number of figures
    assert [o.verdict for o in outcomes[:2]] == ["reproduced", "not reproduced"]
    assert outcomes[0].measured == published and outcomes[0].corrected == corrected
    assert outcomes[2].corrected == made["tiny-super@corrected"].summary.estimate("auroc", "k=5").value
    assert {p.name for p in (tmp_path / "results").iterdir()} == {
        "tiny-super-published-own-tiny-knn-1",
        "tiny-super-corrected-own-tiny-knn-1",
    }


def test_corrected_labels_that_cannot_run_do_not_spoil_the_claim(offered):
    made = results()

    def runner(c: Claim) -> Any:
        if c.cohort.endswith("@corrected"):
            raise CohortError("statements are missing", fix="download them")
        return made[c.cohort]

    (outcome,) = run_claims([claim()], runner)
    assert outcome.measured is not None and outcome.corrected is None
    assert "statements are missing" in outcome.corrected_note
    done = Reproduction(encoder="e", outcomes=(outcome,))
    assert any("no figure on corrected labels" in line for line in done.reasons())


def test_table_page_and_markdown_show_the_column_only_where_there_is_one(offered):
    made = results()
    outcomes = tuple(run_claims([claim(), claim(cohort="acevedo")], lambda c: made.get(c.cohort, tiny_result())))
    done = Reproduction(encoder="e", outcomes=outcomes)
    assert done.header() == (*HEADER[:6], CORRECTED, *HEADER[6:])
    first, second = done.rows()
    place = done.header().index(CORRECTED)
    assert first[place].startswith(f"{auroc(made['tiny-super@corrected']):.3f} (") and second[place] == "–"
    assert all(len(row) == len(done.header()) for row in done.rows())
    assert all(len(row) == len(done.brief()) for _, rows in done.groups() for row in rows)
    for text in (done.to_html(), done.to_markdown()):
        assert CORRECTED in text and "the verdict rests on the published labels" in text
    doubtful = run_claims([claim(sourcing="unverified")], lambda c: made[c.cohort])
    assert "0.800 (unverified)" in Reproduction(encoder="e", outcomes=tuple(doubtful)).to_html()
    plain = Reproduction(encoder="e", outcomes=outcomes[1:])
    assert plain.header() == HEADER and CORRECTED not in plain.to_html()


@pytest.mark.parametrize(
    ("sourcing", "offset", "verdict", "reason"),
    [
        ("paper table", 0.0, "reproduced", ""),
        ("secondary", 0.0, "reproduced", SECOND_HAND),
        ("secondary", 0.2, "not reproduced", f"off by -0.200; {SECOND_HAND}"),
        ("unverified", 0.0, "not sourced", UNVERIFIED),
        ("unverified", 0.2, "not sourced", UNVERIFIED),
    ],
)
def test_sourcing_decides_what_a_figure_can_prove(sourcing, offset, verdict, reason):
    made = tiny_result()
    outcome = judge(claim(value=auroc(made) + offset, sourcing=sourcing), made)
    assert (outcome.verdict, outcome.reason) == (verdict, reason)


def test_only_takes_the_data_set_with_or_without_its_labels():
    claims = [claim().to_dict(), claim(cohort="acevedo", target="label").to_dict()]
    found = [SimpleNamespace(**c) for c in claims]
    for name in ("tiny-super", "tiny-super@published"):
        assert [c.cohort for c in claims_of(found, [name], "e")] == ["tiny-super@published"]


@pytest.mark.parametrize("card", POOLED)
def test_the_cards_of_merl_list_every_linear_probe_figure(card):
    listed = get_card(card).spec.results
    assert len(listed) == 18 and {r.protocol for r in listed} == {"merl-linear@1"}
    assert {r.cohort for r in listed} == {
        *(f"ptbxl-{t}@published" for t in ("super", "sub", "form", "rhythm")),
        "cpsc2018@published",
        "csn@published",
    }
    fractions = load_protocol("merl-linear@1").fractions
    assert {r.variant for r in listed} == {None, *(f"fraction={f:g}" for f in fractions if f < 1)}
    assert all(metric(r.metric, "multilabel").name == "auroc_macro" and r.target is None for r in listed)
    # The values are those that the card's text marks as confirmed, no others.
    bold = {float(v) for v in re.findall(r"\*\*(\d\d\.\d\d)\*\*", get_card(card).prose)}
    assert {round(100 * r.value, 2) for r in listed if r.value is not None} == bold
    assert len(bold) == (8 if card == POOLED[0] else 0)
    assert all((r.value is None) == (r.sourcing == "unverified") for r in listed)


def test_cpsc2018_is_embedded_as_published(tmp_path):
    site = Site(POOLED[0], None, "random", (), False, "cpu", None, None, tmp_path)
    assert site.variant("cpsc2018@published") == "cpsc2018" and site.variant("cpsc2018") == "cpsc2018"
    assert site.variant("ptbxl-super@published") is None
    usual, padded = site.encoder(), site.encoder("cpsc2018")
    assert padded.variant == "cpsc2018" and usual.fingerprint != padded.fingerprint
    assert site.encoder("cpsc2018") is padded
    assert site.about()["fingerprint"] == usual.fingerprint


def test_a_plan_names_the_corrected_run(monkeypatch):
    monkeypatch.setattr(
        adapters, "get_adapter", lambda name: SimpleNamespace(id=name, aliases=(), where="w", name=name)
    )
    plan = plan_reproduction(POOLED[0], weights="random")
    names = [(run.cohort, len(run.figures)) for run in plan.runs]
    assert ("csn@published", 3) in names and ("csn@corrected", 0) in names
    assert not plan.can_run  # no data


def test_the_verb_prints_both(offered, monkeypatch, tmp_path: Path):
    made = results()
    card = SimpleNamespace(
        id="tiny", title="Tiny", spec=SimpleNamespace(results=[SimpleNamespace(**claim().to_dict())])
    )
    monkeypatch.setattr("medfm.encoders.registry.get_card", lambda name: card)
    monkeypatch.setattr(module.Site, "run", lambda self, c: made[c.cohort])
    done = CliRunner().invoke(command, ["tiny", "--out", str(tmp_path / "out")])
    assert "corrected" in done.output and f"{auroc(made['tiny-super@corrected']):.3f}" in done.output
    assert all(len(line) <= 80 for line in done.output.splitlines() if "0." in line and "tiny" not in line)
    saved = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    assert saved["outcomes"][0]["corrected"] == auroc(made["tiny-super@corrected"])
