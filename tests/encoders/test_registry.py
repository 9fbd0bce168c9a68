"""Finding cards: shipped, search path, environment, entry points, files and folders."""

import os
from importlib import metadata
from pathlib import Path

import pytest

import medfm
from medfm.core.errors import CardError, UnknownNameError
from medfm.encoders import registry
from medfm.encoders.registry import add_search_path, get_card, list_cards, list_encoders, scan

SHIPPED = [
    "dinobloom-b",
    "dinobloom-g",
    "dinobloom-l",
    "dinobloom-s",
    "dinov2-tiny",
    "reddino-base",
    "reddino-large",
    "reddino-small",
]


@pytest.fixture(autouse=True)
def own_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test adds, the next does not see."""
    monkeypatch.setattr(registry, "_added", [])


def test_the_shipped_encoders():
    assert set(SHIPPED) <= set(list_encoders())
    assert list_encoders() == sorted(list_encoders())
    assert medfm.list_encoders() == list_encoders()


def test_by_modality(write_card, monkeypatch):
    path = write_card(set={"medfm.modality": "made_up", "medfm.also_for": ["another"]})
    monkeypatch.setenv("MEDFM_CARDS", str(path.parent))
    assert list_encoders("made_up") == list_encoders("another") == ["mini"]
    assert "mini" not in list_encoders("blood_cell")
    assert [card.id for card in list_cards("made_up")] == ["mini"]
    assert list_encoders("nothing_at_all") == []


def test_get_card_by_id():
    assert get_card("dinobloom-b").title == "DinoBloom-B"


@pytest.mark.parametrize(
    ("wrong", "near"), [("dinoblom-b", "dinobloom-b"), ("DinoBloom-S", "dinobloom-s"), ("redino-base", "reddino-base")]
)
def test_a_wrong_id_names_near_ones(wrong, near):
    with pytest.raises(UnknownNameError, match=f"did you mean .*'{near}'"):
        get_card(wrong)


def test_a_wrong_id_with_nothing_near_lists_all():
    with pytest.raises(UnknownNameError, match=r"known: .*color-histogram, .*dinobloom-b"):
        get_card("zzzzzzz")


def test_environment_variable_with_two_folders(write_card, tmp_path, monkeypatch):
    first = write_card(folder=tmp_path / "a").parent
    second = write_card("other.md", folder=tmp_path / "b", set={"medfm.id": "other"}).parent
    monkeypatch.setenv("MEDFM_CARDS", f"{first}{os.pathsep}{second}{os.pathsep}")
    assert {"mini", "other", *SHIPPED} <= set(list_encoders())
    assert get_card("other").path == second / "other.md"


def test_environment_variable_naming_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path / "nowhere"))
    with pytest.raises(CardError, match="does not exist"):
        list_encoders()


def test_add_search_path(write_card):
    folder = write_card().parent
    add_search_path(folder)
    add_search_path(folder)
    assert "mini" in list_encoders()
    with pytest.raises(CardError, match="no such folder"):
        add_search_path(folder / "none")


def test_the_same_folder_twice_is_not_a_duplicate(write_card, monkeypatch):
    folder = write_card().parent
    add_search_path(folder)
    monkeypatch.setenv("MEDFM_CARDS", f"{folder}{os.pathsep}{folder}")
    assert get_card("mini").id == "mini"


def test_a_duplicate_id_names_both_files(write_card, monkeypatch):
    path = write_card("mine.md", set={"medfm.id": "dinobloom-s"})
    monkeypatch.setenv("MEDFM_CARDS", str(path.parent))
    with pytest.raises(CardError) as error:
        get_card("dinobloom-b")
    assert str(path) in str(error.value) and "dinobloom-s.md" in str(error.value)
    with pytest.raises(CardError, match="Two model cards claim"):
        list_encoders()


def test_a_broken_card_in_the_path_is_reported_not_hidden(write_card, monkeypatch):
    path = write_card(set={"medfm.titel": "x"})
    monkeypatch.setenv("MEDFM_CARDS", str(path.parent))
    with pytest.raises(CardError, match="titel"):
        list_encoders()
    cards, errors = scan()
    assert set(cards) >= set(SHIPPED)
    assert len(errors) == 1 and "titel" in str(errors[0])


def test_a_readme_among_cards_is_left_alone(write_card, monkeypatch):
    folder = write_card().parent
    (folder / "README.md").write_text("about these cards")
    (folder / "notes.txt").write_text("x")
    monkeypatch.setenv("MEDFM_CARDS", str(folder))
    assert "mini" in list_encoders()


def test_a_card_by_file_and_by_folder(write_card, tmp_path):
    path = write_card()
    assert get_card(path).id == "mini"
    assert get_card(str(path)).id == "mini"
    write_card("card.md", folder=tmp_path / "trained")
    assert get_card(tmp_path / "trained").path.name == "card.md"


def test_a_relative_folder_name_without_a_slash(write_card, tmp_path, monkeypatch):
    write_card("card.md", folder=tmp_path / "trained")
    monkeypatch.chdir(tmp_path)
    assert get_card("trained").id == "mini"


def test_a_folder_named_like_an_id_does_not_hide_the_id(tmp_path, monkeypatch):
    (tmp_path / "dinobloom-s").mkdir()
    monkeypatch.chdir(tmp_path)
    assert get_card("dinobloom-s").title == "DinoBloom-S"


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("empty", "folder", "holds no encoder"),
        ("none.md", "nothing", "no such file"),
        ("weights.pth", "file", "not a model card"),
    ],
)
def test_paths_that_are_no_card(tmp_path: Path, name, make, message):
    path = tmp_path / name
    if make == "folder":
        path.mkdir()
    elif make == "file":
        path.write_bytes(b"x")
    with pytest.raises(CardError, match=message):
        get_card(path)


class Entry:
    """Stands for an installed package's entry point."""

    name = "theirs"
    value = "their_package:cards"

    def __init__(self, target: object) -> None:
        self.target = target

    def load(self) -> object:
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


def with_entry(monkeypatch: pytest.MonkeyPatch, target: object) -> None:
    def entry_points(group: str) -> list[Entry]:
        assert group == "medfm.encoders"
        return [Entry(target)]

    monkeypatch.setattr(metadata, "entry_points", entry_points)


@pytest.mark.parametrize("form", ["path", "text", "list", "function"])
def test_entry_points(write_card, monkeypatch, form):
    folder = write_card().parent
    target = {"path": folder, "text": str(folder), "list": [folder], "function": lambda: [folder]}[form]
    with_entry(monkeypatch, target)
    assert "mini" in list_encoders()


def test_an_entry_point_that_fails_is_named(monkeypatch, tmp_path):
    with_entry(monkeypatch, ImportError("no module named their_package"))
    with pytest.raises(CardError, match="theirs = their_package:cards"):
        list_encoders()
    with_entry(monkeypatch, tmp_path / "gone")
    with pytest.raises(CardError, match="does not exist"):
        list_encoders()


def test_installed_packages_are_asked_once(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(metadata, "entry_points", lambda group: asked.append(group) or [])
    list_encoders()
    list_encoders()
    assert len(asked) == 1
    monkeypatch.syspath_prepend(tmp_path)  # another path may hold other packages
    list_encoders()
    assert len(asked) == 2
