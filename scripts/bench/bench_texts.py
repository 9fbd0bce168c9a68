"""Building a zero-shot classifier: the first run encodes its texts, the second finds them in the cache.

    python scripts/bench/bench_texts.py [--encoder quiltnet-b-32] [--label-set nct-crc-quilt] [--strategy templates@1]

Bar: the second run encodes nothing and gives the same classifier, bit by bit. Each round starts with an empty cache
folder; both runs open it anew, as two commands would. The time to load the encoder is left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import numpy as np

import medfm
from medfm.embeddings.texts import text_cache
from medfm.evaluation.zero_shot import class_vectors
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import PromptSet, build_prompts
from medfm.knowledge.published import as_published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="quiltnet-b-32")
    parser.add_argument("--label-set", default="nct-crc-quilt")
    parser.add_argument("--strategy", default="templates@1")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    encoder = medfm.load_encoder(arguments.encoder, weights="random")
    encoder.text_fingerprint  # noqa: B018  (computed once per encoder, outside the clock)
    encoder.encode_text(["warm up"])
    knowledge = as_published(load_knowledge(encoder.modality), arguments.label_set)
    prompts: PromptSet = build_prompts(knowledge, arguments.label_set, arguments.strategy)
    asked: list[int] = []
    plain = encoder.encode_text

    def counted(texts: list[str], *rest: Any, **named: Any) -> Any:
        asked.append(len(texts))
        return plain(texts, *rest, **named)

    encoder.encode_text = counted  # type: ignore[method-assign]

    def build(cache: str) -> tuple[float, int, np.ndarray]:
        asked.clear()
        started = time.perf_counter()
        values = class_vectors(prompts, text_cache(encoder, cache)).values
        return time.perf_counter() - started, sum(asked), values

    print(f"{arguments.encoder}, {arguments.label_set}, {arguments.strategy}: {len(set(prompts.texts()))} texts")
    print(f"{'round':>5} {'first run s':>12} {'second run s':>13} {'ratio':>7} {'encoded':>9}")
    ratios = []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as cache:
            first, second = build(cache), build(cache)
        ratios.append(first[0] / second[0])
        print(f"{number + 1:>5} {first[0]:>12.3f} {second[0]:>13.4f} {ratios[-1]:>7.0f} {first[1]:>4} / {second[1]}")
        assert second[1] == 0 and np.array_equal(first[2], second[2]), "the second run encoded texts, or differs"
    print(f"median ratio {statistics.median(ratios):.0f}; the second run encodes nothing: reached")


if __name__ == "__main__":
    main()
