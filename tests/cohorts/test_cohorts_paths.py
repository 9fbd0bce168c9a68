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
