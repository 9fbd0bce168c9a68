"""Cohort and encoder in, embeddings out: cached, resumable, shared between processes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import Field

from medfm.core.config import StrictConfig, build
from medfm.core.environment import hardware, software
from medfm.core.errors import ConfigError, StoreError
from medfm.core.files import make_folder
from medfm.core.hashing import sha256_bytes
from medfm.core.progress import Progress, ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.forward import EncoderLike
    from medfm.embeddings.pipeline import Extraction
    from medfm.embeddings.sharing import Share
    from medfm.embeddings.store import EncoderStore
    from medfm.embeddings.stored import StoredEmbeddings


_SMALL_JOB = 32
_MOST_WORKERS = 16
_IN_MEMORY = 1 << 30


class EmbedConfig(StrictConfig):
    """Settings of an embedding run; only `precision` changes a value by more than its last bits."""

    batch_size: int | None = Field(None, ge=1, le=4096, description="records at a time [8 on CPU, 64 on a GPU]")
    workers: int | None = Field(None, ge=0, le=256, description="decoding processes, 0 = none [from the cores]")
    streams: int | None = Field(None, ge=1, le=256, description="forward passes side by side [torch's threads]")
    exact: bool | None = Field(
        None, description="each record gets the bits it gets alone, whatever batch and interruption [true on CPU]"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 = automatic mixed precision")
    on_error: Literal["report", "skip", "stop"] = Field("report", description="what a record that fails does")
    cache: str | None = Field(None, description="cache folder [MEDFM_CACHE, else ~/.cache/medfm]")
    shard: str = Field("none", description="auto, none, or RANK/WORLD: the part of the records to embed")
    flush_every: int = Field(2048, ge=1, description="vectors in a shard")
    flush_seconds: float = Field(15.0, gt=0, description="seconds a vector waits at most to be written")


@overload
def embed(
    encoder: EncoderLike | str,
    cohort: Cohort,
    *,
    collect: Literal[True] = True,
    progress: Progress | ProgressMaker | None = ...,
    config: EmbedConfig | None = ...,
    **settings: Any,
) -> Embeddings: ...


@overload
def embed(
    encoder: EncoderLike | str,
    cohort: Cohort,
    *,
    collect: Literal[False],
    progress: Progress | ProgressMaker | None = ...,
    config: EmbedConfig | None = ...,
    **settings: Any,
) -> StoredEmbeddings: ...


def embed(
    encoder: EncoderLike | str,
    cohort: Cohort,
    *,
    collect: bool = True,
    progress: Progress | ProgressMaker | None = None,
    config: EmbedConfig | None = None,
    **settings: Any,
) -> Embeddings | StoredEmbeddings:
    """Embed the records of a cohort; what the store already has is not computed again.

    Args:
        encoder: A loaded encoder, or an encoder's id.
        cohort: The records.
        collect: `False` returns a handle that reads vectors on demand, for cohorts whose
            vectors (n x d x 4 bytes) do not fit into memory.
        progress: Shows how far the run is; a :class:`Progress`, or a function of title and
            total that makes one (:func:`medfm.core.progress.for_people`).
        config: The settings.
        settings: Single settings by name, such as ``workers=4``; see :class:`EmbedConfig`.

    Returns:
        One vector per record in the order of the cohort. Records that could not be embedded
        are absent and listed in ``failures``. With a `shard`, only the records of that part.

    Raises:
        ConfigError: The encoder is of another modality than the cohort, or a setting is wrong.
        StoreError: The store cannot be read or written.
        ReadError: A record failed and ``on_error="stop"``.
    """
    from medfm.embeddings.pipeline import Plan, extract
    from medfm.embeddings.sharing import parse_share
    from medfm.embeddings.store import EncoderStore, Maker
    from medfm.embeddings.stored import StoredEmbeddings
    from medfm.modalities.registry import get_modality

    chosen = resolve(config, settings)
    loaded = _loaded(encoder)
    check_modality(loaded, cohort)
    share = parse_share(chosen.shard)
    count = len(cohort) if share is None else sum(map(share.has, cohort.record_ids))
    batch_size, workers, streams, exact = _sizes(chosen, loaded, count)
    maker = Maker(
        _store_key(loaded, cohort.modality),
        chosen.precision,
        int(loaded.embedding_dim),
        encoder=loaded.id,
        modality=cohort.modality,
        weights_kind=str(loaded.weights_kind),
    )
    store = EncoderStore.open(maker, chosen.cache)
    plan = Plan(
        batch_size=batch_size,
        workers=workers,
        streams=streams,
        exact=exact,
        precision=chosen.precision,
        stop_on_error=chosen.on_error == "stop",
        flush_every=chosen.flush_every,
        flush_seconds=chosen.flush_seconds,
    )
    refs = (ref for ref in cohort.refs() if share is None or share.has(ref.record_id))
    with _progress(progress, count) as shown:
        done = extract(loaded, refs, get_modality(cohort.modality), store, plan, shown)
    store.touch()
    provenance = _provenance(loaded, cohort, chosen, plan, share, done)
    provenance["run"] |= _seen(store, cohort, done)
    handle = StoredEmbeddings(store, done.keys, tuple(done.record_ids), provenance, tuple(done.failures))
    return handle.collect() if collect else handle


@dataclass(frozen=True)
class EmbedRun:
    """What ``medfm embed`` did, for people and machines."""

    embeddings: StoredEmbeddings
    out: Path | None
    folder: Path
    seconds: float
    on_error: str

    @property
    def answer_is_no(self) -> bool:
        """Whether records failed and nobody asked to skip them, or nothing at all was embedded."""
        failed = bool(self.embeddings.failures)
        return failed and (self.on_error != "skip" or not len(self.embeddings))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "records": len(self.embeddings),
            "dim": self.embeddings.dim,
            "digest": self.embeddings.digest(),
            "failures": [{"record_id": f.record_id, "reason": f.reason} for f in self.embeddings.failures],
            "out": None if self.out is None else str(self.out),
            "cache": str(self.folder),
            "seconds": round(self.seconds, 3),
            "provenance": self.embeddings.provenance,
        }

    def lines(self) -> list[str]:
        """A summary of a few lines; every failure has its line."""
        about = self.embeddings.provenance
        run = about["run"]
        weights = about["weights_kind"]
        note = weights if weights.endswith("weights") else f"{weights} weights"
        name = about["encoder"] + (f" ({note})" if weights != "published" else "")
        n, failures = len(self.embeddings), self.embeddings.failures
        lines = [f"failed: {failure.record_id}: {failure.reason}" for failure in failures]
        lines += [_noted(entry) for entry in run.get("notes", [])]
        lines += [_warned(entry) for entry in run.get("findings", []) if entry["severity"] != "passed"]
        lines.append(
            f"{n} records of {about['cohort']} embedded by {name} in {self.seconds:.1f} s: {run['computed']} computed, "
            f"{run['from_cache']} from the cache, {len(failures)} failed; {self.embeddings.dim} numbers each"
        )
        lines += ["The records are synthetic."] if about["synthetic"] else []
        lines.append(f"cache:  {self.folder}")
        if self.out is not None:
            lines += [f"digest: {self.embeddings.digest()}", f"file:   {self.out}"]
        if run["shard"] is not None:
            lines.append(f"This was part {run['shard']}; when all are done, --shard none --out FILE writes the whole.")
        return lines


def embed_table(
    table: str | Path,
    encoder: str,
    *,
    weights: str | None = None,
    device: str = "auto",
    preprocessing: str | None = None,
    out: str | Path | None = None,
    cohort: Mapping[str, Any] | None = None,
    config: EmbedConfig | None = None,
    progress: ProgressMaker | None = None,
) -> EmbedRun:
    """Load a cohort table and an encoder, embed, and write the file `out` if one is named.

    Args:
        table: The cohort's table.
        encoder: Encoder id.
        weights: Checkpoint file, ``"random"``, or `None` for the card's own.
        device: ``"auto"`` or a torch device; under torchrun ``"auto"`` takes the process's own GPU.
        preprocessing: Another preprocessing of the card.
        out: File to write; not written by a process that does only a part.
        cohort: Arguments of :func:`medfm.load_cohort`.
        config: The settings.
        progress: Makes the progress display.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.embeddings.export import check_suffix, save_embeddings
    from medfm.embeddings.sharing import parse_share
    from medfm.encoders.load import load_encoder

    chosen = config or EmbedConfig()
    # What can be wrong with the request comes out before the work, not after it.
    share = parse_share(chosen.shard)
    if out is not None:
        check_suffix(out)
        if Path(out).is_dir():
            raise StoreError("A folder has the name of the output file.", where=str(out), fix="choose another name")
        make_folder(Path(out).absolute().parent)
    records = load_cohort(table, **dict(cohort or {}))
    loaded = load_encoder(encoder, weights=weights, device=_own_device(device), variant=preprocessing)
    started = time.monotonic()
    handle = embed(loaded, records, collect=False, progress=progress, config=chosen)
    seconds = time.monotonic() - started
    target = None
    if out is not None and share is None:
        size = len(handle) * handle.dim * 4
        if size <= _IN_MEMORY:
            target = save_embeddings(handle.collect(), out, cohort=records)
        else:
            with tempfile.TemporaryDirectory(dir=make_folder(Path(out).absolute().parent), prefix=".medfm-") as folder:
                target = save_embeddings(handle.map(Path(folder) / "values.npy"), out, cohort=records)
    return EmbedRun(handle, target, handle.store.folder, seconds, chosen.on_error)


def _own_device(device: str) -> str:
    """The GPU of this process under torchrun, where `device` is ``"auto"``."""
    import torch

    local = os.environ.get("LOCAL_RANK", "")
    if device == "auto" and local.isdigit() and torch.cuda.device_count() > int(local):
        return f"cuda:{local}"
    return device


def resolve(config: EmbedConfig | None, settings: dict[str, Any], overrides: Sequence[str] = ()) -> EmbedConfig:
    """`config` with the single `settings` and ``--set`` texts on top; `None` leaves a setting as it is."""
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(given.get("cache"), Path):
        given["cache"] = str(given["cache"])
    if isinstance(given.get("shard"), tuple):
        given["shard"] = "{}/{}".format(*given["shard"])
    base = config.to_dict() if config is not None else {}
    return build(EmbedConfig, {**base, **given}, where="embed", overrides=overrides)


def check_modality(encoder: EncoderLike, cohort: Cohort) -> None:
    """Raise :class:`ConfigError` when the encoder was made for another modality than the cohort's."""
    # A general-purpose network names further modalities; other implementations need not have the attribute.
    if cohort.modality not in (encoder.modality, *getattr(encoder, "also_for", ())):
        raise ConfigError(
            f"The encoder '{encoder.id}' is for {encoder.modality}, the cohort '{cohort.name}' holds {cohort.modality}.",
            where="modality",
            expected=f"a cohort of {encoder.modality}",
            fix=f"choose an encoder for {cohort.modality} (medfm encoders), or mend --modality",
        )


def _store_key(encoder: EncoderLike, modality: str) -> str:
    """What vectors are kept under: readers of two modalities may treat one file differently."""
    if modality == encoder.modality:
        return encoder.fingerprint
    return sha256_bytes(f"{encoder.fingerprint}|{modality}".encode())


def _loaded(encoder: EncoderLike | str) -> EncoderLike:
    if not isinstance(encoder, str):
        return encoder
    from medfm.encoders.load import load_encoder

    return load_encoder(encoder)


def _sizes(config: EmbedConfig, encoder: EncoderLike, count: int) -> tuple[int, int, int, bool]:
    """Batch size, workers, streams and exactness: as set, else from the device and the cores."""
    import torch

    from medfm.embeddings.decode import usable_workers

    on_cpu = torch.device(encoder.device).type == "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(1, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    # On a CPU the forward pass takes nearly all the time, and a few workers keep up with it.
    workers = max(1, cores // 4) if on_cpu else max(1, cores - 1)
    workers = 0 if count <= _SMALL_JOB else min(workers, _MOST_WORKERS)
    # Two streams on a GPU: one prepares and fetches while the other computes.
    streams = min(torch.get_num_threads(), 32) if on_cpu else 2
    return (
        config.batch_size or (8 if on_cpu else 64),
        usable_workers(workers if config.workers is None else config.workers),
        config.streams or streams,
        on_cpu if config.exact is None else config.exact,
    )


def _progress(given: Progress | ProgressMaker | None, count: int) -> Progress:
    if isinstance(given, Progress):
        return given
    return Silent("embedding", count) if given is None else given("embedding", count, "records")


def _notes(done: Extraction) -> list[dict[str, Any]]:
    return [{"note": text, "records": len(ids), "first": ids[0]} for text, ids in sorted(done.notes.items())]


def _seen(store: EncoderStore, cohort: Cohort, done: Extraction) -> dict[str, Any]:
    """Findings on what readers saw at a glance, of this run or of those that filled the store; none for most modalities."""
    from medfm.cohorts.checks.glances import check_glances
    from medfm.embeddings.glances import Glances
    from medfm.modalities.registry import get_modality

    if getattr(get_modality(cohort.modality), "glance", None) is None:
        return {}
    bits = Glances(store.folder).of(done.keys)
    seen = {name: int(one) for name, one in zip(done.record_ids, bits, strict=True) if one}
    findings = [f.to_dict() for f in sorted(check_glances(cohort, seen), key=lambda finding: finding.code)]
    return {"findings": findings} if findings else {}


def _warned(entry: Mapping[str, Any]) -> str:
    first = f" (first: {entry['records'][0]})" if entry["records"] else ""
    return f"warning: {entry['code']} {entry['detail']}{first}"


def _noted(entry: Mapping[str, Any]) -> str:
    more = f" and {entry['records'] - 1} more" if entry["records"] > 1 else ""
    return f"note: {entry['first']}{more}: {entry['note']}"


def _provenance(
    encoder: EncoderLike,
    cohort: Cohort,
    config: EmbedConfig,
    plan: Any,
    share: Share | None,
    done: Extraction,
) -> dict[str, Any]:
    """Everything that identifies the vectors; no path, no time, no name of a machine."""
    card = getattr(encoder, "card", None) if str(encoder.weights_kind) == "trained here" else None
    # The card of an encoder trained here is in its folder, where nobody looks who has the vectors alone.
    seen = [part.named() for part in card.spec.training_data if part.status != "held out"] if card is not None else []
    return {
        "encoder": encoder.id,
        "fingerprint": encoder.fingerprint,
        "weights_kind": str(encoder.weights_kind),
        **({"training_data": seen} if seen else {}),
        "modality": cohort.modality,
        "dim": int(encoder.embedding_dim),
        "precision": config.precision,
        "cohort": cohort.name,
        "cohort_digest": cohort.digest(),
        "synthetic": cohort.synthetic,
        "records": len(done.record_ids),
        "failed": len(done.failures),
        "software": software(),
        "hardware": hardware(),
        # How this run went; a repeated run may differ here and nowhere else.
        "run": {
            "from_cache": done.cached,
            "computed": done.computed,
            "batch_size": plan.batch_size,
            "exact": done.exact,
            # What readers noted on the records that this run read; at most the first id of each.
            **({"notes": _notes(done)} if done.notes else {}),
            "device": str(encoder.device),
            "shard": None if share is None else str(share),
        },
    }
