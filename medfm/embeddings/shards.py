"""One shard: a Parquet file of keys and vectors, named after the SHA-256 of its own bytes.

The name makes every shard unique without a lock, and tells at any later time whether the
file is still whole. Columns: ``key`` (32 bytes: the content key of an input) and ``vector``
(fixed-size list of d float32). Schema metadata holds what the vectors were made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medfm.core.errors import StoreError
from medfm.core.files import atomic_path
from medfm.core.hashing import sha256_bytes
from medfm.embeddings.index import KEY_BYTES, KEY_DTYPE

FORMAT = "medfm-embeddings@1"
SUFFIX = ".parquet"


def damaged(path: Path, why: str) -> StoreError:
    """The error for a shard that cannot be trusted."""
    return StoreError(
        f"A shard of the embedding store is damaged: {why}.",
        where=str(path),
        fix="run 'medfm cache gc' to remove it; its records are embedded again on the next run",
    )


def write_shard(folder: Path, keys: np.ndarray, values: np.ndarray, facts: Mapping[str, str]) -> Path:
    """Write one shard atomically.

    Args:
        folder: The encoder's folder; created if need be.
        keys: (n,) of 32 bytes each.
        values: float32 (n, d).
        facts: What the vectors were made with; goes into the schema metadata.

    Returns:
        The path of the new shard.

    Raises:
        StoreError: The disk is full, the folder is read-only, or a file stands in the way.
    """
    n, dim = values.shape
    raw = np.ascontiguousarray(keys, dtype=KEY_DTYPE).tobytes()
    key_column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), n, [None, pa.py_buffer(raw)])
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    vector_column = pa.FixedSizeListArray.from_arrays(flat, dim)
    metadata = {"format": FORMAT, "dim": str(dim), **facts}
    schema = pa.schema(
        [("key", pa.binary(KEY_BYTES)), ("vector", pa.list_(pa.float32(), dim))],
        metadata={name.encode(): text.encode() for name, text in metadata.items()},
    )
    sink = pa.BufferOutputStream()
    # Random-looking floats do not compress, and a dictionary of them only costs time.
    pq.write_table(pa.Table.from_arrays([key_column, vector_column], schema=schema), sink, compression="none",
                   use_dictionary=False, write_statistics=False)  # fmt: skip
    data = sink.getvalue().to_pybytes()
    path = folder / f"{sha256_bytes(data)}{SUFFIX}"
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_keys(path: Path, dim: int | None = None) -> np.ndarray:
    """The keys (n,) of a shard, from its key column alone; the vectors are not looked at.

    Raises:
        StoreError: The file is truncated, no shard, or of another width than `dim`.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check(file.schema_arrow, path, dim)
            column = file.read(columns=["key"], use_threads=False).column("key")
        return _keys(column)
    # A flipped bit shows as nearly anything: names that are no UTF-8, lengths that do not fit.
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise damaged(path, "it cannot be opened as Parquet") from error


def read_shard(path: Path, dim: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Keys (n,) and vectors float32 (n, d) of a shard whose bytes still have the digest of its name.

    Raises:
        StoreError: The file is gone, changed since it was written, or of another width.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or "it cannot be read") from error
    if sha256_bytes(data) != path.stem:
        raise damaged(path, "its bytes do not have the SHA-256 of its name")
    try:
        # Not pq.read_table: it starts Arrow's own threads, for nothing at this size.
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            table = file.read(use_threads=False)
    except pa.ArrowException as error:
        raise damaged(path, "it cannot be opened as Parquet") from error
    width = _check(table.schema, path, dim)
    vectors = table.column("vector").combine_chunks()
    values = vectors.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return _keys(table.column("key")), values


def _check(schema: pa.Schema, path: Path, dim: int | None) -> int:
    metadata = schema.metadata or {}
    if metadata.get(b"format") != FORMAT.encode():
        raise damaged(path, f"it is not of the format {FORMAT}")
    try:
        width = int(metadata[b"dim"])
    except (KeyError, ValueError) as error:
        raise damaged(path, "it does not say how wide its vectors are") from error
    if dim is not None and width != dim:
        raise damaged(path, f"its vectors have {width} numbers instead of {dim}")
    return width


def _keys(column: pa.ChunkedArray) -> np.ndarray:
    joined = b"".join(
        chunk.buffers()[1].to_pybytes()[chunk.offset * KEY_BYTES : (chunk.offset + len(chunk)) * KEY_BYTES]
        for chunk in column.chunks
        if len(chunk)
    )
    return np.frombuffer(joined, dtype=KEY_DTYPE)
