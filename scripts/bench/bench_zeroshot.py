"""How much of a zero-shot run is spent in the encoders: files in, result with intervals out.

    python scripts/bench/bench_zeroshot.py [--records 20000] [--folder DIR] [--strategy synonyms@1]

Bar: at least 0.9 of the wall time with 20 000 records. Writes synthetic 12-lead records (WFDB, 10 s at
500 Hz, 120 kB each) with random labels of CSN's 38 classes, and runs ``medfm.zero_shot`` on them with
merl-resnet18, weights random, its BERT text tower included, 1000 resamples, an empty cache. Time in
the encoders is the time during which at least one forward pass (records or texts) is running.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import medfm
from medfm.core.progress import Silent
from medfm.knowledge.load import load_knowledge

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SAMPLES = 5000


class Clock:
    """Wraps functions and adds up the time in which at least one of them runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since = 0.0
        self.seconds = 0.0
        self.calls = 0

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self._running += 1
                self.calls += 1
                if self._running == 1:
                    self._since = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                with self._lock:
                    self._running -= 1
                    if self._running == 0:
                        self.seconds += time.perf_counter() - self._since

        return call


def write_records(folder: Path, records: int, rng: np.random.Generator) -> None:
    """WFDB records of a beat-like curve with noise; every file differs, so none comes from the cache."""
    header = "".join(f"{{name}}.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
    at = np.arange(SAMPLES) / 500
    beat = 1000 * np.exp(-(((at * 1.2) % 1 - 0.3) ** 2) / 0.0005)
    gains = rng.uniform(-1, 1, size=(64, 12))
    noise = rng.normal(0, 30, size=(SAMPLES + 4096, 12))
    for number in range(records):
        name = f"r{number:06d}"
        path = folder / f"{name}.hea"
        if path.is_file():
            continue
        start = number % 4096
        signal = beat[:, None] * gains[number % 64] + noise[start : start + SAMPLES]
        signal[number % SAMPLES] += number % 977
        (folder / f"{name}.dat").write_bytes(np.ascontiguousarray(signal, dtype="<i2").tobytes())
        path.write_text(f"{name} 12 500 {SAMPLES}\n" + header.format(name=name))


def cohort_of(folder: Path, records: int, rng: np.random.Generator) -> medfm.Cohort:
    labels = list(load_knowledge("ecg").label_set("csn").labels)
    share = np.geomspace(0.001, 0.3, len(labels))
    truth = (rng.random((records, len(labels))) < share).astype(int)
    truth[0], truth[1] = 1, 0
    table = pd.DataFrame(truth, columns=labels)
    table.insert(0, "patient_id", [f"p{i // 2}" for i in range(records)])
    table.insert(0, "path", [f"r{i:06d}.hea" for i in range(records)])
    return medfm.load_cohort(table, modality="ecg", root=folder, name="synthetic bench")


def put_vocabulary(cache: Path) -> None:
    """A vocabulary of the knowledge's words; the time of a forward pass does not depend on which words."""
    text = load_knowledge("ecg").to_yaml().lower()
    words = sorted(set(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]", text)))
    folder = cache / "weights" / "merl-resnet18" / "tokenizer"
    folder.mkdir(parents=True)
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{n}" for n in range(10))])
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the records are written, and kept [a temporary folder]")
    parser.add_argument("--strategy", default="synonyms@1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        folder = options.folder or Path(temporary) / "records"
        folder.mkdir(parents=True, exist_ok=True)
        put_vocabulary(cache)
        os.environ["MEDFM_CACHE"] = str(cache)
        rng = np.random.default_rng(0)
        write_records(folder, options.records, rng)
        cohort = cohort_of(folder, options.records, rng)
        encoder = medfm.load_encoder("merl-resnet18", weights="random", device=options.device)
        encoder.fingerprint, encoder.text_fingerprint  # noqa: B018  (once per encoder, outside the clock)
        clock = Clock()
        encoder._run = clock.watched(encoder._run)  # type: ignore[method-assign]
        encoder.encode_text = clock.watched(encoder.encode_text)  # type: ignore[method-assign]
        stages: dict[str, float] = {}
        started = time.perf_counter()

        def stage(title: str, total: int | None, unit: str = "") -> Any:
            stages[title] = time.perf_counter() - started
            return Silent(title, total, unit)

        result = medfm.zero_shot(
            encoder,
            cohort,
            label_set="csn",
            strategy=options.strategy,
            progress=stage,
            embed_settings={"workers": options.workers},
        )
        wall = time.perf_counter() - started
        print(
            json.dumps(
                {
                    "records": result.summary.n_records,
                    "labels": len(result.summary.classes),
                    "prompts": len(result.extras["zero_shot"]["prompts"]),
                    "resamples": result.protocol.statistics.resamples,
                    "device": str(encoder.device),
                    "wall_s": round(wall, 1),
                    "in_the_encoders_s": round(clock.seconds, 1),
                    "seconds_per_record_in_the_encoder": round(clock.seconds / options.records, 5),
                    "texts_s": round(stages["embedding"] - stages["encoding texts"], 1),
                    "embedding_s": round(stages["resampling"] - stages["embedding"], 1),
                    "statistics_s": round(wall - stages["resampling"], 1),
                    "share": round(clock.seconds / wall, 4),
                    "bar": 0.9,
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
