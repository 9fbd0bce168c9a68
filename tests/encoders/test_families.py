"""Architecture families by name."""

import subprocess
import sys

import pytest

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.encoders.families import family_args, get_family, list_families, plain_shapes
from medfm.encoders.vit_args import ViTArgs


def test_the_families():
    assert "dinov2" in list_families()
    assert get_family("dinov2").training_only == ("mask_token",)


def test_unknown_family():
    with pytest.raises(UnknownNameError, match="dinov2"):
        get_family("dinov22")
    with pytest.raises(UnknownNameError, match=r"card\.md: medfm\.architecture\.family"):
        family_args("resnext", {}, "card.md")


def test_arguments_are_validated_with_their_place():
    assert family_args("dinov2", {"size": "small"}, "x") == ViTArgs(size="small")
    with pytest.raises(ConfigError, match=r"card\.md: medfm\.architecture\.args"):
        family_args("dinov2", {"size": "small", "depht": 3}, "card.md")


@pytest.mark.parametrize(("size", "shape"), [("small", (384, 12, 6, "gelu")), ("giant", (1536, 40, 24, "swiglu"))])
def test_sizes(size, shape):
    args = ViTArgs(size=size)
    assert args.shape == shape and args.dim == shape[0]
    assert args.layer_scale == 1.0 and args.interpolation == "dinov2"


def test_shapes_cannot_be_spoilt_by_a_caller(mini):
    first = plain_shapes(mini.spec, "x")
    first.clear()
    assert plain_shapes(mini.spec, "x")


def test_cards_are_read_without_torch():
    code = (
        "import sys; from medfm.encoders.registry import list_encoders; assert list_encoders(); "
        "assert not {'torch', 'timm', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_package_names_are_lazy():
    code = (
        "import sys, medfm.encoders as e; assert 'torch' not in sys.modules and 'pydantic' not in sys.modules; "
        "assert set(e.__all__) >= {'build', 'load_published', 'load_encoder', 'list_encoders'}; "
        "assert all(getattr(e, name) is not None for name in e.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_package_name():
    import medfm.encoders

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medfm.encoders.nothing
    assert "build" in dir(medfm.encoders)
