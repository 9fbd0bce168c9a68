"""Find the lung fields of a cohort's radiographs once: weights of a segmentation network in, a table with crops out.

The files are not copied: ``labels.csv`` gets a column ``crop`` that the reader of ``chest_xray`` obeys.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.info import CohortInfo
from medfm.core.environment import software
from medfm.core.errors import ConfigError, MedfmError
from medfm.core.files import make_folder, write_error, write_json
from medfm.core.hashing import sha256_file, sha256_json
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.lungs import LEAST, MARGIN, MOST, LungField, load_lung_network, lung_field, lung_masks
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality
from medfm.workflows.derived_cohort import PROVENANCE, begin_folder, write_derived_table

if TYPE_CHECKING:
    from torch import nn

_LOG = logging.getLogger(__name__)
FOUND, OVERVIEW = "lungs.jsonl", "overview.png"
_OURS = ("labels.csv", "labels.yaml", PROVENANCE, FOUND, OVERVIEW)
_WRITER = "medfm data lungs"
_COUNTING = ("medfm", "numpy", "torch")
_SHOWN = 12


@dataclass(frozen=True)
class LungCrops:
    """What :func:`find_lungs` left behind.

    Attributes:
        out: The folder.
        table: ``labels.csv`` in it; ``None`` where no radiograph could be read.
        cropped: Radiographs with a crop about both lungs.
        whole: (record id, what was seen: ``one`` or ``none``) of those kept whole.
        kept: How many were found in an earlier run.
        failed: (record id, reason) of those that could not be read.
    """

    out: Path
    table: Path | None
    cropped: int
    whole: tuple[tuple[str, str], ...]
    kept: int
    failed: tuple[tuple[str, str], ...]


def find_lungs(
    cohort: Cohort,
    weights: str | Path | None,
    out: str | Path,
    *,
    margin: float = MARGIN,
    info: CohortInfo | None = None,
    overwrite: bool = False,
    progress: ProgressMaker = Silent,
) -> LungCrops:
    """Find both lungs in every radiograph of `cohort` and write a table whose records are cropped to them.

    ``labels.csv`` has the columns of the cohort and ``crop`` (top, left, bottom, right in pixels; empty where the
    radiograph is kept whole) and ``lungs`` (``both``, ``one`` or ``none``); paths mean the folder they meant before
    (``root`` in ``labels.yaml``). ``overview.png`` shows twelve; ``provenance.json`` says weights, settings and
    findings. A run that was interrupted goes on record by record. A crop that the cohort has already is not used.

    Args:
        cohort: Chest radiographs.
        weights: The published checkpoint (``None`` is an error that says where to get it), see :func:`medfm.encoders.lungs.load_lung_network`.
        out: Folder to create or to go on with.
        margin: Added to every side of the box, as a share of its own height and width, 0 to 1.
        info: The YAML beside the cohort's table, carried over.
        overwrite: Whether an earlier result in `out` is removed first.
        progress: Called with (title, total, unit).

    Raises:
        ConfigError: Another modality, or a margin out of range.
        WeightsError: The checkpoint is not that network.
        StoreError: `out` holds other things, or crops by other weights; or it cannot be written.
    """
    if cohort.modality != "chest_xray":
        raise ConfigError(
            f"Lungs are found in chest radiographs, and the cohort holds {cohort.modality}.",
            fix="pass --modality chest_xray if the records are that",
        )
    if not 0 <= margin <= 1:
        raise ConfigError(f"A margin of {margin:g} makes no sense.", expected="0 to 1, a share of the box's sides")
    network = load_lung_network(weights)
    setup: dict[str, Any] = {
        "network": "PSPNet, ChestX-Det (68,068,316 parameters; 512 pixels)",
        "weights_sha256": sha256_file(Path(str(weights))),
        "margin": margin,
        "shares": [LEAST, MOST],
        "software": {name: version for name, version in software().items() if name in _COUNTING},
    }
    key = sha256_json(setup)
    target = Path(out)
    begin_folder(
        target,
        _WRITER,
        key,
        _OURS,
        overwrite=overwrite,
        differs="The folder holds crops found in another way: weights, margin or versions differ.",
    )
    make_folder(target)
    head = {"written_by": _WRITER, "setup_sha256": key, **setup, "cohort_sha256": cohort.digest()}
    write_json(target / PROVENANCE, {**head, "finished": False})
    known = _known(target / FOUND)
    found: dict[str, LungField | str] = {}
    kept = 0
    with progress("finding lungs", len(cohort), "radiographs") as shown, Appending(target / FOUND) as note:
        for ref in whole_refs(cohort):
            try:
                content = ref.content_key()
                if content in known:
                    found[ref.record_id], kept = known[content], kept + 1
                    shown.skip(1)
                    continue
                found[ref.record_id] = field = _found(ref, network, margin)
            except MedfmError as error:
                found[ref.record_id] = error.line
                shown.advance(note="one could not be read")
                continue
            except OSError as error:
                found[ref.record_id] = f"The file cannot be read: {error.strerror}."
                shown.advance(note="one could not be read")
                continue
            note({"content": content, **asdict(field)})
            shown.advance()
    fields = {name: one for name, one in found.items() if isinstance(one, LungField)}
    failed = tuple((name, one) for name, one in found.items() if isinstance(one, str))
    table = _write_table(cohort, fields, info or CohortInfo(), target)
    if table is not None:
        _draw(cohort, fields, target / OVERVIEW)
    records = [{"record_id": name, **asdict(one)} for name, one in fields.items()]
    errors = [{"record_id": name, "reason": reason} for name, reason in failed]
    write_json(target / PROVENANCE, {**head, "finished": True, "records": records, "failed": errors})
    whole = tuple((name, one.seen) for name, one in fields.items() if one.box is None)
    return LungCrops(target, table, len(fields) - len(whole), whole, kept, failed)


def whole_refs(cohort: Cohort) -> Iterator[RecordRef]:
    """The records of a cohort without the crops that its table may have."""
    for ref in cohort.refs():
        yield replace(ref, options={name: value for name, value in ref.options.items() if name != "crop"})


def _found(ref: RecordRef, network: nn.Module, margin: float) -> LungField:
    record = get_modality("chest_xray").read(ref)
    return lung_field(lung_masks(record.array, network, ref.record_id), margin)


def _known(file: Path) -> dict[str, LungField]:
    """What an earlier run found, by content; a last line that was cut off is no loss."""
    known: dict[str, LungField] = {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            row = json.loads(line)
            box = None if row["box"] is None else tuple(int(value) for value in row["box"])
            known[str(row["content"])] = LungField(row["seen"], box, tuple(row["shares"]))  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError):
            _LOG.debug("A line of %s is not whole", file.name)
    return known


class Appending:
    """Add lines to a file, each on the disk before the next radiograph is begun."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> Appending:
        try:
            self.handle = self.file.open("a", encoding="utf-8")
            self.handle.write("\n")  # what an interrupted run left half written ends here
        except OSError as error:
            raise write_error(error, self.file) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Add one line; raises StoreError where the disk is full."""
        try:
            self.handle.write(json.dumps(row) + "\n")
            self.handle.flush()
        except OSError as error:
            raise write_error(error, self.file) from error


def _write_table(cohort: Cohort, fields: Mapping[str, LungField], info: CohortInfo, target: Path) -> Path | None:
    file = target / "labels.csv"
    table = cohort.table[cohort.table["record_id"].astype(str).isin(list(fields))].copy()
    if not len(table):
        file.unlink(missing_ok=True)
        return None
    ordered = [fields[str(name)] for name in table["record_id"]]
    table["crop"] = ["" if one.box is None else ",".join(map(str, one.box)) for one in ordered]
    table["lungs"] = [one.seen for one in ordered]
    try:
        root = Path(os.path.relpath(cohort.root, target.absolute())).as_posix()
    except ValueError:  # another drive of Windows
        root = str(cohort.root)
    note = "Radiographs cropped to the lung fields that medfm data lungs found (column crop)."
    return write_derived_table(table, cohort, info, target, note, root=root)


def _draw(cohort: Cohort, fields: Mapping[str, LungField], file: Path) -> None:
    """Twelve radiographs with their crops, those kept whole first: they are the ones to look at."""
    from medfm.reporting.drawing import contact_sheet
    from medfm.reporting.drawing_page import write_drawing
    from medfm.reporting.lungs import draw_crop

    refs = [ref for ref in whole_refs(cohort) if ref.record_id in fields]
    refs.sort(key=lambda ref: fields[ref.record_id].box is not None)
    whole = sum(fields[ref.record_id].box is None for ref in refs)
    first = refs[: min(whole, _SHOWN // 2)]
    rest = refs[len(first) :]
    step = max(len(rest) // (_SHOWN - len(first)), 1)
    drawings = []
    for ref in [*first, *rest[::step][: _SHOWN - len(first)]]:
        record = get_modality("chest_xray").read(ref)
        drawings.append(draw_crop(record, fields[ref.record_id], cohort.synthetic))
    write_drawing(contact_sheet(drawings, 3, f"Crops of {len(drawings)} radiographs"), file)
