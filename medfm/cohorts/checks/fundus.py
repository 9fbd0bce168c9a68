"""Deep checks of fundus photographs (R): what they show, blur, light, the eye they are labelled with.

The measurements come from the one pass over the files; here they are judged. How often each check is
wrong was measured on real photographs; docs/retina.md has the figures and what they do not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.modalities.fundus_quality import FundusQuality

# Share of pixels in the colours of a retina, below which a picture is none: with and without a round field.
RETINA_COLOUR = (0.5, 0.9)
SHARP = 0.31
# Mean of the green channel; share of dark and of overexposed pixels; unevenness of the light.
DIM, DARK, GLARE, UNEVEN = 30.0, 0.3, 0.05, 0.45
# Lead of the likelier side of the optic disc, below which nothing is said.
LEAD = 2.0


def not_a_fundus(quality: FundusQuality) -> bool:
    """Whether the colours are not those of a fundus photograph."""
    return quality.retina_colour < RETINA_COLOUR[0 if quality.found else 1]


def blurred(quality: FundusQuality) -> bool:
    """Whether fine structures are missing against coarse ones."""
    return quality.sharpness is not None and quality.sharpness < SHARP


def badly_lit(quality: FundusQuality) -> str | None:
    """``"too dark"``, ``"overexposed"``, ``"uneven"`` or ``None``."""
    if quality.brightness < DIM or quality.dark > DARK:
        return "too dark"
    if quality.bright > GLARE:
        return "overexposed"
    return "uneven" if quality.unevenness > UNEVEN else None


def other_side(quality: FundusQuality, laterality: str) -> bool:
    """Whether the optic disc seems to lie where it lies in the other eye: it is right of the macula in a right eye."""
    return quality.found and quality.disc_lead >= LEAD and quality.disc_side != laterality


def check_fundus(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    """R001 to R005 of the photographs that could be read."""
    ids = cohort.record_ids
    read = [(ids[i], s.fundus, s.facts) for i, s in enumerate(seen) if s.fundus is not None]
    if not read:
        return
    strange = [name for name, q, _ in read if not_a_fundus(q)]
    if strange:
        detail = f"{len(strange):,} of {count(len(read), 'picture')} have other colours than a retina"
        yield found("R001", "warning", detail, strange)
    else:
        yield passed("R001", count(len(read), "picture"))
    eyes = [(name, q, facts) for name, q, facts in read if not not_a_fundus(q)]
    sharp = [(name, q) for name, q, _ in eyes if q.sharpness is not None]
    coarse = f"; {count(len(eyes) - len(sharp), 'picture')} too small to tell" if len(sharp) < len(eyes) else ""
    blurry = [name for name, q in sharp if blurred(q)]
    if blurry:
        yield found(
            "R002", "warning", f"{len(blurry):,} of {count(len(sharp), 'photograph')} look blurred{coarse}", blurry
        )
    else:
        yield passed("R002", f"{count(len(sharp), 'photograph')}{coarse}")
    lit = [(name, why) for name, q, _ in eyes if (why := badly_lit(q)) is not None]
    if lit:
        kinds = ", ".join(
            f"{kind} ({n})" for kind in ("too dark", "overexposed", "uneven") if (n := sum(w == kind for _, w in lit))
        )
        yield found(
            "R003", "warning", f"{len(lit):,} of {count(len(eyes), 'photograph')}: {kinds}", [n for n, _ in lit]
        )
    else:
        yield passed("R003", count(len(eyes), "photograph"))
    yield from _sides(eyes)


def _sides(eyes: Sequence[tuple[str, FundusQuality, dict[str, object]]]) -> Iterator[Finding]:
    both = [
        (name, facts)
        for name, _, facts in eyes
        if facts.get("laterality_source") == "table" and facts.get("laterality_file")
    ]
    contradicting = [name for name, facts in both if facts["laterality"] != facts["laterality_file"]]
    if contradicting:
        detail = f"{len(contradicting):,} of {count(len(both), 'file')} say another eye than the table"
        yield found("R004", "error", detail, contradicting)
    elif both:
        yield passed("R004", count(len(both), "file"))
    labelled = [(name, q, str(facts["laterality"])) for name, q, facts in eyes if facts.get("laterality")]
    judged = [(name, q, side) for name, q, side in labelled if q.found and q.disc_lead >= LEAD]
    wrong = [name for name, q, side in judged if other_side(q, side)]
    unsaid = (
        f"; {count(len(labelled) - len(judged), 'photograph')} could not be judged"
        if len(judged) < len(labelled)
        else ""
    )
    if wrong:
        detail = f"in {len(wrong):,} of {count(len(judged), 'photograph')} the optic disc seems to lie on the other side{unsaid}"
        # Most of them: the column says the opposite, or the pictures are mirrored.
        yield found("R005", "error" if 2 * len(wrong) > len(judged) and len(judged) >= 10 else "warning", detail, wrong)
    elif labelled:
        yield passed("R005", f"{count(len(judged), 'photograph')}{unsaid}")
