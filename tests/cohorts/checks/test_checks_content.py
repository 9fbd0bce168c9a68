from collections.abc import Callable

import numpy as np
import tifffile
from cohort_pictures import paint, save
from PIL import Image

from medfm.cohorts.checks.content import check_content
from medfm.cohorts.checks.scan import scan
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.core.progress import Progress

SIX = ["train", "train", "train", "test", "test", "test"]


def check(cohort: Cohort, target: str | None = "label") -> dict[str, Finding]:
    return {f.code: f for f in check_content(cohort, scan(cohort), target)}


def test_sound_files_pass(make_cohort: Callable) -> None:
    found = check(make_cohort(label=list("ababab"), split=SIX))
    assert {f.severity for f in found.values()} == {"passed"}
    assert {"F002", "F004", "L002", "L003", "L004", "L005", "U001", "U002", "U003", "U004", "U005"} == set(found)


def test_damaged_files_are_counted_by_reason(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("ababab"), split=SIX)
    for i in (1, 4):
        (cohort.root / f"img/000{i}.png").write_bytes(b"path,label\n")
    (cohort.root / "img/0002.png").unlink()
    finding = check(cohort)["F002"]
    assert (finding.severity, finding.records) == ("error", ("r0001", "r0002", "r0004"))
    assert "2 x This is a text file" in finding.detail
    assert "No such file" in finding.detail


def test_where_nothing_can_be_read_nothing_is_called_passed(make_cohort: Callable) -> None:
    assert set(check(make_cohort(files=False, label=list("ab")))) == {"F002", "F004"}


def test_one_content_in_two_splits_with_two_labels(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("abacab"), split=SIX)
    (cohort.root / "img/0003.png").write_bytes((cohort.root / "img/0000.png").read_bytes())
    found = check(cohort)
    assert (found["L002"].severity, found["L002"].records) == ("error", ("r0000", "r0003"))
    assert found["L003"].severity == "error"
    assert found["L004"].severity == "passed"
    assert found["L005"].severity == "passed", "equal bytes are reported once, by L002"


def test_one_content_twice_in_a_split(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("aababa"), split=SIX)
    save(cohort.root / "img/0001.png", 0)
    found = check(cohort)
    assert (found["L002"].severity, found["L003"].severity, found["L004"].severity) == ("passed", "passed", "warning")


def test_two_cells_of_one_smear_are_not_copies(make_cohort: Callable) -> None:
    box = {"xmin": [0, 20], "ymin": [0, 0], "xmax": [20, 40], "ymax": [30, 30]}
    found = check(make_cohort(path=["s.png", "s.png"], label=list("ab"), split=["train", "test"], **box))
    assert found["L002"].severity == found["L003"].severity == "passed"


def test_a_mirrored_copy_saved_as_jpeg_in_another_split(make_cohort: Callable) -> None:
    paths = ["a.png", "b.png", "c.png", "d.jpg"]
    cohort = make_cohort(path=paths, label=list("abab"), split=["train", "train", "val", "test"])
    Image.fromarray(np.ascontiguousarray(paint(1)[:, ::-1])).save(cohort.root / "d.jpg", quality=85)
    finding = check(cohort)["L005"]
    assert (finding.severity, finding.records) == ("error", ("r0001", "r0003"))


def test_blank_pictures_are_named_and_never_called_copies(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("ababab"), split=SIX)
    for i, value in ((0, 254), (3, 255)):
        Image.new("RGB", (40, 40), (value, value, value)).save(cohort.root / f"img/000{i}.png")
    found = check(cohort)
    assert (found["U001"].severity, found["U001"].records) == ("warning", ("r0000", "r0003"))
    assert found["L005"].severity == "passed"


def test_12_bit_data_in_16_bit_files(make_cohort: Callable) -> None:
    cohort = make_cohort(path=["a.tif", "b.tif"], label=list("ab"))
    for i, name in enumerate(["a.tif", "b.tif"]):
        tifffile.imwrite(cohort.root / name, paint(i).astype(np.uint16) * 16, photometric="rgb")
    assert "12-bit data" in check(cohort)["U002"].detail
    tifffile.imwrite(cohort.root / "a.tif", paint(0).astype(np.uint16) * 257, photometric="rgb")
    assert check(cohort)["U002"].severity == "passed"


def test_sizes_small_grey_and_misnamed_pictures(make_cohort: Callable) -> None:
    cohort = make_cohort(path=["a.png", "b.png", "c.jpg"], label=list("abb"))
    save(cohort.root / "a.png", 0, height=12, width=30)
    Image.fromarray(paint(1)).convert("L").save(cohort.root / "b.png")
    Image.fromarray(paint(2)).save(cohort.root / "c.jpg", "PNG")
    found = check(cohort)
    assert found["U003"].severity == "info"
    assert found["U004"].records == ("r0000",)
    assert (found["U005"].severity, found["U005"].records) == ("info", ("r0001",))
    assert (found["F004"].severity, found["F004"].records) == ("info", ("r0002",))


def test_only_grey_pictures_are_a_warning(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list("ab"))
    for i in range(2):
        Image.fromarray(paint(i)).convert("L").save(cohort.root / f"img/000{i}.png")
    assert check(cohort)["U005"].severity == "warning"


def test_the_scan_is_in_table_order_for_any_number_of_threads(make_cohort: Callable) -> None:
    names = [f"img/{i:04d}.png" for i in range(12)][::-1]
    cohort = make_cohort(path=names, label=[1] * 12)
    one, many = scan(cohort, workers=1), scan(cohort, workers=5)
    assert [s.key for s in one] == [s.key for s in many]
    assert [s.key for s in one] == [ref.content_key() for ref in cohort.refs()]


def test_progress_counts_every_record(make_cohort: Callable) -> None:
    bars: list[Progress] = []

    def bar(title: str, total: int, unit: str) -> Progress:
        bars.append(Progress(title, total, unit))
        return bars[-1]

    scan(make_cohort(label=list("abcab")), bar)
    assert [(b.done, b.total) for b in bars] == [(5, 5)]
