"""The codes: stable, documented, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medfm.cohorts.findings import Finding, Severity


@dataclass(frozen=True)
class Check:
    """A check by its code.

    Attributes:
        code: Stable code; the letter says the kind.
        title: What is checked, in a few words.
        deep: Whether it needs the files' content (``medfm data check``; workflows skip it).
        fix: What to do when it fails.
    """

    code: str
    title: str
    deep: bool
    fix: str


_ALL = (
    Check("T001", "record ids are unique", False, "remove the doubled rows or give unique record ids"),
    Check("T002", "patients are known", False, "name the patient column with --map patient_id=COLUMN"),
    Check("T003", "the target is filled in", False, "fill in the label, or leave the rows out"),
    Check("T004", "every record has a split", False, "fill in the split column, or evaluate by cross-validation"),
    Check("T005", "no record is listed twice", False, "keep one row per file (and box)"),
    Check(
        "T006",
        "a patient_id is one person",
        False,
        "mend the sex or the ids: two people under one id count as one in every interval",
    ),
    Check(
        "T007",
        "a patient belongs to one site",
        False,
        "if sites number their patients each for themselves, put the site in front of the id; else compare sites with care",
    ),
    Check("F001", "files are there", False, "check --root and the paths"),
    Check(
        "F002",
        "files can be read",
        True,
        "copy damaged files again, name what is meant, or remove the rows; 'medfm data show FILE' says what to do about each",
    ),
    Check("F003", "files are not empty", False, "copy or download the empty files again"),
    Check("F004", "files are what their names say", True, "rename the files; they were read by content"),
    Check("F006", "no symbolic link leaves the root folder", False, "name the real folder with --root"),
    Check("L001", "no patient is in two splits", False, "split by patient (medfm.cohorts.splits)"),
    Check("L002", "no file content is in two splits", True, "keep the copies on one side"),
    Check("L003", "equal files have equal labels", True, "decide on one label and remove the other rows"),
    Check("L004", "no file content appears twice", True, "keep one copy; copies weigh twice in every metric"),
    Check("L005", "no near-duplicate image is in two splits", True, "look at the pairs; keep copies on one side"),
    Check("L006", "no study is in two splits", False, "split by patient or study (medfm.cohorts.splits)"),
    Check(
        "L007",
        "labels do not show in paths",
        False,
        "nothing, as long as paths are never an input: medfm gives encoders pixels only; do not sort or split by path",
    ),
    Check(
        "L008",
        "the encoder was not trained on these data",
        False,
        "report the overlap beside the figures, or test on other data",
    ),
    Check(
        "L009",
        "augmented copies are known and kept together",
        False,
        "name the column of the originals with --map patient_id=COLUMN, or read every figure as too high",
    ),
    Check("U001", "images are not blank", True, "look at them; remove empty fields"),
    Check("U002", "16-bit values use their range", True, "rescale to the full 16 bits, or export as 8 bit"),
    Check("U003", "images have one size", True, "nothing if the sizes are meant; the encoder resizes all to one size"),
    Check("U004", "images are large enough", True, "check the crops; an encoder sees at least 98 pixels"),
    Check("U005", "colours are alike", True, "check why some images are grey or transparent"),
    Check(
        "E001",
        "arm and leg electrodes are not swapped",
        True,
        "look at the recordings (a heart on the right side looks alike); swap the leads back or leave the records out",
    ),
    Check(
        "E002",
        "left arm and left leg are not swapped",
        True,
        "compare with another recording of the patient; alone this sign is weak, so do not remove records by it",
    ),
    Check(
        "E003",
        "limb leads agree with each other",
        True,
        "check names and order of the leads (a 'leads' column overrides the file) and whether one lead is inverted",
    ),
    Check(
        "E004", "every lead has a signal", True, "look at the recordings; leave out those whose missing leads matter"
    ),
    Check("E005", "no lead is clipped", True, "export again with a wider range, or leave the records out"),
    Check(
        "E006",
        "mains hum is low",
        True,
        "filter it at the source where possible; check that it is not tied to label or site",
    ),
    Check(
        "E007",
        "amplitudes are those of ECGs",
        True,
        "state the true unit of these records in a 'units' column (uV, mV or V), or export them again",
    ),
    Check(
        "E008", "recordings are long enough", True, "encoders pad short recordings with zeros; leave them out if rare"
    ),
    Check(
        "E009",
        "recordings have one rate",
        True,
        "nothing: encoders resample; check that the rate is not tied to label or site",
    ),
    Check(
        "E010",
        "no lead and no stretch is missing",
        True,
        "see docs/ecg.md on what encoders do with gaps and absent leads",
    ),
    Check("H001", "patches hold tissue", True, "leave them out unless background is a class of the task"),
    Check(
        "H002",
        "patches are in focus",
        True,
        "look at them; check that blur is not tied to label, site or scanner, and leave out what cannot be read",
    ),
    Check("H003", "there are no pen marks", True, "look at them; leave them out, or a model learns the marks"),
    Check(
        "H004",
        "patches have one resolution",
        True,
        "cut or resample them to one mpp; check that the resolution is not tied to label or site",
    ),
    Check("M001", "volumes are not empty", True, "export them again, or leave them out"),
    Check(
        "M002",
        "voxels are numbers",
        True,
        "find the step that made NaN or infinite voxels; encoders refuse such volumes",
    ),
    Check(
        "M003",
        "values neither overflowed nor are clipped",
        True,
        "export again from the original, as float32 or with a scale factor",
    ),
    Check(
        "M004",
        "left and right are known",
        True,
        "convert again from DICOM; until then no result may depend on the side of the brain",
    ),
    Check(
        "M005",
        "the axis called left-right is the one of symmetry",
        True,
        "look at them (medfm data show): the axes in the header are probably wrong",
    ),
    Check("M006", "volumes show a head", True, "look at them (medfm data show); leave out what is no brain MRI"),
    Check(
        "M007",
        "the field of view holds the brain",
        True,
        "look at them (medfm data show); leave out slabs and cut brains, or report results without them",
    ),
    Check(
        "M008",
        "voxels are nearly cubic",
        True,
        "encoders resample, which cannot bring back detail; check that slice thickness is not tied to label or site",
    ),
    Check(
        "M009",
        "noise and streaks of motion are low",
        True,
        "look at them; report results with and without them, and check that they are not tied to label or site",
    ),
    Check(
        "M010",
        "volumes have one voxel size",
        True,
        "nothing: encoders resample; check that the size is not tied to label or site",
    ),
    Check(
        "P001",
        "DICOM headers do not say who the patient is",
        True,
        "inside the hospital nothing; before handing files on: medfm data deidentify",
    ),
    Check(
        "P002",
        "pictures carry no texts that may name somebody",
        True,
        "look at the texts; save the pictures again without them before handing files on",
    ),
    Check(
        "P003",
        "headers and table agree on who is who",
        True,
        "mend patient_id, sex or age in the table: two people under one id count as one, one under two can be in two splits",
    ),
    Check(
        "R001", "pictures are fundus photographs", True, "look at them; remove other pictures (R checks are for colour)"
    ),
    Check("R002", "photographs are sharp", True, "look at them; report results with and without the blurred ones"),
    Check("R003", "photographs are well lit", True, "look at them; report results with and without the badly lit ones"),
    Check("R004", "the table and the files name the same eye", True, "find out which is right, and mend the other"),
    Check(
        "R005",
        "the optic disc lies on the side of the labelled eye",
        True,
        "look at them: the label is wrong, the picture is mirrored, or the sign is (alone it is a hint)",
    ),
    Check("S001", "there are at least two classes", False, "check the target and the filter"),
    Check("S002", "every class has enough patients for the folds", False, "use fewer folds, or merge or drop classes"),
    Check("S003", "no class is tiny", False, "expect wide intervals for these classes"),
    Check("S004", "every tested class is trained", False, "split again, stratified by class"),
    Check("S005", "classes are not tied to sites", False, "report results per site; the encoder may read the site"),
    Check(
        "S006",
        "labels are classes, each spelt in one way",
        False,
        "write every class in one way, or name it so in the label_map of the YAML; findings written as sentences have "
        "to be turned into classes first",
    ),
    Check(
        "X001",
        "dense tissue is bright",
        True,
        "look at them (medfm data show); an 'invert' column (yes) turns pictures over",
    ),
    Check("X002", "radiographs are upright", True, "look at them (medfm data show); export them the right way up"),
    Check("X003", "views are not mixed", True, "leave the lateral views out (--where view=PA), or analyse them apart"),
    Check("X004", "pictures are frontal chest radiographs", True, "look at them (medfm data show)"),
    Check(
        "X005",
        "grey values use their range",
        True,
        "look at them; 'window' and 'voi_index' columns choose another window, or export again",
    ),
    Check("X006", "there are no broad borders", True, "crop them; check that borders are not tied to label or site"),
    Check(
        "X007",
        "nothing is written into the picture",
        True,
        "look at them: writing may name the patient, and a model can read it",
    ),
    Check(
        "X008",
        "left and right are known",
        True,
        "nothing, unless the side matters; by habit the patient's right is at the left of the picture",
    ),
    Check(
        "X009", "headers and pixels agree", True, "look at them; export again for presentation, with the right depth"
    ),
    Check("X010", "radiographs are large enough", True, "use the original files; encoders take 224 pixels and more"),
    Check(
        "X011",
        "classes are not tied to views",
        True,
        "report results per view; patients in bed are taken AP, and the encoder may read that",
    ),
)

CODES: dict[str, Check] = {check.code: check for check in _ALL}


def found(code: str, severity: Severity, detail: str, records: Iterable[str] = ()) -> Finding:
    """The finding of check `code`, with its title and advice filled in."""
    check = CODES[code]
    first = tuple(str(r) for r, _ in zip(records, range(10), strict=False))
    fix = "" if severity == "passed" else check.fix
    return Finding(code=code, severity=severity, title=check.title, detail=detail, records=first, fix=fix)


def passed(code: str, detail: str = "") -> Finding:
    """Check `code` ran and found nothing."""
    return found(code, "passed", detail)


def count(number: int, noun: str) -> str:
    """``1 record``, ``2 records``, ``3 classes``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"


def named(names: Sequence[str], shown: int = 8) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def planned_folds(folds: int, whole_test: bool) -> str:
    """How a finding names the folds that patients are counted for; nothing where no folds are planned."""
    return "" if folds < 2 else f" for {folds} folds{' inside train' if whole_test else ''}"
