"""Extraction: look up -> decode -> forward -> write, each stage beside the others.

All queues between the stages are bounded. What grows with the number of records is a key of
32 bytes and the id per record; vectors go to the store and are read back on demand.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from medfm.core.errors import ReadError
from medfm.core.progress import Progress
from medfm.embeddings.decode import Decoder, decoded_batches
from medfm.embeddings.embeddings import Failure
from medfm.embeddings.forward import EncoderLike, Streams, one_thread
from medfm.embeddings.glances import Glances
from medfm.embeddings.index import KEY_BYTES, key_array
from medfm.embeddings.lookup import Hasher, Item, Unreadable, chunks
from medfm.embeddings.store import EncoderStore
from medfm.embeddings.writer import ShardWriter
from medfm.modalities.record import Modality, RecordRef


@dataclass(frozen=True)
class Plan:
    """How an extraction runs; only `precision` changes a value by more than its last bits.

    Attributes:
        batch_size: Records handed from stage to stage at a time.
        workers: Decoding processes; 0 decodes in this process.
        streams: Forward passes side by side.
        exact: Give each record the bits it gets alone, so that none depends on its company.
        precision: ``"fp32"`` or ``"bf16"``.
        stop_on_error: Whether the first record that cannot be embedded ends the run.
        flush_every: Vectors in a shard.
        flush_seconds: The longest time a vector waits to be written.
    """

    batch_size: int
    workers: int
    streams: int
    exact: bool = True
    precision: str = "fp32"
    stop_on_error: bool = False
    flush_every: int = 2048
    flush_seconds: float = 15.0


@dataclass
class Extraction:
    """What a run went through.

    Attributes:
        record_ids: Ids of the embedded records, in the cohort's order.
        keys: Their keys, (n,) of 32 bytes.
        failures: The records that could not be embedded.
        notes: What readers noted, with the records of this run that it is about; those from the store were not read.
        cached: Records found in the store (or equal in content to one before).
        computed: Records embedded by this run.
        exact: Whether a vector is bit for bit the same in whatever company it is computed;
            `None` when nothing was computed, or too little to tell.
    """

    record_ids: list[str] = field(default_factory=list)
    keys: np.ndarray = field(default_factory=lambda: key_array(b""))
    failures: list[Failure] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    cached: int = 0
    computed: int = 0
    exact: bool | None = None


class _Tally:
    """What the stages share: which keys are under way, which failed, and the progress."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.lock = threading.Lock()
        self.under_way: dict[bytes, str] = {}
        self.failed: dict[bytes, str] = {}
        self.notes: dict[str, list[str]] = {}
        self.first_failure: ReadError | None = None
        self.unreadable = 0
        self.cached = 0
        self.computed = 0
        self.exact: bool | None = None

    def advance(self, *, cached: int = 0, computed: int = 0, unreadable: int = 0) -> None:
        """Count records that are finished."""
        with self.lock:
            self.cached += cached
            self.computed += computed
            self.unreadable += unreadable
            failed = len(self.failed) + self.unreadable
            parts = [f"{self.cached} from the cache"] if self.cached else []
            parts += [f"{failed} failed"] if failed else []
            self.progress.advance(cached + computed + unreadable, ", ".join(parts))

    def claim(self, item: Item, store: EncoderStore) -> bool:
        """Whether the item is new: neither stored, nor under way, nor failed before."""
        with self.lock:
            if item.key in self.under_way or item.key in self.failed or store.has(item.key):
                return False
            self.under_way[item.key] = item.ref.record_id
            return True

    def note(self, key: bytes, text: str) -> None:
        """The reader noted something on the record of this key."""
        with self.lock:
            self.notes.setdefault(text, []).append(self.under_way.get(key, ""))

    def written(self, keys: list[bytes]) -> None:
        """The vectors of these keys are on disk."""
        with self.lock:
            for key in keys:
                self.under_way.pop(key, None)

    def fail(self, key: bytes, reason: str) -> None:
        """The record of this key cannot be embedded."""
        with self.lock:
            record_id = self.under_way.pop(key, "")
            self.failed[key] = reason
            self.first_failure = self.first_failure or _stopped(record_id, reason)
            self.progress.advance(1, f"{len(self.failed) + self.unreadable} failed")


def extract(
    encoder: EncoderLike,
    refs: Iterable[RecordRef],
    modality: Modality,
    store: EncoderStore,
    plan: Plan,
    progress: Progress,
) -> Extraction:
    """Embed the records of `refs` into `store`, leaving out those that are there.

    Args:
        encoder: The encoder.
        refs: The records; consumed lazily, once.
        modality: Their reader.
        store: The encoder's store.
        plan: How to run.
        progress: Counts records; entered and left by the caller.

    Raises:
        StoreError: The store cannot be written to.
        ReadError: A record cannot be read and ``plan.stop_on_error`` is set, or a worker died.
    """
    tally = _Tally(progress)
    ids: list[str] = []
    keys = bytearray()
    unreadable: dict[int, str] = {}

    def todo() -> Iterator[Item]:
        for entry in Hasher(modality).items(refs):
            ids.append(entry.ref.record_id)
            if isinstance(entry, Unreadable):
                keys.extend(bytes(KEY_BYTES))
                unreadable[len(ids) - 1] = entry.reason
                tally.advance(unreadable=1)
                if plan.stop_on_error:
                    raise _stopped(entry.ref.record_id, entry.reason)
                continue
            keys.extend(entry.key)
            if tally.claim(entry, store):
                yield entry
            else:
                tally.advance(cached=1)

    batches = chunks(todo(), plan.batch_size)
    # Worker processes and threads start with the first record that needs them.
    first = next(batches, None)
    if first is not None:
        glances = Glances(store.folder)
        try:
            with one_thread():
                _compute(encoder, itertools.chain([first], batches), modality, store, plan, tally, glances)
        finally:  # a run that is stopped keeps its vectors, and what was seen of these records
            glances.save()
    result = Extraction(notes=tally.notes, cached=tally.cached, computed=tally.computed, exact=tally.exact)
    array = key_array(keys)
    good = np.ones(len(ids), dtype=bool)
    if unreadable or tally.failed:
        view = memoryview(bytes(keys))
        for position, record_id in enumerate(ids):
            key = bytes(view[position * KEY_BYTES : (position + 1) * KEY_BYTES])
            reason = unreadable.get(position) or tally.failed.get(key)
            if reason is not None:
                good[position] = False
                result.failures.append(Failure(record_id, reason))
    result.record_ids = list(itertools.compress(ids, good))
    result.keys = array[good]
    return result


def _compute(
    encoder: EncoderLike,
    batches: Iterator[list[Item]],
    modality: Modality,
    store: EncoderStore,
    plan: Plan,
    tally: _Tally,
    glances: Glances,
) -> None:
    writer: ShardWriter | None = None

    def done(keys: list[bytes], values: np.ndarray) -> None:
        assert writer is not None
        writer.put(keys, values)
        tally.advance(computed=len(keys))

    decoder = Decoder(modality, encoder.preprocess)
    on_gpu = str(encoder.device).startswith("cuda")
    with contextlib.closing(decoded_batches(decoder, batches, workers=plan.workers, pin=on_gpu)) as decoded:
        # The worker processes are forked by the first step of `decoded`, before any thread starts.
        head = next(decoded, None)
        writer = ShardWriter(store, every=plan.flush_every, seconds=plan.flush_seconds, written=tally.written)
        streams = Streams(
            encoder,
            batch_size=plan.batch_size,
            exact=plan.exact,
            precision=plan.precision,
            streams=plan.streams,
            done=done,
            failed=tally.fail,
        )
        # Also when the run stops early, what was computed is written.
        with contextlib.closing(writer), streams:
            for batch in itertools.chain([head] if head is not None else [], decoded):
                for key, text in batch.notes:
                    tally.note(key, text)
                for key, bits in batch.glances:
                    glances.add(key, bits)
                for key, reason in batch.failures:
                    tally.fail(key, reason)
                if plan.stop_on_error and tally.first_failure is not None:
                    raise tally.first_failure
                if batch.batch is not None:
                    streams.submit(batch.keys, batch.batch)
        tally.exact = streams.exact
    if plan.stop_on_error and tally.first_failure is not None:
        raise tally.first_failure


def _stopped(record_id: str, reason: str) -> ReadError:
    return ReadError(
        f"The record '{record_id}' cannot be embedded: {reason}",
        fix="mend or remove it; or go on past such records with --on-error report (on_error='report')",
    )
