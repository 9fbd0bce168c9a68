"""Zero-shot as FLAIR, Quilt and PathGen published it: protocols end to end on planted vectors, and bad input."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn import metrics as sk
from zero_shot_cases import FAST, Tower, cohort_of, one_column, shapes_file, unit

import medfm
from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache, text_cache
from medfm.evaluation.protocol import ZeroShot, load_protocol
from medfm.evaluation.zero_shot import class_vectors
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet
from medfm.workflows.zero_shot_prompts import questions
from medfm.workflows.zero_shot_target import headline_metrics
from medfm.workflows.zero_shot_texts import temperature_of

SHIPPED = ("flair-zeroshot@1", "quilt-zeroshot@1", "pathgen-zeroshot@1")


class Mixing(Tower):
    """A tower like FLAIR's: what stands beside a text in its group changes its vector, and it has a scale."""

    def __init__(self) -> None:
        super().__init__()
        text = SimpleNamespace(padding_counts=True)
        self.module = SimpleNamespace(args=SimpleNamespace(text=text), logit_scale=torch.tensor(3.0))
        self.groups: list[list[str]] = []

    def encode_text(self, texts: list[str], as_group: bool = False) -> torch.Tensor:
        rows = super().encode_text(texts)
        if not as_group:
            return rows
        self.groups.append(list(texts))
        return rows + 0.2 * max(len(t) for t in texts)


def method_of(name: str, **changes: Any) -> ZeroShot:
    method = load_protocol(name).method
    assert isinstance(method, ZeroShot)
    return method.model_copy(update=changes)


def published_shapes(folder: Path) -> Path:
    """Shapes with a paper's names and templates."""
    path = shapes_file(folder)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["label_sets"]["cohort"]["names"] = {"C": "disc", "S": "box"}
    content["label_sets"]["cohort"]["templates"] = ["a drawing of {name}"]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def ask(case: Any, folder: Path, protocol: str, *more: str, tower: Any = None, **settings: Any) -> Any:
    given = {"text_encoder": tower or case.tower, "knowledge": published_shapes(folder), "label_set": "cohort"}
    return medfm.zero_shot(
        case.embeddings, case.cohort, protocol=protocol, overrides=(*FAST, *more), embedding_map="none",
        **{**given, **settings},
    )  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_protocols_say_where_they_come_from(name: str) -> None:
    protocol = load_protocol(name)
    assert len(protocol.deviations) >= 6 and " at " in protocol.source and "arXiv" in protocol.source
    assert method_of(name).names == "published"
    for task in ("binary", "multiclass"):
        assert len(headline_metrics(protocol, task, 5)) >= 4  # type: ignore[arg-type]


def test_switches_of_the_three() -> None:
    flair, quilt, pathgen = (method_of(name) for name in SHIPPED)
    assert (flair.prototype, flair.together, flair.file_as, flair.without_file) == ("mean", True, "flair", "expert@1")
    assert (flair.temperature_from, flair.split, flair.lower_case) == ("encoder", "all", True)
    assert (quilt.prototype, quilt.temperature, quilt.split, len(quilt.templates)) == ("unit", 0.01, "test", 4)
    assert (pathgen.prototype, pathgen.temperature, pathgen.split, pathgen.templates) == ("unit", 0.01, "all", ())
    # Other protocols are what they were.
    merl = method_of("merl-zeroshot@1")
    assert (merl.names, merl.prototype, merl.together, merl.temperature_from) == ("own", "unit", False, "protocol")


def test_metrics_of_two_classes_have_their_names() -> None:
    flair = load_protocol("flair-zeroshot@1")
    assert headline_metrics(flair, "binary")[:3] == ("balanced_accuracy", "kappa", "auroc")
    assert headline_metrics(flair, "multiclass", 5)[1] == "quadratic_kappa"
    quilt = load_protocol("quilt-zeroshot@1")
    assert "top5_accuracy" in headline_metrics(quilt, "multiclass", 5)
    assert "top5_accuracy" not in headline_metrics(quilt, "multiclass", 4)
    assert "top5_accuracy" not in headline_metrics(quilt, "binary")


def test_pathgen_end_to_end(tmp_path: Path) -> None:
    case = one_column(noise=2.5)
    result = ask(case, tmp_path, "pathgen-zeroshot@1")
    expected = unit(case.tower.planted(["a drawing of disc", "a drawing of box", "a drawing of ellipse"]))
    cosines = unit(case.vectors) @ expected.T
    order = list(result.predictions.classes)
    columns = [("circle", "square", "ellipse").index(c) for c in order]
    table = result.predictions.table
    assert np.allclose(table[[f"cosine:{c}" for c in order]], cosines[:, columns], atol=1e-6)
    powers = np.exp(100 * (cosines - cosines.max(axis=1, keepdims=True)))
    scores = powers / powers.sum(axis=1, keepdims=True)
    assert np.allclose(table[[f"score:{c}" for c in order]], scores[:, columns], atol=1e-4)
    said = cosines.argmax(axis=1)
    found = {e.metric: e for e in result.summary.headline}
    report = sk.classification_report(case.truth, said, output_dict=True)
    assert found["accuracy"].value == pytest.approx(report["accuracy"])
    assert found["f1_weighted"].value == pytest.approx(report["weighted avg"]["f1-score"])
    assert found["mean_per_class_recall"].value == pytest.approx(report["macro avg"]["recall"])
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_flair_end_to_end_with_a_dictionary(tmp_path: Path) -> None:
    case, tower = one_column(noise=2.5), Mixing()
    words = tmp_path / "dictionary.py"
    words.write_text('definitions = {"disc": ["a circle", "noise of disc"], "box": ["a square"]}\n', encoding="utf-8")
    result = ask(case, tmp_path, "flair-zeroshot@1", "method.templates=['a drawing of {name}']", tower=tower,
                 prompt_file=words, cache=tmp_path / "cache")  # fmt: skip
    groups = [["a circle", "noise of disc", "disc"], ["a square", "box"], ["ellipse"]]
    wanted = [[f"a drawing of {t}" for t in g] for g in groups]
    assert tower.groups[:2] == wanted[:2]  # later ones are the prompts left out one by one
    rows = [unit(Mixing().encode_text(g, as_group=len(g) > 1).numpy()).mean(axis=0) for g in wanted]
    scores = unit(case.vectors) @ np.stack(rows).T
    table = result.predictions.table
    assert np.allclose(table[[f"cosine:{c}" for c in ("circle", "square", "ellipse")]], scores, atol=1e-5)
    powers = np.exp(np.exp(3.0) * scores)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert np.allclose(table[[f"score:{c}" for c in ("circle", "square", "ellipse")]], expected, atol=1e-4)
    found = {e.metric: e.value for e in result.summary.headline}
    truth, said = case.truth, scores.argmax(axis=1)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, said))
    names = np.array(["circle", "square", "ellipse"])
    order = list(result.predictions.classes)
    kappa = sk.cohen_kappa_score(names[truth], names[said], labels=order, weights="quadratic")
    assert found["quadratic_kappa"] == pytest.approx(kappa)
    extras = result.extras["zero_shot"]
    assert extras["stand_in"] is False and extras["prompt_file"]["name"] == "dictionary.py"
    assert any("1 names are not in the prompt file and are asked alone: ellipse" in n for n in result.summary.notes)


def test_flair_without_its_dictionary_is_stamped(tmp_path: Path) -> None:
    result = ask(one_column(), tmp_path, "flair-zeroshot@1", tower=Mixing())
    assert result.extras["zero_shot"]["stand_in"] is True
    texts = [row["text"] for row in result.extras["zero_shot"]["prompts"]]
    assert "A fundus photograph of disc" in texts  # the published name after our findings


def test_the_plain_mean_is_another_classifier(tmp_path: Path) -> None:
    case = one_column()
    results = [
        ask(case, tmp_path, "quilt-zeroshot@1", f"method.prototype={kind}", "method.strategy=expert@1")
        for kind in ("unit", "mean")
    ]
    first, second = (r.predictions.table[["cosine:circle", "cosine:square"]].to_numpy() for r in results)
    assert (second < first).any() and not np.allclose(first, second)
    assert results[0].provenance["prompts_sha256"] != results[1].provenance["prompts_sha256"]


# Groups of texts


def test_a_group_is_encoded_together_once_and_kept(tmp_path: Path) -> None:
    tower = Mixing()
    group = ["a circle", "a square of noise"]
    prompts = PromptSet("x@1", (ClassPrompts("c", (tuple(Prompt(t, 0.5) for t in group),)),), "", "mean", True)
    first = class_vectors(prompts, text_cache(tower, tmp_path)).values
    assert tower.groups == [group]
    again = class_vectors(prompts, text_cache(tower, tmp_path)).values
    assert tower.groups == [group] and np.array_equal(first, again)
    alone = class_vectors(PromptSet("x@1", prompts.classes, "", "mean"), text_cache(tower, tmp_path)).values
    assert not np.allclose(first, alone)


def test_a_group_with_another_text_is_another_vector(tmp_path: Path) -> None:
    tower = Mixing()
    cache = text_cache(tower, tmp_path)
    short = cache.together(["a circle", "noise"])[0]
    long = cache.together(["a circle", "a drawing of noise"])[0]
    assert not np.allclose(short, long)
    assert np.allclose(cache.together(["noise", "a circle"])[1], short)  # the order does not matter
    assert len(tower.groups) == 2


def test_towers_that_ignore_padding_encode_texts_alone() -> None:
    calls: list[list[str]] = []

    def encode(texts: list[str]) -> np.ndarray:
        calls.append(list(texts))
        return np.ones((len(texts), 2), dtype=np.float32)

    cache = TextCache(encode, "f")
    cache.together(["a", "b"])
    cache.vectors(["b", "a"])
    assert calls == [["a", "b"]]


# Bad input


def test_a_class_without_a_prompt_is_named_before_any_work(tmp_path: Path) -> None:
    case = one_column(names=("circle", "square", "blob"))
    with pytest.raises(ConfigError, match="'blob'") as caught:
        ask(case, tmp_path, "quilt-zeroshot@1")
    assert "--leave-out 'blob'" in str(caught.value) and case.tower.asked == []


def test_an_unknown_class_of_the_test_split_alone_is_named(tmp_path: Path) -> None:
    case = one_column(names=("circle", "square", "ellipse"))
    table = case.cohort.table
    label = table["label"].to_numpy(dtype=object).copy()
    label[-1] = "triangle"
    split = np.where(np.arange(len(label)) < 60, "train", "test")
    cohort = cohort_of(pd.DataFrame({"label": label, "split": split}))
    vectors = Embeddings(case.vectors, tuple(cohort.record_ids), dict(case.embeddings.provenance))
    changed = SimpleNamespace(cohort=cohort, embeddings=vectors, tower=case.tower)
    with pytest.raises(ConfigError, match="'triangle'"):
        ask(changed, tmp_path, "quilt-zeroshot@1")
    kept = ask(changed, tmp_path, "quilt-zeroshot@1", leave_out=["triangle"])
    assert len(kept.predictions.table) == 59
    assert any("1 records of the class triangle are left out" in note for note in kept.summary.notes)


def test_published_names_need_a_label_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no label set says which paper"):
        ask(one_column(), tmp_path, "quilt-zeroshot@1", label_set=None)


def test_classes_without_a_source_are_reported(tmp_path: Path) -> None:
    path = published_shapes(tmp_path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for entry in content["classes"]:
        entry["sources"] = [] if entry["id"] == "circle" else [{"standard": "S", "section": "1"}]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    made = questions(method_of("quilt-zeroshot@1", knowledge=str(path), label_set="cohort"), ["C", "S"])
    assert made.notes == ("1 of 2 classes asked have no source in the knowledge: circle.",)
    retina = questions(method_of("flair-zeroshot@1", label_set="idrid"), list("01234"), modality="retina")
    assert retina.notes == () and retina.stand_in


def test_temperature_of_the_weights() -> None:
    tower = Mixing()
    assert temperature_of(tower, method_of("flair-zeroshot@1")) == pytest.approx(np.exp(-3.0))
    assert temperature_of(tower, method_of("quilt-zeroshot@1")) == 0.01
    with pytest.raises(ConfigError, match="no logit_scale"):
        temperature_of(Tower(), method_of("flair-zeroshot@1"))


@pytest.mark.parametrize("key", ["nct-crc-quilt", "skincancer-tissue-quilt", "bach-quilt"])
def test_quilt_asks_four_prompts_per_label(key: str) -> None:
    labels = list(load_knowledge("histopathology").label_set(key).labels)
    made = questions(method_of("quilt-zeroshot@1", label_set=key), labels, modality="histopathology")
    assert [len(c.groups[0]) for c in made.asked[0].prompts.classes] == [4] * len(labels)
    assert made.asked[0].prompts.classes[0].groups[0][0].text.startswith("a histopathology slide showing ")


def test_a_class_outside_the_papers_list_is_reported() -> None:
    method = method_of("pathgen-zeroshot@1", label_set="nct-crc-pathgen")
    made = questions(method, ["ADI", "BACK"], modality="histopathology")
    assert [p.text for c in made.asked[0].prompts.classes for p in c.groups[0]] == [
        "An H&E patch of adipose",
        "An H&E patch of background",
    ]
    assert made.notes == ()
    quilt = questions(
        method_of("quilt-zeroshot@1", label_set="nct-crc-quilt"), ["ADI", "BACK"], modality="histopathology"
    )
    assert quilt.notes == (
        "Not in the paper's list 'nct-crc-quilt' and asked by our names: BACK; --leave-out does without them.",
    )
