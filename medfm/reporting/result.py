"""One result: what was asked, what came out, and everything needed to look at it again.

Keys of :attr:`Result.provenance` that the summary, the report and the card know (all optional;
further keys are kept and listed):

====================  ====================================================================
``encoder``           id of the encoder, such as ``"dinobloom-b"``
``encoder_title``     what people call it
``fingerprint``       SHA-256 over weights, architecture and preprocessing
``weights_kind``      ``published``, ``local file``, ``random`` or ``trained here``
``weights_note``      one sentence on where the weights come from
``card``              id of the model card; ``licence`` of the weights beside it
``cohort``            name of the cohort; ``cohort_digest``, ``cohort_licence``,
                      ``modality`` and ``synthetic`` (bool) beside it
``precision``         of the forward pass, such as ``"float32"``
``seeds``             dict of the seeds used
``software``          dict of versions; ``hardware`` dict of machine facts
``created``           ISO date and time
``failures``          list of ``{"record_id", "reason"}`` of records that could not be embedded
====================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medfm.cohorts.findings import Finding
from medfm.core.errors import EvaluationError
from medfm.core.hashing import sha256_bytes, sha256_json
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.summary import BatchEffect, Summary
from medfm.reporting.plain import plain

# Columns that the saved table adds to the predictions.
ADDED_COLUMNS = ("map_x", "map_y", "thumbnail")


@dataclass(frozen=True, eq=False)
class Result:
    """One evaluation of one encoder on one cohort under one protocol.

    Attributes:
        kind: What ran, such as ``"linear_probe"``, ``"knn"`` or ``"mil"``.
        protocol: The procedure.
        summary: Every statistic.
        predictions: What the statistics are computed from.
        provenance: Where it comes from; see the module's text for the keys.
        findings: The checks that ran on the cohort, with their outcome.
        config: The resolved settings.
        batch_effect: How strongly the site shows in the embedding, where sites are known.
        embedding_map: Columns ``record_id, x, y, method``: the embedding in two dimensions, one
            row per predicted record (rows of other records are dropped).
        extras: What the method adds, such as the chosen C per fold (JSON-like values).
        name: What people call this result.
        thumbnails: Small JPEG or SVG files by record id, for the records the report shows.

    Two results are the same evaluation when their :attr:`id` is equal.
    """

    kind: str
    protocol: Protocol
    summary: Summary
    predictions: Predictions
    provenance: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    batch_effect: BatchEffect | None = None
    embedding_map: pd.DataFrame | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    thumbnails: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clash = [c for c in ADDED_COLUMNS if c in self.predictions.table.columns]
        if clash:
            raise EvaluationError(
                f"The predictions have columns that a result folder keeps for itself: {', '.join(clash)}.",
                fix="rename these columns of the cohort",
            )
        # Plain data from the start, so that a loaded result equals the one that was saved.
        for key in ("provenance", "config", "extras"):
            object.__setattr__(self, key, plain(getattr(self, key)))
        object.__setattr__(self, "findings", tuple(self.findings))
        object.__setattr__(self, "thumbnails", dict(self.thumbnails))
        if self.embedding_map is not None:
            object.__setattr__(self, "embedding_map", _of_records(self.embedding_map, self.predictions))

    @cached_property
    def id(self) -> str:
        """SHA-256 over the settings, the encoder's fingerprint, the cohort and the predictions."""
        return sha256_json(
            {
                "kind": self.kind,
                "protocol": self.protocol.to_dict(),
                "config": self.config,
                "fingerprint": self.provenance.get("fingerprint"),
                "cohort": self.provenance.get("cohort_digest"),
                "predictions": sha256_bytes(self.predictions.table.to_csv(index=False).encode()),
            }
        )

    @property
    def title(self) -> str:
        """The name, or encoder, method and cohort where no name was given."""
        if self.name:
            return self.name
        from medfm.reporting.words import method_name

        method = method_name(self.kind)
        return f"{self.provenance.get('encoder', 'encoder')}: {method} on {self.provenance.get('cohort', 'cohort')}"

    def __str__(self) -> str:
        from medfm.reporting.text import one_screen

        return one_screen(self)

    def __repr__(self) -> str:
        # Never the predictions or the pictures.
        return f"Result({self.title!r}, {self.summary.n_records} records, id {self.id[:16]})"

    def _repr_html_(self) -> str:
        from medfm.reporting.notebook import result_block

        return result_block(self)

    def save(self, folder: str | Path, overwrite: bool = False, images: Any = None) -> Path:
        """Write the result folder: ``result.json, predictions.parquet, config.yaml, report.html, card.md``.

        The folder appears whole or not at all.

        Args:
            folder: Where to write; must not exist unless `overwrite`.
            overwrite: Replace an earlier result folder (never another kind of folder).
            images: Where thumbnails of the records shown in the report come from: the cohort,
                a mapping from record id to uint8 array (h, w, 3) or to the bytes of a finished
                picture (:func:`medfm.reporting.error_pictures.error_pictures`), or a function of
                the record id that returns one of these or ``None``. Unreadable ones are left out.

        Returns:
            The absolute path of the folder.

        Raises:
            StoreError: The folder exists, cannot be written to, or the disk is full.
        """
        from medfm.reporting.folder import save_result

        return save_result(self, folder, overwrite=overwrite, images=images)


def load_result(folder: str | Path) -> Result:
    """Read a result folder back, exactly as it was saved.

    Raises:
        StoreError: The folder or one of its files is missing, damaged, changed by hand, or
            written by another version of the layout.
    """
    from medfm.reporting.folder import read_result

    return read_result(folder)


def _of_records(embedding_map: pd.DataFrame, predictions: Predictions) -> pd.DataFrame:
    """One row per predicted record, in order of the predictions, with fixed dtypes."""
    missing = [c for c in ("record_id", "x", "y", "method") if c not in embedding_map.columns]
    if missing:
        raise EvaluationError(f"The embedding map lacks the columns {', '.join(missing)}.")
    order = list(dict.fromkeys(predictions.table["record_id"].astype(str)))
    found = embedding_map.assign(record_id=embedding_map["record_id"].astype(str))
    found = found.drop_duplicates("record_id").set_index("record_id")
    found = found.loc[[record for record in order if record in found.index]]
    return pd.DataFrame(
        {
            "record_id": np.array(found.index, dtype=object),
            "x": found["x"].to_numpy(dtype=np.float64),
            "y": found["y"].to_numpy(dtype=np.float64),
            "method": found["method"].astype(str).to_numpy(dtype=object),
        }
    )
