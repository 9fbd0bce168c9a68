"""How a measured search runs: exactly or with an index, and its vectors in memory or on disk."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.stored import StoredEmbeddings
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_index import ApproximateSearch, Way, choose_way, duration, exact_seconds
from medfm.evaluation.retrieval_metrics import list_depth

# Vectors of more bytes are read from a file instead of being held.
IN_MEMORY = 512 * 2**20


def check_way(plan: Protocol) -> None:
    """Refuse an approximate search that cannot run, before anything is embedded.

    Raises:
        MissingExtraError: faiss is asked for and not installed.
        ConfigError: faiss is asked for, and so is a metric that needs all ranks.
    """
    assert isinstance(plan.method, Retrieval)
    choose_way(plan.method.index, 0, plan.metrics or ())


def way_of(
    plan: Protocol, values: np.ndarray, text_values: np.ndarray | None, codes: np.ndarray | None
) -> tuple[Way, ApproximateSearch | None, str]:
    """How to search, the settings of an approximate search, and what to show while it runs.

    Args:
        plan: The protocol.
        values: (n, d) embeddings of the records.
        text_values: (u, d) embeddings of the texts, where texts are searched.
        codes: (n,) the text of each record.

    Raises:
        MissingExtraError, ConfigError: As :func:`check_way`.
    """
    method = plan.method
    assert isinstance(method, Retrieval)
    others = values
    if text_values is not None and "record_to_record" not in method.directions and method.texts == "grouped":
        others = text_values
    pairs = len(values) * len(others)
    way = choose_way(method.index, pairs, plan.metrics or ())
    if way.approximate:
        return way, ApproximateSearch(list_depth(method.k), plan.statistics.seed), ""
    if not way.note:
        return way, None, ""
    many = codes is None or len(codes) > 3 * (int(codes.max()) + 1)
    about = duration(len(method.directions) * exact_seconds(values, others, sorting=many))
    note = f"{way.note} Estimated beforehand: {about} on this machine."
    return replace(way, note=note), None, f"exact, about {about}"


def mapped(stored: StoredEmbeddings, most: int = IN_MEMORY) -> Embeddings:
    """Vectors in memory, or those of more than `most` bytes in a file that goes when they do."""
    if len(stored) * stored.dim * 4 <= most:
        return stored.collect()
    # The mapping outlives the name, so nothing is left behind, however the run ends.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return stored.map(Path(folder) / "vectors.npy")
