"""Cohort and encoder in, embeddings out: cached, resumable, shared between processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import Field

from medfm.core.config import StrictConfig, build
from medfm.core.environment import hardware, software
from medfm.core.errors import ConfigError
from medfm.core.progress import Progress, Silent
from medfm.embeddings.embeddings import Embeddings

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.forward import EncoderLike
    from medfm.embeddings.pipeline import Extraction
    from medfm.embeddings.sharing import Share
    from medfm.embeddings.stored import StoredEmbeddings

ProgressMaker = Callable[[str, int | None], Progress]

_SMALL_JOB = 32
_MOST_WORKERS = 16


class EmbedConfig(StrictConfig):
    """Settings of an embedding run; only `precision` can change a value."""

    batch_size: int | None = Field(None, ge=1, le=4096, description="rows of a forward pass [8 on CPU, 64 on a GPU]")
    workers: int | None = Field(None, ge=0, le=256, description="decoding processes, 0 = none [from the cores]")
    streams: int | None = Field(None, ge=1, le=256, description="forward passes side by side [torch's threads]")
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
    batch_size, workers, streams = _sizes(chosen, loaded, count)
    maker = Maker(
        loaded.fingerprint,
        chosen.precision,
        int(loaded.embedding_dim),
        encoder=loaded.id,
        modality=loaded.modality,
        weights_kind=str(loaded.weights_kind),
    )
    store = EncoderStore.open(maker, chosen.cache)
    plan = Plan(
        batch_size=batch_size,
        workers=workers,
        streams=streams,
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
    handle = StoredEmbeddings(store, done.keys, tuple(done.record_ids), provenance, tuple(done.failures))
    return handle.collect() if collect else handle


def resolve(config: EmbedConfig | None, settings: dict[str, Any]) -> EmbedConfig:
    """`config` with the single `settings` laid on top; `None` leaves a setting as it is."""
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(given.get("cache"), Path):
        given["cache"] = str(given["cache"])
    if isinstance(given.get("shard"), tuple):
        given["shard"] = "{}/{}".format(*given["shard"])
    base = config.to_dict() if config is not None else {}
    return build(EmbedConfig, {**base, **given}, where="embed")


def check_modality(encoder: EncoderLike, cohort: Cohort) -> None:
    """Raise :class:`ConfigError` when the encoder was made for another modality than the cohort's."""
    if encoder.modality != cohort.modality:
        raise ConfigError(
            f"The encoder '{encoder.id}' is for {encoder.modality}, the cohort '{cohort.name}' holds {cohort.modality}.",
            where="modality",
            expected=f"a cohort of {encoder.modality}",
            fix=f"choose an encoder for {cohort.modality} (medfm encoders), or mend --modality",
        )


def _loaded(encoder: EncoderLike | str) -> EncoderLike:
    if not isinstance(encoder, str):
        return encoder
    from medfm.encoders.load import load_encoder

    return load_encoder(encoder)


def _sizes(config: EmbedConfig, encoder: EncoderLike, count: int) -> tuple[int, int, int]:
    """Batch size, workers and streams: as set, else from the device and the cores."""
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
    )


def _progress(given: Progress | ProgressMaker | None, count: int) -> Progress:
    if isinstance(given, Progress):
        return given
    return Silent("embedding", count) if given is None else given("embedding", count)


def _provenance(
    encoder: EncoderLike,
    cohort: Cohort,
    config: EmbedConfig,
    plan: Any,
    share: Share | None,
    done: Extraction,
) -> dict[str, Any]:
    """Everything that identifies the vectors; no path, no time, no name of a machine."""
    return {
        "encoder": encoder.id,
        "fingerprint": encoder.fingerprint,
        "weights_kind": str(encoder.weights_kind),
        "modality": encoder.modality,
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
            "device": str(encoder.device),
            "shard": None if share is None else str(share),
        },
    }
