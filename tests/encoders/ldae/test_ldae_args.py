"""Sizes of the LDAE networks: the published ones by default, impossible ones refused."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from medfm.encoders.families import family_args, list_families
from medfm.encoders.ldae.args import AutoencoderArgs, DenoiserArgs, LdaeArgs


def test_the_defaults_are_the_published_sizes():
    assert LdaeArgs().dim == 768 and LdaeArgs().slices == 128
    assert AutoencoderArgs().factor == 8
    assert DenoiserArgs().factor == 4 and DenoiserArgs().condition == LdaeArgs().dim


def test_the_family_is_known():
    assert "ldae" in list_families()
    assert family_args("ldae", {}, "x") == LdaeArgs()


def test_they_are_read_without_torch():
    code = (
        "import sys; import medfm.encoders.ldae.args, medfm.encoders.ldae.generator; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        (LdaeArgs, {"depths": [3, 3]}, "one number per stage"),
        (LdaeArgs, {"depths": [], "widths": []}, "at least one stage"),
        (LdaeArgs, {"depths": [1], "widths": [0]}, "must be positive"),
        (LdaeArgs, {"depths": [1], "widths": [20]}, "multiple of heads"),
        (LdaeArgs, {"depths": [1], "widths": [9], "heads": 3}, "must be even"),
        (LdaeArgs, {"slices": 0}, "slices"),
        (LdaeArgs, {"slice": 3}, "slice"),
        (AutoencoderArgs, {"channels": [48]}, "multiple of groups"),
        (AutoencoderArgs, {"channels": []}, "channels"),
        (DenoiserArgs, {"width": 33}, "even"),
        (DenoiserArgs, {"width": 48}, "multiple of groups"),
        (DenoiserArgs, {"multipliers": [1, 0]}, "multiple of groups"),
        (DenoiserArgs, {"heads": 3}, "multiple of heads"),
        (DenoiserArgs, {"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_sizes(kind, values, why):
    with pytest.raises(ValidationError, match=why):
        kind(**values)
