"""What a trained LDAE has learnt from synthetic brains, with intervals; see docs/pretrain.md.

Run it from the repository: python scripts/ldae_evidence.py runs/semantic brains/labels.csv --steps 20
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from medfm.cohorts.load import load_cohort
from medfm.core.progress import for_people
from medfm.workflows.latent_diffusion import load_system
from medfm.workflows.latent_evidence import evidence


def main() -> None:
    """Print the findings, one per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of the stage 'semantic'")
    parser.add_argument("table", help="labels.csv of medfm data synthesize brain_mri")
    parser.add_argument("--steps", type=int, help="sampling steps [the card's]")
    parser.add_argument("--scans", type=int, default=24, help="most scans that are sampled")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    system = load_system(given.folder, device=given.device)
    found = evidence(system, load_cohort(given.table), steps=given.steps, scans=given.scans, progress=for_people)
    print(json.dumps([asdict(one) for one in found], indent=2) if given.json else "\n".join(map(str, found)))


if __name__ == "__main__":
    main()
