"""Pictures inside tar shards, for every modality that reads picture files.

A row names the shard (``path``) and the member; ``member_offset``, which ``medfm data prepare image-text``
writes, saves looking the member up. The content key is that of a file with the same bytes, so a
picture has one key in a shard, in another shard and as a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.hashing import canonical_json, sha256_bytes
from medfm.io.images import decode_image
from medfm.io.tar_members import read_member, unsafe_name
from medfm.modalities.record import RecordRef
from medfm.modalities.row_options import missing, whole

MEMBER_COLUMNS = ("member", "member_offset")


def member_options(row: Mapping[str, Any]) -> dict[str, Any]:
    """The reader options ``member`` and ``member_offset`` of one cohort row; empty for a picture in its own file.

    Raises:
        ReadError: The name leaves the shard or cannot be printed; the offset is no whole number.
    """
    if missing(row.get("member")):
        return {}
    name = str(row["member"])
    reason = unsafe_name(name)
    if reason is not None:
        raise ReadError(f"The member {name!r} is not read: {reason}.", expected="the name of a picture in the shard")
    options: dict[str, Any] = {"member": name}
    if not missing(row.get("member_offset")):
        options["member_offset"] = whole(row["member_offset"], "member_offset", "bytes")
        if options["member_offset"] < 0:
            raise ReadError("member_offset is negative.", expected="bytes from the start of the shard")
    return options


def in_shard(ref: RecordRef) -> bool:
    """Whether the record is a member of a shard."""
    return "member" in ref.options


def member_key(ref: RecordRef) -> str:
    """SHA-256 over the member's bytes and the other options: that of a file of the same content.

    Raises:
        ReadError: The member cannot be read.
    """
    rest = {key: value for key, value in ref.options.items() if key not in MEMBER_COLUMNS}
    return sha256_bytes(f"{sha256_bytes(_bytes(ref))}|{canonical_json(rest)}".encode())


def read_member_image(ref: RecordRef, page: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """The picture and its facts, as :func:`medfm.io.images.read_image` gives them for a file.

    Raises:
        ReadError: The member cannot be read, or is no picture.
    """
    return decode_image(_bytes(ref), str(ref.options["member"]), page=page, where=ref.record_id)


def _bytes(ref: RecordRef) -> bytes:
    offset = ref.options.get("member_offset")
    return read_member(
        ref.path, str(ref.options["member"]), None if offset is None else int(offset), where=ref.record_id
    )
