from collections.abc import Callable

import numpy as np
from cohort_pictures import paint
from PIL import Image

from medfm.cohorts.checks import scan as module
from medfm.cohorts.checks.near import fingerprint
from medfm.cohorts.checks.scan import scan
from medfm.core.errors import ReadError
from medfm.modalities.registry import get_modality


def test_what_is_seen_of_a_picture(make_cohort: Callable) -> None:
    cohort = make_cohort(label=[0, 1])
    seen = scan(cohort)[1]
    assert seen.error is None
    assert seen.shape == (40, 44, 3)
    assert seen.spread > 5
    assert not seen.grey
    assert seen.facts["format"] == "png"
    assert seen.mark is not None
    assert np.array_equal(seen.mark.hashes, fingerprint(paint(1)).hashes)


def test_a_large_picture_is_sampled_but_not_misjudged(make_cohort: Callable) -> None:
    cohort = make_cohort(label=[0, 1])
    Image.fromarray(paint(0, 700, 900)).save(cohort.root / "img/0000.png")
    Image.fromarray(paint(0, 700, 900)).convert("L").save(cohort.root / "img/0001.png")
    colour, grey = scan(cohort)
    assert (colour.grey, grey.grey) == (False, True)
    assert colour.spread > 5


def test_every_reason_is_kept_and_the_others_go_on(make_cohort: Callable) -> None:
    cohort = make_cohort(label=list(range(5)))
    (cohort.root / "img/0000.png").write_bytes(b"")
    (cohort.root / "img/0001.png").unlink()
    (cohort.root / "img/0002.png").write_bytes(b"%PDF-1.7")
    whole = (cohort.root / "img/0003.png").read_bytes()
    (cohort.root / "img/0003.png").write_bytes(whole[: len(whole) // 2])
    seen = scan(cohort, workers=3)
    reasons = [s.error or "" for s in seen]
    for reason, words in zip(reasons, ("empty", "No such file", "PDF", "cut off", ""), strict=True):
        assert words in reason
    assert seen[4].error is None
    assert [s.key is None for s in seen] == [False, True, False, False, False]


def test_a_box_outside_one_smear_does_not_spoil_its_other_cells(make_cohort: Callable) -> None:
    box = {"xmin": [0, 30, 5], "ymin": [0, 30, 5], "xmax": [20, 90, 25], "ymax": [20, 90, 25]}
    seen = scan(make_cohort(path=["s.png"] * 3, label=[0, 1, 2], **box))
    assert [s.error is None for s in seen] == [True, False, True]
    assert "leaves the image" in str(seen[1].error)
    assert len({s.key for s in seen}) == 3


def test_a_smear_is_hashed_once_for_all_its_cells(make_cohort: Callable, monkeypatch) -> None:
    calls: list[object] = []
    real = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: calls.append(path) or real(path))
    box = {"xmin": range(9), "ymin": range(9), "xmax": range(20, 29), "ymax": range(20, 29)}
    scan(make_cohort(path=["s.png"] * 9, label=range(9), **{k: list(v) for k, v in box.items()}))
    assert len(calls) == 1


def test_only_expected_errors_are_recorded(make_cohort: Callable, monkeypatch) -> None:
    def refuse(ref: object) -> None:
        raise ReadError("for this reason")

    monkeypatch.setattr(get_modality("blood_cell"), "read", refuse)
    assert {s.error for s in scan(make_cohort(label=[0, 1]))} == {"for this reason"}
