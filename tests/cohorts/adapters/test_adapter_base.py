from pathlib import Path

import pytest
import yaml
from cohort_pictures import save

from medfm.cohorts.adapters import all_aliases, get_adapter, list_adapters, prepare
from medfm.cohorts.adapters.base import find_folder, images_in
from medfm.cohorts.adapters.boxes import clip, image_size
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, StoreError, UnknownNameError

CLASSES = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


@pytest.fixture
def acevedo(tmp_path: Path) -> Path:
    for i, name in enumerate(CLASSES):
        save(tmp_path / "PBC_dataset_normal_DIB" / name / f"AB_{i:06d}.jpg", i)
    return tmp_path


@pytest.mark.parametrize("name", list_adapters())
def test_every_adapter_says_what_a_user_must_know(name: str) -> None:
    facts = get_adapter(name).info()
    assert facts["id"] == name
    for key in ("title", "task", "licence", "where", "layout", "citation", "unverified"):
        assert facts[key], key
    # Without a published count to hold against, that must be said.
    assert facts["expected"] or any("no count is enforced" in line for line in facts["unverified"])


@pytest.mark.parametrize("name", list_adapters())
def test_a_wrong_folder_ends_in_an_error_that_says_where_to_get_the_set(name: str, tmp_path: Path) -> None:
    (tmp_path / "unrelated").mkdir()
    for source in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CohortError, match="This is not") as caught:
            prepare(name, source, tmp_path / "out")
        assert get_adapter(name).where in str(caught.value)
        assert get_adapter(name).layout in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unknown_sets_and_aliases() -> None:
    with pytest.raises(UnknownNameError, match="'acevedo'"):
        get_adapter("acevdo")
    names = [alias for aliases in all_aliases() for alias in aliases]
    assert len(names) == len(set(names)), "no name may mean two sets"


def test_counts_are_enforced_unless_partial_is_allowed(acevedo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(CohortError, match=r"total: expected 17,092, found 8") as caught:
        prepare("acevedo", acevedo, out)
    assert "--allow-partial" in str(caught.value)
    assert not out.exists()
    done = prepare("acevedo", acevedo, out, allow_partial=True)
    assert (done.records, done.complete) == (8, False)
    assert "ig: expected 2,895, found 1" in done.differences
    notes = yaml.safe_load((out / "labels.yaml").read_text())["notes"]
    assert any("incomplete: total" in note for note in notes)
    assert any("unverified" in note for note in notes)


def test_a_complete_set_is_marked_so(acevedo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_adapter("acevedo"), "expected", {"total": 8, "ig": 1}, raising=False)
    assert prepare("acevedo", acevedo, tmp_path / "out").complete


def test_what_is_written_loads_with_licence_and_root(acevedo: Path, tmp_path: Path) -> None:
    done = prepare("acevedo", acevedo, tmp_path / "elsewhere" / "out", allow_partial=True)
    cohort = load_cohort(done.table)
    assert len(cohort) == 8
    assert cohort.name == "acevedo"
    assert cohort.info["licence"] == "CC BY 4.0"
    assert cohort.info["adapter"] == "acevedo@1"
    assert cohort.info["target"] == "label"
    assert cohort.read(7).array.shape == (40, 44, 3)
    assert sorted(p.name for p in done.table.parent.iterdir()) == ["labels.csv", "labels.yaml"]


def test_preparing_twice_gives_equal_bytes(acevedo: Path, tmp_path: Path) -> None:
    one = prepare("acevedo", acevedo, tmp_path / "out", allow_partial=True).table.read_bytes()
    assert prepare("acevedo", acevedo, tmp_path / "out", allow_partial=True).table.read_bytes() == one


def test_an_output_that_cannot_be_written(acevedo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        prepare("acevedo", acevedo, tmp_path / "file" / "out", allow_partial=True)


def test_a_full_disk_leaves_nothing_half_written(
    acevedo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        prepare("acevedo", acevedo, tmp_path / "out", allow_partial=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_helpers(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b" / "x.PNG", 0)
    save(tmp_path / "a" / "b" / ".hidden.png", 0)
    (tmp_path / "a" / "b" / "notes.txt").write_text("x")
    assert [f.name for f in images_in(tmp_path / "a" / "b")] == ["x.PNG"]
    assert find_folder(tmp_path, "b") == tmp_path / "a"
    assert find_folder(tmp_path, "b", depth=0) is None
    assert image_size(tmp_path / "a" / "b" / "x.PNG", "x") == (44, 40)
    assert clip((-5, 3, 50, 20), (44, 40)) == ((0, 3, 44, 20), True)
    assert clip((1, 3, 44, 40), (44, 40)) == ((1, 3, 44, 40), False)
    with pytest.raises(CohortError, match="cannot be read"):
        image_size(tmp_path / "a" / "b" / "notes.txt", "notes.txt")


def test_a_folder_with_all_names_is_found_or_the_error_says_why(acevedo: Path) -> None:
    adapter = get_adapter("acevedo")
    assert adapter.folder_with(acevedo, *CLASSES, why="?") == acevedo / "PBC_dataset_normal_DIB"
    with pytest.raises(CohortError, match="no folders basophil and blast"):
        adapter.folder_with(acevedo, "basophil", "blast", why="there are no folders basophil and blast")


def test_splits_are_refused_by_name(tmp_path: Path) -> None:
    adapter = get_adapter("acevedo")
    adapter.refuse_splits(None)
    with pytest.raises(CohortError, match=r"not prepared from published split files") as caught:
        adapter.refuse_splits(tmp_path)
    assert adapter.title in caught.value.what and caught.value.fix == "leave out --splits"
