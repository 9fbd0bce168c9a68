"""Report texts of synthetic fundus photographs: a few sentences in varied words."""

from __future__ import annotations

import numpy as np

from medfm.cohorts.synthetic_fundus_lesions import Lesions

# Several ways to say each grade; no sentence is a prompt of the knowledge base word for word.
VERDICTS: dict[str, tuple[str, ...]] = {
    "0": ("No signs of diabetic retinopathy", "No diabetic retinopathy seen", "Retina without diabetic changes"),
    "1": ("Mild NPDR is present", "Early, mild diabetic retinopathy", "Impression: mild diabetic retinopathy"),
    "2": ("Moderate NPDR is present", "Diabetic retinopathy of moderate degree", "Impression: moderate NPDR"),
    "3": ("Severe NPDR is present", "Severe diabetic retinopathy, not proliferative", "Impression: severe NPDR"),
    "4": ("PDR is present", "Diabetic retinopathy of the proliferative type", "Impression: proliferative retinopathy"),
}
_CUPPED = (
    "Large cup, cup to disc ratio {cup:.1f}, glaucoma suspected",
    "Disc with deep cupping ({cup:.1f}) and thin rim, in keeping with glaucoma",
    "Glaucomatous disc, vertical cup to disc ratio {cup:.1f}",
)
_SOUND = ("Disc of usual appearance", "Cup to disc ratio {cup:.1f}", "Disc margin sharp, cup small", "")
_EYES = {"R": ("Right eye", "OD"), "L": ("Left eye", "OS")}


def seen(lesions: Lesions, rng: np.random.Generator) -> list[str]:
    """Phrases for the lesions that are there, in a random order."""
    bleeds = sum(lesions.haemorrhages)
    phrases = []
    if lesions.microaneurysms:
        phrases.append(str(rng.choice(["microaneurysms", "a few red dots" if not bleeds else "many microaneurysms"])))
    if bleeds:
        wide = min(lesions.haemorrhages) > 20
        phrases.append(
            "haemorrhages in all four quadrants" if wide else str(rng.choice(["blot haemorrhages", "haemorrhages"]))
        )
    if lesions.exudates:
        phrases.append(str(rng.choice(["hard exudates", "hard exudates near the macula", "yellow lipid deposits"])))
    if lesions.cotton_wool:
        phrases.append(str(rng.choice(["cotton wool spots", "soft exudates"])))
    if lesions.beading > 0.5:
        phrases.append("beaded veins")
    if lesions.new_vessels:
        phrases.append(f"new vessels {'on the disc' if lesions.new_vessels == 'disc' else 'elsewhere'}")
    if lesions.preretinal:
        phrases.append("blood in front of the retina")
    return [str(p) for p in rng.permutation(phrases)]


def report(grade: str, lesions: Lesions, side: str, cup: float, glaucoma: bool, rng: np.random.Generator) -> str:
    """One report: eye, what is seen, a verdict, the disc, joined by ". ".

    Args:
        grade: Key of :data:`VERDICTS`.
        lesions: What was drawn.
        side: ``"R"`` or ``"L"``.
        cup: Cup-to-disc ratio.
        glaucoma: Whether the eye has the second label.
        rng: Chooses the wording.
    """
    phrases = seen(lesions, rng)
    if phrases:
        # Never a phrase alone: the names of findings are prompts.
        findings = str(rng.choice(["Seen: ", "Findings: "])) + ", ".join(phrases)
    else:
        findings = str(rng.choice(["macula with reflex", "vessels of regular course", ""]))
    parts = [str(rng.choice(_EYES[side])), findings, str(rng.choice(VERDICTS[grade]))]
    parts.append(str(rng.choice(_CUPPED if glaucoma else _SOUND)).format(cup=cup))
    return ". ".join(part[0].upper() + part[1:] for part in parts if part)
