"""``medfm demo``: everything once, offline: synthetic cells, a tiny training, a probe, a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from medfm.core.config import StrictConfig
from medfm.core.files import make_folder
from medfm.core.progress import Progress, Silent

if TYPE_CHECKING:
    from medfm.reporting.result import Result
    from medfm.workflows.compare import Comparison


class DemoConfig(StrictConfig):
    """Size of the demo; the defaults take about two minutes on two cores."""

    records: int = Field(480, ge=120, description="synthetic cells to draw")
    seed: int = Field(0, ge=0, description="of the drawing, the training and the statistics")
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
    progress: Callable[[str, int | None, str], Progress] = Silent,
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
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.load import load_encoder
    from medfm.workflows.compare import compare
    from medfm.workflows.embed import embed
    from medfm.workflows.pretrain import pretrain
    from medfm.workflows.probe import probe

    config = config or DemoConfig()
    folder = make_folder(out)
    say(f"1/5 drawing {config.records} synthetic blood cells (PNG, JPEG and TIFF)")
    table = synthesize("blood_cell", folder / "cohort", records=config.records, seed=config.seed, overwrite=overwrite)
    cohort = load_cohort(table)

    def run(source: str, weights: str | None, name: str) -> Result:
        encoder = load_encoder(source, weights=weights, seed=config.seed)
        embeddings: Embeddings = embed(encoder, cohort, cache=folder / "cache", progress=progress)
        result = probe(embeddings, cohort, target="label", protocol=config.protocol)
        result.save(folder / name, overwrite=overwrite)
        return result

    say("2/5 probing the untrained encoder, the honest baseline")
    untrained = run(config.encoder, "random", "untrained")
    if config.recipe == "none":
        return Demo(untrained, folder / "untrained", folder / "untrained" / "report.html", None, None)
    say("3/5 training the tiny self-supervised recipe on the train split, without labels")
    pretrain(
        cohort,
        recipe=config.recipe,
        out=folder / "encoder",
        seed=config.seed,
        overwrite=overwrite,
        progress=progress,
    )
    say("4/5 probing the trained encoder")
    trained = run(str(folder / "encoder"), None, "result")
    say("5/5 comparing the two on the same test patients")
    comparison = compare(trained, untrained)
    return Demo(trained, folder / "result", folder / "result" / "report.html", untrained, comparison)
