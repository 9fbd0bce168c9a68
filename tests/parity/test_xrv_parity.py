"""TorchXRayVision and BPDneo against golden figures of the published code; never skipped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fill import filled, filled_input, filled_state, golden, published_shapes

from medfm.core.errors import WeightsError
from medfm.encoders.encoder import Encoder
from medfm.encoders.keymaps import match
from medfm.encoders.layouts import from_bpdneo_twice
from medfm.encoders.preprocessing_radiograph import resized
from medfm.encoders.published import build, load_published, plain_shapes
from medfm.encoders.registry import get_card

CASES = ("0", "1")
NETWORKS = ("xrv-resnet50", "xrv-densenet121", "bpdneo-resnet50", "bpdneo-resnet50-rgb")


def picture(case: str, what: str, side: int) -> torch.Tensor:
    return torch.from_numpy(filled_input(f"xrv-resnet50/{case}{what}", (1, 1, side, side)))


def bpdneo_state(name: str = "bpdneo-resnet50") -> dict[str, torch.Tensor]:
    """The rule of the golden: the second copy holds the values of ``inner_model``, and NaN among the thresholds."""
    state = {}
    for key, shape in published_shapes(name).items():
        inner = key.replace("base_model.model.", "inner_model.").replace("base_model.", "inner_model.")
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith("op_threshs"):
            state[key] = torch.full(shape, float("nan"))
        else:
            state[key] = torch.from_numpy(filled(inner, shape))
    return state


@pytest.fixture(scope="module")
def resnet() -> Iterator[Encoder]:
    module, report = load_published("xrv-resnet50", filled_state("xrv-resnet50"))
    assert len(report.loaded) == 320 and not report.dropped
    yield Encoder(get_card("xrv-resnet50"), module, "local file", "filled", report)


@pytest.fixture(scope="module")
def resnet_features(resnet) -> dict[str, torch.Tensor]:
    """Features of all six golden inputs: scaled, as they are, and brought from 300 to 512 pixels."""
    found = {}
    for case in CASES:
        whole = picture(case, "", 512)
        small = 1024 * picture(case, "/r", 300)[0, 0]
        larger = torch.from_numpy(resized(small.numpy(), (512, 512)))[None, None]
        found |= {f"scaled_{case}": resnet(1024 * whole), f"unit_{case}": resnet(whole), f"r_{case}": resnet(larger)}
    return found


def answers(encoder: Encoder, features: torch.Tensor, output: str) -> np.ndarray:
    """What ``classify`` makes of features that were computed before."""
    from medfm.encoders.class_outputs import class_output

    with torch.inference_mode():
        logits = encoder.module.answers(features)
    spec = encoder.card.spec.classifier
    assert spec is not None
    return class_output(logits, spec, output).numpy()


@pytest.mark.parametrize("case", CASES)
def test_resnet_features_and_answers(resnet, resnet_features, case):
    expected = golden("xrv-resnet50")
    scaled, unit = resnet_features[f"scaled_{case}"], resnet_features[f"unit_{case}"]
    # Features reach 4000; single precision leaves a few millionths of that.
    np.testing.assert_allclose(scaled, expected[f"features_{case}"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(answers(resnet, scaled, "logit"), expected[f"logits_{case}"], rtol=1e-4, atol=0.01)
    np.testing.assert_allclose(answers(resnet, unit, "logit"), expected[f"logits_unit_{case}"], rtol=1e-4, atol=1e-4)
    rescaled = answers(resnet, unit, "operating_point")
    np.testing.assert_allclose(rescaled, expected[f"forward_unit_{case}"], rtol=1e-4, atol=1e-6)
    # Never trained: always exactly one half.
    assert [index for index in range(18) if rescaled[0, index] == 0.5] == [14, 17]


@pytest.mark.parametrize("case", CASES)
def test_resnet_behind_its_own_resize(resnet_features, case):
    expected = golden("xrv-resnet50")[f"features_resized300_{case}"]
    np.testing.assert_allclose(resnet_features[f"r_{case}"], expected, rtol=1e-4, atol=1e-3)


def test_the_two_inputs_differ_by_more_than_the_tolerance():
    expected = golden("xrv-resnet50")
    gap = np.abs(expected["logits_unit_0"] - expected["logits_unit_1"]).max()
    assert gap > 100 * 1e-4


def test_classify_leaves_out_what_was_never_trained(resnet, resnet_features, monkeypatch):
    # Forwards were paid for above.
    monkeypatch.setattr(type(resnet.module), "forward", lambda self, x: resnet_features["unit_0"])
    batch = picture("0", "", 512)
    every = resnet.classify(batch, output="operating_point", untrained=True)
    trained = resnet.classify(batch, output="operating_point")
    assert every.shape == (1, 18) and trained.shape == (1, 16) == (1, len(resnet.classes))
    assert "Lung Lesion" not in resnet.classes and "Enlarged Cardiomediastinum" not in resnet.classes
    keep = [index for index in range(18) if index not in (14, 17)]
    assert torch.equal(trained, every[:, keep])
    np.testing.assert_allclose(every, golden("xrv-resnet50")["forward_unit_0"], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def bpdneo() -> Iterator[Encoder]:
    # As published: nested, every trunk tensor twice.
    module, report = load_published("bpdneo-resnet50", {"model_state_dict": bpdneo_state(), "epoch": 19})
    assert len(report.loaded) == 320 and report.dropped == ("op_threshs",)
    assert "bpdneo-twice" in report.layout and "model_state_dict" in report.layout
    yield Encoder(get_card("bpdneo-resnet50"), module, "local file", "filled", report)


@pytest.mark.parametrize("case", CASES)
def test_bpdneo(bpdneo, case):
    expected, whole = golden("xrv-resnet50"), picture(case, "", 512)
    logit = bpdneo.classify(torch.cat([1024 * whole, whole]), output="logit")
    np.testing.assert_allclose(logit[:1], expected[f"bpd_logit_{case}"], rtol=1e-3)
    np.testing.assert_allclose(logit[1:], expected[f"bpd_logit_unit_{case}"], rtol=1e-3)


def test_densenet():
    module, report = load_published("xrv-densenet121", filled_state("xrv-densenet121"))
    assert len(report.loaded) == 727
    encoder = Encoder(get_card("xrv-densenet121"), module, "local file", "filled", report)
    expected = golden("xrv-resnet50")
    features = encoder(torch.cat([1024 * picture(case, "/d", 224) for case in CASES]))
    logits = answers(encoder, features, "logit")
    for row, case in enumerate(CASES):
        np.testing.assert_allclose(features[row], expected[f"densenet_features2_{case}"][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits[row], expected[f"densenet_logits_{case}"][0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_published_tensor_has_its_place(name):
    ghosts = {key: torch.empty(shape, device="meta") for key, shape in published_shapes(name).items()}
    card = get_card(name)
    wanted = plain_shapes(card)
    report = match(ghosts, wanted, card.spec.weights.key_map, name)[1]
    assert report.ok and set(report.loaded) == set(wanted)
    counts = {"xrv-resnet50": 320, "xrv-densenet121": 727, "bpdneo-resnet50": 639, "bpdneo-resnet50-rgb": 638}
    assert len(ghosts) == counts[name]
    # One tensor missing in all its copies is found.
    less = {key: value for key, value in ghosts.items() if not key.endswith(("layer3.1.bn2.bias", "norm5.bias"))}
    report = match(less, wanted, card.spec.weights.key_map, name)[1]
    assert len(report.missing) == 1


def test_the_names_we_write_are_the_published_ones():
    for name in ("xrv-resnet50", "xrv-densenet121"):
        ours = {key: tuple(v.shape) for key, v in build(name, device="meta").state_dict().items()}
        assert {key.removeprefix("network."): shape for key, shape in ours.items()} == published_shapes(name)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nest", ["model_state_dict", "state_dict", None])
def test_layouts_of_bpdneo(prefix, nest):
    ghosts = {prefix + k: torch.empty(s, device="meta") for k, s in published_shapes("bpdneo-resnet50").items()}
    card = get_card("bpdneo-resnet50")
    checkpoint = ghosts if nest is None else {nest: ghosts}
    report = match(checkpoint, plain_shapes(card), card.spec.weights.key_map, "x")[1]
    assert report.ok and report.layout.startswith("flat" if nest is None else f"under '{nest}'")


def test_copies_that_differ_are_refused():
    state = {f"{start}layer2.0.conv1.weight": torch.ones(2, 3) for start in ("base_model.model.", "inner_model.")}
    same = from_bpdneo_twice(state)
    assert same is not None and list(same) == ["layer2.0.conv1.weight"]
    state["base_model.model.layer2.0.conv1.weight"] = torch.ones(2, 3) + 1e-6
    with pytest.raises(WeightsError, match=r"two copies of 'layer2\.0\.conv1\.weight' differ") as error:
        load_published("bpdneo-resnet50", state)
    assert error.value.fix
    state["base_model.model.layer2.0.conv1.weight"] = torch.ones(2, 4)
    with pytest.raises(WeightsError, match="two copies"):
        from_bpdneo_twice(state)
    assert from_bpdneo_twice({"conv1.weight": torch.ones(1)}) is None
    # A file in which the trunk stands once, under either name, is enough.
    for start in ("inner_model.", "base_model.model.", "base_model."):
        assert list(from_bpdneo_twice({f"{start}bn1.bias": torch.ones(1)}) or {}) == ["bn1.bias"]


def test_the_whole_state_of_the_librarys_own_class_loads_too():
    """``xrv.models.ResNet(...).state_dict()``: the network under ``model.`` and the table of thresholds."""
    names = {
        f"model.{key}": torch.empty(shape, device="meta") for key, shape in published_shapes("xrv-resnet50").items()
    }
    names["op_threshs"] = torch.empty(18, device="meta")
    card = get_card("xrv-resnet50")
    report = match(names, plain_shapes(card), card.spec.weights.key_map, "x")[1]
    assert report.ok and report.dropped == ("op_threshs",)
