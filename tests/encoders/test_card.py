"""Reading, checking and writing model cards."""

import hashlib
from pathlib import Path

import pytest

from medfm.core.errors import CardError, StoreError
from medfm.encoders.card import Card, read_card, render_card, write_card


def test_what_a_card_offers(mini: Card):
    assert (mini.id, mini.title, mini.modality) == ("mini", "Mini", "blood_cell")
    assert mini.embedding_dim == 32
    assert mini.licence == "apache-2.0"
    assert mini.folder == mini.path.parent
    assert mini.prose.startswith("# Mini")
    assert mini.sha256 == hashlib.sha256(mini.path.read_bytes()).hexdigest()
    assert mini.spec is mini.header.medfm


def test_front_matter_may_hold_dashes_and_prose_rules(write_card):
    card = read_card(write_card(prose="# T\n\n---\n\nafter a rule\n", set={"medfm.summary": "a --- b"}))
    assert card.spec.summary == "a --- b"
    assert card.prose == "# T\n\n---\n\nafter a rule\n"


def test_windows_line_ends_are_read(write_card):
    path = write_card()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_card(path).id == "mini"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("medfm.titel", "x", ["medfm.titel", "did you mean 'title'"]),
        ("licence", "x", ["licence", "did you mean 'license'"]),
        ("medfm.id", "Mini_1", ["medfm.id"]),
        ("medfm.id", "-mini", ["medfm.id"]),
        ("medfm.title", ..., ["medfm.title", "required"]),
        ("license", ..., ["license", "required"]),
        ("medfm.modality", ..., ["medfm.modality"]),
        ("medfm.embedding.dim", 0, ["medfm.embedding.dim"]),
        ("medfm.embedding.dim", 64, ["64 numbers", "gives 32"]),
        ("medfm.embedding.what", "mean", ["medfm.embedding.what"]),
        ("medfm.input.shape", [3, 56], ["medfm.input.shape"]),
        ("medfm.input.dtype", "float64", ["medfm.input.dtype"]),
        ("medfm.architecture.family", "dinov3", ["dinov3", "dinov2"]),
        ("medfm.architecture.args", {"size": "smal"}, ["size"]),
        ("medfm.architecture.args", {"size": "custom", "width": 32}, ["needs width, depth and heads"]),
        ("medfm.weights.key_map.dropp", ["a"], ["medfm.weights.key_map.dropp", "did you mean 'drop'"]),
        ("medfm.weights.sources", [{"kind": "hub", "repo": "a/b"}], ["filename"]),
        ("medfm.weights.sources", [{"kind": "ftp", "filename": "a"}], ["ftp"]),
        ("medfm.weights.sources", [{"kind": "hub", "repo": "nohub", "filename": "x"}], ["repo"]),
        ("medfm.weights.sources", [{"kind": "hub", "repo": "a/b", "filename": "x", "sha256": "12"}], ["sha256"]),
        ("medfm.weights.sources", [{"kind": "file", "filename": "../x"}], ["own folder"]),
        ("medfm.weights.sources", [{"kind": "file", "filename": "/etc/x"}], ["own folder"]),
        ("medfm.preprocessing", [], ["to_unit_range"]),
        ("medfm.preprocessing", [{"step": "sharpen"}], ["sharpen"]),
        (
            "medfm.preprocessing",
            [{"step": "resize", "size": [56, 56], "filter": "x"}, {"step": "to_unit_range"}],
            ["filter"],
        ),
        ("medfm.training_data", [{"name": "Big Set", "title": "x"}], ["name"]),
        ("medfm.results", [{"name": "x"}], ["dataset", "required"]),
    ],
)
def test_a_wrong_card_names_the_file_and_the_key(write_card, key, value, words):
    path = write_card(set={key: value})
    with pytest.raises(CardError) as error:
        read_card(path)
    text = str(error.value)
    assert str(path) in text
    for word in words:
        assert word in text, text


RESULT = {
    "name": "r",
    "dataset": "d",
    "cohort": "bmc",
    "target": "label",
    "protocol": "dinobloom-linear@1",
    "metric": "accuracy",
    "source": "table 2",
    "sourcing": "paper table",
    "value": 0.9,
}


def test_published_results_are_read(write_card):
    card = read_card(write_card(set={"medfm.results": [RESULT]}))
    (result,) = card.spec.results
    assert result.value == 0.9 and result.tolerance == 0.01 and result.variant is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"value": None}, "unverified"),
        ({"protocol": "dinobloom-linear"}, "protocol"),
        ({"protocol": "DinoBloom@1"}, "protocol"),
        ({"sourcing": "rumour"}, "sourcing"),
        ({"tolerance": 0}, "tolerance"),
        ({"spread": -1}, "spread"),
    ],
)
def test_a_dishonest_or_malformed_result_is_refused(write_card, change, word):
    with pytest.raises(CardError, match=word):
        read_card(write_card(set={"medfm.results": [RESULT | change]}))


def test_a_value_may_be_absent_when_it_is_said(write_card):
    card = read_card(write_card(set={"medfm.results": [RESULT | {"value": None, "sourcing": "unverified"}]}))
    assert card.spec.results[0].value is None


def test_a_file_without_front_matter(tmp_path: Path):
    path = tmp_path / "x.md"
    path.write_text("# Only text\n")
    with pytest.raises(CardError, match="no front matter"):
        read_card(path)
    path.write_text("---\nlicense: x\n")
    with pytest.raises(CardError, match="no front matter"):
        read_card(path)


def test_a_missing_or_binary_file(tmp_path: Path):
    with pytest.raises(CardError, match="does not exist"):
        read_card(tmp_path / "none.md")
    (tmp_path / "b.md").write_bytes(b"\xff\xfe\x00---")
    with pytest.raises(CardError, match="UTF-8"):
        read_card(tmp_path / "b.md")
    with pytest.raises(CardError, match="cannot be read"):
        read_card(tmp_path)


def test_broken_yaml_names_the_line(tmp_path: Path):
    path = tmp_path / "x.md"
    path.write_text("---\nlicense: [a\nmedfm: 1\n---\ntext\n")
    with pytest.raises(CardError, match="line"):
        read_card(path)


def test_a_key_given_twice_is_an_error(write_card):
    path = write_card()
    path.write_text(path.read_text().replace("license: apache-2.0", "license: mit\nlicense: apache-2.0"))
    with pytest.raises(CardError, match="given twice"):
        read_card(path)


def test_front_matter_that_is_a_list(tmp_path: Path):
    path = tmp_path / "x.md"
    path.write_text("---\n- a\n- b\n---\ntext\n")
    with pytest.raises(CardError, match="group of keys"):
        read_card(path)


def test_render_and_read_are_inverse(mini: Card, tmp_path: Path):
    copy = tmp_path / "copy.md"
    copy.write_text(render_card(mini.header, mini.prose), encoding="utf-8")
    again = read_card(copy)
    assert again.header == mini.header
    assert again.prose == mini.prose


def test_write_card_is_atomic_and_checked(mini: Card, tmp_path: Path):
    written = write_card(tmp_path / "new" / "card.md", mini.header, "Grüße, µm ≥ 5")
    assert written.prose == "Grüße, µm ≥ 5\n"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["card.md"]


def test_write_card_into_a_place_that_is_a_file(mini: Card, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        write_card(tmp_path / "file" / "card.md", mini.header, "text")


def test_the_hub_field_with_a_hyphen_survives(write_card, tmp_path: Path):
    index = [{"name": "m", "results": []}]
    card = read_card(write_card(set={"model-index": index}))
    assert card.header.model_index == tuple(index)
    text = render_card(card.header, card.prose)
    assert "model-index:" in text and "model_index" not in text
