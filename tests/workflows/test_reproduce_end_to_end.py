"""``reproduce`` from official folder layouts and a checkpoint as published to the verdicts, nothing replaced.

The encoder is a small one with a card of its own, its checkpoint nested as DinoBloom's archive
file and filled by the parity rule; the pictures are drawn here.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import medfm
from medfm.cohorts.adapters.acevedo import ACEVEDO
from medfm.cohorts.adapters.bmc import BMC
from medfm.core.errors import CohortError
from medfm.encoders.dinov2 import build_vit, published_state
from medfm.workflows.reproduce import reproduce
from medfm.workflows.reproduce_plan import plan_reproduction

sys.path.insert(0, str(Path(__file__).parent.parent / "parity"))
from fill import filled

ARGS = {"size": "custom", "width": 32, "depth": 2, "heads": 2, "patch": 14, "img_size": 56}
CELLS = ("basophil", "lymphocyte", "platelet")
MARROW = ("LYT", "NGS")
EACH = 10


def picture(kind: int, seed: int) -> Image.Image:
    """A disc whose size and shade hint at its class, on noise, so that a probe is right now and then."""
    rng = np.random.default_rng(1000 * kind + seed)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    disc = (x**2 + y**2) < rng.normal(0.2 + 0.2 * kind, 0.15)
    pixels = rng.normal(200, 30, (48, 48, 3)) - disc[..., None] * rng.normal(60 + 20 * kind, 25, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def result(**changes: Any) -> dict[str, Any]:
    settings = {
        "name": "a figure",
        "dataset": "a set",
        "cohort": "acevedo",
        "target": "label",
        "protocol": "dinobloom-linear@1",
        "metric": "balanced_accuracy",
        "value": None,
        "source": "made up for a test",
        "sourcing": "unverified",
    }
    return {**settings, **changes}


RESULTS = (
    result(name="linear"),
    result(name="1-NN", protocol="dinobloom-knn@1"),
    result(name="20-NN", protocol="dinobloom-knn@1", variant="k=20"),
    result(name="BMC", cohort="bmc", protocol="dinobloom-linear-split@1", metric="f1_weighted"),
    result(name="AML", cohort="aml_hehr", protocol="dinobloom-aml-mil@1"),
)


def write_card(folder: Path, results: Any) -> None:
    header = {
        "license": "apache-2.0",
        "medfm": {
            "id": "small-published",
            "title": "Small, published",
            "summary": "For tests.",
            "modality": "blood_cell",
            "architecture": {"family": "dinov2", "args": ARGS},
            "weights": {
                "sources": [{"kind": "archive", "page": "https://example.org/record", "filename": "published.pth"}],
                "key_map": {"drop": ["dino_head"], "prefixes": ["backbone."], "optional": ["mask_token"]},
            },
            "input": {"shape": [3, 56, 56]},
            "preprocessing": [
                {"step": "to_rgb"},
                {"step": "resize", "size": [56, 56]},
                {"step": "to_unit_range"},
                {"step": "normalise", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            ],
            "embedding": {"what": "cls", "dim": 32},
            "results": list(results),
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "small.md").write_text(
        f"---\n{yaml.safe_dump(header, default_flow_style=True, width=10_000)}---\n\n# Small\n\nFor tests.\n",
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``sets/acevedo`` and ``sets/bmc`` in their official layouts, and ``w.pth`` in the published nesting."""
    root = tmp_path_factory.mktemp("site")
    for kind, name in enumerate(CELLS):
        place = root / "sets" / "acevedo" / "PBC_dataset_normal_DIB" / name
        place.mkdir(parents=True)
        for i in range(EACH):
            picture(kind, i).save(place / f"{name[:2].upper()}_{i}.jpg", quality=95)
    marrow = root / "sets" / "bmc"
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for kind, name in enumerate(MARROW):
        place = marrow / "BM_cytomorphology_data" / name / "0001-1000"
        place.mkdir(parents=True)
        for i in range(EACH):
            picture(kind, 500 + i).save(place / f"{name}_{i:05d}.jpg", quality=95)
            rows["test" if i % 3 == 0 else "train"].append((f"/their/machine/{name}/{name}_{i:05d}.jpg", name))
    for split, lines in rows.items():
        with (marrow / f"bm_{split}.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle).writerows([("Image Path", "Label"), *lines])
    names = published_state(build_vit(ARGS, torch.Generator().manual_seed(0)))
    state = {name: torch.from_numpy(filled(name, tuple(tensor.shape))) for name, tensor in names.items()}
    torch.save({"teacher": {**state, "dino_head.mlp.0.weight": torch.zeros(4, 32)}}, root / "w.pth")
    return root


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cards"
    write_card(folder, RESULTS)
    monkeypatch.setenv("MEDFM_CARDS", str(folder))
    return folder


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published counts are those of the small sets."""
    monkeypatch.setattr(ACEVEDO, "expected", {"total": EACH * len(CELLS)})
    monkeypatch.setattr(BMC, "expected", {"total": EACH * len(MARROW)})


def run(site: Path, **settings: Any) -> Any:
    return reproduce("small-published", data=site / "sets", weights=site / "w.pth", device="cpu", **settings)


def test_figures_that_are_met_are_reproduced_and_the_exit_code_is_0(site, cards, complete, tmp_path):
    first = run(site)
    assert [o.verdict for o in first.outcomes] == ["not sourced"] * 4 + ["could not run"]
    assert first.exit_code == 1
    # The card now says what was measured, as a paper would have.
    measured = [o.measured for o in first.outcomes]
    assert all(0 <= m <= 1 for m in measured[:4])
    spreads = [o.spread for o in first.outcomes]
    sourced = [
        {**r, "value": m, "spread": s, "sourcing": "paper table", "tolerance": 1e-6}
        for r, m, s in zip(RESULTS, [*measured[:4], 0.5], [*spreads[:4], None], strict=True)
    ]
    write_card(cards, sourced)
    out = tmp_path / "out"
    again = run(site, out=out)
    assert [o.verdict for o in again.outcomes] == ["reproduced"] * 4 + ["could not run"]
    assert again.exit_code == 0
    assert (json.loads((out / "reproduce.json").read_text()))["exit_code"] == 0
    # A figure that is off makes it 1, whatever the others say.
    write_card(cards, [{**sourced[0], "value": measured[0] + 0.05}, *sourced[1:]])
    third = run(site, only=["acevedo"])
    assert [o.verdict for o in third.outcomes] == ["not reproduced", "reproduced", "reproduced"]
    assert third.exit_code == 1
    assert third.reasons() == ["linear: not reproduced: off by -0.050"]


def test_what_is_compared_is_the_mean_over_folds_with_the_pooled_interval_beside_it(site, cards, complete, tmp_path):
    done = run(site, out=tmp_path / "out")
    for outcome in done.outcomes[:3]:
        folder = tmp_path / "out" / outcome.result_folder
        saved = medfm.load_result(folder)
        assert saved.id == outcome.result_id
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            ("result.json", "predictions.parquet", "config.yaml", "report.html", "card.md")
        )
        variant, name = outcome.claim.variant or "main", outcome.claim.metric
        average = saved.extras["paper_average"][variant][name]
        assert outcome.measured == pytest.approx(average["mean"], abs=1e-12)
        assert outcome.spread == pytest.approx(average["std"], abs=1e-12)
        # By hand, from the saved predictions: recall per class, averaged, in each fold.
        table = saved.predictions.of_variant(variant).table
        folds = []
        for _, part in table.groupby("fold"):
            right = (part["truth"] == part["predicted"]).groupby(part["truth"]).mean()
            folds.append(float(right.mean()))
        assert len(folds) == 5 and outcome.measured == pytest.approx(statistics.fmean(folds), abs=1e-12)
        pooled = float((table["truth"] == table["predicted"]).groupby(table["truth"]).mean().mean())
        assert outcome.estimate.value == pytest.approx(pooled, abs=1e-12)
        assert outcome.estimate.low <= pooled <= outcome.estimate.high
    # A fixed split has one test set: no mean over folds, no spread.
    fixed = done.outcomes[3]
    assert fixed.spread is None and fixed.measured == fixed.estimate.value
    # The two figures of one protocol come from one run.
    assert done.outcomes[1].result_id == done.outcomes[2].result_id
    page = (tmp_path / "out" / "reproduce.html").read_text()
    assert page.count('<td data-label="verdict">') == 5 and "it need not equal the mean over folds" in page


def test_incomplete_data_run_but_never_count(site, cards):
    met = run(site, allow_partial=True, only=["acevedo"]).outcomes[0].measured
    write_card(cards, [result(value=met, sourcing="paper table")])
    done = run(site, allow_partial=True)
    assert (done.outcomes[0].verdict, done.outcomes[0].reason) == ("not reproduced", "the data set is incomplete")
    assert done.outcomes[0].measured == met and done.exit_code == 1
    refused = run(site)
    assert refused.exit_code == 2
    assert "expected 17,092, found 30" in refused.outcomes[0].reason


def test_a_file_that_only_bears_the_published_name_never_counts(site, cards, complete, tmp_path):
    met = run(site, only=["acevedo"]).outcomes[0].measured
    write_card(cards, [result(value=met, sourcing="paper table")])
    assert run(site).exit_code == 0  # its SHA-256 is not known, so nothing speaks against it
    card = cards / "small.md"
    known = f"filename: w.pth, sha256: '{'0' * 64}'"
    card.write_text(card.read_text().replace("filename: published.pth", known))
    done = run(site)
    assert done.outcomes[0].verdict == "not reproduced"
    assert "SHA-256 differs" in done.outcomes[0].reason


def test_the_plan_says_what_the_run_then_does(site, cards, complete):
    plan = plan_reproduction("small-published", site / "sets", site / "w.pth")
    done = run(site)
    assert plan.can_run
    planned = {(r.cohort, r.protocol): not r.why_not for r in plan.runs}
    ran = {(o.claim.cohort, o.claim.protocol): o.verdict != "could not run" for o in done.outcomes}
    assert planned == ran
    assert [len(r.figures) for r in plan.runs] == [1, 2, 1, 1]
    assert [r.records for r in plan.runs] == [30, 30, 20, 0]
    assert [r.complete for r in plan.runs] == [True, True, True, None]
    assert len(plan.weights.sha256) == 64


def test_the_hash_of_the_plan_changes_with_what_decides_the_figures(site, cards, complete, tmp_path):
    def digest(**settings: Any) -> str:
        return plan_reproduction(
            "small-published", **{"data": site / "sets", "weights": site / "w.pth", **settings}
        ).digest()

    first = digest()
    assert digest() == first
    other = tmp_path / "other.pth"
    names = published_state(build_vit(ARGS, torch.Generator().manual_seed(1)))
    torch.save({"teacher": names}, other)
    assert digest(weights=other) != first
    assert digest(allow=["L001"]) != first
    assert digest(only=["acevedo"]) != first
    assert digest(data=tmp_path) != first
    write_card(cards, [*RESULTS[:-1], {**RESULTS[-1], "tolerance": 0.02}])
    assert digest() != first


@pytest.mark.parametrize(
    ("weights", "reason"),
    [(None, "not on this machine: published.pth of https://example.org/record"), ("no.pth", "there is no file")],
)
def test_a_plan_without_weights_cannot_run(site, cards, complete, weights, reason):
    plan = plan_reproduction("small-published", site / "sets", weights)
    assert not plan.can_run and reason in plan.weights.why_not
    assert not plan.runs[0].why_not  # the data are not to blame


def test_dry_run_writes_nothing_and_names_its_exit_code(site, cards, complete, tmp_path):
    from click.testing import CliRunner

    from medfm.cli.reproduce import command

    out = tmp_path / "out"
    arguments = ["small-published", "--data", str(site / "sets"), "--out", str(out), "--dry-run"]
    ready = CliRunner().invoke(command, [*arguments, "--weights", str(site / "w.pth"), "--json"], standalone_mode=False)
    assert ready.return_value == 0
    head = json.loads(ready.stdout)
    assert head["sha256"] == plan_reproduction("small-published", site / "sets", site / "w.pth").digest()
    missing = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert missing.return_value == 2 and "why_not: 'not on this machine" in missing.stdout
    assert not out.exists()


def test_marrow_splits_follow_the_authors_files(site, complete, tmp_path):
    from medfm.cohorts.adapters import prepare
    from medfm.cohorts.load import load_cohort

    table = load_cohort(prepare("bmc", site / "sets" / "bmc", tmp_path / "out").table).table
    number = table["path"].str.extract(r"_(\d+)\.jpg")[0].astype(int)
    assert (table["split"].eq("test") == number.mod(3).eq(0)).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"bm_test.csv": "Image Path,Label\na.jpg,NGS\n"}, "there is no bm_train.csv"),
        ({"bm_test.csv": "file\na.jpg\n", "bm_train.csv": "Image Path\n"}, "no column 'Image Path'"),
        ({"bm_test.csv": "Image Path\nx/a.jpg\n", "bm_train.csv": "Image Path\ny\\a.jpg\n"}, "a.jpg is in both"),
    ],
)
def test_marrow_split_files_that_cannot_be_right_are_refused(tmp_path, files, message):
    place = tmp_path / "BM" / "NGS"
    place.mkdir(parents=True)
    picture(0, 0).save(place / "a.jpg")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CohortError, match=message):
        BMC.prepare(tmp_path, tmp_path / "out", allow_partial=True)
