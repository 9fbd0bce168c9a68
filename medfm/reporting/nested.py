"""The report's section on nested cross-validation: choices per fold, before and after, the final model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from medfm.evaluation.paper import fold_values
from medfm.evaluation.predictions import MAIN
from medfm.reporting.figures import Plot
from medfm.reporting.finetune import training_plot
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count, figure, recipe_name, signed_with_ends, with_ends, word


def nested_section(result: Result) -> dict[str, Any] | None:
    """What the partial template needs; ``None`` for other results."""
    entry = result.extras.get("nested")
    if not isinstance(entry, dict):
        return None
    return {
        "sentence": nested_line(result),
        "folds": _folds(result, entry),
        "chose": _chose(entry),
        "averages": _averages(result, entry),
        "runs": _runs(result),
        "tables": [(f"Against {e['encoder']}, untouched", _against(e)) for e in entry["beside"]],
        "facts": _facts(entry),
        "plot": _training(entry),
    }


def _training(entry: Mapping[str, Any]) -> Plot | None:
    """The picture of one training; results of earlier versions have none."""
    own = entry.get("training")
    plot = training_plot(own) if own else None
    if own is None or plot is None:
        return None
    return replace(plot, title=f"One of the trainings, epoch by epoch: {own['of']}, {recipe_name(own['candidate'])}")


def nested_line(result: Result) -> str:
    """Whether the procedure is better than a probe of the untouched encoder, by the figure of the verdict."""
    from medfm.reporting.verdict import deciding

    entry = result.extras["nested"]
    if not entry["beside"]:
        return "No probe of the untouched encoder stands beside it."
    decided = deciding(result)
    name = decided[0].metric if decided else result.summary.headline[0].metric
    own = entry["beside"][0]
    row = next(r for r in own["rows"] if r["metric"] == name)
    title, ends = word(name).title, row["difference"]
    value, low, high = ends["value"], ends["low"], ends["high"]
    if value is None or low is None or high is None:
        return f"Whether fine-tuning helped cannot be said: {title} has no difference with an interval here."
    sign = 1 if row["better"] == "higher" else -1
    said = (
        f"{title}, pooled out of fold, {figure(row['after']['value'])} against {figure(row['before']['value'])} by a probe "
        f"of the untouched encoder, difference {value:+.3f} ({100 * own['level']:g} % CI {low:+.3f} to {high:+.3f})"
    )
    # The two tests may disagree: the interval does not hold how much other folds would change the models.
    p = row["corrected_t"]
    over = "" if p is None else f"; corrected t test over folds, p {_p(p)}"
    if min(sign * low, sign * high) > 0:
        if p is not None and p >= 1 - own["level"]:
            return f"Fine-tuning may have helped, but the folds do not agree: {said}{over}."
        return f"Fine-tuning helped: {said}{over}."
    if max(sign * low, sign * high) < 0:
        return f"Fine-tuning did harm: {said}{over}."
    return f"Fine-tuning is not shown to help: {said}{over}."


def _folds(result: Result, entry: Mapping[str, Any]) -> Table:
    names = [e.metric for e in result.summary.headline][:3]
    metrics = {(row.repeat, row.fold): row.metrics for row in result.summary.folds}
    many = len({f["repeat"] for f in entry["folds"]}) > 1
    binary = result.summary.task == "binary"
    rows, seeded = [], any("seed" in fold for fold in entry["folds"])
    for fold in entry["folds"]:
        label = f"{fold['repeat'] + 1}.{fold['fold'] + 1}" if many else str(fold["fold"] + 1)
        label = fold.get("site") or label
        own = metrics.get((fold["repeat"], fold["fold"]), {})
        inner = ", ".join(
            f"{recipe_name(c['candidate'])} {figure(c['quality'])}"
            + (f" ± {figure(c['error'])}" if c["error"] is not None else "")
            for c in fold["inner"]
        )
        slope, rule = fold["recalibration"]["slope"], fold["recalibration"]["rule"]
        seed = (str(fold["seed"]),) if seeded else ()
        parts = (fold["train"], fold["validation"], fold["test"]) if _chose(entry) else (fold["train"], fold["test"])
        cells = (
            " / ".join(str(part) for part in parts),
            *((inner,) if _chose(entry) else ()),
            f"{recipe_name(fold['candidate'])}, epoch {', '.join(str(k['epoch']) for k in fold['kept'])}",
            *seed,
            *((figure(fold["threshold"]),) if binary else ()),
            "–" if rule == "none" else f"{rule}, slope {slope:.2f}",
        )
        rows.append((label, *cells, *(figure(own.get(name)) for name in names)))
    sites = any(fold.get("site") for fold in entry["folds"])
    choosing = _chose(entry)
    header = (
        "site tested" if sites else "fold",
        "records: train / of them choosing / test" if choosing else "records: train / test",
        *((f"inner {word(entry['metric']).title}",) if choosing else ()),
        "chosen" if choosing else "trained",
        *(("seed",) if seeded else ()),
    )
    cut = ("threshold",) if binary else ()
    note = "Nothing was chosen inside: all records that a fold does not test train, and the last epoch is scored."
    note = (
        note
        if not choosing
        else (
            "Every choice was made on patients of the fold's training part; the tested ones were scored once, afterwards. "
            "± is the jackknife standard error over patients of the best candidate"
            + (
                "; the log loss is shown as its negative, so that higher is better."
                if entry["metric"] == "log_loss"
                else "."
            )
        )
    )
    titles = tuple(word(name).title for name in names)
    return Table((*header, *cut, "recalibration", *titles), tuple(rows), note, figures=False)


def _chose(entry: Mapping[str, Any]) -> bool:
    """Whether patients were set aside inside the folds."""
    return any(fold["inner"] for fold in entry["folds"])


def _averages(result: Result, entry: Mapping[str, Any]) -> Table:
    ours, plan = [row.metrics for row in result.summary.folds], result.protocol
    rows = []
    for estimate in result.summary.headline:
        name = estimate.metric
        pooled = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        every = (ours, *([f["metrics"] for f in e["folds"]] for e in entry["beside"]))
        rows.append((word(name).title, with_ends(pooled), *(_spread(fold_values(f, name, plan)) for f in every)))
    header = ("figure", "pooled out of fold (CI)", "mean of folds ± SD")
    titles = tuple(f"{e['encoder']}, untouched: mean of folds ± SD" for e in entry["beside"])
    note = (
        "Two different numbers: the pooled one takes all out-of-fold predictions together, with an interval over "
        "patients; the other averages the folds, and its SD is no interval, since folds share training patients."
    )
    if plan.paper_undefined == "zero":
        note += " A figure that is undefined in a fold counts as 0 in the averages, as in the paper's program."
    return Table((*header, *titles), tuple(rows), note, figures=False)


def _runs(result: Result) -> Table | None:
    """The mean over the folds of each repeat, where the protocol averages as a paper does; ``None`` otherwise."""
    averages = result.extras.get("paper_average", {}).get(MAIN, {})
    shown = [e.metric for e in result.summary.headline if averages.get(e.metric, {}).get("runs")]
    if not shown:
        return None
    means = [averages[name]["runs"] for name in shown]
    rows = [(str(run + 1), *(figure(own[run]) for own in means)) for run in range(len(means[0]))]
    rows.append(("mean ± SD of runs", *(_spread([v for v in own if v is not None]) for own in means)))
    note = (
        "Mean over the folds of each run. Their SD says how much the draw of the folds matters, not what other patients "
        "would give. medfm compare tests the differences of these means between two results by Wilcoxon's signed ranks."
    )
    return Table(("run", *(word(name).title for name in shown)), tuple(rows), note, figures=False)


def _spread(known: Sequence[float]) -> str:
    if not known:
        return "–"
    return figure(mean(known)) + (f" ± {figure(stdev(known))}" if len(known) > 1 else "")


def _against(entry: Mapping[str, Any]) -> Table:
    rows, ranked = [], any(row.get("wilcoxon") is not None for row in entry["rows"])
    for row in entry["rows"]:
        less = " (less is better)" if row["better"] == "lower" else ""
        cells = (with_ends(row["after"]), with_ends(row["before"]), signed_with_ends(row["difference"]))
        tests = tuple(_p(row.get(key)) for key in ("p", "p_holm", "corrected_t", "corrected_t_holm"))
        tests += (_p(row.get("wilcoxon")),) if ranked else ()
        rows.append((word(row["metric"]).title + less, *cells, *tests))
    methods = "; ".join(dict.fromkeys(row["method"] for row in entry["rows"] if row["method"]))
    header = (
        "figure",
        "fine-tuned",
        "untouched",
        "difference",
        "p",
        "p, Holm",
        "corrected t over folds, p",
        "the same, Holm",
        *(("Wilcoxon over run means, p",) if ranked else ()),
    )
    note = (
        f"Both sides out of fold, on the same folds and {entry['common']} records; brackets give the {100 * entry['level']:g} % "
        f"confidence interval over patients{f' ({methods})' if methods else ''}. The corrected t test over folds is Nadeau and "
        "Bengio's. Holm corrects each figure for the number of encoders compared, not for the number of figures. "
        f"Untouched: {entry['encoder']} under {entry['protocol']}."
    )
    return Table(header, tuple(rows), note, figures=False)


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _facts(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    rules = {"best": "the best one", "one_standard_error": "the first within one standard error of the best"}
    one = {c["candidate"] for fold in entry["folds"] for c in fold["inner"]} if _chose(entry) else {"the only one"}
    chosen = f"{word(entry['metric']).title} on validation patients: {rules[entry['rule']]}"
    facts = [
        ("trainings inside", str(entry["trainings"])),
        ("recipe chosen by", chosen if len(one) > 1 else "nothing: there is one recipe"),
    ]
    if entry.get("common_validation"):
        facts.append(
            ("validation patients", "the same in every outer fold, so that no model of any fold learned from them")
        )
    final = entry.get("final")
    if final is None:
        return [*facts, ("final model", "none was trained"), *_gate_facts(entry, final), *_sets_facts(entry, final)]
    own = [*facts, ("final model", final_text(final)), *_gate_facts(entry, final), *_sets_facts(entry, final)]
    return [*own, ("second opinion by texts", final["reading"])] if final.get("reading") else own


def final_text(final: Mapping[str, Any]) -> str:
    """What the final model is, in one or two sentences."""
    kind = final.get("kind", "refit")
    if kind == "refit":
        return (
            f"{recipe_name(final['candidate'])}, trained on {final['train']} records of all patients; {final['validation']} more chose epoch, "
            "threshold and recalibration. It was tested on nobody: the pooled figures stand for it"
        )
    members = final["members"]
    chosen = count_names(recipe_name(m["candidate"]) for m in members)
    if kind == "ensemble":
        return (
            f"ensemble of the {len(members)} models of the outer folds ({chosen}), {final['average']} averaged; "
            f"{final['validation']} records of validation patients chose its threshold. It was tested on nobody as a whole: "
            "the pooled figures are those of its members"
        )
    statistics = (
        f"; BatchNorm statistics of {count(final['measured_batchnorm'], 'layer')} measured anew on training records"
        if final["measured_batchnorm"]
        else ""
    )
    metric = word(final["metric"]).title
    alone = ", ".join(figure(v) for v in final["alone"])
    return (
        f"{final['rule']} soup: weights of {len(final['kept'])} of the {len(members)} models of the outer folds ({chosen}) "
        f"averaged{statistics}. On {final['validation']} records of validation patients, inner {metric} {figure(final['quality'])}, "
        f"of the models alone {alone}: they chose {'its members, ' if final['rule'] == 'greedy' else ''}threshold and recalibration, "
        "so this is no test. It was tested on nobody: the pooled figures "
        "are those of the single models"
    )


def count_names(names: Iterable[str]) -> str:
    """Such as ``2 x lp-ft, 3 x linear-probe``."""
    return ", ".join(f"{n} x {name}" for name, n in Counter(names).items())


def _gate_facts(entry: Mapping[str, Any], final: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    measured = entry.get("false_alarms")
    ships = final is not None and bool(final.get("gate"))
    if measured is None and final is not None and ships:
        text = (
            f"with the final model, threshold from its {final['validation']} validation records, planned false alarms 5 %; how many "
            "there are was not measured, since the outer folds have too few validation records"
        )
        return [("gate for unusual records", text)]
    if measured is None:
        return [("gate for unusual records", "none: too few validation records")] if final is not None else []
    return [
        (
            "gate for unusual records",
            f"{'with the final model' if ships else 'not with a model'}; fitted inside each outer fold it called {alarms_text(measured)}",
        )
    ]


def alarms_text(measured: Mapping[str, Any]) -> str:
    """Such as ``3 of 60 tested records unusual, 5.0 % (1.7 to 13.7 %, one trial per patient); planned 5 %``."""
    unit = "records as independent" if measured.get("unit", "record") == "record" else "one trial per patient"
    return (
        f"{measured['alarms']} of {measured['tested']} tested records unusual, {100 * measured['alarms'] / measured['tested']:.1f} % "
        f"({100 * measured['low']:.1f} to {100 * measured['high']:.1f} %, {unit}); planned {100 * measured['planned']:g} %"
    )


def _sets_facts(entry: Mapping[str, Any], final: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Whether prediction sets come with the final model, and what sets made inside the outer folds held."""
    measured, ships = entry.get("sets"), final is not None and final.get("sets")
    if measured is None and ships is None:
        return []  # another task, or a result of an earlier version
    where = "with the final model (medfm predict --sets)" if ships else "not with a model"
    if measured is None:
        text = "too few validation patients in the outer folds" if ships else "too few validation patients"
        return [("prediction sets", f"{where}; what they hold was not measured: {text}")]
    tested = measured["tested"]
    text = (
        f"{where}; made inside each outer fold to hold the true class for {100 * measured['level']:g} %, they held it for "
        f"{100 * measured['held'] / tested:.1f} % ({100 * measured['low']:.1f} to {100 * measured['high']:.1f} %) of {tested} "
        f"tested records, with {measured['kept'] / tested:.2f} of {measured['classes']} classes on average"
    )
    return [("prediction sets", text)]
