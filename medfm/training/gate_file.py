"""The gate for unusual records in the folder of a fine-tuned model: ``unusual.safetensors`` and ``unusual.json``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medfm.core.errors import WeightsError
from medfm.core.files import atomic_path, write_json
from medfm.core.hashing import sha256_file
from medfm.evaluation.unusual import UnusualGate

FORMAT = "medfm-unusual-1"
WEIGHTS, ABOUT = "unusual.safetensors", "unusual.json"


def save_gate(folder: str | Path, gate: UnusualGate, fingerprint: str) -> None:
    """Write the gate beside the encoder of `fingerprint`, the description last.

    Raises:
        StoreError: The folder cannot be written to.
    """
    from safetensors.numpy import save

    place = Path(folder)
    arrays = {"centre": gate.centre, "precision": gate.precision, "known": gate.known}
    with atomic_path(place / WEIGHTS) as temporary:
        temporary.write_bytes(save({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in arrays.items()}))
    write_json(
        place / ABOUT,
        {
            "format": FORMAT,
            "distance": "Mahalanobis, Ledoit-Wolf covariance of training embeddings",
            "alarm_rate": gate.alarm_rate,
            "threshold": gate.threshold,
            "validation_records": len(gate.known),
            "encoder_fingerprint": fingerprint,
            "weights_sha256": sha256_file(place / WEIGHTS),
        },
    )


def load_gate(folder: str | Path, fingerprint: str) -> UnusualGate | None:
    """Read the gate of a model's folder; ``None`` where it has none.

    Raises:
        WeightsError: It is damaged, or belongs to another encoder than that of `fingerprint`.
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
        if about["encoder_fingerprint"] != fingerprint:
            raise ValueError("it belongs to another encoder")
        if sha256_file(place / WEIGHTS) != about["weights_sha256"]:
            raise ValueError("the numbers are not those that the description is about")
        found = load_file(place / WEIGHTS)
        gate = UnusualGate(found["centre"], found["precision"], found["known"], float(about["alarm_rate"]))
        if gate.precision.shape != (len(gate.centre),) * 2 or gate.threshold != about["threshold"]:
            raise ValueError("the numbers do not fit each other")
        return gate
    except (OSError, KeyError, TypeError, ValueError, IndexError, SafetensorError) as error:
        raise WeightsError(
            f"The gate for unusual records is damaged: {error}.",
            where=str(place),
            fix="copy the whole folder again, or train again",
        ) from error
