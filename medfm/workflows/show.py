"""The steps of ``medfm data show``: find the records, read them, draw them, write the files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.cohorts.load import load_cohort
from medfm.core.config import StrictConfig, build
from medfm.core.errors import CohortError, ConfigError, ReadError, StoreError
from medfm.core.names import nearest
from medfm.core.progress import ProgressMaker, Silent
from medfm.modalities.record import RecordRef
from medfm.modalities.registry import get_modality, list_modalities
from medfm.reporting.drawing import Drawing, contact_sheet
from medfm.reporting.drawing_page import FORMATS, check_format, write_drawing
from medfm.reporting.show import Shower, facts_table, shower

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder

TABLES = (".csv", ".tsv", ".parquet")
MOST = 100  # records in one go
MOST_ON_ONE_SHEET = 12


@dataclass(frozen=True)
class ShownRecord:
    """What became of one record.

    Attributes:
        record_id: The cohort's id (or the file's name).
        path: The file written; ``None`` where the record could not be drawn.
        facts: Its acquisition facts as rows (name, value).
        error: Why it could not be drawn.
    """

    record_id: str
    path: Path | None
    facts: tuple[tuple[str, str], ...] = ()
    error: str | None = None


def show(
    source: str | Path,
    *,
    out: str | Path | None = None,
    modality: str | None = None,
    record_ids: Sequence[str] = (),
    records: int = 1,
    cohort: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    reader: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
) -> list[ShownRecord]:
    """Draw one file, or some records of a cohort.

    Args:
        source: A record's file, or a cohort's table (``.csv``, ``.tsv``, ``.parquet``).
        out: A file ending in ``.svg``, ``.png`` or ``.pdf`` (several records share it: one below the
            other, in a PDF page by page), or a folder that receives one PNG per record. Absent: a PNG
            named after the record, here.
        modality: Name of the modality; of a file by its ending, of a table by its YAML, when ``None``.
        record_ids: Records of the cohort; the first `records` when empty.
        records: How many.
        cohort: Further arguments of :func:`medfm.load_cohort`.
        settings: Settings of the drawing, such as ``{"layout": "6x2"}``.
        reader: Reader options of a file, such as ``{"sampling_hz": 500}``.
        encoder: Id of an encoder that tells where it looks.
        weights: Its weights, as of :func:`medfm.load_encoder`.
        overwrite: Replace files that exist.
        progress: Makes the progress display.

    Raises:
        ConfigError: A setting, an ending or a number that cannot be.
        CohortError: There is no such record.
        ReadError: A single record cannot be read.
        StoreError: A file exists already or cannot be written.
    """
    if not 1 <= records <= MOST:
        raise ConfigError(f"{records} records cannot be drawn in one go.", expected=f"1 to {MOST}")
    refs, kind, synthetic = found_records(Path(source), modality, list(record_ids), records, dict(cohort or {}), reader)
    artist = shower(kind)
    chosen = _checked_settings(artist, kind, settings or {})
    together, files = _targets(refs, out)
    for file in files if together is None else [together]:
        if file.exists() and not overwrite:
            raise StoreError(
                "The file exists already.", where=str(file), fix="choose another name with --out, or pass --overwrite"
            )
    looking = _loaded(encoder, weights)
    done: list[ShownRecord] = []
    drawings: list[Drawing] = []
    with (progress or Silent)("records", len(refs), "records") as shown:
        for ref, file in zip(refs, files, strict=True):
            try:
                record = get_modality(kind).read(ref)
                drawing = artist.draw(record, chosen, looking, synthetic)
            except ReadError as error:
                if len(refs) == 1:
                    raise
                done.append(ShownRecord(ref.record_id, None, error=str(error)))
            else:
                drawings.append(drawing)
                if together is None:
                    write_drawing(drawing, file)
                done.append(ShownRecord(ref.record_id, together or file, tuple(facts_table(record))))
            shown.advance()
    if together is not None and drawings:
        title = f"{len(drawings)} records"
        many = drawings if together.suffix.lower() == ".pdf" else contact_sheet(drawings, artist.columns, title)
        write_drawing(drawings[0] if len(drawings) == 1 else many, together)
    return done


def found_records(
    source: Path,
    modality: str | None,
    record_ids: list[str],
    records: int,
    cohort: dict[str, Any],
    reader: Mapping[str, Any] | None,
) -> tuple[list[RecordRef], str, bool]:
    """The records that a file, folder or table holds, their modality, and whether they are synthetic.

    Raises:
        ConfigError: Several records of a single file are asked for.
        ReadError: The folder is no record.
        CohortError: The table is malformed, or has no such record.
    """
    if source.suffix.lower() in TABLES:
        table = load_cohort(source, modality, check=False, **cohort)
        if modality is None and len(table):
            # Without a YAML the table does not say what its files are, but their endings may.
            named = _kinds_of(Path(str(table.table["path"].iloc[0])))
            if table.modality not in named and len(named) == 1:
                table = load_cohort(source, named[0], check=False, **cohort)
        if record_ids:
            part = table.subset([_row(name, table.record_ids, source) for name in record_ids])
        else:
            part = table.subset(slice(0, records))
        return list(part.refs()), table.modality, table.synthetic
    if record_ids or records > 1:
        raise ConfigError(
            "A single file holds one record.",
            where=str(source),
            expected="a cohort's table (" + ", ".join(TABLES) + ") for --record and --records",
        )
    if source.is_dir():
        # A DICOM series is a record although it is a folder.
        kinds = [modality] if modality else [name for name in list_modalities() if _claims(name, source)]
        if len(kinds) != 1 or not getattr(get_modality(kinds[0]), "folders", False):
            raise ReadError(
                "This is a folder, and none that is read as one record.",
                where=str(source),
                expected="a record's file, a folder with a DICOM series of MR, or a cohort's table",
                fix="name the file; of a DICOM series its --modality, such as brain_mri, tells why it is not read",
            )
        return [RecordRef(source.name or "record", source.absolute(), dict(reader or {}))], kinds[0], False
    if not source.exists() and source.with_name(f"{source.name}.hea").exists():
        source = source.with_name(f"{source.name}.hea")  # WFDB records are often named without their ending
    return [RecordRef(source.name, source.absolute(), dict(reader or {}))], modality or _kind_of(source), False


def _row(name: str, known: list[str], source: Path) -> int:
    """The row of a record by its id, or by the file name in it where that is the only one."""
    if name in known:
        return known.index(name)
    alike = [row for row, record_id in enumerate(known) if name in (Path(record_id).name, Path(record_id).stem)]
    if len(alike) == 1:
        return alike[0]
    near = [known[row] for row in alike] or nearest(name, known) or known[:3]
    raise CohortError(
        f"There {'are several records' if alike else 'is no record'} '{name}'.",
        where=str(source),
        expected="one of the cohort's ids, such as " + ", ".join(f"'{one}'" for one in near[:3]),
    )


def _checked_settings(artist: Shower, kind: str, settings: Mapping[str, Any]) -> StrictConfig:
    foreign = [key for key in settings if key not in artist.settings.model_fields]
    if foreign:
        raise ConfigError(
            f"Drawings of modality '{kind}' have no setting '{foreign[0]}'.",
            expected=", ".join(artist.settings.model_fields) or "none: they are drawn as they are",
        )
    return build(artist.settings, dict(settings), where="drawing")


def _kinds_of(source: Path) -> list[str]:
    return [name for name in list_modalities() if source.suffix.lower() in get_modality(name).suffixes]


def _claims(name: str, folder: Path) -> bool:
    """Whether a modality whose records may be folders takes this one for such a record."""
    kind = get_modality(name)
    return bool(getattr(kind, "folders", False) and getattr(kind, "owns", lambda _: False)(folder))


def _kind_of(source: Path) -> str:
    kinds = _kinds_of(source)
    if len(kinds) > 1 and not source.exists():
        raise ReadError("The file does not exist.", where=str(source), fix="check the path")
    # Endings such as .dcm are shared; a modality may know its own files by their content.
    claimed = [name for name in kinds if getattr(get_modality(name), "owns", lambda _: False)(source)]
    if source.suffix.lower() == ".dcm":
        kinds = claimed or [name for name in kinds if not hasattr(get_modality(name), "owns")]
    if len(kinds) != 1:
        raise ConfigError(
            f"The ending '{source.suffix}' does not tell the modality.",
            where=str(source),
            expected=", ".join(kinds or list_modalities()),
            fix="name it with --modality",
        )
    return kinds[0]


def _targets(refs: Sequence[RecordRef], out: str | Path | None) -> tuple[Path | None, list[Path]]:
    """One file for all, or ``None``; and the file of each record."""
    if out is not None and Path(out).suffix.lower() in FORMATS:
        if len(refs) > MOST_ON_ONE_SHEET and Path(out).suffix.lower() != ".pdf":
            raise ConfigError(
                f"{len(refs)} records do not fit on one sheet.",
                where=str(out),
                expected=f"at most {MOST_ON_ONE_SHEET}",
                fix="write a PDF (a page for each), or name a folder",
            )
        return Path(out), [Path(out)] * len(refs)
    if out is not None and Path(out).suffix and not Path(out).is_dir():
        check_format(out)  # says which endings there are
    folder = Path("." if out is None else out)
    taken: set[str] = set()
    files = []
    for ref in refs:
        # Ids are often paths; a known ending of the file would only be in the way.
        name = ref.record_id.removesuffix(ref.path.suffix).removesuffix(".nii")  # .nii.gz
        stem = re.sub(r"[^\w.-]+", "_", name).strip("._")[-100:] or "record"
        # "a-2" may be the second "a" or a record of that name; capitals are one letter on some disks.
        numbered = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        free = next(name for name in numbered if name.casefold() not in taken)
        taken.add(free.casefold())
        files.append(folder / f"{free}.png")
    return None, files


def _loaded(encoder: str | None, weights: str | None) -> Encoder | None:
    if encoder is None:
        if weights is not None:
            raise ConfigError("Weights without an encoder have no meaning here.", fix="name it with --encoder")
        return None
    from medfm.encoders.load import load_encoder

    return load_encoder(encoder, weights=weights, device="cpu")
