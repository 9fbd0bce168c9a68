"""One pass over all files of a cohort: content key, pixel facts, near-duplicate print, measurements of signals."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from medfm.cohorts.checks.near import Print, fingerprint
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import MedfmError
from medfm.core.hashing import sha256_bytes, sha256_file
from medfm.core.progress import ProgressMaker, Silent
from medfm.modalities.fundus_quality import FundusQuality
from medfm.modalities.record import RecordRef, check_size, own_key
from medfm.modalities.registry import get_modality


@dataclass(frozen=True)
class Seen:
    """What one record looked like; `error` says why it could not be read."""

    key: str | None = None
    error: str | None = None
    shape: tuple[int, ...] = ()
    spread: float = 0.0
    grey: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    mark: Print | None = None
    quality: Any = None
    fundus: FundusQuality | None = None

    @property
    def picture(self) -> bool:
        """Whether the record is a colour picture, which the pixel checks are about."""
        return len(self.shape) == 3 and self.shape[2] == 3 and self.mark is not None


def scan(cohort: Cohort, progress: ProgressMaker = Silent, workers: int | None = None) -> list[Seen]:
    """Read every record once; results are in table order whatever the number of `workers`."""
    refs = list(cohort.refs())
    order = sorted(range(len(refs)), key=lambda i: str(refs[i].path))
    groups = [[(i, refs[i]) for i in same] for _, same in groupby(order, key=lambda i: refs[i].path)]
    results: list[Seen] = [Seen()] * len(refs)
    threads = workers or min(os.cpu_count() or 1, getattr(get_modality(cohort.modality), "threads", 16))
    with progress("checking files", len(refs), "records") as bar, ThreadPoolExecutor(threads) as pool:
        for group in pool.map(lambda g: _scan_file(g, cohort.modality), groups):
            for position, seen in group:
                results[position] = seen
            bar.advance(len(group))
    return results


def _scan_file(group: list[tuple[int, RecordRef]], modality: str) -> list[tuple[int, Seen]]:
    """All records of one file, in one thread, so that a smear is decoded once."""
    files = getattr(get_modality(modality), "files", None)  # a header with a signal file beside it
    first = group[0][1]
    if _told(first, modality):
        return [(i, _look(ref, None, modality)) for i, ref in group]
    try:
        paths = (first.path,) if files is None else files(first)
        # A volume that is too large is refused from its header, before its bytes are hashed.
        check_size(get_modality(modality), first, sum(path.stat().st_size for path in paths))
        digests = [sha256_file(path) for path in paths]
    except OSError as error:
        return [(i, Seen(error=error.strerror or type(error).__name__)) for i, _ in group]
    except MedfmError as error:
        return [(i, Seen(error=error.what)) for i, _ in group]
    digest = digests[0] if len(digests) == 1 else sha256_bytes("|".join(digests).encode())
    return [(i, _look(ref, digest, modality)) for i, ref in group]


def _told(ref: RecordRef, modality: str) -> bool:
    """Whether the modality tells the content keys of this file's records, each for itself."""
    try:
        return own_key(get_modality(modality), ref) is not None
    except MedfmError:
        return True  # it tried; every record will say what is wrong with it


def _look(ref: RecordRef, digest: str | None, modality: str) -> Seen:
    """What a record looked like; its file's `digest`, or ``None`` where the modality tells keys itself."""
    key = None if digest is None else ref.content_key_for(digest)
    try:
        key = key or own_key(get_modality(modality), ref)
        record = get_modality(modality).read(ref)
    except MedfmError as error:
        return Seen(key=key, error=error.what)
    array = record.array
    measure = getattr(get_modality(modality), "measure", None)
    quality = None if measure is None else measure(record)
    if getattr(get_modality(modality), "grey", False):
        # Whether a name agrees with its content is for F004; what else the reader noted, a modality's own checks say.
        named = [note for note in record.facts.get("notes", ()) if note.startswith("named ")]
        levels = np.rint(array[..., None] * 255).astype(np.uint8).repeat(3, axis=2)
        facts = {"notes": named} if named else {}
        return Seen(key, None, array.shape, float(array.std()) * 255, True, facts, fingerprint(levels), quality)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind == "f":
        return Seen(key, None, array.shape, quality=quality)
    sample = array[:: max(array.shape[0] // 64, 1), :: max(array.shape[1] // 64, 1)]
    grey = bool((sample[..., 0] == sample[..., 1]).all() and (sample[..., 1] == sample[..., 2]).all())
    spread = float(sample.std(axis=(0, 1)).max())
    look = getattr(get_modality(modality), "measure_picture", None)
    fundus = None if look is None else look(record)
    return Seen(key, None, array.shape, spread, grey, dict(record.facts), fingerprint(array), quality, fundus)
