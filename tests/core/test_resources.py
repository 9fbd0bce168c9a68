"""Shipped YAML files by name, and a user's own by their path."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfm.core import resources
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.core.resources import data_folder, shipped, shipped_or_own


def test_the_folders_of_the_checkout_or_wheel() -> None:
    assert (data_folder("configs") / "protocols").is_dir() and list(data_folder("model_cards").glob("*.md"))
    with pytest.raises(ConfigError, match="lacks its folder 'confixes'"):
        data_folder("confixes")


@pytest.mark.parametrize("folder", ["pretrain", "preparation", "finetune", "protocols"])
def test_shipped_names_are_sorted_and_lead_to_files(folder: str) -> None:
    names = shipped(folder)
    assert names and names == sorted(names)
    for name in names:
        assert shipped_or_own(name, folder, "recipe").is_file()


def test_a_folder_without_files_ships_nothing() -> None:
    assert shipped("nothing-here") == []


@pytest.mark.parametrize("own", ["mine.yaml", "deep/er/mine.yml", Path("C.yaml")])
def test_a_path_is_taken_as_it_is(own: str | Path) -> None:
    assert shipped_or_own(own, "pretrain", "recipe") == Path(own)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="dinov2-tiny") as caught:
        shipped_or_own("dinov2-tinny", "pretrain", "pretraining recipe")
    assert "pretraining recipe" in caught.value.what


def test_a_name_is_a_file_of_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "configs" / "pretrain").mkdir(parents=True)
    monkeypatch.setattr(resources, "data_folder", lambda name: tmp_path / name)
    with pytest.raises(UnknownNameError):
        shipped_or_own("a", "pretrain", "recipe")
    (tmp_path / "configs" / "pretrain" / "a.yaml").write_text("x: 1", "utf-8")
    assert shipped_or_own("a", "pretrain", "recipe").read_text("utf-8") == "x: 1"
