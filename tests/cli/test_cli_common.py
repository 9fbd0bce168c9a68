"""What the verbs share: options, printing, help."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from pydantic import Field

from medfm.cli.common import (
    Verb,
    cohort_options,
    config_options,
    json_option,
    pairs,
    print_config,
    print_json,
    rows_kept,
    table,
)
from medfm.core.config import StrictConfig


class Small(StrictConfig):
    name: str = "größe"
    rate: float = Field(0.1, gt=0)


@click.command(cls=Verb)
@cohort_options
@config_options
@json_option
def verb(**given):
    """Do one thing.

    Examples:
      medfm verb a.csv
      medfm verb b.csv --json
    Checked: nothing.
    """
    print_json(given)


def options(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(verb, list(arguments))
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_defaults_and_repeated_options() -> None:
    plain = options()
    assert plain == {
        "modality": None, "root": None, "mapping": [], "where": [], "allow": [],
        "overrides": [], "dry_run": False, "as_json": False,
    }  # fmt: skip
    given = options("--map", "a=b", "--map", "c=d", "--set", "x=1", "--allow", "C1", "--where", "t=u", "--json")
    assert given["mapping"] == ["a=b", "c=d"] and given["overrides"] == ["x=1"]
    assert given["allow"] == ["C1"] and given["where"] == ["t=u"] and given["as_json"] is True


def test_help_keeps_the_lines_of_the_docstring() -> None:
    shown = CliRunner().invoke(verb, ["--help"]).output
    assert "  Examples:\n    medfm verb a.csv\n    medfm verb b.csv --json\n  Checked: nothing.\n" in shown
    # In the order in which a reader needs them.
    places = [shown.index(option) for option in ("--modality", "--root", "--map", "--where", "--allow", "--set")]
    assert places == sorted(places)


@pytest.mark.parametrize("text", ["ab", "=b", ""])
def test_pairs_need_a_name_and_a_sign(text: str) -> None:
    with pytest.raises(click.UsageError, match="--map takes NAME=VALUE"):
        pairs((text,), "--map")


def test_pairs_keep_further_signs_and_empty_values() -> None:
    assert pairs(("a=", "b=c=d", "a=2"), "--map") == {"a": "2", "b": "c=d"}


def test_a_column_named_more_than_once_keeps_any_of_its_values() -> None:
    assert rows_kept(("a=1",)) == {"a": "1"} and rows_kept(()) == {}
    assert rows_kept(("a=1", "b=x=y", "a=2", "a=3")) == {"a": ["1", "2", "3"], "b": "x=y"}
    with pytest.raises(click.UsageError, match="NAME=VALUE"):
        rows_kept(("a",))


def test_the_dry_run_can_be_read_back_and_carries_the_digest(capsys: pytest.CaptureFixture[str]) -> None:
    config = Small(rate=0.25)
    print_config(config)
    text = capsys.readouterr().out
    assert Small.model_validate(yaml.safe_load(text)) == config
    assert text.rstrip().endswith(f"# sha256 {config.digest()}") and "größe" in text
    print_config(config, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"config": config.to_dict(), "sha256": config.digest()}


def test_json_refuses_nan_and_writes_paths_as_text(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    with pytest.raises(ValueError):
        print_json({"auroc": float("nan")})
    with pytest.raises(ValueError):
        print_json({"auroc": np.float32("nan")})
    print_json({"folder": tmp_path, "n": np.int64(3), "yes": np.bool_(True)})
    assert json.loads(capsys.readouterr().out.strip()) == {"folder": str(tmp_path), "n": 3, "yes": True}


def test_a_table_shows_every_cell_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "x" * 70
    table([("a", None, 3), (long, "[B] :x:", 0)], ("name", "text", "n"), title="cells [1]")
    shown = capsys.readouterr().out
    assert shown.startswith("cells [1]") and "None" not in shown
    assert "[B] :x:" in shown, "a label was taken for markup"
    assert shown.count("x") == 70 + "text [B] :x:".count("x"), "a cell was cut"
    assert max(map(len, shown.splitlines())) <= 40
