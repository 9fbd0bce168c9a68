"""``medfm encoders`` as a user meets it."""

import json

import pytest

from medfm.cli.main import main
from medfm.encoders.published import build
from medfm.encoders.save import save_encoder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["encoders", *arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def line_of(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(word))


def test_the_list(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert line_of(out, "dinobloom-b").split() == ["dinobloom-b", "blood_cell", "768", "85.7", "M", "apache-2.0", "no"]
    assert "(conflict)" in line_of(out, "reddino-small")
    assert "none published" in line_of(out, "dinov2-tiny")


def test_the_list_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys)
    assert code == 0 and max(len(line) for line in out.splitlines()) <= 90


def test_the_list_by_modality(capsys):
    assert "dinobloom-b" in run(capsys, "--modality", "blood_cell")[1]
    code, out, _ = run(capsys, "--modality", "blod_cell")
    assert code == 0 and "No encoder takes 'blod_cell'" in out and "encoders for: blood_cell" in out
    assert json.loads(run(capsys, "--modality", "blod_cell", "--json")[1]) == {"encoders": []}


def test_the_list_as_json(capsys):
    code, out, _ = run(capsys, "--json")
    rows = {row["id"]: row for row in json.loads(out)["encoders"]}
    assert code == 0
    assert rows["dinobloom-g"]["embedding_dim"] == 1536 and rows["dinobloom-g"]["parameters"] == 1_134_771_200
    assert rows["dinov2-tiny"]["weights"] == "none published" and rows["dinobloom-b"]["weights"] == "no"


def test_weights_that_are_here_are_listed(capsys, tmp_path, monkeypatch):
    (tmp_path / "dinobloom-b").mkdir()
    (tmp_path / "dinobloom-b" / "pytorch_model_b.bin").write_bytes(b"x")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    assert "published" in line_of(run(capsys)[1], "dinobloom-b")


def test_show(capsys):
    code, out, _ = run(capsys, "show", "dinobloom-l")
    assert code == 0
    for word in (
        "# DinoBloom-L",
        "What it is not for",
        "Facts",
        "resize (size [224, 224], resampler bilinear_pil, mode squash)",
        "Published figures (none of them measured here)",
        "BMC linear probe, weighted F1: 0.849",
        "above, unverified:",
        "(k=20)",
        "Deviations and traps",
        "arXiv:2404.05022",
        "sha256 not known",
        "held out",
    ):
        assert word in " ".join(out.split()), word  # wherever the lines are folded


def test_show_without_figures_or_weights(capsys):
    out = run(capsys, "show", "dinov2-tiny")[1]
    assert "none published" in out and "Published figures" not in out and "To cite" not in out


def test_show_a_card_with_nothing_but_the_needed_keys(capsys, tmp_path):
    text = (
        "---\nlicense: mit\nmedfm:\n  id: mine\n  title: Mine\n  summary: s\n  modality: blood_cell\n"
        "  architecture: {family: dinov2, args: {size: small}}\n"
        "  weights: {sources: [{kind: file, filename: w.pth}]}\n  input: {shape: [3, 224, 224]}\n"
        "  preprocessing: [{step: resize, size: [224, 224]}, {step: to_unit_range}]\n"
        "  embedding: {dim: 384}\n---\n# Mine\n"
    )
    (tmp_path / "mine.md").write_text(text)
    code, out, _ = run(capsys, "show", str(tmp_path / "mine.md"))
    assert code == 0 and "unknown number of parameters" in out and "w.pth beside the card; sha256 not known\n" in out
    assert "licence mit.\n" in out and "input 224 x 224 pixels\n" in out


def test_show_as_json(capsys):
    code, out, _ = run(capsys, "show", "reddino-base", "--json")
    value = json.loads(out)
    assert code == 0 and value["card"]["medfm"]["id"] == "reddino-base"
    assert value["text"].startswith("# RedDino-base") and len(value["sha256"]) == 64
    assert value["licence"] == "apache-2.0 (conflict)"


def test_show_a_trained_folder(capsys, tmp_path):
    words = {"encoder_id": "mine", "title": "Mine", "summary": "s", "prose": "# My own\n"}
    save_encoder(tmp_path / "e", build("dinov2-tiny"), "dinov2-tiny", **words)
    code, out, _ = run(capsys, "show", str(tmp_path / "e"))
    assert code == 0 and "# My own" in out and "encoder.safetensors beside the card" in out


@pytest.mark.parametrize(("name", "words"), [("dinoblom-b", "did you mean"), ("./nothing.md", "no such file")])
def test_show_what_does_not_exist(capsys, name, words):
    code, out, err = run(capsys, "show", name)
    assert code == 2 and words in err and "Traceback" not in err and out == ""


def test_a_broken_card_is_a_clear_error(capsys, tmp_path, monkeypatch):
    (tmp_path / "x.md").write_text("---\nlicense: x\nmedfm: {idd: 3}\n---\n")
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path))
    code, _, err = run(capsys)
    assert code == 2 and "x.md" in err and "medfm.idd" in err and "did you mean 'id'" in err


def test_help_on_one_screen(capsys):
    for arguments in (("--help",), ("show", "--help")):
        code, out, _ = run(capsys, *arguments)
        assert code == 0 and len(out.splitlines()) <= 30
        for word in ("Examples:", "Checked:", "Common errors:"):
            assert word in out
        assert "\b" not in out


def test_a_card_fits_a_terminal_of_80_columns(capsys, monkeypatch):
    """Below the prose (whose code lines are as written) only what cannot be broken is wider."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(capsys, "show", "dinobloom-l")[1]
    facts = shown.split("\nFacts\n")[1].splitlines()
    wide = [line for line in facts if len(line) > 80 and len(line.split()) > 1]
    assert not wide
    # Every figure once, its source once below those that share it.
    text = " ".join(shown.split())
    assert text.count("BMC linear probe, weighted F1: 0.849") == 1
    assert text.count("source of the figures above, secondary:") == 1
    assert text.count("source of the figures above, unverified:") == 1
    assert text.index("0.644") < text.index("above, secondary") < text.index("Acevedo 1-NN, weighted F1: not sourced")
