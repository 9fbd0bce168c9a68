"""The worked example of ``docs/extending.md``, run as it is written."""

from __future__ import annotations

import re
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
import torch

import medfm
from medfm.core.errors import CardError, UnknownNameError
from medfm.encoders import registry
from medfm.encoders.card import read_card
from medfm.encoders.dinov2 import build_vit, published_state

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def block(language: str, having: str) -> str:
    (found,) = [b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if having in b]
    return str(found)


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    """The folder of the page: its card, and a checkpoint nested as such files are."""
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "lab-cells.md").write_text(block("yaml", "id: lab-cells"), encoding="utf-8")
    args = read_card(folder / "lab-cells.md").spec.architecture.args
    state = published_state(build_vit(args, torch.Generator().manual_seed(5)))
    torch.save({"teacher": {**state, "dino_head.last": torch.zeros(3)}}, folder / "lab-cells.pth")
    return folder


def run_the_example(capsys: pytest.CaptureFixture[str]) -> list[str]:
    exec(compile(block("python", "check_encoder"), "docs/extending.md", "exec"), {})
    return capsys.readouterr().out.split("\n")


def test_a_folder_named_in_the_environment(cards, monkeypatch, capsys):
    monkeypatch.setenv("MEDFM_CARDS", str(cards))
    kind, passed, _ = run_the_example(capsys)
    assert kind == "local file 32"
    assert "fingerprint" in passed
    assert "lab-cells" in medfm.list_encoders()


def test_an_installed_package(cards, monkeypatch, capsys):
    """The entry point and the function of the page, as an installer would record them."""
    module = types.ModuleType("lab_cells")
    module.__file__ = str(cards.parent / "__init__.py")
    exec(compile(block("python", "def cards"), "docs/extending.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "lab_cells", module)
    group, name, value = re.search(
        r'entry-points\."([\w.]+)"\]\n(\w+) = "([\w.:]+)"', block("toml", "entry-points")
    ).groups()
    assert group == registry.ENTRY_POINTS
    entry = metadata.EntryPoint(name, value, group)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [entry])
    kind, _, _ = run_the_example(capsys)
    assert kind == "local file 32"


def test_without_either_the_encoder_is_unknown(cards):
    with pytest.raises(UnknownNameError, match="lab-cells"):
        medfm.load_encoder("lab-cells")


def test_a_copy_under_the_same_id_names_both_files(cards, monkeypatch):
    copy = cards / "copy.md"
    copy.write_text((cards / "lab-cells.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("MEDFM_CARDS", str(cards))
    with pytest.raises(CardError) as refused:
        medfm.load_encoder("lab-cells")
    assert "copy.md" in str(refused.value) and "lab-cells.md" in str(refused.value)


def test_a_wrong_checkpoint_beside_the_card_is_refused(cards, monkeypatch):
    from medfm.core.errors import WeightsError

    other = published_state(build_vit({"size": "custom", "width": 64, "depth": 2, "heads": 2, "img_size": 56}))
    torch.save({"teacher": other}, cards / "lab-cells.pth")
    monkeypatch.setenv("MEDFM_CARDS", str(cards))
    with pytest.raises(WeightsError, match="does not fit 'lab-cells'"):
        medfm.load_encoder("lab-cells")


def test_every_file_the_page_names_exists():
    root = Path(__file__).resolve().parents[2]
    for path in re.findall(r"`((?:medfm|configs|tests)/[\w/.-]+)`", PAGE):
        assert (root / path).exists(), path
