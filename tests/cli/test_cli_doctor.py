"""``medfm doctor`` as a user meets it."""

import json

import pytest

from medfm.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_everything(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    for word in ("This machine", "Encoders", "python", "dinobloom-g", "reddino-base", "Nothing fails.", "to do:"):
        assert word in out
    assert "missing: weights. Licence apache-2.0." in out
    assert "CONFLICT" in out


def test_one_encoder(capsys):
    code, out, _ = run(capsys, "dinov2-tiny")
    assert code == 0 and "dinov2-tiny" in out and "dinobloom" not in out


def test_json(capsys):
    code, out, _ = run(capsys, "dinobloom-s", "--json")
    value = json.loads(out)
    assert code == 0 and value["ok"] is True
    assert value["encoders"][0]["id"] == "dinobloom-s" and value["encoders"][0]["state"] == "WARN"
    assert {finding["topic"] for finding in value["machine"]} >= {"python", "disk"}


def test_a_failure_gives_exit_code_one(capsys, tmp_path, monkeypatch):
    (tmp_path / "dinobloom-s").mkdir()
    (tmp_path / "dinobloom-s" / "pytorch_model_s.bin").write_bytes(b"")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    code, out, _ = run(capsys, "dinobloom-s")
    assert code == 1 and "FAIL" in out and "empty (0 bytes)" in out and "Something fails" in out
    code, out, _ = run(capsys, "dinobloom-s", "--json")
    assert code == 1 and json.loads(out)["ok"] is False


def test_check_files_reads_them(capsys, tmp_path, monkeypatch):
    (tmp_path / "dinobloom-s").mkdir()
    (tmp_path / "dinobloom-s" / "pytorch_model_s.bin").write_bytes(b"not a checkpoint at all")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    assert run(capsys, "dinobloom-s")[0] == 0
    assert run(capsys, "dinobloom-s", "--check-files")[0] == 1


def test_an_unknown_encoder_could_not_run(capsys):
    code, _, err = run(capsys, "dinoblom-b")
    assert code == 2 and "did you mean" in err and "Traceback" not in err


def test_help_on_one_screen(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0 and len(out.splitlines()) <= 32
    for word in ("Examples:", "Checked:", "Common errors:", "Exit code 1"):
        assert word in out
    assert "\b" not in out
