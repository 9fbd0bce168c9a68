"""The steps of ``medfm data show --reconstruct | --manipulate | --with``: one scan drawn from its codes, as a sheet or a film."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medfm.core.errors import ConfigError, ReadError, StoreError
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.ldae.direction import Along, load_direction
from medfm.evaluation.similarity_metrics import figures
from medfm.modalities.record import Record
from medfm.modalities.registry import get_modality
from medfm.reporting.drawing import Drawing
from medfm.reporting.drawing_page import FORMATS, write_drawing
from medfm.reporting.moving_picture import MOVING, ffmpeg, write_moving
from medfm.reporting.show import facts_table
from medfm.reporting.volume_sheets import Sheet, Shown, panel_rows, strip
from medfm.reporting.volume_slices import centre_of
from medfm.workflows.draw_interpolation import encoded
from medfm.workflows.drawing_pictures import between, interpolation_sheet
from medfm.workflows.drawing_scans import Scan, finite, part_weights, prepared
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder, load_system
from medfm.workflows.show import TABLES, ShownRecord, found_records

_COLUMNS, _FRAMES = 5, 9
_WINDOW = 4
STRENGTH, SHARE = 2.0, 0.5


@dataclass(frozen=True)
class Wish:
    """What is to be drawn of a scan.

    Attributes:
        reconstruct: The scan, what both codes draw, and the difference.
        manipulate: A direction (see :func:`medfm.encoders.ldae.direction.load_direction`).
        strength: From minus this to this along the direction.
        along: The probe's ``pattern`` or, as published, its ``weight``; the pattern where known when ``None``.
        other: A second visit: a file, or a record of the table.
        middle: The true visit in between, likewise.
        share: Where it lies between the two.
        steps: Sampling steps; the card's when ``None``.
    """

    reconstruct: bool = False
    manipulate: str | Path | None = None
    strength: float = STRENGTH
    along: Along | None = None
    other: str | Path | None = None
    middle: str | Path | None = None
    share: float = SHARE
    steps: int | None = None

    def __post_init__(self) -> None:
        asked = (self.reconstruct, self.manipulate is not None, self.other is not None).count(True)
        if self.middle is not None and self.other is None:
            raise ConfigError("A visit in between needs the later one.", where="--between", fix="name it with --with")
        if asked != 1:
            raise ConfigError(
                "Only one thing is drawn at a time." if asked else "Nothing is asked to be drawn.",
                expected="one of --reconstruct, --manipulate and --with",
            )
        if not (np.isfinite(self.strength) and self.strength > 0):
            raise ConfigError(f"The strength is {self.strength:g}.", where="--strength", expected="above 0")
        if not 0 < self.share < 1:
            raise ConfigError(f"The share is {self.share:g}.", where="--share", expected="between 0 and 1")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"{self.steps} steps cannot be taken.", where="--steps", expected="1 or more")
        if self.along is not None and self.manipulate is None:
            raise ConfigError("A pattern belongs to a direction.", where="--along", fix="name one with --manipulate")
        if self.strength != STRENGTH and self.manipulate is None:
            raise ConfigError(
                "A strength belongs to a direction.", where="--strength", fix="name one with --manipulate"
            )
        if self.share != SHARE and self.middle is None:
            raise ConfigError(
                "A share says where a true visit lies, and none is named.",
                where="--share",
                fix="name it with --between",
            )


def show_drawn(
    source: str | Path,
    wish: Wish,
    *,
    encoder: str,
    weights: Sequence[str | Path] = (),
    out: str | Path | None = None,
    modality: str | None = None,
    record_ids: Sequence[str] = (),
    cohort: Mapping[str, Any] | None = None,
    reader: Mapping[str, Any] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
) -> ShownRecord:
    """Draw one scan from its codes and write the sheet, or a film.

    Args:
        source: A scan, or a cohort's table together with one id in `record_ids` (its first record without).
        wish: What to draw.
        encoder: Id, card file or folder of a training, with a generator.
        weights: As of :func:`medfm.workflows.drawing_scans.part_weights`.
        out: ``.png``, ``.svg``, ``.pdf``, ``.gif`` or ``.mp4``; a PNG named after the record, here, when ``None``.
        modality: Of the file, where its ending does not tell.
        record_ids: At most one record of the table.
        cohort: Further arguments of :func:`medfm.load_cohort`.
        reader: Reader options of a file.
        device: ``"auto"`` or a torch device.
        overwrite: Replace the file.
        progress: Shows the steps.

    Raises:
        ConfigError: A wish, an ending or a number that cannot be.
        ReadError: A scan cannot be read.
        WeightsError: Weights or direction are not there or do not fit.
        MissingExtraError: MP4 without ffmpeg.
        StoreError: The file exists already or cannot be written.
    """
    from medfm.encoders.registry import get_card

    if len(record_ids) > 1:
        raise ConfigError("One scan is drawn at a time.", where="--record", expected="one --record")
    given = dict(cohort or {})
    record, synthetic = _record(Path(source), list(record_ids), modality, given, reader)
    target = _target(out, record.record_id, overwrite)
    if wish.middle is not None and target.suffix in MOVING:
        raise ConfigError(
            "A film shows the way from one scan to the other, without the true visit in between.",
            where="--between",
            fix=f"leave --between away, or take a sheet: {', '.join(FORMATS)}",
        )
    card = get_card(encoder)
    system = load_system(encoder, weights=part_weights(card, weights), device=device)
    others = []
    for name in (wish.middle, wish.other):
        if name is not None:
            others.append(_beside(Path(source), name, record.modality, given, reader))
    show = progress or Silent
    if wish.reconstruct:
        drawings = _reconstruction(system, record, wish, synthetic, show, moving=target.suffix in MOVING)
    elif wish.manipulate is not None:
        drawings = _manipulation(system, record, wish, synthetic, show, moving=target.suffix in MOVING)
    else:
        drawings = _interpolation(system, [record, *others], wish, synthetic, show, moving=target.suffix in MOVING)
    if target.suffix in MOVING:
        write_moving(drawings, target, seconds=0.8 if wish.reconstruct else 0.25)
    else:
        write_drawing(drawings[0], target)
    return ShownRecord(record.record_id, target, tuple(facts_table(record)))


def _record(
    source: Path, ids: list[str], modality: str | None, cohort: dict[str, Any], reader: Mapping[str, Any] | None
) -> tuple[Record, bool]:
    refs, kind, synthetic = found_records(source, modality, ids, 1, cohort, reader)
    if kind != "brain_mri":
        raise ConfigError(
            f"Scans are drawn from codes, and this is of modality '{kind}'.",
            where=str(source),
            fix="--modality brain_mri",
        )
    if not refs:
        raise ReadError("The table has no record.", where=str(source))
    return get_modality(kind).read(refs[0]), synthetic


def _beside(
    source: Path, name: str | Path, modality: str, cohort: dict[str, Any], reader: Mapping[str, Any] | None
) -> Record:
    """A further scan: a record of the table, else a file."""
    if source.suffix.lower() in TABLES and not Path(name).exists():
        return _record(source, [str(name)], modality, cohort, None)[0]
    return _record(Path(name), [], modality, {}, reader)[0]


def _target(out: str | Path | None, record_id: str, overwrite: bool) -> Path:
    if out is None:
        stem = (
            re.sub(r"[^\w.-]+", "_", record_id.removesuffix(".gz").removesuffix(".nii")).strip("._")[-100:] or "record"
        )
        out = Path(f"{stem}.png")
    path = Path(out)
    ending = path.suffix.lower()
    if ending not in (*FORMATS, *MOVING):
        raise ConfigError(
            f"A scan cannot be drawn as '{ending or path.name}'.",
            where=str(out),
            expected=", ".join((*FORMATS, *MOVING)),
        )
    if ending == ".mp4":
        ffmpeg()  # say so before the work
    if path.exists() and not overwrite:
        raise StoreError(
            "The file exists already.", where=str(path), fix="choose another name with --out, or pass --overwrite"
        )
    return path.with_suffix(ending)


def _scan(system: LatentDiffusionAutoencoder, record: Record) -> Scan:
    batch, affine = prepared(system.encoder, record)
    return Scan(0, record.record_id, "", batch, affine, record.facts.get("left_right") == "known")


def _lines(system: LatentDiffusionAutoencoder, steps: int | None) -> tuple[str, ...]:
    """Which networks drew it, and what it is not."""
    taken = system.generator.steps if steps is None else steps
    random = any(note.startswith("random") for note in system.notes.values())
    note = "UNTRAINED WEIGHTS: means nothing" if random else "drawn by networks: neither an examination nor a forecast"
    return (f"{system.encoder.id}, {taken} steps; {note}",)


def _array(volumes: Tensor, scan: Scan) -> np.ndarray:
    found: np.ndarray = finite(volumes, [scan], "the sheet")[0, 0].numpy()
    return found


def _reconstruction(
    system: LatentDiffusionAutoencoder, record: Record, wish: Wish, synthetic: bool, show: ProgressMaker, moving: bool
) -> list[Drawing]:
    scan = _scan(system, record)
    true = system.volume(scan.batch).cpu()
    codes = system.encode(scan.batch, steps=wish.steps, progress=show)
    drawn = finite(system.decode(codes, steps=wish.steps, progress=show), [scan], "the sheet")
    found = figures(drawn, true, (_WINDOW,))
    said = f"SSIM {found['ssim'][0]:.3f} (window {_WINDOW}), PSNR {found['psnr'][0]:.1f} dB, MSE {found['mse'][0]:.2g}"
    sheet = Sheet(
        record.record_id,
        scan.affine,
        scan.sides_known,
        "reconstruction minus scan",
        _lines(system, wish.steps),
        synthetic,
    )
    before, after = true[0, 0].numpy(), drawn[0, 0].numpy()
    centre = centre_of(before, scan.affine)
    rows = [Shown("scan, as the networks see it", before), Shown(f"reconstruction: {said}", after, after - before)]
    if not moving:
        return [panel_rows(rows, sheet, centre)]
    return [panel_rows([Shown(row.label, row.volume)], sheet, centre) for row in rows]


def _manipulation(
    system: LatentDiffusionAutoencoder, record: Record, wish: Wish, synthetic: bool, show: ProgressMaker, moving: bool
) -> list[Drawing]:
    assert wish.manipulate is not None
    direction = load_direction(wish.manipulate, system.encoder.embedding_dim)
    if direction.fingerprint and direction.fingerprint != system.encoder.fingerprint:
        raise ConfigError(
            f"The direction belongs to other weights ({direction.encoder or 'another encoder'}).",
            where=str(wish.manipulate),
            expected=f"a direction in the codes of '{system.encoder.id}' with these weights",
            fix="probe again with this encoder",
        )
    head = direction.along(wish.along)
    scan = _scan(system, record)
    codes = system.encode(scan.batch, steps=wish.steps, progress=show)
    strengths = np.linspace(-wish.strength, wish.strength, _FRAMES if moving else _COLUMNS).tolist()
    drawn = []
    with show("drawing", len(strengths), "volumes") as shown:
        for moved in system.manipulate(codes, head, strengths):
            drawn.append(_array(system.decode(moved, steps=wish.steps), scan))
            shown.advance()
    still = drawn[len(drawn) // 2]
    towards = direction.towards or "the positive class"
    by = "the probe's weights" if head is direction.head else "the pattern of the probe"
    said = f"k > 0 moves the semantic code towards {towards}, below 0 away from it, along {by}"
    lines = (said, *_lines(system, wish.steps))
    sheet = Sheet(record.record_id, scan.affine, scan.sides_known, "minus the volume at k = 0", lines, synthetic)
    # The middle of the strengths is 0 up to rounding: it must not be written "-0".
    titles = ["k = 0" if abs(k) < 1e-9 else f"k = {k:+g}".replace("-", "−") for k in strengths]
    centre = centre_of(still, scan.affine)
    if moving:
        return [
            panel_rows([Shown(f"{t} towards {towards}", v)], sheet, centre) for t, v in zip(titles, drawn, strict=True)
        ]
    return [
        strip(
            [Shown(t, v, None if v is still else v - still) for t, v in zip(titles, drawn, strict=True)], sheet, centre
        )
    ]


def _interpolation(
    system: LatentDiffusionAutoencoder,
    records: Sequence[Record],
    wish: Wish,
    synthetic: bool,
    show: ProgressMaker,
    moving: bool,
) -> list[Drawing]:
    from medfm.evaluation.similarity_config import Interpolation

    scans = [_scan(system, record) for record in records]
    steps = system.generator.steps if wish.steps is None else wish.steps
    with show("encoding", len(scans), "scans") as shown:
        codes, true, _ = encoded(system, scans, Interpolation(steps=steps), 1)
        shown.advance(len(scans))
    name = f"{records[0].record_id} to {records[-1].record_id}"
    volumes = [volume[0].numpy() for volume in true]
    known = all(scan.sides_known for scan in scans)
    note = "both scans must lie in the same place (registered); only then blending and differences mean something"
    sheet = Sheet(
        name, scans[0].affine, known, "minus the true visit in between", (note, *_lines(system, wish.steps)), synthetic
    )
    if wish.middle is not None and not moving:
        drawn = between(system, codes, wish.share, scans[1], steps)
        return [interpolation_sheet(volumes, drawn, wish.share, sheet)]
    shares = np.linspace(0.0, 1.0, _FRAMES if moving else _COLUMNS).tolist()
    ends = [Codes(codes.semantic[i : i + 1], codes.stochastic[i : i + 1]) for i in (0, len(codes) - 1)]
    made = []
    with show("drawing", len(shares), "volumes") as shown:
        for mixed in system.interpolate(ends[0], ends[1], shares):
            made.append(_array(system.decode(mixed, steps=steps), scans[0]))
            shown.advance()
    centre = centre_of(volumes[0], scans[0].affine)
    if moving:
        labels = [f"share {share:.2f} of the way from the first to the second scan" for share in shares]
        return [panel_rows([Shown(t, v)], sheet, centre) for t, v in zip(labels, made, strict=True)]
    sheet = Sheet(
        name, scans[0].affine, known, "minus the first column", (note, *_lines(system, wish.steps)), synthetic
    )
    columns = [
        Shown(f"share {share:g}", volume, None if volume is made[0] else volume - made[0])
        for share, volume in zip(shares, made, strict=True)
    ]
    return [strip(columns, sheet, centre)]
