from __future__ import annotations

import pytest

from medfm.core.errors import ConfigError
from medfm.embeddings.sharing import Share, parse_share

SLURM = {
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_MAX": "6",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


def test_the_parts_are_disjoint_and_cover_everything():
    ids = [f"record {i}" for i in range(1000)]
    owners = [[share.has(record) for share in (Share(r, 7) for r in range(7))] for record in ids]
    assert all(sum(row) == 1 for row in owners)
    sizes = [sum(row[r] for row in owners) for r in range(7)]
    assert min(sizes) > 100  # 143 expected


def test_forms_of_the_option():
    assert parse_share("none") is None
    assert parse_share("2/5") == Share(2, 5)
    assert parse_share("auto", {}) is None
    assert parse_share("auto", {"RANK": "1", "WORLD_SIZE": "4"}) == Share(1, 4, "torchrun")
    assert parse_share("auto", {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert parse_share("auto", SLURM) == Share(2, 4, "SLURM array")
    assert parse_share("auto", {**SLURM, "RANK": "0", "WORLD_SIZE": "2"}) == Share(0, 2, "torchrun")
    assert str(Share(2, 4, "SLURM array")) == "2/4 (SLURM array)"


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1/0", "x", "1", "1/2/3", ""])
def test_wrong_parts_are_refused(text):
    with pytest.raises(ConfigError):
        parse_share(text)


def test_an_array_with_gaps_is_refused_since_records_would_be_left_out():
    with pytest.raises(ConfigError, match="gaps"):
        parse_share("auto", {**SLURM, "SLURM_ARRAY_TASK_MAX": "9"})


def test_a_variable_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="WORLD_SIZE"):
        parse_share("auto", {"RANK": "0", "WORLD_SIZE": "many"})
