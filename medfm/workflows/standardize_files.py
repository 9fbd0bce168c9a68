"""The files of :mod:`medfm.workflows.standardize`: one volume after the other, in one process or several."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfm.core.errors import MedfmError, MissingExtraError, ReadError, StoreError
from medfm.core.files import remove_leftovers, write_json
from medfm.core.hashing import sha256_file, sha256_json
from medfm.embeddings.lookup import Stamp, record_files, stamp_of
from medfm.encoders.preparation.prepare import prepare
from medfm.encoders.preparation.register import Template
from medfm.encoders.preparation.steps import PreparationRecipe
from medfm.io.volumes.volume import spacing_of
from medfm.io.volumes.write import write_nifti
from medfm.modalities.record import Modality, RecordRef
from medfm.modalities.registry import get_modality

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One record to prepare: where it is, where its volume and what is known of it go, and the digest of the setup."""

    ref: RecordRef
    volume: Path
    note: Path
    setup: str


@dataclass(frozen=True)
class Outcome:
    """What became of a record: `facts` where it was prepared, else `reason`."""

    record_id: str
    facts: dict[str, Any]
    reason: str | None = None


def source_digest(ref: RecordRef, modality: Modality) -> str:
    """SHA-256 over the bytes of all files of a record and the options of its reader.

    Raises:
        ReadError: A file is missing or cannot be read.
    """
    _stamp(ref, modality)
    return sha256_json([sorted(sha256_file(path) for path in record_files(modality, ref)), dict(ref.options)])


def _stamp(ref: RecordRef, modality: Modality) -> Stamp:
    try:
        return stamp_of(record_files(modality, ref))
    except OSError as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise ReadError(f"The file {what}.", where=ref.record_id) from error


def done_before(job: Job, modality: Modality) -> Outcome | None:
    """What an earlier run made of a record, if its source, the setup and the file written are still the same."""
    try:
        facts = json.loads(job.note.read_text(encoding="utf-8"))
        right = (
            facts["record_id"] == job.ref.record_id
            and facts["setup_sha256"] == job.setup
            and facts["source_sha256"] == source_digest(job.ref, modality)
            and facts["volume_sha256"] == sha256_file(job.volume)
        )
    except (OSError, ValueError, KeyError, TypeError, MedfmError):
        return None
    return Outcome(job.ref.record_id, facts) if right else None


def outcomes(
    jobs: Sequence[Job], modality: str, recipe: PreparationRecipe, template: Template | None, workers: int
) -> Iterator[Outcome]:
    """Prepare records, in any order; one that cannot be prepared does not stop the others.

    Raises:
        StoreError: A result cannot be written.
        ReadError: A worker process died.
    """
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield _done(job, modality, recipe, template)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start, (modality, recipe, template)) as pool:
        try:
            for future in as_completed([pool.submit(_in_worker, job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            raise ReadError(
                "A worker process that prepares volumes died; perhaps the memory ran out.",
                fix="run the same command again with fewer workers; what was finished is kept",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGINT)
            raise


_SHARED: dict[str, Any] = {}


def _start(modality: str, recipe: PreparationRecipe, template: Template | None) -> None:
    _SHARED.update(modality=modality, recipe=recipe, template=template)


def _in_worker(job: Job) -> Outcome:
    try:
        return _done(job, **_SHARED)
    except KeyboardInterrupt:
        os._exit(130)  # all that had to be tidied up is; a traceback of every worker helps nobody


def _done(job: Job, modality: str, recipe: PreparationRecipe, template: Template | None) -> Outcome:
    try:
        return _prepared(job, get_modality(modality), recipe, template)
    except (StoreError, MissingExtraError):
        raise
    except MedfmError as error:
        return Outcome(job.ref.record_id, {}, error.line)
    except MemoryError:
        return Outcome(job.ref.record_id, {}, "There is not enough memory to prepare the volume.")
    # A strange volume must not end a run over a thousand others.
    except Exception as error:
        _LOG.debug("Unexpected error while preparing a volume", exc_info=True)
        return Outcome(job.ref.record_id, {}, f"Unexpected {type(error).__name__} while preparing.")


def _prepared(job: Job, modality: Modality, recipe: PreparationRecipe, template: Template | None) -> Outcome:
    # What an earlier run made of other bytes must not stand beside a failure of these.
    job.note.unlink(missing_ok=True)
    job.volume.unlink(missing_ok=True)
    remove_leftovers(job.volume)
    before = _stamp(job.ref, modality)
    # Read first: a volume that is too large is refused from its header, before 10 GB are hashed.
    record = modality.read(job.ref)
    done = prepare(record, recipe, template)
    source = source_digest(job.ref, modality)
    if _stamp(job.ref, modality) != before:
        raise ReadError("The file changed while it was being read.", where=job.ref.record_id)
    write_nifti(job.volume, done.array, done.affine, done.code)
    facts = {
        "record_id": job.ref.record_id,
        "volume": f"volumes/{job.volume.name}",
        "source_sha256": source,
        "volume_sha256": sha256_file(job.volume),
        "setup_sha256": job.setup,
        "shape": list(done.array.shape),
        "spacing_mm": [round(float(side), 6) for side in spacing_of(done.affine)],
        "range": [float(done.array.min()), float(done.array.max())],
        "source": {
            name: record.facts[name]
            for name in ("format", "stored", "spacing_mm", "axes_in_file", "shape_in_file", "oblique_deg", "left_right")
            if name in record.facts
        },
        "steps": done.facts,
    }
    write_json(job.note, facts)
    return Outcome(job.ref.record_id, facts)
