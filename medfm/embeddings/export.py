"""Embeddings to a file and back: npz, Parquet, HDF5, and AnnData's h5ad.

=========  ==========================================================================
``.npz``      ``values`` float32 (n, d), ``record_ids``, ``provenance`` and ``failures`` as JSON text
``.parquet``  columns ``record_id`` and ``embedding`` (fixed-size list of d float32); JSON in the metadata
``.h5``       data sets ``values`` and ``record_ids``; JSON in the attributes
``.h5ad``     X = values, obs = the cohort's columns; JSON in ``uns["medfm"]``; needs the extra ``anndata``
=========  ==========================================================================

Every file is written under a temporary name and renamed. Values are written in blocks, so a
memory-mapped :class:`Embeddings` of any length can be exported.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ConfigError, ReadError
from medfm.core.extras import import_extra
from medfm.core.files import atomic_path
from medfm.core.names import did_you_mean
from medfm.embeddings.embeddings import Embeddings, Failure

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort

_ROWS = 8192
_FORMAT = "medfm-embeddings-file@1"


def check_suffix(path: str | Path) -> str:
    """The suffix of a file of embeddings; raises :class:`ConfigError` unless it is one of ours."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ConfigError(
            f"Files of embeddings cannot be of the kind '{suffix or Path(path).name}'.",
            where=str(path),
            expected=" ".join(_WRITERS),
            fix=did_you_mean(suffix, _WRITERS),
        )
    if suffix == ".h5ad":
        import_extra("anndata", "anndata", "Writing h5ad")
    return suffix


def save_embeddings(embeddings: Embeddings, path: str | Path, *, cohort: Cohort | None = None) -> Path:
    """Write `embeddings` in the format that the suffix of `path` names.

    Args:
        embeddings: What to write.
        path: ``.npz``, ``.parquet``, ``.h5`` or ``.h5ad``; an existing file is replaced.
        cohort: For ``.h5ad``: its columns become ``obs``.

    Raises:
        ConfigError: Another suffix.
        StoreError: The place cannot be written to, or the disk is full.
    """
    target = Path(path)
    writer = _WRITERS[check_suffix(target)]
    with atomic_path(target) as temporary:
        writer(embeddings, temporary, cohort)
    return target


def load_embeddings(path: str | Path) -> Embeddings:
    """Read what :func:`save_embeddings` wrote as npz, Parquet, h5 or h5ad.

    Raises:
        ReadError: The file is missing, damaged or of another origin.
        ConfigError: The suffix is none of these.
    """
    source = Path(path)
    reader = _READERS[check_suffix(source)]
    if not source.is_file():
        raise ReadError("The file with embeddings does not exist.", where=str(source))
    try:
        values, record_ids, about = reader(source)
        details = json.loads(about)
        if details["format"] != _FORMAT:
            raise ValueError
        failures = tuple(Failure(**failure) for failure in details["failures"])
        provenance = dict(details["provenance"])
    # The libraries raise many kinds of errors on damaged files (zip, HDF5, Arrow, JSON).
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(
            "This is not a whole file of embeddings written by medfm.",
            where=str(source),
            fix="write it again with 'medfm embed ... --out FILE'",
        ) from error
    return Embeddings(np.asarray(values, dtype=np.float32), tuple(record_ids), provenance, failures)


def _about(embeddings: Embeddings) -> str:
    failures = [{"record_id": f.record_id, "reason": f.reason} for f in embeddings.failures]
    return json.dumps(
        {"format": _FORMAT, "provenance": embeddings.provenance, "failures": failures},
        ensure_ascii=False,
        allow_nan=False,
    )


def _write_npz(embeddings: Embeddings, path: Path, cohort: Cohort | None) -> None:
    with path.open("wb") as handle:
        np.savez(
            handle,
            values=embeddings.values,
            record_ids=np.array(embeddings.record_ids, dtype=np.str_),
            about=np.array(_about(embeddings)),
        )


def _read_npz(path: Path) -> tuple[np.ndarray, list[str], str]:
    with np.load(path, allow_pickle=False) as file:
        return file["values"], file["record_ids"].tolist(), str(file["about"])


def _write_parquet(embeddings: Embeddings, path: Path, cohort: Cohort | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    dim = embeddings.dim
    fields = [("record_id", pa.string()), ("embedding", pa.list_(pa.float32(), dim))]
    schema = pa.schema(fields, metadata={b"medfm": _about(embeddings).encode()})
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for start in range(0, len(embeddings), _ROWS):
            block = np.ascontiguousarray(embeddings.values[start : start + _ROWS], dtype=np.float32)
            ids = pa.array(embeddings.record_ids[start : start + _ROWS], pa.string())
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dim)
            writer.write_table(pa.Table.from_arrays([ids, vectors], schema=schema))


def _read_parquet(path: Path) -> tuple[np.ndarray, list[str], str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read(use_threads=False)
    dim = table.schema.field("embedding").type.list_size
    values = table.column("embedding").combine_chunks().flatten().to_numpy().reshape(-1, dim)
    return values, table.column("record_id").to_pylist(), (table.schema.metadata or {})[b"medfm"].decode()


def _write_h5(embeddings: Embeddings, path: Path, cohort: Cohort | None) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        values = file.create_dataset("values", embeddings.values.shape, dtype="f4")
        for start in range(0, len(embeddings), _ROWS):
            values[start : start + _ROWS] = embeddings.values[start : start + _ROWS]
        file.create_dataset("record_ids", data=list(embeddings.record_ids), dtype=h5py.string_dtype())
        file.create_dataset("medfm", data=_about(embeddings), dtype=h5py.string_dtype())


def _read_h5(path: Path) -> tuple[np.ndarray, list[str], str]:
    import h5py

    with h5py.File(path, "r") as file:
        return file["values"][:], file["record_ids"].asstr()[:].tolist(), file["medfm"].asstr()[()]


def _write_h5ad(embeddings: Embeddings, path: Path, cohort: Cohort | None) -> None:
    import pandas as pd

    anndata = import_extra("anndata", "anndata", "Writing h5ad")
    obs = pd.DataFrame(index=pd.Index(list(embeddings.record_ids), name="record_id", dtype=object))
    if cohort is not None:
        rows = cohort.table.set_index("record_id").reindex(list(embeddings.record_ids))
        for name in rows.columns:
            obs[str(name)] = _obs_column(rows[name])
    file = anndata.AnnData(X=np.asarray(embeddings.values), obs=obs, uns={"medfm": _about(embeddings)})
    file.write_h5ad(path)


def _obs_column(column: Any) -> Any:
    """A column that h5ad can hold: numbers stay numbers, all else becomes text categories."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy()
    texts = [None if pd.isna(value) else str(value) for value in column]
    known = sorted({text for text in texts if text is not None})
    return pd.Categorical(texts, categories=pd.Index(known, dtype=object))


def _read_h5ad(path: Path) -> tuple[np.ndarray, list[str], str]:
    anndata = import_extra("anndata", "anndata", "Reading h5ad")
    file = anndata.read_h5ad(path)
    return file.X, [str(name) for name in file.obs_names], str(file.uns["medfm"])


_WRITERS: dict[str, Callable[[Embeddings, Path, Any], None]] = {
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".h5": _write_h5,
    ".h5ad": _write_h5ad,
}
_READERS: dict[str, Callable[[Path], tuple[np.ndarray, list[str], str]]] = {
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".h5": _read_h5,
    ".h5ad": _read_h5ad,
}
