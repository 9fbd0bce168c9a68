from statistics_cases import binary_case, multiclass_case, multilabel_case, regression_case

from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample
from medfm.evaluation.statistics_notes import notes


def notes_of(predictions: Predictions, rows: int | None = None, **options) -> list[str]:
    sample = Sample.of(predictions, StatisticsPlan(), **options)
    return notes(sample, rows or len(predictions))


def with_table(base: Predictions, table) -> Predictions:
    return Predictions(table.reset_index(drop=True), base.task, base.classes, base.target)


def test_nothing_to_say():
    assert notes_of(binary_case()) == []
    assert notes_of(multiclass_case()) == []
    assert notes_of(multilabel_case()) == []
    assert notes_of(regression_case()) == []


def test_unknown_patients_come_first():
    found = notes_of(multiclass_case(15, n_patients=3), patients_known=False)
    assert found[0].startswith("Patients are unknown")
    assert found[1].startswith("Only 15 records")


def test_few_patients():
    assert "Only 5 patients" in notes_of(regression_case(10))[0] or "patients" in notes_of(regression_case(10))[0]
    assert any(n.startswith("Only 12 patients") for n in notes_of(binary_case(600, 12)))


def test_pooled_rows():
    (found,) = notes_of(binary_case(), 1000)
    assert found.startswith("1000 predictions of 200 records")


def test_one_and_several_absent_classes():
    base = multiclass_case()
    one = with_table(base, base.table[base.table["truth"] != "class 1"])
    assert notes_of(one) == [
        "No record of the class class 1: it is left out of macro averages, and its AUROC is undefined."
    ]
    two = with_table(base, base.table[~base.table["truth"].isin(["class 1", "class 3"])])
    assert notes_of(two) == ["No records of the classes class 1, class 3: they are left out of macro averages."]


def test_rare_classes_are_counted_in_patients():
    base = binary_case()
    ill = base.table["truth"] == "ill"
    table = base.table.assign(patient_id=base.table["patient_id"].where(~ill, "the only ill one"))
    (found,) = notes_of(with_table(base, table))
    assert found == "Fewer than 5 patients with ill (1): its intervals are too narrow."


def test_one_sided_labels():
    base = multilabel_case()
    table = base.table.assign(**{"truth:finding 2": 1.0})
    assert notes_of(with_table(base, table)) == [
        "Only one kind of truth for the label finding 2: its AUROC is undefined."
    ]


def test_no_note_holds_a_patient_id():
    base = binary_case(30, 4)
    ids = base.table["patient_id"].unique()
    for found in (notes_of(base), notes_of(base, 90), notes_of(base, patients_known=False)):
        assert found
        assert not any(i in note for note in found for i in ids)
