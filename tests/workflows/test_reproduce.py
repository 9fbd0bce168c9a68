from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_results import tiny_result

import medfm
from medfm.core.errors import CohortError, ConfigError, EvaluationError, StoreError, UnknownNameError, WeightsError
from medfm.evaluation.metrics import evaluate
from medfm.evaluation.predictions import Predictions
from medfm.reporting.reproduction import Claim
from medfm.reporting.result import Result
from medfm.workflows import reproduce as module
from medfm.workflows.reproduce import reproduce, run_claims
from medfm.workflows.reproduce_verdict import judge, variant_of


def claim(**changes: Any) -> Claim:
    settings = {
        "name": "a figure",
        "dataset": "Acevedo",
        "cohort": "acevedo",
        "target": "label",
        "protocol": "tiny-knn@1",
        "metric": "auroc",
        "value": None,
        "tolerance": 0.01,
    }
    return Claim(**(settings | changes))


@pytest.fixture(scope="module")
def result() -> Result:
    return tiny_result()


def auroc(result: Result, variant: str = "main") -> float:
    value = result.summary.estimate("auroc", variant).value
    assert value is not None
    return value


def test_the_public_name_is_this():
    assert medfm.reproduce is reproduce


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (0.0, "reproduced"),
        (0.01, "reproduced"),
        (-0.01, "reproduced"),
        (0.0101, "not reproduced"),
        (-0.2, "not reproduced"),
    ],
)
def test_the_tolerance_decides(result, offset, verdict):
    outcome = judge(claim(value=auroc(result) + offset), result)
    assert outcome.verdict == verdict
    assert outcome.measured == auroc(result)
    assert outcome.estimate == result.summary.estimate("auroc")
    assert outcome.result_id == result.id
    assert outcome.reason == ("" if verdict == "reproduced" else f"off by {-offset:+.3f}")


def test_without_a_published_value_nothing_is_claimed(result):
    outcome = judge(claim(), result)
    assert outcome.verdict == "not sourced"
    assert outcome.measured == auroc(result)


def test_a_near_figure_of_untrusted_origin_does_not_count(result):
    outcome = judge(claim(value=auroc(result)), result, "the weights are untrained")
    assert (outcome.verdict, outcome.reason) == ("not reproduced", "the weights are untrained")
    assert "untrained" in judge(claim(), result, "the weights are untrained").reason


@pytest.mark.parametrize(
    ("provenance", "reason"),
    [
        ({"weights_kind": "random"}, "the weights are untrained"),
        ({"weights_kind": "published", "synthetic": True}, "the data are synthetic"),
        ({"weights_kind": "published", "failures": [{"record_id": "r", "reason": "x"}]}, "1 records could not be read"),
    ],
)
def test_untrusted_results_are_recognised(provenance, reason):
    made = tiny_result(provenance=provenance)
    (outcome,) = run_claims([claim(value=auroc(made))], lambda c: made)
    assert (outcome.verdict, outcome.reason) == ("not reproduced", reason)


@pytest.mark.parametrize(
    ("wanted", "variant"),
    [(None, "main"), ("main", "main"), ("k=1", "main"), ("k=5", "k=5"), ("fraction=1", "main")],
)
def test_variants_are_found_by_their_published_names(result, wanted, variant):
    assert variant_of(claim(variant=wanted), result) == variant
    value = auroc(result, variant)
    assert judge(claim(variant=wanted, value=value), result).verdict == "reproduced"


def test_an_absent_variant_could_not_run(result):
    with pytest.raises(EvaluationError, match="k=20"):
        variant_of(claim(variant="k=20"), result)
    outcome = judge(claim(variant="k=20", value=0.5), result)
    assert outcome.verdict == "could not run" and "no variant 'k=20'" in outcome.reason


def test_a_metric_beside_the_headline_is_computed_from_the_predictions(result):
    assert "f1_weighted" not in {e.metric for e in result.summary.headline}
    wanted = evaluate(result.predictions.of_variant("k=5"), ["f1_weighted"])["f1_weighted"]
    outcome = judge(claim(metric="f1_weighted", variant="k=5", value=wanted), result)
    assert outcome.verdict == "reproduced"
    assert outcome.measured == wanted
    assert outcome.estimate is not None and outcome.estimate.low is not None


def test_an_unknown_metric_could_not_run(result):
    outcome = judge(claim(metric="f1_wieghted", value=0.5), result)
    assert outcome.verdict == "could not run" and "did you mean" in outcome.reason


@pytest.mark.parametrize("kind", ["population", "sample"])
@pytest.mark.parametrize("metric", ["auroc", "f1_weighted"])
def test_the_papers_mean_over_folds_is_compared(kind, metric):
    made = tiny_result(folds=4, protocol={"paper_average": "fold_mean_std", "paper_std": kind})
    main = made.predictions.of_variant()
    values = []
    for fold in range(4):
        rows = main.table[main.table["fold"] == fold].reset_index(drop=True)
        values.append(evaluate(Predictions(rows, "binary", main.classes), [metric])[metric])
    outcome = judge(claim(metric=metric, value=statistics.fmean(values)), made)
    assert outcome.verdict == "reproduced"
    assert outcome.measured == pytest.approx(statistics.fmean(values))
    deviation = statistics.pstdev if kind == "population" else statistics.stdev
    assert outcome.spread == pytest.approx(deviation(values))
    # The pooled figure with its interval stands beside it.
    assert outcome.estimate is not None and outcome.estimate.value != outcome.measured


def test_an_undefined_figure_could_not_run(result):
    undefined = result.summary.headline[0].model_copy(update={"value": None, "low": None, "high": None, "note": "why"})
    summary = result.summary.model_copy(update={"headline": (undefined,)})
    outcome = judge(claim(value=0.5), tiny_result(summary=summary))
    assert (outcome.verdict, outcome.reason) == ("could not run", "auroc is undefined here: why")


def test_claims_that_share_a_run_share_it(result):
    ran = []

    def runner(c: Claim) -> Result:
        ran.append((c.cohort, c.protocol))
        if c.cohort == "bmc":
            raise CohortError("The folder does not exist.", fix="get it")
        return result

    claims = [claim(), claim(metric="accuracy"), claim(cohort="bmc"), claim(cohort="bmc", variant="k=5")]
    outcomes = run_claims(claims, runner)
    assert ran == [("acevedo", "tiny-knn@1"), ("bmc", "tiny-knn@1")]
    assert [o.verdict for o in outcomes] == ["not sourced", "not sourced", "could not run", "could not run"]
    assert outcomes[2].reason == "The folder does not exist; to do: get it"


def test_only_expected_errors_are_outcomes(result):
    def runner(c: Claim) -> Result:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_claims([claim()], runner)


def test_results_are_saved_where_the_table_says(result, tmp_path):
    outcomes = run_claims([claim(target="a/b")], lambda c: result, out=tmp_path)
    assert outcomes[0].result_folder == "results/acevedo-a-b-tiny-knn-1"
    assert medfm.load_result(tmp_path / outcomes[0].result_folder).id == outcomes[0].result_id
    # A second run takes the place of the first.
    run_claims([claim(target="a/b")], lambda c: result, out=tmp_path)


def test_an_output_that_cannot_be_written_stops_the_run(result, tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(StoreError):
        run_claims([claim()], lambda c: result, out=tmp_path)


# With the real registry of cards and adapters.


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A card with three results, found under any id."""
    from medfm.encoders import registry

    def published(cohort: str, value: float | None, **changes: Any) -> SimpleNamespace:
        made = claim(cohort=cohort, value=value, **changes).to_dict()
        return SimpleNamespace(**made)

    results = (published("acevedo", 0.9), published("acevedo", None, variant="k=5"), published("bmc", 0.9))
    made = SimpleNamespace(id="tiny", title="Tiny", spec=SimpleNamespace(results=results))
    monkeypatch.setattr(registry, "get_card", lambda name: made)
    return made


def test_a_reproduction_from_card_to_table(card, result, tmp_path):
    def runner(c: Claim) -> Result:
        if c.cohort == "bmc":
            raise CohortError("not there")
        return result

    done = reproduce("tiny", runner=runner, out=tmp_path / "out")
    assert [o.verdict for o in done.outcomes] == ["not reproduced", "not sourced", "could not run"]
    assert done.exit_code == 1
    assert (done.encoder, done.title) == ("tiny", "Tiny")
    head = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    assert head["exit_code"] == 1
    assert [o["verdict"] for o in head["outcomes"]] == [o.verdict for o in done.outcomes]


def test_only_some_data_sets(card, result):
    done = reproduce("tiny", runner=lambda c: result, only=["bmc"])
    assert [o.claim.cohort for o in done.outcomes] == ["bmc"]
    with pytest.raises(ConfigError, match="acevedo or bmc"):
        reproduce("tiny", runner=lambda c: result, only=["raabin"])


def test_an_unknown_card_is_an_error():
    with pytest.raises(UnknownNameError, match="did you mean"):
        reproduce("dinobloom-x")


def test_without_data_nothing_could_run():
    done = reproduce("dinobloom-s")
    assert done.exit_code == 2
    assert all("No data folder is given" in o.reason for o in done.outcomes)


def test_a_data_folder_without_the_sets_says_where_to_put_them(tmp_path):
    done = reproduce("dinobloom-s", data=tmp_path)
    assert done.exit_code == 2
    assert all(f"put it at DIR/{o.claim.cohort}" in o.reason for o in done.outcomes)
    missing = reproduce("dinobloom-s", data=tmp_path / "nowhere")
    assert all("does not exist" in o.reason for o in missing.outcomes)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data folder with a small set as ``medfm data prepare`` writes it."""
    from PIL import Image

    rng = np.random.default_rng(0)
    place = tmp_path / "sets" / "acevedo"
    place.mkdir(parents=True)
    rows = []
    for i in range(32):
        label = ("eosinophil", "lymphocyte")[i % 2]
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) // (1 + 2 * (i % 2))
        Image.fromarray(pixels).save(place / f"c{i}.png")
        rows.append({"record_id": f"c{i}", "path": f"c{i}.png", "patient_id": f"P{i // 2}", "label": label})
    pd.DataFrame(rows).to_csv(place / "labels.csv", index=False)
    info = {"name": "acevedo", "modality": "blood_cell", "adapter": "acevedo@1", "target": "label"}
    (place / "labels.yaml").write_text(yaml.safe_dump(info))
    return place.parent


def test_weights_that_are_missing_are_said_for_every_figure(prepared):
    done = reproduce("dinobloom-s", data=prepared, only=["acevedo"])
    assert done.exit_code == 2
    assert len(done.outcomes) >= 1
    reasons = {o.reason for o in done.outcomes}
    assert len(reasons) == 1
    assert done.about() == ["The encoder was not loaded."]


def test_a_checkpoint_that_does_not_exist_is_named(prepared):
    done = reproduce("dinobloom-s", data=prepared, weights=prepared / "no.pth", only=["acevedo"])
    assert done.exit_code == 2
    assert "no.pth" in done.outcomes[0].reason


@pytest.mark.parametrize("notes", [[], ["incomplete: total: expected 17,092, found 24"]])
def test_from_files_to_verdict_with_the_real_workflows(prepared, notes, monkeypatch, tmp_path):
    """The tiny encoder runs the whole way; untrained weights and incomplete data never count."""
    from medfm.encoders import registry

    table = prepared / "acevedo" / "labels.yaml"
    table.write_text(yaml.safe_dump(yaml.safe_load(table.read_text()) | {"notes": notes}))
    real = registry.get_card("dinov2-tiny")
    published = SimpleNamespace(
        **claim(protocol="dinobloom-knn@1", metric="accuracy", value=0.5, tolerance=1.0).to_dict()
    )
    fake = SimpleNamespace(
        id=real.id, title=real.title, spec=SimpleNamespace(results=(published,), preprocessing_variants={})
    )
    monkeypatch.setattr(registry, "get_card", lambda name: fake)
    site = module.Site("dinov2-tiny", prepared, "random", (), False, "cpu", tmp_path / "cache", None, tmp_path / "work")
    made = site.run(claim(protocol="dinobloom-knn@1"))
    assert made.provenance["weights_kind"] == "random"
    assert len(made.predictions.of_variant()) == 32
    (outcome,) = run_claims(
        [claim(protocol="dinobloom-knn@1", metric="accuracy", value=0.5, tolerance=1.0)],
        lambda c: made,
        blockers=site.blockers,
    )
    assert (outcome.verdict, outcome.reason) == ("not reproduced", "the weights are untrained")
    assert ("acevedo" in site.partial) == bool(notes)
    trusted = tiny_result()
    assert site.blockers(claim(), trusted) == ("the data set is incomplete" if notes else "")
    assert site.about()["weights_kind"] == "random"


def test_the_encoder_is_loaded_once_and_its_error_kept(monkeypatch, tmp_path):
    from medfm.encoders import load

    calls = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise WeightsError("half a file")

    monkeypatch.setattr(load, "load_encoder", refuse)
    site = module.Site("dinobloom-s", None, None, (), False, "cpu", None, None, tmp_path)
    for _ in range(2):
        with pytest.raises(WeightsError, match="half a file"):
            site.encoder()
    assert len(calls) == 1
    assert site.about() == {}


def test_allowed_checks_do_not_count(tmp_path):
    from medfm.cohorts.findings import Finding

    site = module.Site("dinobloom-s", None, None, (), False, "cpu", None, None, tmp_path)
    finding = Finding(code="L001", severity="error", title="t", allowed=True)
    assert site.blockers(claim(), tiny_result(findings=(finding,))) == "failed checks were allowed: L001"
