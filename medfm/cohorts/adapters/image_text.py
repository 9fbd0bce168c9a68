"""Pictures with texts from webdataset shards or a table of captions: the adapter ``image-text``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from typing_extensions import Self

from medfm.cohorts.adapters.base import Adapter, Prepared, Row, relative
from medfm.cohorts.adapters.caption_tables import QUILT_COLUMNS, TABLES, TablePictures
from medfm.cohorts.adapters.pair_rows import CARRIED, SPLIT_WORDS, LeftOut, PairRows
from medfm.cohorts.adapters.shard_samples import find_shards, shard_pictures, split_by_name
from medfm.cohorts.info import CohortInfo
from medfm.core.errors import CohortError, ConfigError, ReadError
from medfm.core.files import write_text
from medfm.core.names import unknown_name

MODALITIES = ("histopathology", "retina")
MAPPED = ("path", "text", *CARRIED, "patch_x", "patch_y", "mpp", "laterality")
LEFT_OUT = "left_out.csv"
# Lines shown and written beside the table; the whole list is in LEFT_OUT.
_SHOWN = 8


class ImageText(Adapter):
    """Pictures with captions, as they are exchanged for training: no set of its own, so nothing is counted against one.

    One row per picture and caption. A row of a shard names shard and member; nothing is unpacked or copied.
    What is malformed is left out, counted by reason and listed in ``left_out.csv`` beside the table.
    """

    id = "image-text"
    title = "pictures with texts"
    aliases = ("webdataset", "image-text pairs")
    modality = "histopathology"
    layout = (
        "a folder of plain webdataset shards (000000.tar: KEY.jpg, KEY.txt or KEY.json, KEY.cls), or a table of "
        "pictures and captions (.csv, .tsv, .json, .jsonl) in the folder of the pictures"
    )
    where = (
        "your own data; Quilt-1M: zenodo.org/records/8239942; PathGen-1.6M: huggingface.co/datasets/jamessyx/PathGen"
    )
    licence = "that of the data"
    citation = "that of the data"
    task = "pairs of picture and text"
    columns = (
        "picture_id",
        "text",
        "member",
        "member_offset",
        "patch_x",
        "patch_y",
        "mpp",
        "laterality",
        *QUILT_COLUMNS,
    )
    notes = ("one row per picture and caption; picture_id is equal for the rows of one picture",)
    unverified = (
        "it is no set of its own: no count is enforced",
        "layouts of Quilt-1M's table and PathGen's JSON: taken from their code and pages, not from the files themselves",
    )

    def __init__(self, modality: str | None = None, columns: Mapping[str, str] | None = None) -> None:
        self.modality = modality or type(self).modality
        self._chosen = modality is not None
        self._map = dict(columns or {})

    def configured(self, modality: str | None, columns: Mapping[str, str] | None) -> Self:
        """The adapter for pictures of `modality`, with other names of columns.

        Raises:
            UnknownNameError: No such modality or column of a cohort.
        """
        if modality is not None and modality not in MODALITIES:
            raise unknown_name("modality with texts", modality, MODALITIES)
        for name in columns or {}:
            if name not in MAPPED:
                raise unknown_name("column of a cohort of pictures with texts", name, MAPPED)
        return type(self)(modality, columns)

    def missing(self, folder: Path, why: str) -> CohortError:
        """The error for a place that holds neither shards nor a table."""
        return CohortError(
            f"This is not a folder or table of pictures with texts: {why}.",
            where=str(folder),
            expected=self.layout,
            fix=f"name a folder of shards, or a table of pictures and captions, with --source ({self.where})",
        )

    def rows(self, source: Path) -> Iterator[Row]:
        """One row per picture and caption."""
        yield from self._collect(source)[1].rows

    def prepare(
        self,
        source: str | Path,
        out: str | Path,
        *,
        allow_partial: bool = False,
        splits: str | Path | None = None,
    ) -> Prepared:
        """Write ``labels.csv``, ``labels.yaml`` and, where something was left out, ``left_out.csv`` into `out`.

        Args:
            source: Folder of shards, one shard, a table, or a folder with one table.
            out: Folder to write into.
            allow_partial: Accept shards that are cut off, with what is whole in them.
            splits: Not taken.

        Raises:
            CohortError: There is nothing to read, a shard is packed, cut off or no tar, or no picture is left.
            StoreError: `out` holds another table, or cannot be written to.
        """
        if splits is not None:
            raise CohortError(
                "Pictures with texts are not prepared from published split files.", fix="leave out --splits"
            )
        root, pairs, damaged, notes = self._collect(Path(source))
        if not pairs.rows:
            reasons = pairs.left_out.summary()
            raise CohortError(
                "No picture is left." + "".join(f"\n  - {line}" for line in reasons[:_SHOWN]),
                where=str(source),
                expected=self.layout,
            )
        if damaged and not allow_partial:
            raise CohortError(
                "Shards are not whole:\n  - " + "\n  - ".join(damaged[:_SHOWN]),
                where=str(source),
                fix="copy or download them again, or pass --allow-partial to take what is whole in them",
            )
        rows = sorted(pairs.rows, key=lambda row: (row["path"], row["record_id"]))
        self._check_splits(rows, str(source))
        table = Path(out) / "labels.csv"
        self._refuse_other_table(table)
        differences = [*damaged, *pairs.left_out.summary()[:_SHOWN]]
        if pairs.left_out.lines:
            write_text(Path(out) / LEFT_OUT, pairs.left_out.to_csv())
            differences.append(f"all that was left out is listed in {LEFT_OUT}")
        else:
            (Path(out) / LEFT_OUT).unlink(missing_ok=True)
        notes += [*_patients(rows), *_caption_notes(pairs)]
        counts = {"pictures": pairs.pictures, **self.count(rows)}
        done = self._write(root, Path(out), rows, counts, differences, notes)
        return replace(done, complete=not differences)

    def count(self, rows: Sequence[Row]) -> dict[str, int]:
        """Rows per class where there are labels, and rows with a text."""
        labels = Counter(str(row["label"]) for row in rows if "label" in row)
        shown = dict(sorted(labels.items())) if len(labels) <= 100 else {}
        return {"with text": sum("text" in row for row in rows), **shown}

    def describe(
        self, source: Path, records: int, counts: Mapping[str, int], differences: Sequence[str], notes: Sequence[str]
    ) -> CohortInfo:
        """The YAML beside the table; a target only where there are labels."""
        info = super().describe(source, records, counts, differences, notes)
        labelled = set(counts) - {"pictures", "with text"}
        about = {"licence": None, "citation": None, "source": None, "name": source.resolve().name or self.name}
        return info.model_copy(update={**about, "target": "label" if labelled else None})

    def _collect(self, source: Path) -> tuple[Path, PairRows, list[str], list[str]]:
        """Root of the paths, the rows, shards that are not whole, and notes."""
        if not source.exists():
            raise self.missing(source, "it does not exist")
        shards, packed = find_shards(source) if source.is_dir() or ".tar" in source.name.lower() else ([], [])
        if packed:
            raise CohortError(
                f"{len(packed)} shards are packed, first: {packed[0].name}. A picture in them cannot be read by itself.",
                where=str(source),
                expected="plain .tar files",
                fix="unpack them to plain tar files, such as with gunzip; pictures inside are compressed already",
            )
        pairs = PairRows(LeftOut())
        if shards:
            self._need_modality()
            root = source if source.is_dir() else source.parent
            return root, pairs, *self._from_shards(shards, root, pairs)
        pictures = TablePictures(self._table(source), self._map, pairs.left_out)
        for picture in pictures:
            pairs.add(picture)
        if pictures.kind == "pairs":
            self._need_modality()
        notes = [f"made from {pictures.file.name}"]
        if pictures.filtered:
            notes.append(f"{pictures.filtered:,} rows that the table marks as not_histology are left out")
        if pictures.unlisted:
            notes.append(f"{pictures.unlisted:,} pictures in the folder are named by no row of the table")
        return pictures.root, pairs, [], notes

    def _from_shards(self, shards: list[Path], root: Path, pairs: PairRows) -> tuple[list[str], list[str]]:
        damaged = []
        names = [relative(shard, root) for shard in shards]
        splits = split_by_name(names)
        for shard, name in zip(shards, names, strict=True):
            try:
                pictures, damage = shard_pictures(shard, name, self._map, pairs.left_out)
            except ReadError as error:
                raise CohortError(error.what, where=name, expected=error.expected, fix=error.fix) from error
            if damage is not None:
                damaged.append(f"{name}: {damage}")
            for picture in pictures:
                split = {"split": splits[name]} if splits else {}
                pairs.add(replace(picture, facts={**split, **picture.facts}))
        return damaged, [f"{len(shards):,} webdataset shards"]

    def _table(self, source: Path) -> Path:
        if source.is_file():
            if source.suffix.lower() not in TABLES:
                raise self.missing(source, f"the ending '{source.suffix}' is none of a table or a shard")
            return source
        tables = sorted(f for f in source.iterdir() if f.suffix.lower() in TABLES and not f.name.startswith("."))
        if len(tables) != 1:
            raise self.missing(source, f"the folder has no shards and {len(tables)} tables")
        return tables[0]

    def _need_modality(self) -> None:
        if not self._chosen:
            raise ConfigError(
                "What the pictures show is not said.",
                expected=f"--modality {' or '.join(MODALITIES)}",
                fix="add --modality",
            )

    def _check_splits(self, rows: Sequence[Row], where: str) -> None:
        wrong = next((row["split"] for row in rows if row.get("split", "train") not in SPLIT_WORDS.values()), None)
        if wrong is not None:
            raise CohortError(
                f"The split '{wrong}' is not known.",
                where=where,
                expected=", ".join(SPLIT_WORDS),
                fix="rename the values in the source, or rename that column so that it is not taken as the split",
            )


def _caption_notes(pairs: PairRows) -> list[str]:
    notes = []
    if pairs.several:
        notes.append(f"{pairs.several:,} pictures have several captions")
    if pairs.without_caption:
        notes.append(f"{pairs.without_caption:,} pictures have no caption")
    return notes


def _patients(rows: Sequence[Row]) -> list[str]:
    """A note where patients are unknown; a patient for some rows only would be worse than none and is taken away."""
    known = sum("patient_id" in row for row in rows)
    if known == len(rows):
        return []
    for row in rows:
        row.pop("patient_id", None)
    part = f" ({known:,} of {len(rows):,} rows name one, which is not used)" if known else ""
    return [f"patients are unknown{part}: every picture counts as its own patient"]


IMAGE_TEXT = ImageText()
