from pathlib import Path

import pytest

from medfm.cohorts.paths import clean_paths, refuse_escaping_links
from medfm.core.errors import CohortError


def test_normal_form() -> None:
    assert clean_paths(["a/b.png", "./a//b.png", "a\\b.png", "a/x/../b.png"], "t") == ["a/b.png"] * 4


def test_names_that_only_look_dangerous_are_kept() -> None:
    assert clean_paths(["..a/b..png", "a/...png"], "t") == ["..a/b..png", "a/...png"]


@pytest.mark.parametrize("path", ["/a", "//a", "c:/a", "file://a", "~user/a", "../a", "a/../..", "a/../../b", "a\0b"])
def test_everything_outside_is_refused_with_its_row(path: str) -> None:
    with pytest.raises(CohortError, match="Row 3"):
        clean_paths(["a", "b", path], "t")


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refuse_escaping_links(tmp_path / "link", ["a.png", "absent.png"], "t")
    (tmp_path / "real" / "out.png").symlink_to("/etc/hostname")
    with pytest.raises(CohortError, match=r"out\.png"):
        refuse_escaping_links(tmp_path / "link", ["a.png", "out.png"], "t")


@pytest.mark.parametrize("count", [1, 15, 16, 80])
@pytest.mark.parametrize("others", [0, 500])
def test_a_link_out_is_found_in_small_and_large_folders(tmp_path: Path, count: int, others: int) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.png"
    (root / "a").mkdir(parents=True)
    outside.write_bytes(b"x")
    names = [f"a/p{i:03d}.png" for i in range(count)]
    for name in names:
        (root / name).write_bytes(b"x")
    for i in range(others):
        (root / "a" / f"other{i}").write_bytes(b"")
    refuse_escaping_links(root, names, "t")
    inner = root / "a" / "inner.png"
    inner.symlink_to(root / names[0])
    refuse_escaping_links(root, [*names, "a/inner.png"], "t")
    (root / "a" / "z.png").symlink_to(outside)
    (root / "a" / "y.png").symlink_to(outside)
    refuse_escaping_links(root, names, "t")  # what the table does not name is nobody's business
    with pytest.raises(CohortError, match=r"leads out of the root folder: a/z\.png"):
        refuse_escaping_links(root, [*names, "a/z.png", "a/y.png"], "t")


def test_absent_files_and_folders_are_left_to_the_checks(tmp_path: Path) -> None:
    names = [f"gone/p{i}.png" for i in range(40)] + [f"q{i}.png" for i in range(40)] + ["file.png/x.png"] * 20
    (tmp_path / "file.png").write_bytes(b"x")
    refuse_escaping_links(tmp_path, names, "t")


def test_a_linked_folder_is_refused_with_its_first_file(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "near").symlink_to(tmp_path / "far")
    with pytest.raises(CohortError, match=r"near/a\.png"):
        refuse_escaping_links(tmp_path / "root", ["near/a.png", *(f"near/{i}.png" for i in range(30))], "t")


def test_links_that_lead_to_each_other_are_left_to_the_checks(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    refuse_escaping_links(tmp_path, ["a.png", "b.png", "loop/c.png", "gone.png"], "t")
    (tmp_path / "far.png").symlink_to("/nowhere/at/all.png")
    with pytest.raises(CohortError, match=r"far\.png"):
        refuse_escaping_links(tmp_path, ["a.png", "far.png"], "t")
