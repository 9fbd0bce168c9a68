"""The YAML beside a cohort table: what a table alone cannot say."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medfm.core.config import StrictConfig, load_config


class CohortInfo(StrictConfig):
    """``labels.yaml`` beside ``labels.csv``; every key is optional.

    Values given to :func:`medfm.cohorts.load.load_cohort` win over the file's.
    """

    name: str | None = Field(None, description="name shown in reports")
    modality: str | None = Field(None, description="modality of the records")
    task: str | None = Field(None, description="what is to be predicted, in a sentence")
    target: str | list[str] | None = Field(
        None, description="the target column meant by the task, or the 0/1 columns of a multilabel task in order"
    )
    label_set: str | None = Field(
        None, description="label set of the knowledge file that the classes or 0/1 columns are named by"
    )
    root: str | None = Field(None, description="folder of the paths, relative to the table")
    columns: dict[str, str] = Field(default_factory=dict, description="NAME: column of the table that holds it")
    label_map: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="per column, raw value: name to use instead"
    )
    units: dict[str, str] = Field(default_factory=dict, description="per column, its unit")
    licence: str | None = Field(None, description="licence of the data")
    citation: str | None = Field(None, description="how to cite the data")
    source: str | None = Field(None, description="where the data come from")
    adapter: str | None = Field(None, description="the adapter that wrote the table, with its version")
    counts: dict[str, int] = Field(default_factory=dict, description="counts found when the table was written")
    notes: list[str] = Field(default_factory=list, description="what a reader of results should know")
    copies: str | None = Field(
        None, description="says that records are augmented copies of fewer originals; patient_id then groups the copies"
    )
    synthetic: bool = Field(False, description="true for cohorts drawn by a program")

    @property
    def prepared_as(self) -> str:
        """Name of the cohort that an adapter wrote: ``"ptbxl-super@published"`` of ``"ptbxl-super@published@1"``."""
        return (self.adapter or "").rpartition("@")[0]


def info_path(table: Path) -> Path:
    """Where the YAML of the table at `table` is looked for: the same name, ending ``.yaml``."""
    return table.with_suffix(".yaml")


def load_info(table: Path) -> CohortInfo:
    """The YAML beside `table`, or an empty one where there is none.

    Raises:
        ConfigError: The file is not valid YAML or has an unknown key.
    """
    if not table.name:
        return CohortInfo()  # "." and "..": folders, which the reader of tables names
    path = info_path(table)
    return load_config(CohortInfo, path) if path.is_file() else CohortInfo()
