"""Which verdict a fine-tuning run gets: nested cross-validation unless a recipe or another protocol is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medfm.core.config import parse_overrides
from medfm.core.errors import ConfigError
from medfm.evaluation.protocol import Protocol, protocol_of
from medfm.evaluation.protocol_nested import NestedFineTune

if TYPE_CHECKING:
    from medfm.training.finetune_config import FinetuneRecipe

NESTED, SPLIT, RECIPE = "nested-cv@1", "finetune@1", "bpd-progressive"


def choose_verdict(
    recipe: str | Path | FinetuneRecipe | None, protocol: str | Protocol | None
) -> tuple[Protocol, str | Path | FinetuneRecipe | None]:
    """The protocol of a run, and its recipe (``None`` for nested cross-validation, which has candidates of its own).

    Neither named: ``nested-cv@1``. A recipe alone: that recipe once, on the cohort's own split (``finetune@1``).
    Another protocol than a nested one without a recipe: ``bpd-progressive``.

    Raises:
        ConfigError: A recipe together with nested cross-validation.
        UnknownNameError: No such protocol.
    """
    plan = protocol_of(protocol if protocol is not None else NESTED if recipe is None else SPLIT, ())
    if not isinstance(plan.method, NestedFineTune):
        return plan, RECIPE if recipe is None else recipe
    if recipe is not None:
        name = recipe if isinstance(recipe, (str, Path)) else recipe.name
        raise ConfigError(
            f"Nested cross-validation ({plan.id}) chooses among recipes; it does not take one.",
            where=f"the recipe '{name}'",
            expected="a recipe or a protocol of nested cross-validation, not both",
            fix=f'--set "method.candidates=[{name}]" judges that recipe in outer folds; '
            f"--protocol {SPLIT} trains it once on the column 'split'",
        )
    return plan, None


def check_settings(settings: Sequence[str], plan: Protocol) -> None:
    """Refuse ``KEY=VALUE`` settings that belong to the other kind of run, and say which one.

    Raises:
        ConfigError: A setting of a recipe where the protocol is changed, or the other way round.
    """
    from medfm.training.finetune_config import FinetuneRecipe

    ours, others = set(Protocol.model_fields), set(FinetuneRecipe.model_fields)
    nested = isinstance(plan.method, NestedFineTune)
    if not nested:
        ours, others = others, ours
    stray = [key for key in parse_overrides(settings) if key in others and key not in ours]
    if not stray:
        return
    if nested:
        raise ConfigError(
            f"'{stray[0]}' is a setting of a recipe, and settings change the protocol {plan.id} here.",
            where=f"--set {stray[0]}",
            expected=", ".join(sorted(ours)),
            fix="name the recipe that it changes (--recipe NAME: trained once on the column 'split'), or give recipes of "
            'your own to nested cross-validation: --set "method.candidates=[FILE.yaml]"',
        )
    raise ConfigError(
        f"'{stray[0]}' is a setting of a protocol, and settings change the recipe here.",
        where=f"--set {stray[0]}",
        expected=", ".join(sorted(ours)),
        fix=f"name no recipe, which judges by {NESTED}; or leave these settings out (those of a run.yaml: copy it and take "
        "its 'settings' out)",
    )
