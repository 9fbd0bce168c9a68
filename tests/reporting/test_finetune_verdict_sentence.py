"""The sentence that says by what kind of verdict the figures of a fine-tuning came."""

from __future__ import annotations

from dataclasses import replace

from medfm.evaluation.protocol import load_protocol
from medfm.reporting.finetune_verdict import verdict_sentence
from medfm.reporting.result import Result
from tests.tiny_results import tiny_result


def result(protocol: str, *overrides: str, **extras: object) -> Result:
    return replace(tiny_result(folds=1), protocol=load_protocol(protocol, overrides=overrides), extras=extras)


def folds(*names: str) -> dict[str, object]:
    return {"folds": [{"candidate": name} for name in names]}


def test_nested_says_folds_and_choices_the_commonest_first() -> None:
    said = verdict_sentence(result("nested-cv@1", nested=folds("lora", "lp-ft", "lp-ft")))
    assert said.startswith("Verdict by nested cross-validation (nested-cv@1): 3 outer folds by patient;")
    assert said.endswith("Chosen: lp-ft in 2, lora in 1.") and "site" not in said


def test_where_nothing_is_chosen_it_does_not_say_so() -> None:
    said = verdict_sentence(result("bpd-folds@1", nested=folds(*["/home/a/mine.yaml"] * 30)))
    assert said.startswith("Verdict by cross-validation (bpd-folds@1): 30 outer folds by patient; nothing was chosen")
    assert "inside: mine trained on" in said and "last epoch" in said and "/home" not in said and "Chosen:" not in said
    chosen = verdict_sentence(result("nested-cv@1", nested=folds("/home/a/mine.yml", "lp-ft", "lp-ft")))
    assert chosen.endswith("Chosen: lp-ft in 2, mine in 1.")


def test_sites_as_folds_are_named_and_one_fold_is_singular() -> None:
    said = verdict_sentence(result("nested-cv@1", "scheme.kind=leave_one_site_out", nested=folds("a", "a")))
    assert "2 outer folds (one per site)" in said
    assert "1 outer fold by patient" in verdict_sentence(result("nested-cv@1", nested=folds("a")))


def test_one_split_says_what_was_tested_and_what_the_default_is() -> None:
    one = replace(result("finetune@1", finetune={"recipe": "x"}), config={"recipe": {"name": "lp-ft"}})
    said = verdict_sentence(one)
    assert said.startswith("Verdict by one split (finetune@1): lp-ft, trained once, tested once on")
    assert f"{one.summary.n_records} record" in said and "nested cross-validation" in said


def test_other_results_have_no_such_sentence() -> None:
    assert verdict_sentence(result("linear-probe@1")) == ""
