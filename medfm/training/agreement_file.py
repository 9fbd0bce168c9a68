"""The zero-shot reading in the folder of a fine-tuned model: ``reading.safetensors`` and ``reading.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medfm.core.errors import WeightsError
from medfm.core.files import atomic_path, write_json
from medfm.core.hashing import sha256_file
from medfm.evaluation.agreement import Reading
from medfm.evaluation.zero_shot import ClassVectors

FORMAT = "medfm-reading-1"
WEIGHTS, ABOUT = "reading.safetensors", "reading.json"
UNTOUCHED = "untouched"


def save_reading(folder: str | Path, reading: Reading, fingerprint: str, measured: dict[str, Any]) -> None:
    """Write the reading beside the model, the description last.

    Args:
        folder: Of the model.
        reading: Text vectors of the classes.
        fingerprint: Of the encoder whose space the texts share.
        measured: Agreement on held-out records.

    Raises:
        StoreError: The folder cannot be written to.
    """
    from safetensors.numpy import save

    place, vectors = Path(folder), reading.vectors
    arrays = {
        "values": np.ascontiguousarray(vectors.values, dtype=np.float64),
        "owner": np.ascontiguousarray(vectors.owner, dtype=np.int64),
    }
    with atomic_path(place / WEIGHTS) as temporary:
        temporary.write_bytes(save(arrays))
    write_json(
        place / ABOUT,
        {
            "format": FORMAT,
            "classes": list(vectors.labels),
            "pools": list(vectors.pools),
            "strategy": reading.strategy,
            "untouched": reading.untouched,
            "encoder_fingerprint": fingerprint,
            "held_out": measured,
            "weights_sha256": sha256_file(place / WEIGHTS),
        },
    )


def load_reading(folder: str | Path, classes: tuple[str, ...]) -> tuple[Reading, dict[str, Any]] | None:
    """The reading of a model's folder and its description; ``None`` where it has none.

    Args:
        folder: Of the model.
        classes: Of the classifier beside it.

    Raises:
        WeightsError: It is damaged, or reads other classes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = Path(folder)
    if not (place / ABOUT).is_file():
        return None
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        if tuple(about["classes"]) != classes:
            raise ValueError("it reads other classes than the classifier")
        if sha256_file(place / WEIGHTS) != about["weights_sha256"]:
            raise ValueError("the numbers are not those that the description is about")
        found = load_file(place / WEIGHTS)
        vectors = ClassVectors(tuple(about["classes"]), found["values"], found["owner"], tuple(about["pools"]))
        whole = sorted(set(vectors.owner.tolist())) == list(range(len(vectors.labels)))
        if not whole or len(vectors.owner) != len(vectors.values) or len(vectors.pools) != len(vectors.labels):
            raise ValueError("the numbers do not fit each other")
        return Reading(vectors, about["strategy"], bool(about["untouched"])), about
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise WeightsError(
            f"The zero-shot reading is damaged: {error}.",
            where=str(place),
            fix="copy the whole folder again, or train again",
        ) from error
