"""The MERL family, its preprocessing and its losses against golden figures of the published code; never skipped."""

import json

import numpy as np
import pytest
import torch
from fill import HERE, filled, filled_input, filled_state, golden, published_shapes

from medfm.encoders.encoder import Encoder
from medfm.encoders.keymaps import match
from medfm.encoders.merl import build_merl
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.published import build, load_published, plain_shapes
from medfm.encoders.registry import get_card
from medfm.modalities.record import Record
from medfm.objectives.merl import merl_losses, retrieval_accuracy

MODELS = ["merl-resnet18", "merl-vit-tiny"]
MIMIC = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
CANONICAL = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def ecg_state(name: str) -> dict[str, torch.Tensor]:
    """The golden figures were made without the text tower, whose tensors they do not depend on."""
    return {key: value for key, value in filled_state(name).items() if not key.startswith("lm_model.")}


def without_text(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in ecg_state(name).items() if not key.startswith("proj_t.")}


def encoder(name: str, state: dict[str, torch.Tensor]) -> Encoder:
    module, report = load_published(name, state)
    return Encoder(get_card(name), module, "local file", "filled", report)


def close(ours: torch.Tensor, expected: np.ndarray, key: str) -> None:
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_every_golden_array(name):
    expected = golden(name)
    whole, pooled = encoder(name, without_text(name)), encoder(f"{name}-pooled", without_text(name))
    module = whole.module
    for i in (0, 1):
        x = torch.from_numpy(filled_input(f"{name}/{i}", (2, 12, 5000)))
        slow = torch.from_numpy(np.repeat(filled_input(f"{name}/{i}/slow", (2, 12, 50)), 100, axis=-1))
        vectors = whole(x)
        with torch.inference_mode():
            same, view1, view2 = module.training_outputs(x)
        assert torch.equal(same, vectors)
        ours = {
            "embedding": vectors,
            "embedding_norm": torch.nn.functional.normalize(vectors, dim=-1),
            "uma_view1": view1,
            "uma_view2": view2,
            "slow_embedding": whole(slow),
        }
        if name == "merl-resnet18":
            with torch.inference_mode():
                last = module.ecg_encoder(x)
                ours["encoder_map_t0_20"] = last[:, :, ::16]
                ours["downconv_avgpool"] = module.downconv(last).mean(2)
            ours["encoder_avgpool"], ours["slow_encoder"] = pooled(x), pooled(slow)
            ours["attention"] = whole.attention(x)[:, None]
        else:
            ours["encoder"], ours["slow_encoder"] = pooled(x), pooled(slow)
        for key, value in ours.items():
            close(value, expected.pop(f"{key}_{i}"), key)
    assert not {key for key in expected if not key.startswith("attnpool")}, "a golden array was not compared"


def test_the_attention_pool_adds_the_query_position_twice():
    expected = golden("merl-resnet18")
    pool = load_published("merl-resnet18", without_text("merl-resnet18"))[0].att_pool_head
    x = torch.from_numpy(filled_input("merl-resnet18/attnpool", (2, 256, 313)))
    with torch.inference_mode():
        pool.positional_embedding.mul_(50)
        pool.cls_token.mul_(50)
        pool.mhsa.in_proj_weight.mul_(3)
        out, attention = pool(x, weights=True)
        close(out, expected["attnpool_stress_out"], "out")
        close(attention[:, None], expected["attnpool_stress_attention"], "attention")
        pool.cls_token.sub_(pool.positional_embedding[:, :1])
        once = pool(x)[0]
    assert np.abs(once.numpy() - expected["attnpool_stress_out"]).max() > 1e-2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_whole_checkpoint_by_names_and_shapes(name, prefix):
    shapes = published_shapes(name) | {"lm_model.embeddings.position_ids": (1, 512)}
    ghosts = {prefix + key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    card = get_card(name)
    for checkpoint in (ghosts, {"epoch": 3, "model_state_dict": ghosts, "optimizer_state_dict": {}}):
        found, report = match(checkpoint, plain_shapes(card), card.spec.weights.key_map, name)
        assert report.ok and not report.absent, str(report)
        dropped = {"lm_model.embeddings.position_ids"}
        if name == "merl-resnet18":
            dropped |= {"ecg_encoder.linear.weight", "ecg_encoder.linear.bias"}
        assert set(report.dropped) == {prefix + key for key in dropped}
        assert len(found) == len(shapes) - len(dropped)


@pytest.mark.parametrize("name", MODELS)
def test_the_names_we_write_are_the_published_ones(name):
    ours = {key: tuple(value.shape) for key, value in build(name, device="meta").state_dict().items()}
    stray = {"ecg_encoder.linear.weight", "ecg_encoder.linear.bias"}
    assert ours == {key: shape for key, shape in published_shapes(name).items() if key not in stray}


@pytest.mark.parametrize("name", MODELS)
def test_the_encoder_only_file_gives_the_same_pooled_features(name):
    keys = json.loads((HERE / name / "keys_encoder_file.json").read_text())
    whole = without_text(name)
    state = {key: whole[f"ecg_encoder.{key}"] for key in keys}
    x = torch.from_numpy(filled_input(f"{name}/0", (2, 12, 5000)))
    alone, from_whole = encoder(f"{name}-pooled", state), encoder(f"{name}-pooled", whole)
    close(alone(x), golden(name)["encoder_avgpool_0" if "resnet" in name else "encoder_0"], name)
    assert torch.equal(alone(x), from_whole(x)) and alone.fingerprint == from_whole.fingerprint
    assert alone.key_report is not None
    assert alone.key_report.dropped == (("linear.weight", "linear.bias") if "resnet" in name else ())


def prepared(name: str, steps: Preprocessing) -> np.ndarray:
    length = 7300 if name.endswith("_long") else 5000
    tag = "merl-preprocess/0" + ("/long" if name.endswith("_long") else "")
    raw = filled_input(tag, (12, length)).astype(np.float64) * 0.35
    if name == "chapman":
        raw = np.round(raw * 1000).astype(np.float32)
    leads = MIMIC if name.startswith("pretrain") else CANONICAL
    return steps.array(Record(name, "ecg", raw, {"sampling_hz": 500, "leads": leads}))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["ptbxl", "ptbxl_long", "icbeb", "icbeb_long", "chapman", "pretrain_model_input"])
def test_preprocessing(name, model):
    spec = get_card(model).spec
    variant = {"icbeb": "cpsc2018", "pretrain": "pretraining"}.get(name.split("_")[0])
    ours = prepared(
        name, Preprocessing(spec.preprocessing if variant is None else spec.preprocessing_variants[variant])
    )
    expected = golden("merl-preprocess")
    assert ours.shape == (12, 5000) and ours.dtype == np.float32
    for part, cut in (("every10", ours[:, ::10]), ("head", ours[:, :20]), ("around2500", ours[:, 2490:2510])):
        np.testing.assert_allclose(cut, expected[f"{name}_{part}"], rtol=0, atol=1e-6, err_msg=part)
    stats = [ours.min(), ours.max(), ours.mean(dtype=np.float64), ours.std(dtype=np.float64)]
    np.testing.assert_allclose(stats, expected[f"{name}_stats"], rtol=0, atol=1e-6)


def test_what_pretraining_stores_is_exact():
    ours = prepared("pretrain_int16", Preprocessing(get_card(MODELS[0]).spec.preprocessing_variants["pretraining"]))
    stored = np.round(ours.astype(np.float64) * 1000).astype(np.int16)
    assert np.array_equal(stored[:, ::10], golden("merl-preprocess")["pretrain_int16_every10"])
    assert np.array_equal(stored[:, 2490:2510], golden("merl-preprocess")["pretrain_int16_around2500"])


def test_losses_and_their_gradients():
    expected = golden("merl-losses")
    inputs = {}
    for name, shared, share in (
        ("ecg", "shared", 0.3),
        ("text", "shared", 0.3),
        ("view1", "shared_views", 0.5),
        ("view2", "shared_views", 0.5),
    ):
        own = filled_input(f"merl-losses/0/{name}", (16, 256))
        rows = own + np.float32(share) * filled_input(f"merl-losses/0/{shared}", (16, 256))
        inputs[name] = torch.from_numpy(rows).requires_grad_()
    losses = merl_losses(inputs["ecg"], inputs["text"], inputs["view1"], inputs["view2"])
    losses.total.backward()
    for key, value in (("cma_loss", losses.cma), ("uma_loss", losses.uma), ("total_loss", losses.total)):
        assert value.item() == pytest.approx(float(expected[key]), rel=1e-5)
    for name, rows in inputs.items():
        np.testing.assert_allclose(rows.grad.numpy(), expected[f"grad_{name}"], rtol=0, atol=1e-6, err_msg=name)
    for kind, left, right in (("cma", "ecg", "text"), ("uma", "view1", "view2")):
        for top in (1, 5):
            ours = 100 * retrieval_accuracy(inputs[left], inputs[right], top)
            assert ours == pytest.approx(float(expected[f"{kind}_acc{top}"]), abs=1e-4)


def test_the_text_projection_and_cosines():
    """Pooler output through the projection gives the published class vectors and logits."""
    expected = golden("merl-losses")
    module = build_merl({"text": {"layers": 1, "vocabulary": 8}})
    for key, tensor in module.proj_t.state_dict().items():
        tensor.copy_(torch.from_numpy(filled(f"proj_t.{key}", tuple(tensor.shape))))
    pooled = torch.from_numpy(filled_input("merl-losses/0/pooled", (6, 768)))
    signals = torch.from_numpy(filled_input("merl-losses/0/zs_ecg", (40, 256)))
    with torch.inference_mode():
        classes = torch.nn.functional.normalize(module.proj_t(pooled), dim=-1)
        cosines = torch.nn.functional.normalize(signals, dim=-1) @ classes.T
    np.testing.assert_allclose(classes.T.numpy(), expected["zs_class_weights"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(cosines.numpy(), expected["zs_logits"], rtol=0, atol=1e-5)
