"""``medfm zeroshot`` as a user meets it: a tiny MERL network with its text tower, and real WFDB files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "io"))

from ecg_files import digital, write_wfdb

from medfm.cli.main import main
from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder

TEXT = "{vocabulary: 400, width: 16, layers: 1, heads: 2, feed_forward: 32, positions: 64}"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sinus", "rhythm", "normal", "regular", "slow", "fast"]
WORDS += [
    "bradycardia",
    "tachycardia",
    "atrial",
    "af",
    "##ib",
    "fibrillation",
    "flutter",
    "of",
    "the",
    "atria",
    ".",
    ",",
]
ROWS = 24
MAP = ["--map-class", "SR=sinus_rhythm", "--map-class", "AF/AFL=atrial_fibrillation+atrial_flutter"]
FAST = ["--set", "statistics.resamples=20", "--map-method", "none", "--device", "cpu"]


def tiny_card(folder: Path) -> Path:
    """The shipped ResNet card with a network of a few thousand numbers."""
    text = get_card("merl-resnet18").path.read_text(encoding="utf-8")
    for old, new in (
        ("id: merl-resnet18", "id: tiny-merl"),
        (
            "      text: {vocabulary: 30522, width: 768, layers: 12, heads: 12, feed_forward: 3072, positions: 512}",
            f"      stem: 4\n      samples: 160\n      projection: 8\n      text: {TEXT}",
        ),
        ("dim: 256", "dim: 8"),
        ("shape: [12, 5000]", "shape: [12, 160]"),
        ("samples: 5000}", "samples: 160}"),
        ("max_tokens: 256", "max_tokens: 12"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny-merl.md"
    path.write_text(text, encoding="utf-8")
    return path


def put_vocabulary() -> Path:
    folder = weights_folder() / "tiny-merl" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder / "vocab.txt"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ecg")
    for number in range(ROWS):
        write_wfdb(folder, digital(number, samples=400), name=f"rec{number}")
    table = pd.DataFrame(
        {
            "path": [f"rec{i}.hea" for i in range(ROWS)],
            "patient_id": [f"p{i // 2}" for i in range(ROWS)],
            "label": [("SR", "AF/AFL", "other")[i % 3] for i in range(ROWS)],
            "sinus_rhythm": [int(i % 3 == 0) for i in range(ROWS)],
            "AFIB": [int(i % 4 == 0) for i in range(ROWS)],
            "AFLT": [int(i % 5 == 0) for i in range(ROWS)],
        }
    )
    table.to_csv(folder / "labels.csv", index=False)
    tiny_card(folder)
    return folder


@pytest.fixture
def basic(data: Path) -> list[str]:
    put_vocabulary()
    return [str(data / "labels.csv"), "--encoder", str(data / "tiny-merl.md"), "--weights", "random"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["zeroshot", *arguments])
    return int(caught.value.code or 0)


def test_a_run_of_one_column(basic, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    arguments = [*basic, "--target", "label", *MAP, "--leave-out", "other", "--out", str(out), *FAST]
    assert run(*arguments) == 0
    text = capsys.readouterr().out
    for part in (
        "zero-shot scoring",
        "Untrained weights",
        "16 records, 12 patients",
        "no split",
        str(out / "report.html"),
    ):
        assert part in text
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "flutter of the atria." in html and "What was asked?" in html
    assert run(*arguments) == 2
    assert "exists already" in capsys.readouterr().err


def test_label_columns_strategies_and_json(basic, capsys) -> None:
    given = ["--target", "AFIB", "--target", "AFLT", "--label-set", "ptbxl-rhythm"]
    assert run(*basic, *given, "--strategy", "class-name@1", "--strategy", "findings@1", "--json", *FAST) == 0
    found = json.loads(capsys.readouterr().out)
    extras = found["extras"]["zero_shot"]
    assert found["summary"]["task"] == "multilabel" and found["failed"] == 0
    assert [e["metric"] for e in found["summary"]["headline"]] == ["auroc_macro", "map"]
    assert [s["strategy"] for s in extras["strategies"]] == ["class-name@1", "findings@1"]
    assert extras["comparison"]["rows"][0]["p_holm"] is not None
    texts = {t["text"]: t for t in extras["texts"]}
    assert (texts["atrial fibrillation."]["tokens"], texts["atrial fibrillation."]["kept"]) == (5, 5)
    assert texts["atrial fibrillation."]["encoded"].startswith("atrial fibrillation")
    long = next(t for t in extras["texts"] if "sawtooth" in t["text"])
    assert long["kept"] == 12 < long["tokens"]
    assert any("cut off" in note for note in found["summary"]["notes"])


def test_records_come_from_the_cache_the_second_time(basic, capsys) -> None:
    given = ["--target", "sinus_rhythm", "--json", *FAST]
    results = []
    for _ in range(2):
        assert run(*basic, *given) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["id"] == results[1]["id"] and results[0]["summary"] == results[1]["summary"]


def test_given_embeddings_are_not_computed_again(basic, data, tmp_path, capsys) -> None:
    file = tmp_path / "ecg.npz"
    with pytest.raises(SystemExit):
        main(["embed", *basic, "--modality", "ecg", "--out", str(file), "--device", "cpu"])
    for name in ("rec0", "rec1"):
        assert (data / f"{name}.dat").is_file()
    capsys.readouterr()
    assert run(*basic, "--target", "sinus_rhythm", "--json", *FAST) == 0
    direct = json.loads(capsys.readouterr().out)
    assert run(*basic, "--target", "sinus_rhythm", "--embeddings", str(file), "--json", *FAST) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["headline"] == direct["summary"]["headline"]
    assert run(*basic, "--target", "sinus_rhythm", "--embeddings", str(file), "--preprocessing", "cpsc2018", *FAST) == 2
    assert "fingerprints differ" in capsys.readouterr().err


def test_a_bad_record_is_listed_and_the_code_is_one(basic, data, tmp_path, capsys) -> None:
    for path in data.glob("rec*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "labels.csv").write_bytes((data / "labels.csv").read_bytes())
    (tmp_path / "rec3.dat").write_bytes(b"xx")
    given = [str(tmp_path / "labels.csv"), *basic[1:], "--target", "sinus_rhythm", *FAST]
    assert run(*given) == 1
    assert "1 of 24 records have no embedding" in capsys.readouterr().out
    assert run(*given, "--on-error", "skip") == 0
    assert run(*given, "--on-error", "stop") == 2


def test_a_dry_run_shows_every_prompt_and_computes_nothing(basic, capsys) -> None:
    given = ["--target", "label", *MAP, "--leave-out", "other", "--dry-run"]
    assert run(*basic, *given) == 0
    text = capsys.readouterr().out
    assert "atrial fibrillation." in text and "16 records of labels, 2 classes" in text
    assert "id: zero-shot@1" in text and "# sha256 " in text
    assert run(*basic, *given, "--json", "--strategy", "findings@1") == 0
    found = json.loads(capsys.readouterr().out)
    assert {r["label"] for r in found["prompts"]} == {"SR", "AF/AFL"} and all(r["tokens"] > 5 for r in found["prompts"])
    assert any("longer than 12 tokens" in note for note in found["notes"])


def test_a_dry_run_without_vocabulary_says_what_is_missing(data, capsys) -> None:
    given = [str(data / "labels.csv"), "--encoder", str(data / "tiny-merl.md"), "--target", "sinus_rhythm", "--dry-run"]
    assert run(*given) == 0
    text = capsys.readouterr().out
    assert "vocab.txt" in text and "tiny-merl/tokenizer" in text and "sinus rhythm." in text


def test_a_missing_vocabulary_says_what_to_put_where_before_anything_is_embedded(data, capsys, monkeypatch) -> None:
    monkeypatch.setattr("medfm.workflows.embed.embed", lambda *a, **k: pytest.fail("a record was embedded"))
    given = [str(data / "labels.csv"), "--encoder", str(data / "tiny-merl.md"), "--weights", "random"]
    assert run(*given, "--target", "sinus_rhythm", *FAST) == 2
    error = capsys.readouterr().err
    for part in ("vocab.txt", "ncbi/MedCPT-Query-Encoder", "tiny-merl/tokenizer", "put the file there"):
        assert part in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "label"], "'AF/AFL', 'SR', 'other'"),
        (["--target", "label", "--map-class", "SR"], "--map-class takes CLASS=NAME"),
        (["--target", "label", "--leave-out", "othr"], "did you mean 'other'"),
        (["--target", "lable"], "did you mean 'label'"),
        (["--target", "sinus_rhythm", "--strategy", "findings"], "did you mean 'findings@1'"),
        (["--target", "sinus_rhythm", "--protocol", "zero-shot@2"], "did you mean 'zero-shot@1'"),
        (["--target", "sinus_rhythm", "--protocol", "knn@1"], "not 'zero_shot'"),
        (["--target", "sinus_rhythm", "--set", "method.tau=1"], "no such key"),
        (["--target", "sinus_rhythm", "--set", "metrics=[brier]"], "means nothing for zero-shot"),
        (["--target", "sinus_rhythm", "--knowledge", "egc"], "did you mean 'ecg'"),
        (["--target", "sinus_rhythm", "--prompt-file", "absent.json"], "absent.json"),
        (["--target", "sinus_rhythm", "--split", "val", "--map", "split=label"], "The split 'AF/AFL' is not known"),
        (["--target", "sinus_rhythm", "--preprocessing", "cpsc"], "did you mean 'cpsc2018'"),
    ],
)
def test_clear_errors(basic, capsys, arguments: list[str], said: str) -> None:
    assert run(*basic, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("encoder", "said"),
    [("merl-resnet18-pooled", "no text tower"), ("dinobloom-s", "is for blood_cell"), ("merl-resnet", "merl-resnet18")],
)
def test_encoders_that_cannot_be_asked(data, capsys, encoder: str, said: str) -> None:
    given = [str(data / "labels.csv"), "--encoder", encoder, "--weights", "random", "--modality", "ecg"]
    assert run(*given, "--target", "sinus_rhythm", *FAST) == 2
    assert said in capsys.readouterr().err


def test_help_fits_and_has_examples(capsys) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert text.count("medfm zeroshot ") >= 3 and "Common errors" in text


def test_real_recordings(basic, tmp_path, capsys) -> None:
    """Rhythm classes of real ECGs; the untrained network says nothing of them, and the run says so."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecg"
    if not shared.is_dir():
        pytest.skip("the ECG data beside the repository are absent")
    table = pd.read_csv(shared / "labels.csv")
    # The table names records; a header ends in .hea.
    table["path"] = [p if (shared / p).suffix == ".hea" else f"{p}.hea" for p in table["path"]]
    table.to_csv(tmp_path / "labels.csv", index=False)
    classes = ["--map-class", "SB=sinus_bradycardia", "--map-class", "STach=sinus_tachycardia", *MAP]
    given = ["--root", str(shared), "--where", "task=ecg_rhythm", "--map", "patient_id=source_id", "--target", "label"]
    arguments = [str(tmp_path / "labels.csv"), *basic[1:], *given, *classes, "--leave-out", "other", *FAST]
    assert run(*arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    expected = table[(table["split"] == "test") & (table["label"] != "other")]
    assert found["summary"]["n_records"] == len(expected) > 30
    assert set(found["summary"]["classes"]) == {"SR", "SB", "STach", "AF/AFL"}
    assert found["extras"]["zero_shot"]["classes"]["AF/AFL"] == ["atrial_fibrillation", "atrial_flutter"]
    assert found["summary"]["calibration"] is None
