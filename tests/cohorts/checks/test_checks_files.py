from collections.abc import Callable

from medfm.cohorts.checks.files import check_files


def outcome(cohort: object, deep: bool) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {f.code: (f.severity, f.records) for f in check_files(cohort, deep=deep) if f.code != "F006"}


def test_all_files_there(make_cohort: Callable) -> None:
    assert outcome(make_cohort(label=[1, 2]), False) == {"F001": ("passed", ()), "F003": ("passed", ())}


def test_missing_and_empty_files_warn_before_a_run_and_fail_a_check(make_cohort: Callable) -> None:
    cohort = make_cohort(label=[1, 2, 3, 4])
    (cohort.root / "img/0001.png").unlink()
    (cohort.root / "img/0002.png").write_bytes(b"")
    assert outcome(cohort, False) == {"F001": ("warning", ("r0001",)), "F003": ("warning", ("r0002",))}
    assert outcome(cohort, True) == {"F001": ("error", ("r0001",)), "F003": ("error", ("r0002",))}


def test_nothing_there_is_an_error_in_any_case(make_cohort: Callable) -> None:
    assert outcome(make_cohort(files=False, label=[1, 2]), False)["F001"][0] == "error"


def test_a_folder_is_not_a_file(make_cohort: Callable) -> None:
    cohort = make_cohort(label=[1, 2])
    (cohort.root / "img/0001.png").unlink()
    (cohort.root / "img/0001.png").mkdir()
    assert outcome(cohort, True)["F001"] == ("error", ("r0001",))


def test_links_out_of_the_root_are_found_and_links_inside_are_fine(make_cohort: Callable) -> None:
    cohort = make_cohort(label=[1, 2, 3])
    inside, outside = cohort.root / "img/0001.png", cohort.root / "img/0002.png"
    inside.unlink()
    inside.symlink_to(cohort.root / "img/0000.png")
    assert {f.code: f.severity for f in check_files(cohort, deep=False)}["F006"] == "passed"
    outside.unlink()
    outside.symlink_to("/etc/hostname")
    finding = next(f for f in check_files(cohort, deep=False) if f.code == "F006")
    assert finding.severity == "error"
    assert "img/0002.png" in finding.detail
