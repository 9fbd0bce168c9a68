"""The networks beside the encoder: card block, files of every kind, and files that do not fit."""

import dataclasses
import logging

import pytest
import torch
from tiny_ldae import AUTOENCODER, DENOISER, FRONT, PARTS, shaken, tiny_card

from medfm.core.errors import CardError, WeightsError
from medfm.encoders.card import Card, read_card, render_card
from medfm.encoders.ldae.load import build_part, find_head, find_part, load_part, part_args, save_part
from medfm.encoders.published import build, load_published
from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder


@pytest.fixture
def card(tmp_path) -> Card:
    return tiny_card(tmp_path)


def test_the_card_survives_writing_and_reading(card, tmp_path):
    again = tmp_path / "again.md"
    again.write_text(render_card(card.header, card.prose))
    assert read_card(again).header == card.header
    assert card.spec.generator is not None and card.spec.generator.latent_scale == 0.5


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"generator": {"latent_shape": [2, 8, 8, 8]}}, r"\[2, 8, 8, 4\]"),
        ({"generator": {"latent_shape": [3, 8, 8, 4]}}, r"\[2, 8, 8, 4\]"),
        ({"generator": {"latent_scale": 0}}, "latent_scale"),
        ({"generator": {"clip": -1}}, "clip"),
        ({"generator": {"stesp": 4}}, "steps"),
        ({"generator": {"denoiser": {"args": DENOISER | {"condition": 31}}}}, "codes of 31 numbers"),
        ({"generator": {"denoiser": {"args": DENOISER | {"latent_channels": 3}}}}, "denoiser does not take latents"),
        ({"generator": {"prior": {"args": DENOISER | {"multipliers": [1, 2, 2, 2]}}}}, "prior does not take latents"),
        ({"generator": {"denoiser": {"args": {"widht": 8}}}}, "width"),
        ({"generator": {"autoencoder": {"args": AUTOENCODER | {"groups": 3}}}}, "multiple of groups"),
        ({"generator": {"head": FRONT["medfm"]["generator"]["head"][:2]}}, "three files"),
        ({"input": {"shape": [8, 16, 16]}}, "channel and three sides"),
    ],
)
def test_cards_that_contradict_themselves(tmp_path, changes, why):
    with pytest.raises(CardError, match=why):
        tiny_card(tmp_path, **changes)


def test_a_generator_belongs_to_volumes(tmp_path):
    text = get_card("dinov2-tiny").path.read_text()
    block = "  generator: {latent_scale: 1.0, latent_shape: [3, 1, 1, 1]}\n  embedding:"
    path = tmp_path / "card.md"
    path.write_text(text.replace("  embedding:", block, 1))
    with pytest.raises(CardError, match="makes volumes"):
        read_card(path)


def test_a_card_without_a_generator():
    for call in (lambda c: build_part(c, "denoiser"), lambda c: load_part(c, "prior", {}), find_head):
        with pytest.raises(CardError, match="has no generator"):
            call(get_card("dinov2-tiny"))


def state(card: Card, name: str, seed: int = 2) -> dict[str, torch.Tensor]:
    return shaken(build_part(card, name, seed), seed).state_dict()


@pytest.mark.parametrize("name", PARTS)
def test_a_file_and_what_it_holds_give_the_same(card, name, tmp_path):
    given = state(card, name)
    path = tmp_path / "part.pth"
    torch.save(given, path)
    for source in (given, path, {"state_dict": given, "epoch": 1}):
        module, report = load_part(card, name, source)
        assert report.ok and not module.training
        assert all(torch.equal(tensor, given[key]) for key, tensor in module.state_dict().items())
    # Copies: the network does not change with what was given.
    next(iter(given.values())).add_(1)
    assert not all(torch.equal(tensor, given[key]) for key, tensor in module.state_dict().items())


def test_one_lightning_file_holds_them_all(card):
    """The averaged copies are taken, and everything else is named as dropped."""
    encoder = build(card, seed=4).state_dict()
    tensors = {
        **{f"vae.{key}": tensor for key, tensor in state(card, "autoencoder").items()},
        **{f"decoder.{key}": tensor for key, tensor in state(card, "denoiser", 3).items()},
        **{f"ema_decoder.{key}": tensor for key, tensor in state(card, "denoiser", 4).items()},
        **{f"encoder.{key}": torch.zeros_like(tensor) for key, tensor in encoder.items()},
        **{f"ema_encoder.{key}": tensor for key, tensor in encoder.items()},
    }
    file = {"state_dict": tensors, "pytorch-lightning_version": "2.4.0"}
    module, report = load_part(card, "denoiser", file)
    assert torch.equal(module.state_dict()["label_emb.weight"], tensors["ema_decoder.label_emb.weight"])
    assert len(report.loaded) + len(report.dropped) == len(tensors)
    assert load_part(card, "autoencoder", file)[1].ok
    semantic, _ = load_published(card, file)
    assert torch.equal(semantic.query_projection.weight, encoder["query_projection.weight"])
    with pytest.raises(WeightsError, match="prior"):
        load_part(card, "prior", file)


@pytest.mark.parametrize(("name", "other"), [("denoiser", "autoencoder"), ("prior", "denoiser"), ("denoiser", "prior")])
def test_a_file_of_another_part_is_refused(card, name, other):
    with pytest.raises(WeightsError, match=f"does not fit the {name} of 'tiny-ldae'"):
        load_part(card, name, state(card, other))


def test_broken_tensors(card):
    good = state(card, "denoiser")
    key = next(iter(good))
    with pytest.raises(WeightsError, match="not finite"):
        load_part(card, "denoiser", good | {key: torch.full_like(good[key], float("nan"))})
    with pytest.raises(WeightsError, match=r"missing \(1\)"):
        load_part(card, "denoiser", {k: v for k, v in good.items() if k != key})
    with pytest.raises(WeightsError, match="wrong shape"):
        load_part(card, "denoiser", good | {key: torch.zeros(3)})
    with pytest.raises(WeightsError, match="No dictionary of tensors"):
        load_part(card, "denoiser", {})


def test_files_are_found_where_the_message_says(card):
    with pytest.raises(WeightsError, match=r"decoder\.pth") as error:
        find_part(card, "denoiser")
    folder = weights_folder() / "tiny-ldae"
    message = str(error.value)
    assert str(folder / "decoder.pth") in message and "The denoiser that belongs to 'tiny-ldae'" in message
    assert "weights={'denoiser': FILE}" in message
    # The name is too common to be taken for ours outside a folder named after the encoder.
    folder.parent.mkdir(parents=True, exist_ok=True)
    (folder.parent / "decoder.pth").write_bytes(b"another model's")
    with pytest.raises(WeightsError, match="not on this machine"):
        find_part(card, "denoiser")
    folder.mkdir(parents=True)
    torch.save(state(card, "denoiser"), folder / "decoder.pth")
    found = find_part(card, "denoiser")
    assert found.path == folder / "decoder.pth" and found.kind == "published"
    assert find_part(card, "denoiser", folder / "decoder.pth").kind == "local file"
    # Nothing was published for this one.
    with pytest.raises(WeightsError, match="No weights were ever published"):
        find_part(card, "prior")


def test_the_head_is_found_as_a_whole(card):
    folder = weights_folder() / "tiny-ldae"
    folder.mkdir(parents=True)
    values = {"head.ckpt": {"weight": torch.ones(1, 32), "bias": torch.zeros(1)}, "mean.pt": torch.zeros(32)}
    for name, value in values.items():
        torch.save(value, folder / name)
    with pytest.raises(WeightsError, match=r"std\.pt of the linear head"):
        find_head(card)
    torch.save(torch.ones(32), folder / "std.pt")
    assert float(find_head(card).score(torch.ones(1, 32))) == 32


def test_a_card_that_names_no_head(tmp_path):
    with pytest.raises(CardError, match="No linear head"):
        find_head(tiny_card(tmp_path, generator={"head": []}))


@pytest.mark.parametrize("name", PARTS)
def test_a_trained_part_is_written_and_read(card, name, tmp_path):
    module = shaken(build_part(card, name, 6), 6)
    part = save_part(tmp_path, name, module)
    assert part.parameters == sum(p.numel() for p in module.parameters())
    written = tiny_card(tmp_path, generator={name: part.to_dict()})
    assert part_args(written, name) == part_args(card, name)
    found = find_part(written, name)
    assert found.kind == "trained here" and found.path.parent == tmp_path
    again, _ = load_part(written, name, found.path)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in module.state_dict().items())


def twice(card: Card, seed: int = 8) -> dict[str, torch.Tensor]:
    """The encoder as published files hold it."""
    plain = build(card, seed).state_dict()
    rest = {key: tensor for key, tensor in plain.items() if not key.startswith("backbone.")}
    slices = {key: tensor for key, tensor in plain.items() if key.startswith("backbone.")}
    return (
        rest
        | {f"backbone.{key}": tensor for key, tensor in slices.items()}
        | {f"slice_distributed.module.{key}": tensor.clone() for key, tensor in slices.items()}
    )


def test_two_copies_that_differ_are_told(card, caplog):
    both = twice(card)
    with caplog.at_level(logging.WARNING):
        load_published(card, both)
    assert not caplog.records
    key = "backbone.backbone.features.0.0.weight"
    both[key] = both[key] + 1
    with caplog.at_level(logging.WARNING):
        module, report = load_published(card, both)
    assert "differ in 1 tensors" in caplog.text and key in caplog.text
    assert torch.equal(module.backbone.features[0][0].weight, both[f"slice_distributed.module.{key[9:]}"])
    assert "ldae-twice" in report.layout


def test_a_tensor_that_only_one_copy_has_counts(card):
    both = twice(card)
    names = sorted(key for key in both if key.startswith("slice_distributed."))
    del both[names[0]]
    assert load_published(card, both)[1].ok
    del both["backbone." + names[0].removeprefix("slice_distributed.module.")]
    with pytest.raises(WeightsError, match=r"missing \(1\)"):
        load_published(card, both)


def test_a_card_of_the_encoder_alone_still_works(tmp_path, card):
    alone = dataclasses.replace(
        card, header=card.header.model_copy(update={"medfm": card.spec.model_copy(update={"generator": None})})
    )
    assert load_published(alone, twice(card))[1].ok
