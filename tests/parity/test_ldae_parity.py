"""LDAE's networks, preprocessing and arithmetic on codes against golden figures of the published code; never skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fill import HERE, filled, filled_input, filled_state, golden, published_shapes

from medfm.encoders.encoder import Encoder
from medfm.encoders.keymaps import match
from medfm.encoders.ldae import codes
from medfm.encoders.ldae.autoencoder import decode, encode, kl_divergence
from medfm.encoders.ldae.head import LinearHead
from medfm.encoders.ldae.load import PARTS, build_part, generator_of, load_part
from medfm.encoders.ldae.unet import build_shift_unet, build_unet
from medfm.encoders.load import with_architecture
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_volume import VolumeSteps
from medfm.encoders.published import build, load_published, plain_shapes
from medfm.encoders.registry import get_card
from medfm.evaluation.missing_scans import missing_scans
from medfm.evaluation.volume_similarity import mean_square_error, ssim
from medfm.modalities.record import Record

ID = "ldae-brain-mri"
SMALL = {"width": 32}
SHARES = (0, 0.25, 0.5, 1)


def close(ours: object, expected: np.ndarray, what: str, tolerance: float = 1e-4) -> None:
    """|a - b| <= tolerance * (1 + |b|), and the same shape."""
    values = np.asarray(ours)
    assert values.shape == expected.shape, what
    np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance, err_msg=what)


def shapes_in(folder: str, file: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in json.loads((HERE / folder / file).read_text()).items()}


def ghosts(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def finished(expected: dict[str, np.ndarray]) -> None:
    assert not expected, f"golden arrays were not compared: {sorted(expected)}"


@pytest.fixture(scope="module")
def autoencoder() -> Iterator[torch.nn.Module]:
    """Filled under the published names, at the published size."""
    module, report = load_part(get_card(ID), "autoencoder", filled_state("ldae-autoencoder"))
    assert len(report.loaded) == 162 and report.layout == "flat, bare names"
    yield module


@pytest.mark.parametrize("i", [0, 1])
def test_compression_autoencoder(autoencoder, i):
    name = "ldae-autoencoder"
    expected = {key: value for key, value in golden(name).items() if key.startswith(f"in{i}_")}
    volume = torch.from_numpy(filled_input(f"{name}/{i}", (2, 1, 32, 40, 24)))
    eps = torch.from_numpy(filled_input(f"{name}/{i}/eps", (2, 3, 4, 5, 3)))
    with torch.inference_mode():
        mean, sigma = encode(autoencoder, volume)
        drawn = mean + eps * sigma
        ours = {
            "z_mu": mean,
            "z_sigma": sigma,
            "latent_sampled": drawn,
            "kl_loss": kl_divergence(mean, sigma),
            "recon_from_mean": decode(autoencoder, mean),
            "recon_from_sampled_first": decode(autoencoder, drawn[:1]),
        }
    for key, value in ours.items():
        close(value, expected.pop(f"in{i}_{key}"), key)
    finished(expected)


def encoder_state() -> dict[str, torch.Tensor]:
    """As the published file: the slice network twice, both copies equal."""
    state = filled_state("ldae-encoder")
    assert len(state) == 699
    for key in state:
        if key.startswith("backbone."):
            state[key] = state[f"slice_distributed.module.{key.removeprefix('backbone.')}"]
    return state


def loaded_encoder(state: dict[str, torch.Tensor]) -> Encoder:
    module, report = load_published(ID, state)
    return Encoder(get_card(ID), module, "local file", "filled", report)


def test_semantic_encoder():
    name = "ldae-encoder"
    expected = golden(name)
    module = loaded_encoder(encoder_state()).module
    for i in (0, 1):
        volume = torch.from_numpy(filled_input(f"{name}/{i}", (2, 1, 8, 64, 96)))
        with torch.inference_mode():
            slices = module.slice_features(volume)
            embedding, attention = module.from_slices(slices)
        ours = {"embedding": embedding, "slice_features": slices, "slice_attention": attention}
        for key, value in ours.items():
            close(value, expected.pop(f"in{i}_{key}"), key)
    # The order of the slices matters: a lost position code would not go unseen.
    with torch.inference_mode():
        turned = module.from_slices(slices.flip(1))[0]
    assert (turned - embedding).abs().max() > 1e-2
    finished(expected)


def test_one_copy_of_the_slice_network_is_enough():
    state = encoder_state()
    whole = loaded_encoder(state)
    for prefix in ("backbone.", "slice_distributed."):
        half = {key: value for key, value in state.items() if not key.startswith(prefix)}
        assert len(half) == 699 - 342
        assert loaded_encoder(half).fingerprint == whole.fingerprint


@pytest.fixture(scope="module")
def denoiser() -> Iterator[torch.nn.Module]:
    """The published network at an eighth of its width."""
    module = build_shift_unet(SMALL)
    state = {
        key: torch.from_numpy(filled(key, shape)) for key, shape in shapes_in("ldae-unet", "keys_small.json").items()
    }
    module.load_state_dict(state, strict=True)
    yield module.eval()


@pytest.mark.parametrize("i", [0, 1])
def test_denoisers(denoiser, i):
    name = "ldae-unet"
    expected = {key: value for key, value in golden(name).items() if key.startswith(f"in{i}_")}
    z = torch.from_numpy(filled_input(f"{name}/{i}", (2, 3, 4, 8, 12)))
    y = torch.from_numpy(filled_input(f"{name}/{i}/y", (2, 768)))
    t = torch.tensor([37, 950])
    plain = build_unet(SMALL).eval()
    plain.load_state_dict({key: denoiser.state_dict()[key] for key in shapes_in(name, "keys_small_pretrain.json")})
    with torch.inference_mode():
        noise, gradient = denoiser(z, t, y)
        without = denoiser(z, t, torch.zeros_like(y))[1]
        close(plain(z, t), expected[f"in{i}_eps"], "stage 2")
    close(noise, expected.pop(f"in{i}_eps"), "eps")
    close(gradient, expected.pop(f"in{i}_gradient"), "gradient")
    close(without, expected.pop(f"in{i}_gradient_zero_condition"), "gradient_zero_condition")
    finished(expected)


@pytest.mark.parametrize(
    ("file", "builder", "sizes", "count"),
    [
        ("keys.json", build_shift_unet, {}, 865_339_142),
        ("keys_pretrain.json", build_unet, {}, 486_927_363),
        ("keys_small.json", build_shift_unet, SMALL, 13_642_982),
        ("keys_small_pretrain.json", build_unet, SMALL, 7_629_187),
    ],
)
def test_denoisers_by_names_and_shapes(file, builder, sizes, count):
    module = builder(sizes, device="meta")
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == shapes_in("ldae-unet", file)
    assert sum(parameter.numel() for parameter in module.parameters()) == count


def test_what_stage_3_trains():
    module = build_shift_unet({}, device="meta").freeze()
    trained = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    assert trained == 378_411_779


PART_KEYS = {
    "autoencoder": ("ldae-autoencoder", "keys.json"),
    "prior": ("ldae-unet", "keys_pretrain.json"),
    "denoiser": ("ldae-unet", "keys.json"),
}
# Stage -> (beginning of names -> which network), as Lightning saves them.
STAGES = {
    "autoencoder": {"model.": "autoencoder"},
    "pretraining": {"vae.": "autoencoder", "unet.": "prior", "ema_unet.": "prior"},
    "representation": {
        "vae.": "autoencoder",
        "encoder.": "encoder",
        "decoder.": "denoiser",
        "ema_encoder.": "encoder",
        "ema_decoder.": "denoiser",
    },
}


def network_shapes(network: str) -> dict[str, tuple[int, ...]]:
    return published_shapes("ldae-encoder") if network == "encoder" else shapes_in(*PART_KEYS[network])


def lightning(stage: str) -> dict[str, object]:
    tensors = {"discriminator.model.0.weight": torch.empty(1, device="meta")} if stage == "autoencoder" else {}
    for prefix, network in STAGES[stage].items():
        tensors |= ghosts(network_shapes(network), prefix)
    return {"epoch": 3, "state_dict": tensors, "optimizer_states": [], "hyper_parameters": {}}


@pytest.mark.parametrize(
    ("network", "stage", "start"),
    [
        ("autoencoder", "autoencoder", "model."),
        ("autoencoder", "pretraining", "vae."),
        ("autoencoder", "representation", "vae."),
        ("prior", "pretraining", "ema_unet."),
        ("denoiser", "representation", "ema_decoder."),
        ("encoder", "representation", "ema_encoder."),
    ],
)
def test_every_network_is_found_in_the_files_of_every_stage(network, stage, start):
    card = get_card(ID)
    if network == "encoder":
        wanted, key_map = plain_shapes(card), card.spec.weights.key_map
    else:
        module = build_part(card, network, device="meta")
        wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        key_map = getattr(generator_of(card), network).weights.key_map
    checkpoint = lightning(stage)
    found, report = match(checkpoint, wanted, key_map, stage)
    assert report.ok and set(found) == set(wanted), str(report)
    assert f"the network '{start}' of several" in report.layout
    others = {key for key in checkpoint["state_dict"] if not key.startswith(start)}
    assert set(report.dropped) == others
    # The bare published file fits too, and so does one with the prefix of DDP.
    for prefix in ("", "module."):
        bare = match(ghosts(network_shapes(network), prefix), wanted, key_map, "bare")[1]
        assert bare.ok and not bare.dropped, str(bare)


def test_the_names_we_build_differ_only_where_monai_renamed():
    card = get_card(ID)
    ours = set(build_part(card, "autoencoder", device="meta").state_dict())
    published = set(shapes_in(*PART_KEYS["autoencoder"]))
    assert {name.replace(".postconv.conv.", ".conv.conv.") for name in ours} == published
    assert len(ours - published) == 6
    assert {part: getattr(generator_of(card), part).parameters for part in PARTS} == {
        part: sum(p.numel() for p in build_part(card, part, device="meta").parameters()) for part in PARTS
    }
    once = {key for key in published_shapes("ldae-encoder") if not key.startswith("slice_distributed.")}
    assert {key.replace("backbone.backbone.", "backbone.") for key in once} == set(
        build(ID, device="meta").state_dict()
    )


def prepared(i: int) -> tuple[Record, VolumeSteps, Preprocessing]:
    readme = json.loads((HERE / "ldae-preprocess" / "README.json").read_text())
    array = np.abs(filled_input(f"ldae-preprocess/{i}", (30, 36, 27)))
    record = Record("scan", "brain_mri", array, {"affine": readme["inputs"]["affine"]})
    steps = [step.to_dict() for step in get_card(ID).spec.preprocessing]
    steps[1]["size"] = [24, 24, 26]
    made = Preprocessing(steps)
    return record, VolumeSteps(made.steps), made


@pytest.mark.parametrize("i", [0, 1])
def test_preprocessing_of_the_card(i):
    expected = {key: value for key, value in golden("ldae-preprocess").items() if key.startswith(f"in{i}_")}
    record, steps, made = prepared(i)
    before = record.array.copy()
    spaced = VolumeSteps(steps.steps[:1]).prepared(record)[0]
    volume, affine = steps.prepared(record)
    close(spaced[None], expected.pop(f"in{i}_spacing_only"), "spacing", 1e-5)
    close(volume[None], expected.pop(f"in{i}_volume"), "volume", 1e-5)
    close(affine, expected.pop(f"in{i}_affine"), "affine", 1e-12)
    close(made.array(record), expected.pop(f"in{i}_axial_first"), "axial first", 1e-5)
    finished(expected)
    assert np.array_equal(record.array, before)


@pytest.mark.parametrize("i", [0, 1])
def test_arithmetic_on_codes(i):
    name = "ldae-manipulation"
    expected = {key: value for key, value in golden(name).items() if key.startswith(f"in{i}_")}

    def given(tag: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(filled_input(f"{name}/{i}{tag}", shape))

    y, y2, weight = given("", (2, 768)), given("/y2", (2, 768)), given("/w", (1, 768))
    mean, std = given("/mean", (768,)), 0.2 + given("/std", (768,)).abs()
    z, z2 = given("/zT", (1, 3, 4, 5, 4)), given("/zT2", (1, 3, 4, 5, 4))
    first = given("/v1", (1, 1, 20, 24, 20)).sigmoid()
    second = (first + 0.05 * given("/v2", (1, 1, 20, 24, 20))).clip(0, 1)
    head = LinearHead(weight[0], torch.tensor(0.1), mean, std)
    ours = {
        "lerp": torch.stack([codes.lerp(y, y2, share) for share in SHARES]),
        "slerp": torch.stack([codes.slerp(z, z2, share) for share in SHARES]),
        "theta": codes.angle(z, z2),
        "slerp_batch2": codes.slerp(torch.cat([z, z2]), torch.cat([z2, 2 * z]), 0.25),
        "normalized": codes.standardise(y, mean, std),
        "manipulated": torch.stack([head.move(y, strength) for strength in (2.5, -2.5, 0.3)]),
        "probe_logit": head.score(y)[:, None],
        "mse": mean_square_error(first, second)[0],
        **{f"ssim_k{window}": ssim(first, second, window=window)[:, None] for window in (3, 4, 11)},
    }
    for key, value in ours.items():
        close(value, expected.pop(f"in{i}_{key}"), key, 1e-5)
    finished(expected)


def test_missing_scans():
    given = json.loads((HERE / "ldae-manipulation" / "pairs.json").read_text())
    ours = [
        {
            "subject_id": found.subject_id,
            "start_session": found.start,
            "end_session": found.end,
            "target_session": found.target,
            "alpha": pytest.approx(found.share, abs=1e-9),
            "time_gap": found.time_gap,
            "prediction_gap": found.prediction_gap,
        }
        for found in missing_scans(given["sessions"])
    ]
    assert given["pairs"] == ours


def test_the_card_of_another_size_does_not_take_the_published_file():
    other = with_architecture(get_card(ID), {"slices": 64})
    report = match(ghosts(published_shapes("ldae-encoder")), plain_shapes(other), other.spec.weights.key_map, "x")[1]
    assert report.mismatched == (("positional_encoding.pe", (1, 128, 768), (1, 64, 768)),)
