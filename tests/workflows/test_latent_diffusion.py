"""The whole system on tiny networks: round trips, variations, changes along a direction, interpolation."""

from __future__ import annotations

import pytest
import torch
from tiny_ldae import LATENT, VOLUME, scan, shaken, tiny_card

from medfm.core.errors import CardError, ConfigError, WeightsError
from medfm.core.progress import Progress
from medfm.encoders.encoder import Encoder
from medfm.encoders.ldae.codes import slerp
from medfm.encoders.ldae.head import LinearHead
from medfm.encoders.ldae.load import build_part, save_part
from medfm.encoders.published import build
from medfm.encoders.save import save_encoder
from medfm.objectives.diffusion import make_schedule
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder, load_system

HEAD = LinearHead(torch.ones(32), torch.zeros(()), torch.zeros(32), torch.ones(32))


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> LatentDiffusionAutoencoder:
    card = tiny_card(tmp_path_factory.mktemp("tiny"))
    encoder = Encoder(card, shaken(build(card, seed=1)), "random", "shaken")
    autoencoder, denoiser = (shaken(build_part(card, name), 5) for name in ("autoencoder", "denoiser"))
    with torch.no_grad():
        # A gentle denoiser: the noise that a random one claims would make every step a leap.
        for last in (denoiser.out[2], denoiser.shift_out[2]):
            last.weight.mul_(0.05)
            last.bias.mul_(0.05)
    return LatentDiffusionAutoencoder(encoder, autoencoder, denoiser)


@pytest.fixture(scope="module")
def batch(system) -> torch.Tensor:
    return torch.stack([system.encoder.preprocess(scan(seed)) for seed in range(2)])


@pytest.fixture(scope="module")
def codes(system, batch) -> Codes:
    return system.encode(batch)


def test_shapes(system, batch, codes):
    assert batch.shape == (2, 1, 8, 16, 16)
    assert codes.semantic.shape == (2, 32) and codes.stochastic.shape == (2, *LATENT) and len(codes) == 2
    assert torch.equal(codes.semantic, system.encoder(batch))
    assert system.latent(batch).shape == (2, *LATENT)
    assert system.decode(codes).shape == system.compressed(batch).shape == (2, 1, *VOLUME)


def test_volumes_come_back_in_the_axes_of_the_file(system, batch):
    volume = system.volume(batch)
    assert volume.shape == (2, 1, *VOLUME)
    for i in (0, 7, 15):
        for k in (0, 3, 7):
            assert torch.equal(volume[0, 0, i, :, k], batch[0, 0, k, i])


def test_the_latent_is_the_scaled_mean_unless_it_is_drawn(system, batch):
    with torch.inference_mode():
        mean, sigma = system.autoencoder.encode(system.volume(batch))
    torch.testing.assert_close(system.latent(batch), 0.5 * mean)
    draws = [system.latent(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(draws[0], 0.5 * (mean + sigma * noise))


def test_decoding_undoes_the_scale(system, batch):
    with torch.inference_mode():
        mean, _ = system.autoencoder.encode(system.volume(batch))
        expected = system.autoencoder.decode(mean)
    torch.testing.assert_close(system.compressed(batch), expected, atol=1e-5, rtol=1e-5)


def test_more_steps_bring_the_latent_back_better(system, batch):
    latent = system.latent(batch)
    gaps = []
    for steps in (4, 12, 36):
        again = system.latents_from(system.encode(batch, steps=steps), steps=steps)
        gaps.append(float((again - latent).square().mean()))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.5 * gaps[0]


def test_one_volume_alone_gives_the_same(system, batch, codes):
    alone = system.encode(batch[1:])
    torch.testing.assert_close(alone.semantic[0], codes.semantic[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.stochastic[0], codes.stochastic[1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(system.decode(alone)[0], system.decode(codes)[1], atol=1e-3, rtol=1e-3)


def test_everything_is_deterministic_and_without_gradients(system, batch, codes):
    again = system.encode(batch)
    assert torch.equal(again.stochastic, codes.stochastic) and torch.equal(system.decode(again), system.decode(codes))
    assert not any(p.requires_grad for p in (*system.denoiser.parameters(), *system.autoencoder.parameters()))
    assert not system.denoiser.training and not system.autoencoder.training


def test_the_clip_of_the_card_is_used(system, batch, monkeypatch):
    free = system.encode(batch).stochastic
    clipped = system.generator.model_copy(update={"clip": 1e-3})
    monkeypatch.setattr(system, "generator", clipped)
    assert not torch.allclose(system.encode(batch).stochastic, free, atol=1e-3)


def test_velocities_lead_where_the_code_says(system, codes, monkeypatch):
    """A denoiser that knows the latent of each code, and says so in velocities: half of it by the steered half."""
    schedule, goal = make_schedule(), codes.semantic[:, :1, None, None, None].expand(2, *LATENT)

    class Knows(torch.nn.Module):
        def forward(self, z, t, y):
            kept, noisy = (schedule.at(name, t, z) for name in ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
            wanted = y[:, :1, None, None, None].expand_as(z)
            return 0.5 * (kept * z - wanted) / noisy, 0.5 * (kept * z - wanted) / noisy

    monkeypatch.setattr(system, "denoiser", Knows())
    monkeypatch.setattr(system, "generator", system.generator.model_copy(update={"prediction": "velocity"}))
    noise = torch.randn(2, *LATENT, generator=torch.Generator().manual_seed(3))
    found = system.latents_from(Codes(codes.semantic, noise), steps=10)
    torch.testing.assert_close(found, goal, atol=0.05, rtol=0.02)
    monkeypatch.setattr(system, "generator", system.generator.model_copy(update={"prediction": "epsilon"}))
    assert not torch.allclose(system.latents_from(Codes(codes.semantic, noise), steps=10), goal, atol=1.0)


def test_variations_share_the_semantic_code(system, codes):
    made = system.vary(codes.semantic[0], 3, torch.Generator().manual_seed(0))
    assert len(made) == 3 and made.stochastic.shape == (3, *LATENT)
    assert all(torch.equal(row, codes.semantic[0]) for row in made.semantic)
    assert torch.equal(made.stochastic, system.vary(codes.semantic[0], 3, torch.Generator().manual_seed(0)).stochastic)
    assert not torch.equal(made.stochastic[0], made.stochastic[1])
    for broken in ((codes.semantic, 3), (codes.semantic[0], 0)):
        with pytest.raises(ConfigError, match="one semantic code"):
            system.vary(*broken, torch.Generator())


def test_manipulation_keeps_the_stochastic_code(system, codes):
    less, same, more = system.manipulate(codes, HEAD, (-2.0, 0.0, 2.0))
    assert all(torch.equal(made.stochastic, codes.stochastic) for made in (less, same, more))
    torch.testing.assert_close(same.semantic, codes.semantic)
    scores = [HEAD.score(made.semantic) for made in (less, same, more)]
    assert bool((scores[0] < scores[1]).all()) and bool((scores[1] < scores[2]).all())
    volumes = [system.decode(made) for made in (less, same, more)]
    assert not torch.allclose(volumes[0], volumes[2], atol=1e-4)
    torch.testing.assert_close(volumes[1], system.decode(codes), atol=1e-4, rtol=1e-4)


def test_interpolation_begins_and_ends_with_its_codes(system, codes):
    first, second = (Codes(codes.semantic[i : i + 1], codes.stochastic[i : i + 1]) for i in (0, 1))
    start, middle, end = system.interpolate(first, second, (0, 0.5, 1))
    assert torch.equal(start.semantic, first.semantic) and torch.equal(start.stochastic, first.stochastic)
    assert torch.equal(end.semantic, second.semantic) and torch.equal(end.stochastic, second.stochastic)
    torch.testing.assert_close(middle.semantic, (first.semantic + second.semantic) / 2)
    # For one pair it is the published rule, whose angle is that of the whole tensor.
    torch.testing.assert_close(middle.stochastic, slerp(first.stochastic, second.stochastic, 0.5))


def test_pairs_do_not_mix(system, codes):
    flipped = Codes(codes.semantic.flip(0), codes.stochastic.flip(0))
    (both,) = system.interpolate(codes, flipped, (0.3,))
    for i in range(2):
        pair = [Codes(part.semantic[i : i + 1], part.stochastic[i : i + 1]) for part in (codes, flipped)]
        (alone,) = system.interpolate(pair[0], pair[1], (0.3,))
        assert torch.equal(alone.stochastic[0], both.stochastic[i])


def test_codes_that_do_not_belong_together():
    for semantic, stochastic in (
        (torch.zeros(2, 32), torch.zeros(3, *LATENT)),
        (torch.zeros(32), torch.zeros(1, *LATENT)),
        (torch.zeros(1, 32), torch.zeros(LATENT)),
    ):
        with pytest.raises(ConfigError, match="do not belong together"):
            Codes(semantic, stochastic)


@pytest.mark.parametrize("shape", [(1, 1, *VOLUME), (1, 8, 16, 16), (1, 1, 8, 16, 17)])
def test_batches_of_other_shapes(system, shape):
    for call in (system.latent, system.encode, system.compressed):
        with pytest.raises(ConfigError, match="shape"):
            call(torch.zeros(shape))


def test_progress_is_shown(system, batch):
    titles: list[str] = []

    class Noting(Progress):
        def __exit__(self, *error: object) -> None:
            titles.append(f"{self.title} {self.done}")

    system.decode(system.encode(batch, steps=3, progress=Noting), steps=2, progress=Noting)
    assert titles == ["inverting 3", "sampling 2"]


def test_loading_with_random_weights_says_so(tmp_path):
    path = tiny_card(tmp_path).path
    random = dict.fromkeys(("encoder", "autoencoder", "denoiser"), "random")
    one, same, other = (load_system(path, weights=random, device="cpu", seed=seed) for seed in (1, 1, 2))
    assert all("random" in note for note in one.notes.values()) and set(one.notes) == set(random)
    key = "label_emb.weight"
    assert torch.equal(one.denoiser.state_dict()[key], same.denoiser.state_dict()[key])
    assert not torch.equal(one.denoiser.state_dict()[key], other.denoiser.state_dict()[key])


def test_a_trained_system_is_written_and_loaded_whole(system, batch, codes, tmp_path):
    """Encoder and parts in one folder give the same codes and volumes."""
    folder = tmp_path / "run"
    parts = {
        name: save_part(folder, name, module)
        for name, module in (("autoencoder", system.autoencoder), ("denoiser", system.denoiser))
    }
    generator = system.generator.model_copy(update=parts)
    words = {"encoder_id": "mine", "title": "Mine", "summary": "s", "prose": "# Mine\n\ntext\n"}
    save_encoder(folder, system.encoder.module, system.encoder.card, generator=generator, **words)
    again = load_system(folder, device="cpu")
    assert all("trained here" in note for note in again.notes.values())
    assert again.encoder.fingerprint == system.encoder.fingerprint
    ours = again.encode(batch)
    assert torch.equal(ours.semantic, codes.semantic) and torch.equal(ours.stochastic, codes.stochastic)
    assert torch.equal(again.decode(ours), system.decode(codes))


def test_a_newly_trained_encoder_does_not_inherit_the_generator(system, tmp_path):
    words = {"encoder_id": "mine", "title": "Mine", "summary": "s", "prose": "# Mine\n\ntext\n"}
    card = save_encoder(tmp_path / "e", system.encoder.module, system.encoder.card, **words)
    assert card.spec.generator is None
    with pytest.raises(CardError, match="has no generator"):
        load_system(tmp_path / "e", device="cpu")


def test_what_is_missing_is_named(tmp_path):
    path = tiny_card(tmp_path).path
    with pytest.raises(ConfigError, match="no part 'decoder'"):
        load_system(path, weights={"decoder": "random"})
    with pytest.raises(WeightsError, match=r"encoder\.pth"):
        load_system(path, device="cpu")
    with pytest.raises(WeightsError, match=r"decoder\.pth"):
        load_system(path, weights={"encoder": "random", "autoencoder": "random"}, device="cpu")
    with pytest.raises(CardError, match="has no generator"):
        load_system("dinov2-tiny", weights={"encoder": "random"}, device="cpu")
