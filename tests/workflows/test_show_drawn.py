"""``medfm data show`` of scans drawn from codes: sheets, films, directions of probes, what cannot be asked for."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_drawing import RANDOM, tiny_cohort, tiny_system, write_scans

from medfm.cli.main import cli
from medfm.core.errors import ConfigError, MissingExtraError, StoreError, WeightsError
from medfm.embeddings.embeddings import Embeddings
from medfm.encoders.ldae.direction import Direction, load_direction, save_direction
from medfm.encoders.ldae.head import LinearHead
from medfm.evaluation.evaluate import Evaluation, FoldDirection
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.target import Target
from medfm.workflows.probe import probe
from medfm.workflows.probe_direction import direction_extras
from medfm.workflows.show_drawn import Wish, show_drawn


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    write_scans(folder)
    return folder


@pytest.fixture(scope="module")
def system(place):
    return tiny_system(place)


@pytest.fixture
def draw(place, system, monkeypatch):
    """Draw with the tiny system."""
    monkeypatch.setattr("medfm.workflows.show_drawn.load_system", lambda *a, **k: system)

    def run(wish, out, source="D-0.nii.gz", **settings):
        return show_drawn(place / source, wish, encoder=str(place / "card.md"), weights=["random"], out=out, **settings)

    return run


@pytest.fixture(scope="module")
def direction(place, system):
    head = LinearHead(torch.ones(32), torch.zeros(()), torch.zeros(32), torch.ones(32))
    made = Direction(head, "AD", system.encoder.id, system.encoder.fingerprint)
    return save_direction(made, place / "direction.json")


def words(path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_reconstruction_sheet(draw, tmp_path):
    done = draw(Wish(reconstruct=True, steps=2), tmp_path / "a.svg")
    assert done.path == tmp_path / "a.svg" and dict(done.facts)["modality"] == "brain_mri"
    page = words(done.path)
    assert page.count("<image") == 9 and "difference: reconstruction minus scan" in page
    assert "SSIM" in page and "window 4" in page and "2 steps" in page and "UNTRAINED WEIGHTS" in page
    with pytest.raises(StoreError, match="exists already"):
        draw(Wish(reconstruct=True), tmp_path / "a.svg")


def test_a_manipulation_strip_runs_from_minus_k_to_k(draw, direction, tmp_path):
    page = words(draw(Wish(manipulate=direction, strength=3, steps=1), tmp_path / "a.svg").path)
    for label in ("k = −3", "k = −1.5", "k = 0", "k = +1.5", "k = +3", "towards AD", "minus the volume at k = 0"):
        assert label in page, label
    assert page.count("<image") == 3 * (5 + 4)


def test_a_pattern_is_followed_unless_weights_are_asked_for(draw, system, monkeypatch, tmp_path):
    head = LinearHead(torch.ones(32), torch.zeros(()), torch.zeros(32), torch.ones(32))
    pattern = torch.linspace(-1, 2, 32)
    file = save_direction(Direction(head, "AD", scores=False, pattern=pattern), tmp_path / "d.json")
    used = []
    moves = type(system).manipulate

    def manipulate(self, codes, head, strengths):
        used.append(head.weight)
        return moves(self, codes, head, strengths)

    monkeypatch.setattr(type(system), "manipulate", manipulate)
    said = [
        words(draw(Wish(manipulate=file, along=along, steps=1), tmp_path / f"{along}.svg").path)
        for along in (None, "pattern", "weight")
    ]
    assert torch.equal(used[0], pattern) and torch.equal(used[1], pattern) and torch.equal(used[2], head.weight)
    assert ["the pattern of the probe" in page for page in said] == [True, True, False]
    assert "the probe's weights" in said[2].replace("&#x27;", "'").replace("&#39;", "'").replace("&apos;", "'")


def test_a_film_of_a_manipulation(draw, direction, tmp_path):
    path = draw(Wish(manipulate=direction, steps=1), tmp_path / "a.GIF").path
    with Image.open(path) as image:
        assert image.n_frames > 1 and image.width > 500


def test_interpolation_with_and_without_the_visit_in_between(draw, tmp_path, place):
    wish = {"other": place / "D-24.nii.gz", "steps": 1}
    page = words(draw(Wish(**wish, middle=place / "D-6.nii.gz", share=0.25), tmp_path / "a.svg").path)
    for label in ("first visit", "from codes", "true visit", "blended images", "last visit", "share 0.25"):
        assert label in page, label
    assert page.count("<image") == 3 * (5 + 4)
    with pytest.raises(ConfigError, match="without the true visit in between"):
        draw(Wish(**wish, middle=place / "D-6.nii.gz"), tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()
    page = words(draw(Wish(**wish), tmp_path / "b.svg").path)
    assert "share 0.75" in page and "minus the first column" in page


def test_records_of_a_table(draw, tmp_path):
    wish = Wish(other="D24", middle="D12", steps=1)
    page = words(
        draw(
            wish, tmp_path / "a.svg", "labels.csv", record_ids=["D0"], cohort={"root": None}, modality="brain_mri"
        ).path
    )
    assert "D0 to D24" in page


def test_a_direction_of_other_weights_is_refused(draw, direction, tmp_path):
    other = json.loads(words(direction)) | {"fingerprint": "0" * 64}
    (tmp_path / "d.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError, match="belongs to other weights"):
        draw(Wish(manipulate=tmp_path / "d.json"), tmp_path / "a.png")
    with pytest.raises(WeightsError, match="no direction here"):
        draw(Wish(manipulate=tmp_path / "no"), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_mp4_without_ffmpeg_is_refused_before_the_work(draw, tmp_path, monkeypatch):
    def absent():
        raise MissingExtraError("MP4 needs ffmpeg.")

    monkeypatch.setattr("medfm.workflows.show_drawn.ffmpeg", absent)
    monkeypatch.setattr("medfm.workflows.show_drawn.load_system", None)
    with pytest.raises(MissingExtraError):
        draw(Wish(reconstruct=True), tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "Nothing is asked"),
        ({"steps": 3}, "Nothing is asked"),
        ({"reconstruct": True, "manipulate": "a"}, "Only one thing"),
        ({"reconstruct": True, "other": "a"}, "Only one thing"),
        ({"manipulate": "a", "other": "b"}, "Only one thing"),
        ({"manipulate": "a", "middle": "b"}, "needs the later one"),
        ({"reconstruct": True, "strength": 3}, "belongs to a direction"),
        ({"other": "a", "strength": 3}, "belongs to a direction"),
        ({"reconstruct": True, "share": 0.3}, "none is named"),
        ({"other": "a", "share": 0.3}, "none is named"),
        ({"other": "a", "share": float("nan")}, "share is nan"),
        ({"reconstruct": True, "middle": "a"}, "needs the later one"),
        ({"manipulate": "a", "strength": 0}, "strength is 0"),
        ({"manipulate": "a", "strength": float("nan")}, "strength"),
        ({"other": "a", "share": 1}, "share is 1"),
        ({"reconstruct": True, "steps": 0}, "0 steps"),
    ],
)
def test_wishes_that_cannot_be(settings, match):
    with pytest.raises(ConfigError, match=match):
        Wish(**settings)


def test_an_ending_that_cannot_be_and_two_records(draw, tmp_path):
    with pytest.raises(ConfigError, match="cannot be drawn as"):
        draw(Wish(reconstruct=True), tmp_path / "a.bmp")
    with pytest.raises(ConfigError, match="One scan"):
        draw(Wish(reconstruct=True), tmp_path / "a.png", "labels.csv", record_ids=["D0", "D6"])


def test_a_probe_keeps_its_direction_and_it_is_read_back(system, tmp_path):
    cohort = tiny_cohort(tmp_path)
    values = np.random.default_rng(0).normal(size=(len(cohort), 4)).astype(np.float32)
    values[:, 3] += 9 * (cohort.table["label"] == "AD")
    about = {"encoder": "tiny-ldae", "fingerprint": system.encoder.fingerprint}
    vectors = Embeddings(values, tuple(cohort.record_ids), about)
    few = (
        "statistics.resamples=0",
        "scheme.kind=kfold",
        "scheme.folds=2",
        "method.epochs=20",
        "method.seeds=2",
        "method.report_epoch=last",
        "method.lr=0.1",
    )
    made = probe(vectors, cohort, "label", "ldae-linear@1", overrides=few, allow=("L002",), embedding_map="none")
    found = load_direction(made.save(tmp_path / "probe"), 4)
    assert found.towards == "CN" and found.fingerprint == system.encoder.fingerprint
    assert int(found.head.weight.abs().argmax()) == 3 and float(found.head.weight[3]) < 0
    entry = made.extras["direction"]
    assert entry["trainings"] == 4 and -1 <= entry["agreement"] <= 1


def test_the_direction_is_the_mean_of_directions_of_one_length():
    nothing = Predictions.__new__(Predictions)
    found = (
        FoldDirection(np.array([[3.0, 0.0]]), np.array([1.0, 2.0]), np.array([[0.0, 4.0]])),
        FoldDirection(np.array([[0.0, 0.5]]), np.array([3.0, 2.0]), np.array([[3.0, 4.0]])),
    )
    done = Evaluation(nothing, (), (), directions=found)
    truth = Target("age", "regression", (), np.zeros(2))
    brain = SimpleNamespace(modality="brain_mri")
    vectors = Embeddings(np.zeros((0, 2), np.float32), ())
    entry = direction_extras(done, truth, vectors, brain)["direction"]  # type: ignore[arg-type]
    assert entry["weight"] == [0.5, 0.5] and entry["std"] == [2, 2] and entry["towards"] == "higher age"
    assert entry["pattern"] == pytest.approx([0.3, 0.9])
    assert entry["agreement"] == 0 and entry["trainings"] == 2
    for other in (
        direction_extras(done, truth, vectors, SimpleNamespace(modality="ecg")),  # type: ignore[arg-type]
        direction_extras(Evaluation(nothing, (), ()), truth, vectors, brain),  # type: ignore[arg-type]
        direction_extras(done, Target("x", "multiclass", ("a", "b", "c"), np.zeros(2)), vectors, brain),  # type: ignore[arg-type]
    ):
        assert other == {}


def test_the_verbs_end_to_end(place, tmp_path):
    """``medfm reconstruct`` and ``medfm data show`` from a shell, with an untrained tiny system."""
    card, table = str(place / "card.md"), str(place / "labels.csv")
    common = ["reconstruct", table, "--encoder", card, "--weights", "random", "--modality", "brain_mri"]
    few = [
        "--set",
        "method.steps=[1]",
        "--set",
        "method.windows=[3]",
        "--set",
        "method.limit=2",
        "--set",
        "statistics.resamples=5",
    ]
    runner = CliRunner()
    done = runner.invoke(
        cli, [*common, *few, "--out", str(tmp_path / "out"), "--no-pictures", "--device", "cpu", "--json"]
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["failed"] == 0 and facts["summary"]["n_records"] == 2 and (tmp_path / "out" / "report.html").is_file()
    again = runner.invoke(cli, [*common, "--out", str(tmp_path / "out")])
    assert again.exit_code != 0
    dry = runner.invoke(cli, [*common, "--protocol", "ldae-interpolation@1", "--time", "session", "--dry-run"])
    assert dry.exit_code == 0 and "time: session" in dry.output and "# sha256" in dry.output
    shown = ["data", "show", str(place / "D-0.nii.gz")]
    for wrong in (
        ["--reconstruct"],
        ["--encoder", card, "--reconstruct", "--layout", "6x2"],
        ["--encoder", card, "--weights", "a", "--weights", "b"],
    ):
        assert runner.invoke(cli, [*shown, *wrong]).exit_code == 2
    assert set(RANDOM) == {"encoder", "autoencoder", "denoiser"}
