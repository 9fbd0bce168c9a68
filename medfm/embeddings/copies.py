"""Which records of a cohort have the same content, found from their embeddings without reading every file."""

from __future__ import annotations

import hashlib

import numpy as np

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ReadError
from medfm.core.hashing import sha256_file
from medfm.embeddings.embeddings import Embeddings
from medfm.modalities.record import own_key
from medfm.modalities.registry import get_modality


def content_keys(embeddings: Embeddings, cohort: Cohort) -> list[str | None]:
    """A key per row of `cohort`, equal for records of equal content; ``None`` for content seen once.

    The store computes one vector per content, so copies share their vector bit for bit. Only
    records that share one are hashed (file and reader options); where such a file is not here
    any more, the shared vector itself counts as the content.

    Returns:
        n keys in the order of the cohort's rows; ``None`` also for records without a vector.
    """
    rows = embeddings.rows(cohort.record_ids)
    groups: dict[bytes, list[int]] = {}
    for position in np.flatnonzero(rows >= 0).tolist():
        vector = np.ascontiguousarray(embeddings.values[rows[position]], dtype=np.float32)
        groups.setdefault(hashlib.blake2b(vector.tobytes(), digest_size=16).digest(), []).append(position)
    shared = {digest: group for digest, group in groups.items() if len(group) > 1}
    keys: list[str | None] = [None] * len(cohort)
    if not shared:
        return keys
    wanted = sorted(position for group in shared.values() for position in group)
    hashed = _hashed(cohort, wanted)
    for digest, group in shared.items():
        whole = all(position in hashed for position in group)
        for position in group:
            keys[position] = hashed[position] if whole else f"vector {digest.hex()}"
    return keys


def _hashed(cohort: Cohort, positions: list[int]) -> dict[int, str]:
    """Content keys of the rows `positions`, without those whose file cannot be read."""
    files: dict[str, str] = {}
    found: dict[int, str] = {}
    for position, ref in zip(positions, cohort.subset(positions).refs(), strict=True):
        name = str(ref.path)
        try:
            key = own_key(get_modality(cohort.modality), ref)
            if key is not None:
                found[position] = key
                continue
            if name not in files:
                files[name] = sha256_file(ref.path)
        except (OSError, ReadError):
            continue
        found[position] = ref.content_key_for(files[name])
    return found
