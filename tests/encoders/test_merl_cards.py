"""What the MERL cards must say, that they hold together, and that people can see them."""

import json
import re

import pytest

from medfm.cli.main import main
from medfm.core.errors import CardError
from medfm.encoders.card import read_card
from medfm.encoders.keymaps import match
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card, list_encoders

WHOLE = ["merl-resnet18", "merl-vit-tiny"]
POOLED = ["merl-resnet18-pooled", "merl-vit-tiny-pooled"]
ALL = WHOLE + POOLED
ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in (0, 1)
    return capsys.readouterr().out


def test_the_cards_are_listed():
    assert set(list_encoders("ecg")) >= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_facts(name):
    card = get_card(name)
    spec = card.spec
    assert card.path.stem == card.id == name and card.modality == "ecg" and card.licence == "mit"
    assert spec.embedding.dim == {**dict.fromkeys(WHOLE, 256), POOLED[0]: 512, POOLED[1]: 192}[name]
    assert not spec.embedding.normalised
    assert (spec.text is not None) is (name in WHOLE)
    assert spec.architecture.args["backbone"] == ("resnet18" if "resnet" in name else "vit_tiny")
    if spec.text is not None:
        assert spec.text.max_tokens == 256 and spec.text.tokenizer == "ncbi/MedCPT-Query-Encoder"


@pytest.mark.parametrize("name", ALL)
def test_preprocessing(name):
    spec = get_card(name).spec
    usual = Preprocessing(spec.preprocessing)
    assert usual.shape == spec.input.shape == (12, 5000)
    by_name = {step.step: step for step in spec.preprocessing}
    assert by_name["lead_order"].leads == ORDER == tuple(spec.input.channel_order.split(", "))
    assert by_name["resample"].hz == 500 and by_name["min_max"].epsilon == 1e-8
    assert by_name["crop_samples"].samples == by_name["pad_samples"].samples == 5000
    assert set(spec.preprocessing_variants) == {"cpsc2018", "pretraining"}
    cpsc = {step.step: step for step in spec.preprocessing_variants["cpsc2018"]}
    assert cpsc["crop_samples"].samples == 2500 and cpsc["pad_samples"].samples == 5000
    stored = {step.step: step for step in spec.preprocessing_variants["pretraining"]}
    assert stored["min_max"].epsilon == 0 and stored["quantise"].levels == 1000
    digests = {Preprocessing(steps).digest for steps in spec.preprocessing_variants.values()}
    assert len(digests | {usual.digest}) == 3


def test_both_embeddings_of_a_network_are_prepared_alike():
    for whole, pooled in zip(WHOLE, POOLED, strict=True):
        one, other = get_card(whole).spec, get_card(pooled).spec
        assert one.preprocessing == other.preprocessing
        assert one.preprocessing_variants == other.preprocessing_variants


@pytest.mark.parametrize("name", ALL)
def test_prose_answers_a_clinicians_questions(name):
    prose = get_card(name).prose
    for heading in ("What it is", "What it is not for", "How to use it here", "Known traps", "What is not verified"):
        assert f"## {heading}" in prose
    assert f'load_encoder("{name}"' in prose
    for words in ("not a medical device", "No published weights could be had", "synthetic weights"):
        assert words in prose
    # Tables cannot be broken into lines.
    assert max(len(line) for line in prose.splitlines() if not line.startswith("|")) <= 140
    assert not re.search(r"(?<![\w.])/(home|work|root|tmp|Users)/", get_card(name).path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ALL)
def test_traps_are_written_down(name):
    text = " ".join(get_card(name).spec.deviations)
    for words in ("aVL before aVF", "twelve leads together", "CPSC2018", "thousandths", "0.0002", "validation parts"):
        assert words in text
    if name in WHOLE:
        for words in ("never trained", "pooler output", "not of length 1"):
            assert words in text
    assert ("adds the position of its query twice" in text) is (name == "merl-resnet18")
    prose = get_card(name).prose
    for words in ("sub-class task", "Labels of CSN", "2602.17531"):
        assert words in prose


def test_published_figures_carry_their_sourcing():
    zero_shot = get_card("merl-resnet18").prose
    for figure in ("74.2", "75.7", "65.9", "78.5", "82.8", "74.4", "75.2"):
        assert figure in zero_shot
    mean = sum([74.2, 75.7, 65.9, 78.5, 82.8, 74.4]) / 6
    assert abs(mean - 75.2) < 0.06
    assert "abstract" in zero_shot and "secondary" in zero_shot
    linear = get_card("merl-resnet18-pooled").prose
    confirmed = set(re.findall(r"\*\*(\d\d\.\d\d)\*\*", linear))
    assert confirmed == {"82.39", "64.90", "58.26", "53.33", "70.33", "66.60", "88.34", "90.57"}
    assert "[unverified]" in linear and "[unverified]" in get_card("merl-vit-tiny-pooled").prose
    assert "No zero-shot figure of this size could be found" in get_card("merl-vit-tiny").prose


def test_the_one_known_hash():
    digest = "38ba669c2cc319670c4172d8c292f123e86b8e7106b1a68bb7e10dd89f09daf5"
    known = {(name, s.filename): s.sha256 for name in ALL for s in get_card(name).spec.weights.sources if s.sha256}
    assert known == {("merl-resnet18-pooled", "res18_best_encoder.pth"): digest}


@pytest.mark.parametrize("name", ALL)
def test_contamination_flags(name):
    status = {entry.name: entry.status for entry in get_card(name).spec.training_data}
    assert status == {"mimic-iv-ecg": "used", "ptbxl": "held out", "cpsc2018": "held out", "csn": "held out"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("shape: [12, 5000]", "shape: [12, 5000, 1]", "2 numbers are needed"),
        ("dim: 256", "dim: 255", "architecture gives 256"),
        ("backbone: resnet18", "backbone: resnet19", "backbone"),
        ("epsilon: 0.0}", "epsilon: -1}", "epsilon"),
        (
            "    pretraining:\n    - {step: repair",
            "    pretraining:\n    - {step: to_rgb}\n    - {step: repair",
            "cannot be mixed",
        ),
        ("absent_together: [lm_model", "absent_together: [7, lm_model", "absent_together"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(tmp_path, old, new, message):
    text = get_card("merl-resnet18").path.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "card.md"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CardError) as error:
        read_card(path)
    assert message in str(error.value)


def test_a_group_that_may_be_absent_only_as_a_whole():
    import torch

    key_map = get_card("merl-resnet18").spec.weights.key_map
    wanted = {"a.weight": (1,), "lm_model.x": (1,), "proj_t.0.bias": (1,)}
    one = torch.zeros(1)
    assert match({"a.weight": one}, wanted, key_map, "x")[1].absent == ("lm_model.x", "proj_t.0.bias")
    report = match({"a.weight": one, "proj_t.0.bias": one}, wanted, key_map, "x")[1]
    assert report.missing == ("lm_model.x",) and not report.absent
    report = match({"lm_model.x": one, "proj_t.0.bias": one}, wanted, key_map, "x")[1]
    assert report.missing == ("a.weight",)


def test_people_can_see_them(capsys):
    listed = run(capsys, "encoders", "--modality", "ecg", "--json")
    assert all(name in listed for name in ALL)
    shown = " ".join(run(capsys, "encoders", "show", "merl-resnet18").split())
    for words in (
        "12 leads (I, II, III, aVR, aVF",
        "x 5000 samples",
        "preprocessing for cpsc2018",
        "MedCPT",
        "114.3 M",
    ):
        assert words in shown
    assert "224 x 224 pixels" in " ".join(run(capsys, "encoders", "show", "dinobloom-s").split())
    doctor = run(capsys, "doctor", "merl-resnet18", "--json")
    assert json.loads(doctor)["encoders"][0]["id"] == "merl-resnet18"
