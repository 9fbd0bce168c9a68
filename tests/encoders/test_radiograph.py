"""Networks for radiographs: the family, its preprocessing, the classifier's outputs and the cards."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import medfm
from medfm.core.errors import CardError, ConfigError, ReadError, UnknownNameError
from medfm.encoders.card import read_card
from medfm.encoders.card_schema import ClassifierSpec
from medfm.encoders.class_outputs import at_operating_points, class_output
from medfm.encoders.families import check_architecture
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_radiograph import eight_bits, middle_square, resized, unit_radiograph
from medfm.encoders.radiograph import RadiographNet, build_radiograph, plain_names
from medfm.encoders.registry import get_card
from medfm.modalities.record import Record
from medfm.testing import check_encoder

CARDS = ("xrv-resnet50", "xrv-densenet121", "bpdneo-resnet50", "bpdneo-resnet50-rgb")
STEPS = [
    {"step": "radiograph_scale", "low": -1024, "high": 1024},
    {"step": "radiograph_square"},
    {"step": "radiograph_size", "size": [64, 64]},
]


@pytest.fixture(scope="module")
def tiny_card(tmp_path_factory) -> Path:
    """xrv-resnet50 with a small trunk, 64 pixels and three classes."""
    text = get_card("xrv-resnet50").path.read_text(encoding="utf-8")
    text = text.replace("id: xrv-resnet50", "id: xrv-tiny").replace("backbone: resnet50", "backbone: resnet18-narrow")
    text = text.replace("classes: 18, image_size: 512", "classes: 3, image_size: 64").replace("[512, 512]", "[64, 64]")
    text = text.replace("[1, 512, 512]", "[1, 64, 64]").replace("dim: 2048", "dim: 128")
    text = re.sub(r"parameters: \d+", "parameters: null", text)
    head = "  classifier:\n    classes: [a, b, c]\n    not_trained: [b]\n    operating_points: [0.2, null, 0.9]\n"
    text = re.sub(r"  classifier:\n.*?(?=  gated)", head, text, flags=re.S)
    path = tmp_path_factory.mktemp("card") / "card.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_network_conforms(tiny_card):
    passed = check_encoder(tiny_card).passed
    assert "the fingerprint sees one changed weight" in passed and "token shape" in passed


def test_classify(tiny_card):
    encoder = medfm.load_encoder(tiny_card, weights="random", device="cpu")
    assert encoder.classes == ("a", "c")
    record = Record("r", "chest_xray", np.random.default_rng(0).random((90, 70), dtype=np.float32))
    batch = torch.stack([encoder.preprocess(record)] * 2) / 1024
    logit = encoder.classify(batch, output="logit", untrained=True)
    features = encoder(batch)
    head = encoder.module.network.fc
    torch.testing.assert_close(logit, features @ head.weight.T + head.bias)
    probability = encoder.classify(batch, untrained=True)
    assert torch.equal(probability, torch.sigmoid(logit)) and probability.shape == (2, 3)
    rescaled = encoder.classify(batch, output="operating_point", untrained=True)
    assert torch.equal(rescaled[:, 1], torch.full((2,), 0.5))
    assert torch.equal(encoder.classify(batch, output="operating_point"), rescaled[:, [0, 2]])
    assert encoder.classify(batch[:0]).shape == (0, 2)
    with pytest.raises(UnknownNameError, match="probabilty"):
        encoder.classify(batch, output="probabilty")
    with pytest.raises(ConfigError, match="shape"):
        encoder.classify(batch[:, :, :32])
    torch.testing.assert_close(encoder.tokens(batch).mean(dim=1), features, rtol=1e-4, atol=1e-5)


def test_the_classifier_is_no_part_of_the_fingerprint(tiny_card):
    encoder = medfm.load_encoder(tiny_card, weights="random", device="cpu")
    module = copy.deepcopy(encoder.module)
    with torch.no_grad():
        module.network.fc.weight += 1
    other = type(encoder)(encoder.card, module, "random", "x")
    assert other.fingerprint == encoder.fingerprint


def test_an_encoder_without_a_classifier_says_so():
    encoder = medfm.load_encoder("color-histogram", device="cpu")
    assert encoder.classes == ()
    with pytest.raises(CardError, match="without a classifier") as error:
        encoder.classify(torch.zeros(1, 3, 8, 8))
    assert "probe" in (error.value.fix or "")


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121"])
def test_channels_and_classes_are_built(backbone):
    module = build_radiograph({"backbone": backbone, "channels": 3, "classes": 5, "image_size": 64}, device="meta")
    names = plain_names(module)
    assert len(set(names.values())) == len(names) == len(module.state_dict())
    first = "features.conv0.weight" if backbone == "densenet121" else "conv1.weight"
    last = "classifier.weight" if backbone == "densenet121" else "fc.weight"
    state = module.state_dict()
    assert state[names[first]].shape == (64, 3, 7, 7) and state[names[last]].shape == (5, module.args.dim)
    assert isinstance(module, RadiographNet)


def test_a_card_with_other_classes_than_its_network_is_refused():
    card = get_card("xrv-resnet50")
    fewer = card.spec.model_copy(update={"classifier": ClassifierSpec(classes=("a", "b"))})
    with pytest.raises(ConfigError, match="names 2 classes but the architecture answers 18"):
        check_architecture(fewer, "x")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classes": ["a", "a"]}, "differ"),
        ({"classes": ["a"], "not_trained": ["b"]}, "no class"),
        ({"classes": ["a", "b"], "operating_points": [0.5]}, "one entry per class"),
        ({"classes": ["a"], "operating_points": [1.0]}, "between 0 and 1"),
    ],
)
def test_a_classifier_that_contradicts_itself(values, words):
    with pytest.raises(ValueError, match=words):
        ClassifierSpec.model_validate(values)


def naive(p: float, t: float) -> float:
    if np.isnan(t):
        return 0.5
    return p / (2 * t) if p < t else 1 - (1 - p) / (2 * (1 - t))


POINTS = st.one_of(st.just(float("nan")), st.floats(0.0009765625, 0.9990234375, width=32))


@given(st.lists(st.tuples(st.floats(0, 1, width=32), POINTS), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_operating_points_against_a_plain_loop(pairs):
    probability = torch.tensor([[p for p, _ in pairs]])
    points = torch.tensor([t for _, t in pairs])
    found = at_operating_points(probability, points)[0]
    expected = torch.tensor([naive(p, t) for p, t in pairs])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert bool(((found >= 0) & (found <= 1)).all())


def test_operating_points_keep_the_ends_and_the_order():
    points = torch.full((5,), 0.3)
    found = at_operating_points(torch.tensor([[0.0, 0.2, 0.3, 0.6, 1.0]]), points)[0]
    torch.testing.assert_close(found, torch.tensor([0.0, 1 / 3, 0.5, 1 - 0.4 / 1.4, 1.0]))
    none = class_output(torch.zeros(2, 3), ClassifierSpec(classes=("a", "b", "c")), "operating_point")
    assert torch.equal(none, torch.full((2, 3), 0.5))


def test_preprocessing_equals_the_published_order_of_steps():
    """Scale, cut, resize: by hand with plain torch."""
    picture = np.random.default_rng(1).random((131, 100), dtype=np.float32)
    steps = Preprocessing(STEPS)
    found = steps(Record("r", "chest_xray", picture))
    scaled = torch.from_numpy((2 * picture - 1) * 1024)[15:115]  # 131 // 2 - 100 // 2
    expected = torch.nn.functional.interpolate(scaled[None, None], size=(64, 64), mode="bilinear", antialias=True)[0]
    assert steps.shape == tuple(found.shape) == (1, 64, 64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert float(found.min()) >= -1024 and float(found.max()) <= 1024


def test_eight_bit_pictures_as_bpdneo_reads_them():
    picture = np.random.default_rng(2).integers(0, 256, (40, 60), dtype=np.uint8)
    steps = Preprocessing([STEPS[0], {"step": "radiograph_size", "size": [64, 64]}])
    published = torch.from_numpy(((2 * picture.astype(np.float32) / 255) - 1.0) * 1024)[None, None]
    expected = torch.nn.functional.interpolate(published, size=(64, 64), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(steps(picture), expected, rtol=0, atol=1e-3)


def test_black_and_white_keep_their_values_and_the_record_is_not_changed():
    picture = np.zeros((8, 8), np.float32)
    picture[4:] = 1
    before = picture.copy()
    found = Preprocessing([STEPS[0], {"step": "radiograph_size", "size": [8, 8]}]).array(picture)
    assert set(found.ravel().tolist()) == {-1024.0, 1024.0} and np.array_equal(picture, before)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1, width=32)))
@settings(max_examples=40, deadline=None)
def test_middle_square_and_resize_on_any_shape(picture):
    square = middle_square(picture)
    assert square.shape == (min(picture.shape),) * 2
    assert resized(picture, (5, 7)).shape == (5, 7)
    assert resized(picture, picture.shape) is picture
    flat = resized(np.full_like(picture, 0.25), (4, 6))
    np.testing.assert_allclose(flat, 0.25, rtol=1e-6)
    whole = eight_bits(picture)
    assert whole.dtype == np.uint8 and np.abs(whole / 255 - picture).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "shape"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), np.float64), "float64"),
        (np.zeros((0, 4), np.float32), "shape"),
        (np.full((4, 4), 4095, np.float32), "values from 4095"),
        (np.full((4, 4), -0.5, np.float32), "values from -0.5"),
        (np.full((4, 4), np.nan, np.float32), "nan"),
    ],
    ids=["colour", "uint16", "float64", "empty", "stored values", "negative", "nan"],
)
def test_what_is_no_radiograph_is_refused(array, words):
    with pytest.raises(ReadError, match=words) as error:
        unit_radiograph(array, "r1")
    assert error.value.where == "r1" and "0 black to 1" in str(error.value.expected)
    with pytest.raises(ReadError):
        Preprocessing(STEPS).array(array)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (STEPS[:2], "radiograph_size"),
        ([*STEPS, STEPS[2]], "exactly once"),
        ([STEPS[0], *STEPS], "may stand once"),
        ([STEPS[2], STEPS[1]], "must come before"),
        ([STEPS[2], {"step": "to_unit_range"}], "to_unit_range cannot stand"),
        ([{"step": "radiograph_size", "size": [0, 4]}], "positive"),
        ([{"step": "radiograph_scale", "low": 1, "high": 1}], "below"),
    ],
)
def test_orders_without_a_meaning(steps, words):
    with pytest.raises(ValueError, match=words):
        Preprocessing(steps)


def test_networks_of_eight_bit_pictures_take_radiographs_too():
    """A radiograph, rounded to 8 bits and repeated, is the picture that imagenet-resnet50 was made for."""
    picture = np.random.default_rng(3).random((240, 250), dtype=np.float32)
    steps = Preprocessing(get_card("imagenet-resnet50").spec.preprocessing)
    bits = np.rint(picture * 255).astype(np.uint8)
    assert torch.equal(steps(Record("r", "chest_xray", picture)), steps(np.repeat(bits[:, :, None], 3, axis=2)))
    with pytest.raises(ReadError):
        Preprocessing(get_card("dinov2-vitb14").spec.preprocessing[1:]).array(picture)


def test_the_cards_share_what_they_must():
    xrv, dense, bpd, rgb = (get_card(name).spec for name in CARDS)
    assert xrv.classifier.classes == dense.classifier.classes and len(xrv.classifier.classes) == 18
    unknown = [n for n, p in zip(xrv.classifier.classes, xrv.classifier.operating_points, strict=True) if p is None]
    assert tuple(unknown) == xrv.classifier.not_trained == ("Lung Lesion", "Enlarged Cardiomediastinum")
    assert None not in dense.classifier.operating_points and not dense.classifier.not_trained
    kinds = [[step.step for step in spec.preprocessing] for spec in (xrv, dense, bpd)]
    assert kinds[0] == kinds[1] == ["radiograph_scale", "radiograph_square", "radiograph_size"]
    assert kinds[2] == ["radiograph_scale", "radiograph_size"]  # proportions are not kept
    assert all(spec.preprocessing[0].high == 1024 == -spec.preprocessing[0].low for spec in (xrv, dense, bpd))
    assert bpd.classifier == rgb.classifier and rgb.input.shape == (3, 512, 512)
    seen = {entry.name for entry in bpd.training_data}
    assert seen > {entry.name for entry in xrv.training_data}


def test_the_card_survives_reading_with_its_classifier(tiny_card):
    spec = read_card(tiny_card).spec
    assert spec.classifier is not None and spec.classifier.operating_points == (0.2, None, 0.9)
