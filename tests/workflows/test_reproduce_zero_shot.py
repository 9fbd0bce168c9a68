"""Published zero-shot figures through reproduce: the right workflow, prompts that count, honest cards."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zero_shot_cases import FAST, LABELS, planted

from medfm.core.errors import MedfmError
from medfm.encoders.registry import get_card
from medfm.evaluation.protocol import load_protocol
from medfm.reporting.reproduction import Claim
from medfm.workflows import reproduce_zero_shot as module
from medfm.workflows.reproduce import Site, claims_of, run_claims
from medfm.workflows.reproduce_plan import plan_reproduction

SHEET = {  # AUROC in percent and the source of each, as the cards must have them
    "ptbxl-super@published": (74.2, "TAMER"),
    "ptbxl-sub@published": (75.7, "D-BETA"),
    "ptbxl-form@published": (65.9, "D-BETA"),
    "ptbxl-rhythm@published": (78.5, "D-BETA"),
    "cpsc2018@published": (82.8, "TAMER"),
    "csn@published": (74.4, "TAMER"),
}


def claim(**changes: Any) -> Claim:
    settings = {
        "name": "a figure",
        "dataset": "Shapes",
        "cohort": "shapes@published",
        "target": None,
        "protocol": "merl-zeroshot@1",
        "metric": "auroc_macro",
        "value": 0.8,
        "tolerance": 0.005,
    }
    return Claim(**(settings | changes))


class Planted:
    """An encoder whose vectors are ready; embeds nothing."""

    def __init__(self, case: Any, variant: str | None = None) -> None:
        self.case = case
        self.variant = variant
        self.card = SimpleNamespace(spec=SimpleNamespace(text=None))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.case.tower, name)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A site with the shapes as its only data set, prompts of its own, and quick statistics."""
    import medfm.workflows.embed as embedding
    import medfm.workflows.zero_shot as workflow

    case = planted()
    cohort = case.cohort
    object.__setattr__(cohort, "info", {"target": list(LABELS)})
    quick = load_protocol("merl-zeroshot@1", overrides=FAST)
    monkeypatch.setattr(embedding, "embed", lambda encoder, part, **_: case.embeddings)
    monkeypatch.setattr(workflow, "untrained_encoder", lambda *_: "planted vectors have no untrained self")
    real = module.zero_shot

    def asked(encoder: Any, data: Any, target: Any, protocol: str, **given: Any) -> Any:
        made.append({"encoder": encoder, "target": target, "protocol": protocol, **given})
        return real(encoder, data, target, quick, embedding_map="none", **given)

    made: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "zero_shot", asked)
    place = Site("x", None, None, (), False, "cpu", str(tmp_path / "cache"), None, tmp_path)
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({"C": "circle", "S": "square", "E": "ellipse"}))
    monkeypatch.setattr(place, "cohort", lambda name: cohort)
    monkeypatch.setattr(place, "encoder", lambda variant=None: Planted(case, variant))
    monkeypatch.setattr(place, "variant", lambda name: "cpsc2018" if name.startswith("cpsc2018") else None)
    return SimpleNamespace(site=place, file=file, asked=made, case=case)


def measured(site: Any, **changes: Any) -> Any:
    (outcome,) = run_claims([claim(**changes)], site.site.run, blockers=site.site.blockers)
    return outcome


def test_with_the_authors_prompts_a_figure_counts(site) -> None:
    site.site.prompt_file = site.file
    first = measured(site)
    assert first.estimate is not None and first.measured == first.estimate.value
    assert measured(site, value=first.measured).verdict == "reproduced"
    far = measured(site, value=first.measured + 0.006)
    assert far.verdict == "not reproduced" and far.reason.startswith("off by -0.006")
    assert site.asked[0]["protocol"] == "merl-zeroshot@1" and site.asked[0]["target"] is None


def test_other_prompts_never_count(site) -> None:
    case = site.case
    cohort = site.site.cohort("x")
    # The knowledge of the modality has no shapes: name classes that it has.
    renamed = cohort.table.rename(columns=dict(zip(LABELS, ("AFIB", "SR", "AFLT"), strict=True)))
    object.__setattr__(cohort, "table", renamed)
    object.__setattr__(cohort, "info", {"target": ["AFIB", "SR", "AFLT"], "label_set": "ptbxl-rhythm"})
    assert case.cohort is cohort
    first = measured(site)
    assert first.measured is not None
    near = measured(site, value=first.measured)
    assert near.verdict == "not reproduced" and "not the published ones" in near.reason


def test_a_data_set_may_have_a_preprocessing_of_its_own(site) -> None:
    site.site.prompt_file = site.file
    measured(site)
    measured(site, cohort="cpsc2018@published")
    assert [entry["encoder"].variant for entry in site.asked] == [None, "cpsc2018", "cpsc2018"], (
        "with its corrected labels"
    )


def test_what_is_missing_is_a_reason(site) -> None:
    site.site.prompt_file = site.file.parent / "absent.json"
    outcome = measured(site)
    assert outcome.verdict == "could not run" and "absent.json" in outcome.reason


def test_other_protocols_go_another_way() -> None:
    assert module.is_zero_shot(claim()) and not module.is_zero_shot(claim(protocol="linear-probe@1"))
    with pytest.raises(MedfmError, match="did you mean"):
        module.is_zero_shot(claim(protocol="merl-zeroshot@2"))


def test_the_cards_figures_are_the_second_hand_ones() -> None:
    results = [r for r in get_card("merl-resnet18").spec.results if r.protocol == "merl-zeroshot@1"]
    assert {r.cohort for r in results} == set(SHEET) and len(results) == 6
    for result in results:
        percent, source = SHEET[result.cohort]
        assert result.value == pytest.approx(percent / 100)
        assert (result.sourcing, result.tolerance, result.metric, result.target) == (
            "secondary",
            0.005,
            "auroc_macro",
            None,
        )
        assert source in result.source and "table was not read" in result.source
    assert round(sum(r.value or 0 for r in results) / 6, 3) in (0.752, 0.753)  # the abstract's mean is 75.2


def test_what_nobody_read_is_null() -> None:
    results = [r for r in get_card("merl-vit-tiny").spec.results if r.protocol == "merl-zeroshot@1"]
    assert {r.cohort for r in results} == set(SHEET)
    assert all(r.value is None and r.sourcing == "unverified" for r in results)


@pytest.mark.parametrize("card", ["merl-resnet18", "merl-vit-tiny"])
def test_a_plan_without_data_names_every_set(card: str) -> None:
    plan = plan_reproduction(card)
    assert {run.cohort for run in plan.runs} >= set(SHEET) and not plan.can_run
    assert all(run.why_not for run in plan.runs)
    assert claims_of(get_card(card).spec.results, ["csn@published"], card)[0].cohort == "csn@published"
