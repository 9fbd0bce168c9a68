"""Faulty radiographs are told of by every workflow that embeds, also when the vectors come from the store."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from radiograph_files import dicom

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.cohorts.load import load_cohort
from medfm.core.errors import ChecksFailedError
from medfm.embeddings.embeddings import Embeddings
from medfm.modalities.chest_quality import drawn
from medfm.workflows.embed import EmbedRun, embed
from medfm.workflows.finetune import finetune
from medfm.workflows.glanced import glanced, warnings_of
from medfm.workflows.predict import predict
from medfm.workflows.probe import probe

SECRET = "Zwiebelmann"
N = 16
SHORT = ["validation.source=none", "selection={keep: last, threshold: half, patience: 0}", "stages.probe.epochs=1"]


def chest(number: int) -> np.ndarray:
    base = np.kron((drawn() - drawn().min()) / np.ptp(drawn()), np.ones((4, 4)))
    noise = np.random.default_rng(number).normal(0, 0.03, base.shape)
    return np.rint(np.clip(base + noise, 0, 1) * 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("radiographs")
    rows = ["record_id,path,patient_id,label,split"]
    for i in range(N):
        pixels = 4095 - chest(i) if i == 1 else chest(i)
        view = "LL" if i == 2 else "PA"
        header = {"PatientName": SECRET, "ViewPosition": view, "BitsStored": 12}
        if i == 3:
            pixels[:4, :4] = 9000
        (place / f"{i}.dcm").write_bytes(dicom(pixels, **header))
        rows.append(f"r{i},{i}.dcm,p{i},{'ab'[i % 2]},{'train' if i < 10 else 'test'}")
    (place / "labels.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture
def cohort(folder: Path) -> Cohort:
    return load_cohort(folder / "labels.csv", modality="chest_xray")


def codes(findings: object) -> dict[str, str]:
    return {f.code: f.severity for f in findings if f.code.startswith("X")}


EXPECTED = {"X001": "warning", "X002": "passed", "X003": "warning", "X004": "passed", "X009": "warning"}


def test_embedding_tells_and_the_store_remembers(cohort: Cohort, tmp_path: Path) -> None:
    first = _embedded(cohort, tmp_path)
    told = {entry["code"]: entry for entry in first.provenance["run"]["findings"]}
    assert {code: entry["severity"] for code, entry in told.items()} == EXPECTED
    assert told["X001"]["records"] == ["r1"] and told["X003"]["records"] == ["r2"] and told["X009"]["records"] == ["r3"]
    again = _embedded(cohort, tmp_path)
    assert again.provenance["run"]["from_cache"] == N
    assert again.provenance["run"]["findings"] == first.provenance["run"]["findings"]
    assert SECRET not in str(first.provenance) and SECRET not in str(again.provenance)
    stored = _embedded(cohort, tmp_path, collect=False)
    lines = EmbedRun(stored, None, tmp_path, 1.0, "report").lines()
    warned = [line for line in lines if line.startswith("warning: ")]
    assert [line.split()[1] for line in warned] == ["X001", "X003", "X009"] and "(first: r1)" in warned[0]


def _embedded(cohort: Cohort, cache: Path, **settings: object) -> Embeddings:
    from medfm.encoders.load import load_encoder

    return embed(
        load_encoder("convirt-tiny", weights="random", device="cpu"), cohort, cache=cache, workers=0, **settings
    )


def test_a_probe_has_them_among_its_checks(cohort: Cohort, tmp_path: Path) -> None:
    result = probe(_embedded(cohort, tmp_path), cohort, "label", overrides=["statistics.resamples=20"])
    assert codes(result.findings) == EXPECTED
    allowed = probe(_embedded(cohort, tmp_path), cohort, "label", overrides=["statistics.resamples=20"], allow=["X003"])
    assert [f.code for f in allowed.findings if f.allowed] == ["X003"]


def test_what_a_file_of_embeddings_claims_is_read_with_care(cohort: Cohort) -> None:
    def vectors(run: object) -> Embeddings:
        return Embeddings(np.zeros((N, 2), np.float32), tuple(cohort.record_ids), {"run": run})

    good = {"code": "X001", "severity": "warning", "title": "t"}
    assert [f.code for f in glanced(cohort, None, vectors({"findings": [good]}))] == ["X001"]
    for run in (None, "x", {}, {"findings": 3}, {"findings": [{"code": 1}, "x", {"severity": "loud"}]}):
        assert glanced(cohort, None, vectors(run)) == ()
    assert glanced(cohort, None, Embeddings(np.zeros((1, 2), np.float32), ("r0",))) == ()


def test_the_view_of_the_table_counts_for_vectors_from_anywhere(cohort: Cohort) -> None:
    views = ["LL", *["PA"] * (N - 1)]
    viewed = Cohort(cohort.table.assign(view=views), "chest_xray", cohort.root, "c")
    bare = Embeddings(np.zeros((N, 2), np.float32), tuple(cohort.record_ids))
    assert codes(glanced(viewed, None, bare)) == {"X003": "warning"}


def test_a_fine_tuning_that_a_check_stops_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copies")
    shutil.copy(tmp_path / "copies" / "0.dcm", tmp_path / "copies" / "12.dcm")  # the same bytes in train and test
    cohort = load_cohort(tmp_path / "copies" / "labels.csv", modality="chest_xray")
    settings = {"cache": str(tmp_path / "cache"), "workers": 0}
    from medfm.encoders.load import load_encoder

    encoder = load_encoder("convirt-tiny", weights="random", device="cpu")
    for out in (tmp_path / "new", tmp_path / "made"):
        if out.name == "made":
            out.mkdir()
        with pytest.raises(ChecksFailedError, match="L002"):
            finetune(encoder, cohort, "label", "linear-probe", out, embed_settings=settings)
        assert not out.exists()


def test_warnings_in_a_sentence_each() -> None:
    told = [
        Finding(code="X001", severity="warning", title="t", detail="2 of 3 radiographs look bad", records=("a", "b")),
        Finding(code="X002", severity="passed", title="t", detail="fine"),
        Finding(code="X011", severity="info", title="t", detail="AP: a 10%"),
    ]
    assert warnings_of(told) == ["X001 2 of 3 radiographs look bad (first: a)", "X011 AP: a 10%"]


def test_a_prediction_tells_of_them_too(cohort: Cohort, tmp_path: Path) -> None:
    from medfm.encoders.load import load_encoder

    encoder = load_encoder("convirt-tiny", weights="random", device="cpu")
    settings = {"cache": str(tmp_path / "cache"), "workers": 0}
    done = finetune(
        encoder, cohort, "label", "linear-probe", tmp_path / "out", embed_settings=settings, overrides=SHORT
    )
    assert codes(done.result.findings) == EXPECTED
    notes = predict(tmp_path / "out" / "model", cohort, device="cpu", embed_settings=settings).notes
    assert [note.split()[0] for note in notes if note.startswith("X")] == ["X001", "X003", "X009"]
