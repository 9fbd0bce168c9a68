"""Direction files of many kinds and probes' directions, against plain arithmetic; published files that are not whole."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import CardError, MissingExtraError, UnknownNameError, WeightsError
from medfm.core.extras import import_extra
from medfm.embeddings.embeddings import Embeddings
from medfm.encoders.ldae.direction import Direction, load_direction, save_direction
from medfm.encoders.ldae.head import LinearHead, load_head
from medfm.encoders.ldae.load import generator_of
from medfm.encoders.registry import get_card
from medfm.evaluation.evaluate import Evaluation, FoldDirection
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.target import Target
from medfm.workflows.probe_direction import direction_extras

DIM = 5


def head(seed: int = 0) -> LinearHead:
    rng = torch.Generator().manual_seed(seed)
    return LinearHead(
        torch.randn(DIM, generator=rng),
        torch.randn((), generator=rng),
        torch.randn(DIM, generator=rng),
        torch.rand(DIM, generator=rng) + 0.1,
    )


def published(folder, **changed):
    """The three published files, with some of them changed or (``None``) left out."""
    one = head()
    files = {
        "disease_classifier.ckpt": {"weight": one.weight[None], "bias": one.bias[None]},
        "semantic_mean.pt": one.mean,
        "semantic_std.pt": one.std,
    }
    for name, content in (files | {k.replace("__", "."): v for k, v in changed.items()}).items():
        if content is not None:
            torch.save(content, folder / name)
    return folder


@pytest.mark.parametrize("seed", range(5))
def test_a_score_and_a_move_equal_their_loops(seed):
    one = head(seed)
    codes = torch.randn(3, DIM, generator=torch.Generator().manual_seed(seed + 50))
    length = math.sqrt(sum(float(w) ** 2 for w in one.weight))
    for row in range(3):
        total = float(one.bias)
        for d in range(DIM):
            total += float(one.weight[d]) * (float(codes[row, d]) - float(one.mean[d])) / float(one.std[d])
        assert float(one.score(codes)[row]) == pytest.approx(total, rel=1e-4, abs=1e-4)
        moved = one.move(codes, 1.5)[row]
        for d in range(DIM):
            step = 1.5 * math.sqrt(DIM) * float(one.weight[d]) / length * float(one.std[d])
            assert float(moved[d]) == pytest.approx(float(codes[row, d]) + step, rel=1e-3, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 4))
def test_a_move_towards_the_positive_class_raises_its_score_and_back_is_back(seed, strength):
    one = head(seed)
    codes = torch.randn(2, DIM, generator=torch.Generator().manual_seed(seed))
    there = one.move(codes, strength)
    assert bool((one.score(there) > one.score(codes)).all())
    assert bool((one.score(one.move(codes, -strength)) < one.score(codes)).all())
    torch.testing.assert_close(one.move(there, -strength), codes, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.move(codes, 0.0), codes, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scores", [True, False])
def test_the_file_says_what_it_holds_and_is_written_twice_alike(tmp_path, scores):
    made = Direction(head(), "älter (higher age)", "ldae-tiny", "f" * 8, scores)
    first, second = (save_direction(made, tmp_path / name) for name in ("a.json", "b.json"))
    assert first.read_bytes() == second.read_bytes()
    content = json.loads(first.read_text(encoding="utf-8"))
    expected = {"weight", "std", "towards", "encoder", "fingerprint"} | ({"mean", "bias"} if scores else set())
    assert set(content) == expected and len(content["weight"]) == DIM
    found = load_direction(first, DIM)
    assert (found.towards, found.encoder, found.fingerprint, found.scores) == (
        "älter (higher age)", "ldae-tiny", "f" * 8, scores,
    )  # fmt: skip
    again = save_direction(found, tmp_path / "c.json")
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("dim", [DIM - 1, DIM + 1, 768])
def test_codes_of_another_length_are_refused_with_both_lengths(tmp_path, dim):
    path = save_direction(Direction(head()), tmp_path / "a.json")
    with pytest.raises(WeightsError, match=f"has {DIM} entries") as caught:
        load_direction(path, dim)
    assert f"{dim} numbers" in str(caught.value)
    published(tmp_path)
    with pytest.raises(WeightsError, match="shape"):
        load_direction(tmp_path / "disease_classifier.ckpt", dim)


def test_a_folder_with_a_result_is_taken_before_a_published_head(tmp_path):
    published(tmp_path)
    assert load_direction(tmp_path, DIM).towards == "CN"
    entry = {"weight": [1.0] * DIM, "std": [1.0] * DIM, "towards": "AD"}
    (tmp_path / "result.json").write_text(json.dumps({"extras": {"direction": entry}}))
    assert load_direction(tmp_path, DIM).towards == "AD"


def test_the_published_head_bare_and_in_a_state_dict(tmp_path):
    one = head()
    bare, kept = tmp_path / "bare", tmp_path / "kept"
    bare.mkdir()
    kept.mkdir()
    published(bare)
    state = {"state_dict": {"weight": one.weight[None], "bias": one.bias[None]}, "epoch": 3}
    published(kept, disease_classifier__ckpt=state)
    codes = torch.randn(4, DIM, generator=torch.Generator().manual_seed(1))
    for folder in (bare, kept):
        torch.testing.assert_close(load_direction(folder, DIM).head.score(codes), one.score(codes))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"disease_classifier__ckpt": {"weight": torch.ones(1, DIM)}}, "no linear head"),
        ({"disease_classifier__ckpt": {"weight": torch.ones(1, DIM), "bias": torch.ones(1), "x": 1}}, "no linear head"),
        ({"disease_classifier__ckpt": [1, 2]}, "no linear head"),
        ({"disease_classifier__ckpt": {"weight": torch.ones(2, DIM), "bias": torch.ones(2)}}, "shape"),
        ({"disease_classifier__ckpt": {"weight": torch.full((1, DIM), math.nan), "bias": torch.ones(1)}}, "not finite"),
        ({"semantic_mean__pt": torch.ones(DIM + 1)}, "shape"),
        ({"semantic_mean__pt": [0.0] * DIM}, "list"),
        ({"semantic_mean__pt": None}, "does not exist"),
        ({"semantic_std__pt": torch.zeros(DIM)}, "not positive"),
        ({"semantic_std__pt": torch.full((DIM,), math.inf)}, "not finite"),
        ({"semantic_std__pt": None}, "does not exist"),
    ],
    ids=range(11),
)
def test_published_heads_that_are_not_whole(tmp_path, changed, match):
    published(tmp_path, **changed)
    with pytest.raises(WeightsError, match=match) as caught:
        load_direction(tmp_path, DIM)
    (name,) = changed
    assert name.replace("__", ".") in str(caught.value)


def test_a_head_of_another_name_goes_towards_its_positive_class(tmp_path):
    published(tmp_path)
    (tmp_path / "disease_classifier.ckpt").rename(tmp_path / "other.ckpt")
    assert load_direction(tmp_path / "other.ckpt", DIM).towards == "the positive class"
    with pytest.raises(WeightsError, match="no direction here"):
        load_direction(tmp_path, DIM)
    with pytest.raises(WeightsError):
        load_head(tmp_path / "none.ckpt", tmp_path / "semantic_mean.pt", tmp_path / "semantic_std.pt", DIM)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"null", b"3", b'"weight"', b'{"weight": {}, "std": []}'])
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_direction(path, DIM)
    assert str(path) in str(caught.value)


def done(*pairs) -> Evaluation:
    """Of (weights, deviations) or (weights, deviations, patterns); patterns are twice the weights where not given."""
    found = (FoldDirection(pair[0], pair[1], pair[2] if len(pair) > 2 else 2 * pair[0]) for pair in pairs)
    return Evaluation(Predictions.__new__(Predictions), (), (), directions=tuple(found))


def extras(evaluation: Evaluation, task: str = "binary", dim: int = 3) -> dict:
    truth = Target("dx", task, ("AD", "CN"), np.zeros(2))
    vectors = Embeddings(np.zeros((0, dim), np.float32), (), {"encoder": "e", "fingerprint": "f"})
    return direction_extras(evaluation, truth, vectors, SimpleNamespace(modality="brain_mri"))  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_the_mean_direction_equals_a_loop(trainings, seed):
    rng = np.random.default_rng(seed)
    pairs = [(rng.normal(size=(1, 3)) * 10.0 ** rng.integers(-3, 4), rng.uniform(0.1, 3, 3)) for _ in range(trainings)]
    entry = extras(done(*pairs))["direction"]
    units = [w[0] / math.sqrt(sum(v * v for v in w[0])) for w, _ in pairs]
    for d in range(3):
        assert entry["weight"][d] == pytest.approx(sum(u[d] for u in units) / trainings)
        assert entry["pattern"][d] == pytest.approx(entry["weight"][d])
        assert entry["std"][d] == pytest.approx(sum(s[d] for _, s in pairs) / trainings)
    cosines = [float(units[a] @ units[b]) for a in range(trainings) for b in range(a)]
    expected = sum(cosines) / len(cosines) if cosines else None
    assert entry["agreement"] == (None if expected is None else pytest.approx(expected, abs=1e-9))
    assert entry["trainings"] == trainings and entry["towards"] == "CN"
    assert (entry["encoder"], entry["fingerprint"]) == ("e", "f")


@pytest.mark.parametrize(
    ("weight", "scale"),
    [([[0, 0, 0]], [1, 1, 1]), ([[1, np.nan, 0]], [1, 1, 1]), ([[1, 0, 0]], [1, 0, 1]), ([[1, 0, 0]], [1, -1, 1])],
    ids=["no length", "not finite", "a deviation of 0", "a negative deviation"],
)
def test_no_direction_is_kept_that_could_not_be_read_back(weight, scale):
    assert extras(done((np.array(weight, float), np.array(scale, float)))) == {}


@pytest.mark.parametrize("pattern", [[0.0, 0, 0], [1.0, np.inf, 0]], ids=["no length", "not finite"])
def test_no_pattern_is_kept_that_could_not_be_read_back(pattern):
    assert extras(done((np.ones((1, 3)), np.ones(3), np.array([pattern])))) == {}


def test_a_pattern_is_kept_read_back_and_moved_along(tmp_path):
    entry = extras(done((np.array([[3.0, 0.0, 4.0]]), np.ones(3), np.array([[0.0, -2.0, 0.0]]))))
    (tmp_path / "result.json").write_text(json.dumps({"extras": entry}))
    found = load_direction(tmp_path, 3)
    assert found.pattern is not None and found.pattern.tolist() == [0, -1, 0]
    codes = torch.zeros(1, 3)
    for what, expected in ((None, [0, -1, 0]), ("pattern", [0, -1, 0]), ("weight", [0.6, 0, 0.8])):
        moved = found.along(what).move(codes, 1.0)[0] / math.sqrt(3)
        assert moved.tolist() == pytest.approx(expected)
    again = load_direction(save_direction(found, tmp_path / "d.json"), 3)
    assert again.pattern is not None and torch.equal(again.pattern, found.pattern)


def test_a_head_without_a_pattern_moves_along_its_weights(tmp_path):
    found = load_direction(published(tmp_path), DIM)
    assert found.pattern is None and found.along() is found.head and found.along("weight") is found.head
    with pytest.raises(WeightsError, match="has no pattern") as caught:
        found.along("pattern")
    assert "--along weight" in str(caught.value)


@pytest.mark.parametrize("pattern", [[0, 0], [1], [1, "a"], 3, [1, math.nan]], ids=str)
def test_a_damaged_pattern_is_refused(tmp_path, pattern):
    content = {"weight": [1, 2], "std": [1, 1], "pattern": pattern}
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="pattern"):
        load_direction(tmp_path / "d.json", 2)


def test_probes_of_several_outputs_keep_none():
    assert extras(done((np.ones((2, 3)), np.ones(3)))) == {}
    assert extras(done((np.ones((1, 3)), np.ones(3))), task="multilabel") == {}


def test_a_direction_that_is_kept_is_read_back(tmp_path):
    entry = extras(done((np.array([[3.0, 0.0, 4.0]]), np.array([1.0, 2.0, 3.0]))))
    (tmp_path / "result.json").write_text(json.dumps({"extras": entry}))
    found = load_direction(tmp_path, 3)
    assert found.head.weight.tolist() == pytest.approx([0.6, 0, 0.8]) and found.head.std.tolist() == [1, 2, 3]
    assert found.towards == "CN" and not found.scores and float(found.head.bias) == 0


def test_a_folder_of_a_training_that_has_not_ended_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "semantic").mkdir()
    for name in ("semantic", tmp_path / "semantic", "./semantic"):
        with pytest.raises(CardError, match="holds no encoder") as caught:
            get_card(name)
        assert "a training writes card.md when it ends" in str(caught.value)
    with pytest.raises(UnknownNameError):
        get_card("semantics")
    (tmp_path / "ldae-tiny").mkdir()  # a folder of that name does not hide the card
    assert get_card("ldae-tiny").id == "ldae-tiny"


def test_an_encoder_that_draws_nothing_names_those_that_do():
    with pytest.raises(CardError, match="has no generator") as caught:
        generator_of(get_card("brain-volume-stats"))
    assert "ldae-brain-mri" in str(caught.value)
    assert generator_of(get_card("ldae-tiny")).steps >= 1


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part.of_it"])
def test_the_package_that_is_missing_is_named_and_not_its_part(module):
    with pytest.raises(MissingExtraError) as caught:
        import_extra(module, "mri", "Drawing")
    assert "the Python package 'no_such_package'," in str(caught.value) and "medfm[mri]" in str(caught.value)
