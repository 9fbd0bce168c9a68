"""Odd and broken pictures through check, embed, probe and zero-shot as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_hazards import BROKEN, ODD, plain, put_broken, put_odd
from PIL import Image
from tiny_picture_encoders import put_tiny_pictures

from medfm.cli.main import main
from medfm.embeddings.export import load_embeddings

Run = Callable[..., tuple[int, str, str]]
MODALITIES = ("retina", "histopathology")
CLASSES = {"retina": ("0", "2"), "histopathology": ("lung_aca", "lung_n")}
LABEL_SET = {"retina": "idrid", "histopathology": "lc25000-lung-quilt"}
ENCODER = {"retina": "tiny-flair", "histopathology": "tiny-quilt"}
FEW = ("--set", "statistics.resamples=20")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every odd and every broken file, and sixteen plain ones; no test changes it."""
    folder = tmp_path_factory.mktemp("hazards")
    put_odd(folder)
    put_broken(folder)
    for i in range(16):
        Image.fromarray(plain(10 + i)).save(folder / f"fine{i:02}.png")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_pictures(tmp_path / "cards")))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        assert "Traceback" not in out.out + out.err
        return int(ended.value.code or 0), out.out, out.err

    return call


def table(folder: Path, to: Path, names: list[str], modality: str, **labels: str) -> Path:
    """A table of `names`, labels in turn, every other pair a test record."""
    pair = CLASSES[modality]
    rows = [f"{n},p{i},{labels.get(n, pair[i % 2])},{'train' if i // 2 % 2 else 'test'}" for i, n in enumerate(names)]
    to.write_text("path,patient_id,label,split\n" + "\n".join(rows) + "\n")
    return to


@pytest.fixture(params=MODALITIES)
def modality(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def mixed(pictures: Path, tmp_path: Path, modality: str) -> Path:
    names = [*ODD, *BROKEN, *(f"fine{i:02}.png" for i in range(16))]
    return table(pictures, tmp_path / "mixed.csv", names, modality)


def test_check_names_every_broken_file_and_no_other(run: Run, pictures: Path, mixed: Path, modality: str) -> None:
    code, text, _ = run("data", "check", mixed, "--root", pictures, "--modality", modality, "--json")
    assert code == 1
    found = {f["code"]: f for f in json.loads(text)["findings"]}
    # The finding names the first ten and counts them all.
    assert set(found["F002"]["records"]) < set(BROKEN)
    assert f"{len(BROKEN)} of {len(ODD) + len(BROKEN) + 16} records" in found["F002"]["detail"]
    assert found["F003"]["records"] == ["zero.png"]


def test_embed_gives_every_reason_and_the_right_vectors(run: Run, pictures: Path, mixed: Path, modality: str) -> None:
    given = ("embed", mixed, "--root", pictures, "--modality", modality, "--encoder", "color-histogram")
    code, text, _ = run(*given, "--out", "all.npz", "--json")
    assert code == 1
    reasons = {f["record_id"]: f["reason"] for f in json.loads(text)["failures"]}
    assert set(reasons) == set(BROKEN)
    for name, words in BROKEN.items():
        assert words in reasons[name], name
    vectors = load_embeddings("all.npz")
    row = {name: vectors.values[i] for i, name in enumerate(vectors.record_ids)}
    for name, far in ODD.items():
        if far == 0:
            assert np.array_equal(row[name], row["plain.png"]), name
    assert not np.array_equal(row["grey.png"], row["plain.png"])
    assert run(*given, "--on-error", "skip")[0] == 0
    assert run(*given, "--on-error", "stop", "--out", "never.npz")[0] == 2 and not Path("never.npz").exists()


def test_probe_counts_them_and_writes_its_report(run: Run, pictures: Path, mixed: Path, modality: str) -> None:
    given = ("probe", mixed, "--root", pictures, "--modality", modality, "--encoder", "color-histogram")
    code, text, _ = run(*given, *FEW, "--target", "label", "--out", "runs/p", "--json")
    assert code == 1 and json.loads(text)["failed"] == len(BROKEN)
    assert Path("runs/p/report.html").is_file()


def test_zeroshot_leaves_them_out_and_says_so(run: Run, pictures: Path, mixed: Path, modality: str) -> None:
    code, text, _ = run(
        "zeroshot", mixed, "--root", pictures, "--modality", modality, "--encoder", ENCODER[modality], "--weights",
        "random", "--target", "label", "--task", "multiclass", "--label-set", LABEL_SET[modality], "--baseline", "none", *FEW,
        "--map-method", "none", "--device", "cpu", "--out", "runs/z", "--json",
    )  # fmt: skip
    tested = [n for i, n in enumerate([*ODD, *BROKEN]) if not i // 2 % 2 and n in BROKEN]
    assert code == 1 and json.loads(text)["failed"] == len(tested)
    assert Path("runs/z/report.html").is_file()


# Words, labels and encoders


@pytest.fixture
def fine(pictures: Path, tmp_path: Path, modality: str) -> tuple[str, ...]:
    names = [f"fine{i:02}.png" for i in range(16)]
    path = table(pictures, tmp_path / "fine.csv", names, modality)
    return (str(path), "--root", str(pictures), "--modality", modality)


def asked(modality: str, *more: str) -> tuple[str, ...]:
    return (
        "--encoder", ENCODER[modality], "--weights", "random", "--target", "label", "--task", "multiclass", "--map-method", "none",
        "--device", "cpu", "--baseline", "none", *FEW, *more,
    )  # fmt: skip


def refused(found: tuple[int, str, str], *words: str) -> None:
    code, out, err = found
    assert (code, out) == (2, ""), (out, err)
    flat = " ".join(err.split())
    assert err.startswith("Error: ") and all(w in flat for w in words), err
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_a_prompt_longer_than_the_tower_takes_is_reported(run: Run, fine: tuple[str, ...], modality: str) -> None:
    pair = CLASSES[modality]
    long = "a fundus photograph of normal " * 40
    Path("prompts.json").write_text(json.dumps({pair[0]: long, pair[1]: "glaucoma"}))
    more = asked(modality, "--strategy", "file@1", "--prompt-file", "prompts.json", "--out", "runs/z")
    code, text, err = run("zeroshot", *fine, *more)
    assert code == 0, err
    assert "Prompts cut off: 1 prompt is longer than the text tower takes." in " ".join(text.split())
    assert "Prompts cut off" in Path("runs/z/report.html").read_text(encoding="utf-8")
    shown = json.loads(Path("runs/z/result.json").read_text(encoding="utf-8"))["extras"]["zero_shot"]["texts"]
    assert sorted(entry["kept"] < entry["tokens"] for entry in shown) == [False, True]
    _, text, _ = run(
        "zeroshot", *fine, *asked(modality, "--strategy", "file@1", "--prompt-file", "prompts.json", "--dry-run")
    )
    assert "would be cut off" in " ".join(text.split())


def test_a_class_without_a_prompt(run: Run, fine: tuple[str, ...], modality: str) -> None:
    Path("prompts.json").write_text(json.dumps({CLASSES[modality][0]: "a fundus photograph"}))
    more = asked(modality, "--strategy", "file@1", "--prompt-file", "prompts.json", "--out", "runs/z")
    refused(run("zeroshot", *fine, *more), f"lacks 1 of 2 labels: {CLASSES[modality][1]}")


def test_an_unknown_class_of_the_test_split_alone(run: Run, pictures: Path, tmp_path: Path, modality: str) -> None:
    names = [f"fine{i:02}.png" for i in range(16)]
    path = table(pictures, tmp_path / "odd.csv", names, modality, **{"fine13.png": "unheard-of"})
    odd = (str(path), "--root", str(pictures), "--modality", modality)
    refused(
        run("zeroshot", *odd, *asked(modality, "--label-set", LABEL_SET[modality], "--out", "runs/z")),
        "'unheard-of'", "--leave-out",
    )  # fmt: skip
    given = ("probe", *odd, "--encoder", "color-histogram", "--target", "label", *FEW, "--out", "runs/p")
    code, text, _ = run(*given)
    said = " ".join(text.split())
    assert (
        code == 0
        and "S004: Expected: every tested class is trained. Found: in test but not in train: unheard-of" in said
    )
    assert "Classes absent from a training set are never predicted there: unheard-of" in said
    code, text, _ = run("data", "check", *odd, "--target", "label")
    assert "S004 warning, not met" in text and "in test but not in train: unheard-of" in text


def test_a_label_set_of_another_modality(run: Run, fine: tuple[str, ...], modality: str) -> None:
    other = next(m for m in MODALITIES if m != modality)
    refused(
        run("zeroshot", *fine, *asked(modality, "--label-set", LABEL_SET[other], "--out", "runs/z")),
        LABEL_SET[other], modality, other,
    )  # fmt: skip


def test_an_encoder_of_another_modality(run: Run, fine: tuple[str, ...], modality: str) -> None:
    other = next(m for m in MODALITIES if m != modality)
    encoder = ("--encoder", ENCODER[other], "--weights", "random", "--device", "cpu")
    for verb in (
        ("embed", *fine, *encoder, "--out", "runs/e.npz"),
        ("probe", *fine, *encoder, "--target", "label", *FEW, "--out", "runs/p"),
        ("zeroshot", *fine, *encoder, "--target", "label", "--label-set", LABEL_SET[modality], *FEW, "--out", "runs/z"),
    ):
        refused(run(*verb), f"is for {other}", modality)


def test_knowledge_without_a_source(run: Run, fine: tuple[str, ...], modality: str) -> None:
    first, second = CLASSES[modality]
    lines = [
        "domain: mine",
        "version: '1'",
        "language: en",
        "reviewed_by: none",
        "title: mine",
        "templates: ['a {name}']",
    ]
    Path("mine.yaml").write_text(
        "\n".join(lines)
        + f"\nclasses:\n  - {{id: one, name: normal, synonyms: ['{first}'], sources: []}}\n"
        + f"  - {{id: two, name: glaucoma, synonyms: ['{second}'], sources: [{{standard: S, section: '1'}}]}}\n"
    )
    more = asked(modality, "--knowledge", "mine.yaml", "--out", "runs/z")
    code, _, err = run("zeroshot", *fine, *more)
    assert code == 0, err
    assert "1 of 2 classes asked have no source in the knowledge: one." in Path("runs/z/result.json").read_text()
    assert "have no source in the knowledge: one" in Path("runs/z/report.html").read_text(encoding="utf-8")
    assert run("knowledge", "show", "mine.yaml")[0] == 0


def test_what_is_missing_is_said_before_anything_is_loaded_or_read(
    run: Run, fine: tuple[str, ...], modality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfm.encoders.load.load_encoder", lambda *a, **k: pytest.fail("loaded an encoder"))
    more = asked(modality, "--strategy", "file@1", "--prompt-file", "absent.json", "--out", "runs/z")
    refused(run("zeroshot", *fine, *more), "The prompt file does not exist.", "absent.json", "--prompt-file")


def test_an_encoder_without_tokens_is_refused_before_any_record(run: Run, fine: tuple[str, ...]) -> None:
    more = ("--encoder", "color-histogram", "--target", "label", "--protocol", "moment-probe@1", "--out", "runs/m")
    code, out, err = run("fewshot", *fine, *more)
    assert (code, out) == (2, "") and "no patch tokens" in err and "embedding" not in err.split("Error: ")[0]
