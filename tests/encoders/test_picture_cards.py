"""What the cards of retina and pathology networks must say, and that they hold together."""

import json
import re
from pathlib import Path

import pytest
import torch

from medfm.cli.main import main
from medfm.encoders.clip import build_clip
from medfm.encoders.keymaps import match
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card, list_encoders
from medfm.evaluation.protocol import load_protocol

QUILT = ["quiltnet-b-32", "quiltnet-b-16", "quiltnet-b-16-pmb"]
PATHGEN = ["pathgen-clip", "pathgen-clip-l"]
FLAIR = ["flair-resnet50", "flair-resnet50-pooled"]
PEERS = ["plip", "biomedclip", "keep"]
BASELINES = ["clip-vit-b-16", "imagenet-resnet50", "dinov2-vitb14"]
RADIOGRAPHS = ["xrv-resnet50", "xrv-densenet121", "bpdneo-resnet50", "bpdneo-resnet50-rgb"]
ALL = [*QUILT, *PATHGEN, *FLAIR, "convirt-resnet50", *RADIOGRAPHS, *PEERS, *BASELINES]
CLIP_STATS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EXPECTED = {  # activation, image size, dim, statistics
    "quiltnet-b-32": ("gelu", 224, 512, CLIP_STATS),
    "quiltnet-b-16": ("gelu", 224, 512, CLIP_STATS),
    "quiltnet-b-16-pmb": ("gelu", 224, 512, CLIP_STATS),
    "pathgen-clip": ("quick_gelu", 224, 512, CLIP_STATS),
    "pathgen-clip-l": ("quick_gelu", 336, 768, CLIP_STATS),
    "plip": ("quick_gelu", 224, 512, CLIP_STATS),
    "biomedclip": ("gelu", 224, 512, CLIP_STATS),
    "keep": ("gelu", 224, 768, IMAGENET),
    "clip-vit-b-16": ("quick_gelu", 224, 512, CLIP_STATS),
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in (0, 1)
    return capsys.readouterr().out


def test_the_cards_are_listed_by_modality():
    pathology, retina = set(list_encoders("histopathology")), set(list_encoders("retina"))
    general = {"color-histogram", "biomedclip", *BASELINES}
    assert pathology >= {*QUILT, *PATHGEN, *PEERS} | general
    assert retina >= {*FLAIR} | general
    assert not {*FLAIR} & pathology and not {*QUILT} & retina
    assert {"convirt-resnet50", "imagenet-resnet50", *RADIOGRAPHS} <= set(list_encoders("chest_xray"))
    assert not {*RADIOGRAPHS} & (pathology | retina)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_activation_image_size_and_pooling_are_fields_of_the_card(name):
    spec = get_card(name).spec
    activation, size, dim, stats = EXPECTED[name]
    args = spec.architecture.args
    assert (args["activation"], args["image_size"], spec.embedding.dim) == (activation, size, dim)
    assert args["text"]["pooling"] in ("end_of_text", "cls", "pooler")
    by_name = {step.step: step for step in spec.preprocessing}
    assert Preprocessing(spec.preprocessing).shape == spec.input.shape == (3, size, size)
    assert by_name["resize"].resampler == "bicubic_pil" and by_name["resize"].mode == "shorter_side"
    assert (by_name["normalise"].mean, by_name["normalise"].std) == stats
    assert spec.text is not None and spec.text.max_tokens == (77 if args["text"]["kind"] == "clip" else 256)
    assert (spec.text.kind == "clip_bpe") is (args["text"]["kind"] == "clip")
    assert not spec.embedding.normalised


@pytest.mark.parametrize("name", ["quiltnet-b-32", "quiltnet-b-16", *PATHGEN, "plip", "clip-vit-b-16"])
def test_the_trap_of_the_activation_is_told(name):
    card = get_card(name)
    assert any(line.startswith("ACTIVATION") for line in card.spec.deviations)
    assert "**Activation.**" in card.prose and "QuickGELU" in card.prose


@pytest.mark.parametrize("name", ALL)
def test_prose_answers_a_clinicians_questions(name):
    card = get_card(name)
    assert card.path.stem == card.id == name
    for heading in ("What it is", "What it is for", "What it is not for", "How to use it here", "Published figures"):
        assert f"## {heading}" in card.prose
    for heading in ("Known traps", "What is not verified", "Licence", "How it was trained"):
        assert f"## {heading}" in card.prose
    assert f'load_encoder("{name}"' in card.prose and "not a medical device" in card.prose
    assert "No published weights could be had" in card.prose
    assert max(len(line) for line in card.prose.splitlines() if not line.startswith("|")) <= 140
    assert not re.search(r"(?<![\w.])/(home|work|root|tmp|Users)/", card.path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ALL)
def test_figures_stand_beside_their_source(name):
    """Every figure names its protocol and how sure its source is; no paper's table could be read."""
    card = get_card(name)
    for figure in card.spec.results:
        assert load_protocol(figure.protocol).method.kind == "zero_shot"
        assert figure.sourcing in ("secondary", "unverified") and figure.source
        assert figure.value is None or figure.sourcing == "secondary"
    section = card.prose.split("## Published figures")[1].split("\n## ")[0]
    assert "[secondary]" in section or "[unverified]" in section or "None" in section


def test_figures_of_the_two_re_runs():
    """As the sheets give them: one row per network, twelve sets."""
    rows = {}
    for name in (*QUILT[:2], "pathgen-clip", *PEERS, "clip-vit-b-16"):
        section = get_card(name).prose.split("## Published figures")[1]
        rows[name] = [float(x) for x in re.findall(r"\| (\d+\.\d\d)(?= \|)", section)]
    means = {name: round(sum(row) / 12, 2) for name, row in rows.items()}
    expected = {"plip": 53.56, "biomedclip": 52.68, "quiltnet-b-16": 47.21, "quiltnet-b-32": 52.29, "pathgen-clip": 64.02, "keep": 69.80, "clip-vit-b-16": 34.37}  # fmt: skip
    assert all(len(row) == 12 for row in rows.values())
    assert means == pytest.approx(expected, abs=0.011)


def test_flair_says_which_preprocessing_is_dated_how():
    for name in FLAIR:
        spec = get_card(name).spec
        assert set(spec.preprocessing_variants) == {"before-2025-11-27", "foreground-crop", "field-of-view"}
        antialias = {
            key: next(step.antialias for step in steps if step.step == "resize_float")
            for key, steps in {"usual": spec.preprocessing, **spec.preprocessing_variants}.items()
        }
        ours = {"foreground-crop": True, "field-of-view": True}
        assert antialias == {"usual": True, "before-2025-11-27": False, **ours}
        assert any("10.478" in line and "11.395" in line for line in spec.deviations)
        assert not any(step.step == "normalise" for step in spec.preprocessing)
        assert spec.weights.sources[0].sha256.startswith("050334cd934f")
    text = get_card("flair-resnet50").spec.architecture.args["text"]
    assert text["pooling"] == "mean_with_padding" and text["hidden_states"] == [1, 2, -1]
    assert get_card("flair-resnet50").spec.embedding.normalised
    one, other = (get_card(name).spec for name in FLAIR)
    assert one.preprocessing == other.preprocessing and one.preprocessing_variants == other.preprocessing_variants


def test_contamination_of_the_data_at_hand():
    flair = {entry.name: entry for entry in get_card("flair-resnet50").spec.training_data}
    assert flair["idrid"].status == "used" and "official test images were not" in flair["idrid"].note
    assert sum(entry.status == "used" for entry in flair.values()) == 30
    assert {flair[name].status for name in ("messidor", "fives", "refuge", "acrima", "deepdrid", "mmac")} == {
        "held out"
    }
    for name in PATHGEN:
        assert {entry.name: entry.status for entry in get_card(name).spec.training_data}["tcga"] == "used"


def test_generic_file_names_are_looked_for_only_under_the_encoders_own_folder():
    from medfm.encoders.weights import places

    for name in QUILT:
        card = get_card(name)
        assert all(path.parent.name == name for source in card.spec.weights.sources for path in places(card, source))


def test_the_names_of_keep_find_their_place_and_give_the_same_numbers():
    """timm's ViT with LayerScale, two layers behind it, and BERT's pooler, as the authors' code names them."""
    from timm.models.vision_transformer import VisionTransformer
    from transformers import BertConfig, BertModel

    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, init_values=0.5, num_classes=0
    )
    head = torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.GELU(), torch.nn.Linear(12, 12))
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    bert = BertModel(BertConfig(vocab_size=40, max_position_embeddings=20, **sizes))
    parts = {"visual": vit.eval(), "visual_head": head.eval(), "text": bert.eval()}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    state["logit_scale"] = torch.tensor(3.2)
    image = {"kind": "timm", "patch": 8, "width": 16, "layers": 2, "heads": 2, "layer_scale": True, "head": "mlp"}
    text = {"kind": "bert", "pooling": "pooler", "head": "none", "vocabulary": 40, "width": 12, "layers": 2, "heads": 2, "feed_forward": 24, "positions": 20}  # fmt: skip
    module = build_clip({"image_size": 32, "activation": "gelu", "projection": 12, "image": image, "text": text}).eval()
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found, report = match(state, wanted, get_card("keep").spec.weights.key_map, "x")
    assert report.ok and not report.dropped, str(report)
    module.load_state_dict(found)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    with torch.inference_mode():
        torch.testing.assert_close(module(x), head(vit(x)))
        mask = (ids != 0).long()
        torch.testing.assert_close(module.encode(ids, mask), bert(input_ids=ids, attention_mask=mask).pooler_output)


def test_people_can_see_them(capsys):
    listed = json.loads(run(capsys, "encoders", "--modality", "histopathology", "--json"))["encoders"]
    assert {*QUILT, *PATHGEN} <= {row["id"] for row in listed}
    shown = " ".join(run(capsys, "encoders", "show", "pathgen-clip-l").split())
    for words in ("336 x 336 pixels", "quick_gelu", "427.9 M", "cc-by-nc-4.0", "CLIP text transformer"):
        assert words in shown
    shown = " ".join(run(capsys, "encoders", "show", "xrv-resnet50").split())
    for words in (
        "classifier of 18: Atelectasis",
        "never trained: Lung Lesion, Enlarged",
        "radiograph_scale (low -1024",
    ):
        assert words in shown
    shown = " ".join(run(capsys, "encoders", "show", "flair-resnet50").split())
    assert "preprocessing for before-2025-11-27" in shown and "Bio_ClinicalBERT" in shown


def test_no_card_is_forgotten_here():
    folder = Path(get_card("plip").path).parent
    mentioned = {
        p.stem for p in folder.glob("*.md") if get_card(p).modality in ("retina", "histopathology", "chest_xray")
    }
    # The small cards for training have no published weights to compare with.
    assert {name for name in mentioned if not name.endswith("-tiny")} == set(ALL)
