"""What the card of LDAE must say, that it holds together, and that a small encoder of the family conforms."""

import re

import pytest
from tiny_ldae import tiny_card

from medfm.cli.main import main
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card, list_encoders
from medfm.objectives.diffusion import make_schedule
from medfm.testing import check_encoder

ID = "ldae-brain-mri"
CARD = get_card(ID)
SPEC = CARD.spec


def test_a_small_encoder_of_the_family_conforms(tmp_path):
    """The published one is too slow to be run as part of the tests; its names are checked with all other cards."""
    passed = check_encoder(tiny_card(tmp_path).path).passed
    for title in (
        "batch of 1 against batch of 4",
        "a checkpoint with a tensor missing is refused",
        "the fingerprint sees one changed weight",
        "the fingerprint sees other preprocessing",
        "preprocessing is deterministic",
    ):
        assert title in passed


def test_facts():
    assert CARD.path.stem == CARD.id == ID and CARD.modality == "brain_mri" and ID in list_encoders("brain_mri")
    assert SPEC.embedding.dim == 768 and not SPEC.embedding.normalised and SPEC.text is None
    assert CARD.licence == "other" and "non-profit" in SPEC.licence_note.lower()
    assert SPEC.input.shape == Preprocessing(SPEC.preprocessing).shape == (1, 128, 128, 160)
    assert [step.step for step in SPEC.preprocessing] == [
        "volume_spacing",
        "volume_size",
        "volume_scale",
        "slice_first",
    ]


def test_the_generator_is_the_published_one():
    generator = SPEC.generator
    assert generator is not None
    assert generator.latent_scale == 0.8730 and generator.clip == 1.0 and generator.steps == 100
    assert generator.latent_shape == (3, 16, 20, 16)
    assert len(make_schedule(generator.schedule, generator.timesteps)) == 1000 and generator.schedule == "linear"
    counts = (generator.autoencoder.parameters, generator.prior.parameters, generator.denoiser.parameters)
    assert counts == (13_766_248, 486_927_363, 865_339_142)
    files = [part.weights.sources for part in (generator.autoencoder, generator.denoiser)]
    assert [source.filename for (source,) in files] == ["autoencoderkl.pth", "decoder.pth"]
    assert generator.prior.weights.sources == ()
    assert [source.filename for source in generator.head] == [
        "disease_classifier.ckpt",
        "semantic_mean.pt",
        "semantic_std.pt",
    ]


def test_no_weights_are_shipped_or_known():
    sources = [*SPEC.weights.sources, *SPEC.generator.head]
    assert all(source.kind == "archive" and source.sha256 is None for source in sources)


def test_prose_answers_a_clinicians_questions():
    for heading in (
        "What it is",
        "What it is for",
        "What it is not for",
        "How to use it here",
        "Published figures",
        "How each figure is to be reproduced",
        "Known traps",
        "What is not verified",
        "Licence",
    ):
        assert f"## {heading}\n" in CARD.prose
    for words in (
        f'load_encoder("{ID}"',
        "not a medical device",
        "No published weights could be had",
        "synthetic weights",
    ):
        assert words in CARD.prose
    assert max(len(line) for line in CARD.prose.splitlines() if not line.startswith("|")) <= 140
    assert not re.search(r"(?<![\w.])/(home|work|root|tmp|Users)/", CARD.path.read_text(encoding="utf-8"))


def test_every_figure_in_prose_is_marked_as_not_measured():
    section = CARD.prose.split("## Published figures")[1].split("\n## ")[0]
    paragraphs = [part for part in section.split("\n\n") if re.search(r"\d\.\d|\d %|20 times", part)]
    tables = [i for i, part in enumerate(paragraphs) if part.strip().startswith("|")]
    for i, part in enumerate(paragraphs):
        # A table is marked by the line below it.
        marked = paragraphs[i + 1] if i in tables else part
        assert "not measured here" in marked, part


def test_figures_have_a_source_and_none_is_from_a_table_nobody_read():
    results = SPEC.results
    assert {r.protocol for r in results} == {
        "ldae-linear@1",
        "brain-age@1",
        "ldae-reconstruction@1",
        "ldae-interpolation@1",
    }
    assert len({(r.name, r.variant) for r in results}) == len(results)
    keys = {(r.cohort, r.target, r.protocol, r.metric, r.variant) for r in results}
    assert len(keys) == len(results)
    for result in results:
        assert result.cohort == "adni" and "not read" in result.source
        assert result.sourcing == ("unverified" if result.value is None else "secondary")
    values = {(r.protocol, r.metric, r.variant): r.value for r in results}
    assert values["ldae-linear@1", "auroc", None] == 0.8948 and values["ldae-linear@1", "accuracy", None] == 0.8365
    assert values["brain-age@1", "mae", None] == 4.16 and values["brain-age@1", "rmse", None] == 5.23
    assert values["ldae-interpolation@1", "ssim", "gap=6"] == 0.969
    assert values["ldae-interpolation@1", "ssim", "gap=24"] is None
    assert values["ldae-reconstruction@1", "ssim", "steps=100"] == 0.962


def test_figures_of_prose_and_front_matter_agree():
    for result in SPEC.results:
        if result.value is not None:
            shown = {f"{result.value:.3f}", f"{result.value:.2f}", f"{100 * result.value:.2f}", f"{result.value:.4f}"}
            assert any(text in CARD.prose for text in shown), result


def test_the_positive_class_is_told():
    """A user who takes the positive side for disease would turn every picture round."""
    notes = {r.metric: r.note for r in SPEC.results if r.target == "diagnosis"}
    assert all("positive class is CN" in notes[metric] for metric in ("auroc", "ppv", "sensitivity", "f1"))
    assert "In the published probe CN is positive" in CARD.prose


@pytest.mark.parametrize(
    "word", ["0.8730", "clamped to -1..1", "axes of their file", "every line", "drawn once per scan"]
)
def test_traps_are_written_down(word):
    assert word in " ".join(SPEC.deviations)


def test_what_training_may_have_seen():
    assert {entry.name: entry.status for entry in SPEC.training_data} == {
        "adni": "used",
        "uk-biobank": "likely",
        "imagenet": "used",
    }


def test_people_can_see_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["encoders", "show", ID])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for words in (
        "128 x 128 x 160 voxels",
        "autoencoder (13.8 M parameters): autoencoderkl.pth",
        "denoiser (865.3 M",
        "MSE (gap=6): 0.0019",
    ):
        assert words in out
