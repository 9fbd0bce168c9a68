"""LDAE's split of subjects: two nested random draws of whole subjects, seed 42."""

from __future__ import annotations

from collections.abc import Iterable

from sklearn.model_selection import GroupShuffleSplit

from medfm.core.errors import CohortError

SEED = 42
# Share of the subjects that test, then share of the others that validates: GabrieleLozupone/LDAE at 3be76370,
# src/data/datamodules/brain_mr_dm.py and config/. The second is for its supervised comparison.
FRACTIONS = {"ldae": (0.1, 0.005), "ldae-supervised": (0.1, 0.3)}


def ldae_split(subjects: Iterable[str], name: str = "ldae") -> dict[str, str]:
    """The split (``train``, ``val`` or ``test``) of every subject, as the published program draws it.

    Only the set of subjects counts, not their order or number of scans: scikit-learn draws among the sorted names.
    So another release of the data, or another choice of classes, gives another split.

    Args:
        subjects: Names, repeated ones counted once.
        name: ``ldae`` (representation and codes) or ``ldae-supervised`` (its supervised comparison).

    Raises:
        CohortError: There is no split of that name, or fewer subjects than three.
    """
    if name not in FRACTIONS:
        raise CohortError(f"There is no split '{name}'.", expected=" or ".join(FRACTIONS))
    names = sorted(set(subjects))
    if len(names) < 3:
        raise CohortError(
            f"{len(names)} subjects cannot fill train, val and test.", expected="at least three subjects with a label"
        )
    test, validation = FRACTIONS[name]
    rest, tested = _draw(names, test)
    trained, validated = _draw(rest, validation)
    return dict.fromkeys(trained, "train") | dict.fromkeys(validated, "val") | dict.fromkeys(tested, "test")


def _draw(names: list[str], share: float) -> tuple[list[str], list[str]]:
    """The other names, and `share` of them (rounded up) that are drawn; both sorted."""
    splitter = GroupShuffleSplit(n_splits=1, test_size=share, random_state=SEED)
    others, drawn = next(splitter.split(names, groups=names))
    return [names[i] for i in sorted(others)], [names[i] for i in sorted(drawn)]
