"""A whole fine-tuning run as one YAML file: what is asked for by hand, and what every run writes as ``run.yaml``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from medfm.cohorts.info import CohortInfo, info_path
from medfm.core.config import StrictConfig, build, merge, parse_overrides, read_yaml
from medfm.core.errors import ConfigError
from medfm.core.files import write_text
from medfm.workflows.finetune_output import RUN

YAMLS = (".yaml", ".yml")
_PATHS = ("table", "root", "out")
_FOLDERS = ("encoder", "beside")  # ids, or folders of trainings
_RANDOM = "random"
Move = Callable[[str], str]


def _plain(value: Any) -> Any:
    """Numbers as a table writes them; YAML's yes and no are bool, which a table does not have."""
    if isinstance(value, bool):
        raise ValueError("write this word in quotes, YAML reads it as true or false")
    return str(value) if isinstance(value, (int, float)) else value


def _plain_all(value: Any) -> Any:
    return tuple(_plain(one) for one in value) if isinstance(value, (list, tuple)) else _plain(value)


Word = Annotated[str, BeforeValidator(_plain)]
Words = Annotated[str | tuple[str, ...], BeforeValidator(_plain_all)]


class FinetuneFile(StrictConfig):
    """A run of ``medfm finetune``; every path is relative to the file that names it."""

    table: str = Field(description="CSV, TSV or Parquet table of the records")
    root: str | None = Field(None, description="folder of the table's paths")
    modality: str | None = Field(None, description="of the records; the encoder's where nothing says it")
    map: dict[str, str] = Field(default_factory=dict, description="NAME: column of the table that holds it")
    where: dict[str, Words] = Field(
        default_factory=dict, description="COLUMN: the value, or the values, of the rows that are kept"
    )
    allow: tuple[str, ...] = Field((), description="codes of checks that may fail")
    drop_unlabelled: bool = Field(False, description="leave out records without a label")
    encoder: str | None = Field(None, description="id, or folder of a training run")
    weights: str | None = Field(None, description="checkpoint file, or 'random'")
    preprocessing: str | None = Field(None, description="a variant that the encoder's card names")
    target: str | tuple[str, ...] | None = Field(None, description="label column, or the 0/1 columns")
    task: Literal["auto", "binary", "multiclass", "multilabel", "regression"] = "auto"
    positive: Word | None = Field(None, description="positive class of a binary task")
    label_set: str | None = Field(None, description="label set that names the classes, for the zero-shot reading")
    map_class: dict[Word, str] = Field(default_factory=dict, description="CLASS: its name in the knowledge")
    protocol: str | None = Field(None, description="id or file; nested-cv@1 where no recipe is named")
    recipe: str | None = Field(None, description="name or file of the one recipe to train once")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="changes of the protocol (nested) or of the recipe, as --set takes them"
    )
    beside: tuple[str, ...] = Field((), description="other encoders probed on the folds of nested cross-validation")
    out: str | None = Field(None, description="folder of the result")
    name: str = Field("", description="what the result is called")
    device: str = Field("auto", description="auto, cpu or cuda")
    on_error: Literal["report", "skip", "stop"] | None = Field(None, description="what a bad record does")

    def overrides(self) -> tuple[str, ...]:
        """The settings as ``KEY=VALUE``."""
        return tuple(f"{key}={_written(value)}" for key, value in _leaves(self.settings))

    def asked(self) -> str | list[str] | None:
        """The target as workflows take it."""
        return list(self.target) if isinstance(self.target, tuple) else self.target

    def short(self) -> str:
        """As YAML, without what is not said."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)


def is_file_of_run(path: str | Path) -> bool:
    """Whether `path` is called like a YAML file, which no table is."""
    return Path(path).suffix.lower() in YAMLS


def load_run(path: str | Path, changes: Mapping[str, Any] | None = None) -> FinetuneFile:
    """The run that the YAML file at `path` describes, its paths made relative to the current folder.

    Args:
        path: The file.
        changes: What lies on top, such as command-line options: groups key by key, all else as a whole.

    Raises:
        ConfigError: The file is missing, is another kind of YAML file of medfm, or has a wrong key.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise ConfigError(
            "The file describes no run: a group of keys was expected.",
            where=str(path),
            expected="table: labels.csv ...",
        )
    _refuse_others(Path(path), values)
    found, folder = build(FinetuneFile, values, where=str(path)), Path(path).parent
    found = found.model_copy(update={"settings": parse_overrides(found.overrides())})
    moved = _moved(found, lambda text: _under(folder, text), lambda text: (folder / text / "card.md").is_file())
    run = with_changes(moved, changes or {}, str(path))
    if info_path(Path(run.table)).resolve() == Path(path).resolve():
        raise ConfigError(
            f"The file has the name of the YAML that describes the table {Path(run.table).name} itself.",
            where=str(path),
            fix="give it another name, such as run.yaml",
        )
    return run


def with_changes(run: FinetuneFile, changes: Mapping[str, Any], where: str = "the command line") -> FinetuneFile:
    """`run` with `changes` on top."""
    return build(FinetuneFile, merge(run.model_dump(mode="json"), changes), where=where)


def write_run(run: FinetuneFile, folder: Path) -> None:
    """Write ``run.yaml`` into the folder of the result: ``medfm finetune FOLDER/run.yaml --out OTHER`` repeats the run.

    Raises:
        StoreError: The folder cannot be written to.
    """
    own = run.model_copy(update={"out": None})
    moved = _moved(own, lambda text: _seen_from(folder, text), lambda text: (Path(text) / "card.md").is_file())
    text = f"# Repeat it: medfm finetune {RUN} --out FOLDER. Paths are relative to this file.\n"
    write_text(folder / RUN, text + moved.model_copy(update={"out": "."}).short())


def _refuse_others(path: Path, values: Mapping[str, Any]) -> None:
    """Other YAML files that people have beside a cohort or a result."""
    keys = set(values)
    if "table" in keys:
        return
    if "stages" in keys:
        fix = f"give it as recipe: medfm finetune TABLE --encoder ID --recipe {path}"
        raise ConfigError("This YAML file is a fine-tuning recipe, not a run.", where=str(path), fix=fix)
    if {"method", "scheme"} & keys:
        fix = f"give it as protocol: medfm finetune TABLE --encoder ID --protocol {path}"
        raise ConfigError("This YAML file is a protocol, not a run.", where=str(path), fix=fix)
    if "cohort" in keys and keys & {"recipe", "recipes"}:
        fix = f"name the file that describes the run: {path.with_name(RUN)}"
        raise ConfigError("This YAML file holds the settings of a result, not a run.", where=str(path), fix=fix)
    beside = next((t for t in (path.with_suffix(e) for e in (".csv", ".tsv", ".parquet")) if t.is_file()), None)
    if beside is not None and keys <= set(CohortInfo.model_fields):
        raise ConfigError(
            f"This YAML file describes the table beside it, {beside.name}; it is no run.",
            where=str(path),
            fix=f"name the table, which reads it: medfm finetune {beside} --encoder ID",
        )


def _moved(run: FinetuneFile, move: Move, is_folder: Callable[[str], bool]) -> FinetuneFile:
    """`run` with `move` applied to every path; `is_folder` tells a bare name of a folder from an id."""
    values = run.model_dump(mode="json")
    for key in _PATHS:
        values[key] = values[key] and move(values[key])
    if values["weights"] not in (None, _RANDOM):
        values["weights"] = move(values["weights"])
    for key in ("recipe", "protocol"):
        values[key] = _yaml_moved(values[key], move)
    values["settings"] = _yaml_moved(values["settings"], move)
    for key in _FOLDERS:
        values[key] = _folders_moved(values[key], move, is_folder)
    return build(FinetuneFile, values, where="paths")


def _yaml_moved(value: Any, move: Move) -> Any:
    """Names of YAML files are paths, wherever they stand; other names are ids."""
    if isinstance(value, dict):
        return {key: _yaml_moved(inner, move) for key, inner in value.items()}
    if isinstance(value, list):
        return [_yaml_moved(inner, move) for inner in value]
    return move(value) if isinstance(value, str) and is_file_of_run(value) else value


def _folders_moved(value: Any, move: Move, is_folder: Callable[[str], bool]) -> Any:
    """Folders and cards are paths, ids are not: as the registry tells them apart."""
    if isinstance(value, list):
        return [_folders_moved(inner, move, is_folder) for inner in value]
    if value is None:
        return None
    path = os.sep in value or value.endswith(".md") or value in (".", "..") or is_folder(value)
    return move(value) if path else value


def _under(folder: Path, text: str) -> str:
    return os.path.normpath(folder / Path(text).expanduser())


def _seen_from(folder: Path, text: str) -> str:
    try:
        return os.path.relpath(Path(text).expanduser(), folder)
    except ValueError:  # another drive
        return str(Path(text).expanduser().absolute())


def _leaves(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += (
            _leaves(value, f"{above}{key}.") if isinstance(value, Mapping) and value else [(f"{above}{key}", value)]
        )
    return found


def _written(value: Any) -> str:
    """As YAML that ``--set`` reads back."""
    return yaml.safe_dump(value, default_flow_style=True, width=1 << 30).removesuffix("...\n").strip()
