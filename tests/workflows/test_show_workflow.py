from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfm.core.errors import CohortError, ConfigError, ReadError, StoreError
from medfm.workflows.show import MOST, show

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecg"


def write_csv(path: Path, seconds: float = 10.0, seed: int = 0) -> Path:
    """An ECG as a CSV file with the twelve leads as columns, 100 Hz."""
    time = np.arange(round(seconds * 100)) / 100
    rng = np.random.default_rng(seed)
    values = np.exp(-0.5 * (((time % 1) - 0.4) / 0.03) ** 2)[:, None] * rng.uniform(0.3, 1, 12)
    names = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
    np.savetxt(path, values, delimiter=",", header=names, comments="", fmt="%.5f")
    return path


@pytest.fixture
def ecgs(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    lines = ["path,record_id,sampling_hz,units"]
    for i in range(4):
        write_csv(tmp_path / "files" / f"Mustermann{i}.csv", seed=i)
        lines.append(f"files/Mustermann{i}.csv,id-{i},100,mV")
    table = tmp_path / "ecgs.csv"
    table.write_text("\n".join(lines) + "\n")
    (tmp_path / "ecgs.yaml").write_text("modality: ecg\n")
    return table


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (30, 30, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    table = tmp_path / "cells.csv"
    table.write_text("path\n0.png\n1.png\n2.png\n")
    return table


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_one_record_in_each_format(ecgs, tmp_path, ending):
    (done,) = show(ecgs, record_ids=["id-2"], out=tmp_path / f"x{ending}")
    assert done.record_id == "id-2" and done.path == tmp_path / f"x{ending}" and done.error is None
    start = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF"}[ending]
    assert done.path.read_bytes().startswith(start)
    assert dict(done.facts)["sampling hz"] == "100"


def test_only_the_cohorts_id_is_on_the_sheet(ecgs, tmp_path):
    (done,) = show(ecgs, out=tmp_path / "x.svg")
    text = done.path.read_text()
    assert "id-0" in text and "Mustermann" not in text
    assert "Mustermann" not in str(done.facts)


def test_several_records_share_a_sheet_or_have_pages_or_files(ecgs, tmp_path):
    show(ecgs, records=3, out=tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text()
    assert all(f">id-{i}<" in text for i in range(3)) and text.count("<svg") == 1
    show(ecgs, records=3, out=tmp_path / "x.pdf")
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "x.pdf").read_bytes())) == 3
    done = show(ecgs, records=3, out=tmp_path / "folder")
    assert [one.path.name for one in done] == ["id-0.png", "id-1.png", "id-2.png"]
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["id-0.png", "id-1.png", "id-2.png"]


def test_more_records_than_there_are_is_all_of_them(ecgs, tmp_path):
    assert len(show(ecgs, records=MOST, out=tmp_path / "f.pdf")) == 4


def test_a_file_without_a_table(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(np.full((20, 20, 3), 99, np.uint8)).save(file)
    # Several modalities have pictures, and the facts below the drawing name one: it must be said.
    with pytest.raises(ConfigError, match=r"The ending '.png' does not tell the modality"):
        show(file, out=tmp_path / "out.svg")
    (done,) = show(file, modality="blood_cell", out=tmp_path / "out.svg")
    assert done.record_id == "a.png" and dict(done.facts)["modality"] == "blood_cell"


def test_names_of_files_are_harmless_and_different(ecgs, tmp_path, monkeypatch):
    text = ecgs.read_text().replace(",id-0,", ",../../up,").replace(",id-1,", ",a/b c,").replace(",id-2,", ",a_b_c,")
    ecgs.write_text(text)
    done = show(ecgs, records=3, out=tmp_path / "deep" / "folder")
    assert [one.path.relative_to(tmp_path).as_posix() for one in done] == [
        "deep/folder/up.png",
        "deep/folder/a_b_c.png",
        "deep/folder/a_b_c-2.png",
    ]


def test_without_out_the_picture_lies_here(cells, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (done,) = show(cells, record_ids=["1.png"])
    assert done.path == Path("1.png") and [p.name for p in (tmp_path / "here").iterdir()] == ["1.png"]


def test_files_are_replaced_only_on_request(ecgs, tmp_path):
    out = tmp_path / "x.svg"
    out.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        show(ecgs, out=out)
    assert out.read_text() == "mine"
    show(ecgs, out=out, overwrite=True)
    assert out.read_text().startswith("<svg")


def test_a_bad_record_does_not_stop_the_others(ecgs, tmp_path):
    (tmp_path / "files" / "Mustermann1.csv").write_text("")
    done = show(ecgs, records=3, out=tmp_path / "f.svg")
    assert [one.path is not None for one in done] == [True, False, True]
    assert done[1].error and not done[1].facts
    with pytest.raises(ReadError):
        show(ecgs, record_ids=["id-1"], out=tmp_path / "g.svg")
    assert not (tmp_path / "g.svg").exists()


def test_nothing_is_left_when_writing_stops(ecgs, tmp_path, monkeypatch):
    def stops(*_):
        raise KeyboardInterrupt

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("medfm.core.files._flush", stops)
    with pytest.raises(KeyboardInterrupt):
        show(ecgs, records=2, out=tmp_path / "x.svg")
    assert sorted(tmp_path.rglob("*")) == before


def test_records_are_found_by_the_file_name_in_their_id(tmp_path, cells):
    (tmp_path / "b").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "b" / "0.png")
    (tmp_path / "1.png").rename(tmp_path / "b" / "1.png")
    Image.fromarray(np.full((20, 20, 3), 9, np.uint8)).save(tmp_path / "1.png")
    cells.write_text("path\nb/0.png\nb/1.png\n1.png\n")
    assert show(cells, record_ids=["0"], out=tmp_path / "x.svg")[0].record_id == "b/0.png"
    assert show(cells, record_ids=["1.png"], out=tmp_path / "y.svg")[0].record_id == "1.png"  # the very id
    with pytest.raises(CohortError, match=r"are several records '1'.*\n.*\n.*'b/1.png', '1.png'"):
        show(cells, record_ids=["1"])
    with pytest.raises(CohortError, match="is no record 'nix'"):
        show(cells, record_ids=["nix"])


def test_the_modality_of_a_table_without_yaml_comes_from_its_files(ecgs, tmp_path):
    (tmp_path / "ecgs.yaml").unlink()
    if not SHARED.is_dir():
        pytest.skip("the real recordings beside the repository are absent")
    ecgs.write_text("path\nformats/muse_resting.xml\nformats/wfdb_ludb/1.hea\n")
    done = show(ecgs, records=2, cohort={"root": SHARED}, out=tmp_path / "x.pdf")
    assert [dict(one.facts)["modality"] for one in done] == ["ecg", "ecg"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings beside the repository are absent")
def test_wfdb_records_need_no_ending(tmp_path):
    (done,) = show(SHARED / "formats" / "wfdb_ludb" / "1", out=tmp_path / "x.svg")
    assert dict(done.facts)["seconds"] == "10"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"records": 0}, "0 records"),
        ({"records": MOST + 1}, "cannot be drawn in one go"),
        ({"out": "x.gif"}, "cannot be written as '.gif'"),
        ({"settings": {"layout": "5x5"}}, "layout"),
        ({"settings": {"zoom": 2}}, "no setting 'zoom'"),
        ({"weights": "random"}, "Weights without an encoder"),
        ({"modality": "mri"}, "mri"),
    ],
)
def test_wrong_arguments_write_nothing(ecgs, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Exception, match=words) as caught:
        show(ecgs, **arguments)
    assert type(caught.value).__module__ == "medfm.core.errors"
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_sources(tmp_path, cells):
    for source, words in ((tmp_path, "This is a folder"), (tmp_path / "no.png", "does not exist")):
        with pytest.raises(ReadError, match=words):
            show(source, modality="blood_cell", out=tmp_path / "x.svg")
    with pytest.raises(ConfigError, match="does not tell the modality"):
        show(tmp_path / "x.abc")
    with pytest.raises(ConfigError, match="holds one record"):
        show(tmp_path / "0.png", records=2)
    with pytest.raises(ConfigError, match="'blood_cell' have no setting 'layout'"):
        show(cells, settings={"layout": "3x4"})
    too_many = tmp_path / "many.csv"
    too_many.write_text("path,record_id\n" + "".join(f"0.png,r{i}\n" for i in range(13)))
    with pytest.raises(ConfigError, match="do not fit on one sheet"):
        show(too_many, records=13, out=tmp_path / "x.png")
