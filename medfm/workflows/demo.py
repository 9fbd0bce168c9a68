"""``medfm demo``: everything once, offline: synthetic cells, a tiny training, a probe, a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from medfm.core.config import StrictConfig
from medfm.core.errors import StoreError
from medfm.core.files import write_text
from medfm.core.progress import ProgressMaker, Silent

if TYPE_CHECKING:
    from medfm.reporting.result import Result
    from medfm.workflows.compare import Comparison


_PARTS = ("cohort", "cache", "encoder", "untrained", "trained")


class DemoConfig(StrictConfig):
    """Size of the demo; the defaults take about two minutes on two cores."""

    records: int = Field(480, ge=120, description="synthetic cells to draw")
    seed: int = Field(0, ge=0, description="of the drawing and of the untrained encoder")
    recipe: str = Field("dinov2-smoke", description="pretraining recipe, or 'none' for the untrained encoder alone")
    encoder: str = Field("dinov2-tiny", description="architecture, untrained, as the honest baseline")
    protocol: str = Field("linear-probe@1", description="evaluation protocol")


@dataclass(frozen=True)
class Demo:
    """What the demo leaves behind: the headline result, the untrained baseline and their comparison."""

    result: Result
    folder: Path
    report: Path
    untrained: Result | None
    comparison: Comparison | None


def demo(
    out: str | Path,
    config: DemoConfig | None = None,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: ProgressMaker = Silent,
) -> Demo:
    """Run the spine from files to a report on synthetic blood cells.

    Args:
        out: Folder for the cohort, the encoder and the results.
        config: Sizes and names; see :class:`DemoConfig`.
        overwrite: Whether results of an earlier demo in `out` are replaced.
        say: Receives a line at the start of each step.
        progress: Makes a progress display from title, total and unit.

    Raises:
        MedfmError: A step could not run.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.cohorts.synthesize import synthesize
    from medfm.encoders.load import load_encoder
    from medfm.workflows.compare import compare
    from medfm.workflows.embed import embed
    from medfm.workflows.pretrain import pretrain
    from medfm.workflows.probe import probe

    config = config or DemoConfig()
    folder = _fresh_folder(Path(out), overwrite)
    say(f"1/5 drawing {config.records} synthetic blood cells (PNG, JPEG and TIFF)")
    written = synthesize("blood_cell", folder / "cohort", records=config.records, seed=config.seed)
    cohort = load_cohort(written.table)

    def run(source: str, weights: str | None, name: str) -> Result:
        encoder = load_encoder(source, weights=weights, seed=config.seed)
        embeddings = embed(encoder, cohort, cache=str(folder / "cache"), progress=progress)
        result = probe(embeddings, cohort, "label", config.protocol, name=name, progress=progress)
        result.save(folder / name, images=cohort)
        return result

    say("2/5 probing the untrained encoder, the honest baseline")
    untrained = run(config.encoder, "random", "untrained")
    if config.recipe == "none":
        return Demo(untrained, folder / "untrained", folder / "untrained" / "report.html", None, None)
    say("3/5 training the tiny self-supervised recipe on the train split, without labels")
    pretrain(cohort, config.recipe, folder / "encoder", progress=progress)
    say("4/5 probing the trained encoder")
    trained = run(str(folder / "encoder"), None, "trained")
    say("5/5 comparing the two on the same test records")
    comparison = compare(untrained, trained)
    return Demo(trained, folder / "trained", folder / "trained" / "report.html", untrained, comparison)


def _fresh_folder(folder: Path, overwrite: bool) -> Path:
    """The demo's folder, empty of an earlier demo; other people's folders are never cleared."""
    marker = folder / "demo.txt"
    if folder.exists() and not folder.is_dir():
        raise StoreError("A file has the name of the demo's folder.", where=str(folder), fix="choose another --out")
    if folder.exists() and any(folder.iterdir()):
        if not marker.is_file():
            raise StoreError(
                "The folder holds other things than an earlier demo.",
                where=str(folder),
                fix="choose a new folder with --out",
            )
        if not overwrite:
            raise StoreError(
                "An earlier demo is in this folder.",
                where=str(folder),
                fix="pass --overwrite to replace it, or choose a new folder with --out",
            )
        for part in _PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
    write_text(marker, "This folder was written by 'medfm demo'; --overwrite replaces what is in it.\n")
    return folder
