from __future__ import annotations

import os
import stat

import pytest
from embedding_fakes import TinyEncoder, cohort_of, expected_values, make_cohort, picture

from medfm.core.errors import ReadError, StoreError
from medfm.core.progress import Progress, Silent
from medfm.embeddings.pipeline import Plan, extract
from medfm.embeddings.store import EncoderStore, Maker
from medfm.modalities.blood_cell import BLOOD_CELL


def store_of(encoder, cache, precision="fp32"):
    return EncoderStore.open(Maker(encoder.fingerprint, precision, encoder.embedding_dim), cache)


def run(encoder, cohort, cache, progress=None, **changes):
    plan = Plan(**{"batch_size": 4, "workers": 0, "streams": 2, "flush_every": 5, **changes})
    store = store_of(encoder, cache)
    return extract(encoder, cohort.refs(), BLOOD_CELL, store, plan, progress or Silent("", None)), store


def test_values_are_those_of_the_encoder_in_the_order_of_the_cohort(encoder, cohort, cache):
    done, store = run(encoder, cohort, cache)
    assert done.record_ids == cohort.record_ids
    assert (done.computed, done.cached, done.failures) == (21, 0, [])
    assert abs(store.gather(done.keys) - expected_values(encoder, cohort)).max() < 1e-4


def test_the_second_run_computes_nothing(encoder, cohort, cache):
    run(encoder, cohort, cache)
    again = TinyEncoder()
    done, _ = run(again, cohort, cache)
    assert (done.computed, done.cached, again.calls) == (0, 21, 0)


def test_a_renamed_and_a_copied_file_cost_nothing(encoder, cohort, cache):
    run(encoder, cohort, cache)
    before = expected_values(encoder, cohort)
    (cohort.root / "cell_003.png").rename(cohort.root / "renamed.png")
    (cohort.root / "copy.png").write_bytes((cohort.root / "cell_004.png").read_bytes())
    again = TinyEncoder()
    done, store = run(again, cohort_of(cohort.root, ["renamed.png", "copy.png"]), cache)
    assert (done.computed, again.calls) == (0, 0)
    assert abs(store.gather(done.keys) - before[3:5]).max() < 1e-4


def test_a_changed_file_is_embedded_again(encoder, cohort, cache):
    run(encoder, cohort, cache)
    picture(cohort.root / "cell_003.png", 999)
    done, store = run(encoder, cohort, cache)
    assert (done.computed, done.cached) == (1, 20)
    assert abs(store.gather(done.keys) - expected_values(encoder, cohort)).max() < 1e-4


def test_equal_records_are_embedded_once_and_each_has_its_row(encoder, tmp_path, cache):
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2)
    done, store = run(encoder, cohort_of(tmp_path, ["a.png", "b.png", "a.png", "a.png"]), cache)
    assert (done.computed, done.cached, len(store)) == (2, 2, 2)
    values = store.gather(done.keys)
    assert (values[0] == values[2]).all() and (values[0] == values[3]).all() and (values[0] != values[1]).any()


def test_two_encoders_share_nothing(encoder, cohort, cache):
    run(encoder, cohort, cache)
    other = TinyEncoder(fingerprint="cd" * 32, seed=1)
    done, store = run(other, cohort, cache)
    assert done.computed == 21
    assert abs(store.gather(done.keys) - expected_values(other, cohort)).max() < 1e-4


def bad_cohort(root):
    make_cohort(root, 6)
    (root / "cell_001.png").write_bytes(b"")
    (root / "cell_002.png").write_bytes((root / "cell_003.png").read_bytes()[:70])
    (root / "cell_004.png").unlink()
    return cohort_of(root, [f"cell_{i:03d}.png" for i in (0, 1, 2, 3, 4, 5, 1)])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_records_are_listed_and_the_others_are_embedded(encoder, tmp_path, cache, workers):
    cohort = bad_cohort(tmp_path / "images")
    done, store = run(encoder, cohort, cache, workers=workers)
    assert done.record_ids == ["r000", "r003", "r005"]
    assert [f.record_id for f in done.failures] == ["r001", "r002", "r004", "r006"]
    reasons = {f.record_id: f.reason for f in done.failures}
    assert reasons["r004"] == "The file does not exist."
    assert reasons["r001"] == reasons["r006"] and all(reasons.values())
    assert str(tmp_path) not in "".join(reasons.values())
    assert store.gather(done.keys).shape == (3, 6)
    # Failures are not remembered: a mended file is embedded by the next run.
    picture(cohort.root / "cell_004.png", 77)
    done, _ = run(encoder, cohort, cache)
    assert (done.computed, len(done.failures)) == (1, 3)


@pytest.mark.parametrize("missing_first", [True, False])
def test_stop_ends_at_the_first_bad_record_and_keeps_what_is_done(encoder, tmp_path, cache, missing_first):
    make_cohort(tmp_path, 12)
    if missing_first:
        (tmp_path / "cell_009.png").unlink()
    else:
        (tmp_path / "cell_009.png").write_bytes(b"no picture")
    cohort = cohort_of(tmp_path, [f"cell_{i:03d}.png" for i in range(12)])
    with pytest.raises(ReadError, match="r009"):
        run(encoder, cohort, cache, stop_on_error=True)
    kept = len(store_of(encoder, cache))
    assert kept <= 8
    picture(tmp_path / "cell_009.png", 555)
    done, _ = run(encoder, cohort, cache)
    assert (done.failures, done.cached, done.computed) == ([], kept, 12 - kept)


def test_stop_also_for_values_that_are_not_finite(tmp_path, cache):
    class Nan(TinyEncoder):
        def __call__(self, batch):
            return super().__call__(batch) * float("nan")

    with pytest.raises(ReadError, match="not finite"):
        run(Nan(), make_cohort(tmp_path, 3), cache, stop_on_error=True)
    done, store = run(Nan(), make_cohort(tmp_path, 3), cache)
    assert len(done.failures) == 3 and len(store) == 0


def test_progress_counts_every_record_once(encoder, tmp_path, cache):
    cohort = bad_cohort(tmp_path / "images")
    notes = []

    class Spy(Progress):
        def advance(self, count=1, note=""):
            super().advance(count, note)
            notes.append(note)

    first = Spy("embedding", 7)
    run(encoder, cohort, cache, progress=first)
    assert first.done == 7
    assert any("failed" in note for note in notes)
    second = Spy("embedding", 7)
    run(encoder, cohort, cache, progress=second)
    assert second.done == 7 and any("from the cache" in note for note in notes)


def test_a_full_disk_ends_the_run_clearly_with_whole_shards_only(encoder, cohort, cache, monkeypatch):
    from medfm.core import files

    real, calls = files.os.fsync, []

    def soon_full(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
            if len(calls) > 3:
                raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", soon_full)
    with pytest.raises(StoreError, match="disk is full"):
        run(encoder, cohort, cache, flush_every=4, streams=1)
    monkeypatch.setattr(files.os, "fsync", real)
    store = store_of(encoder, cache)
    kept = len(store)
    assert kept == 8  # the identity and two shards fitted
    assert not [p for p in store.folder.iterdir() if p.name.endswith(".tmp")]
    done, _ = run(encoder, cohort, cache)
    assert (done.cached, done.computed) == (kept, 21 - kept)


def test_a_full_store_that_is_read_only_serves_hits(encoder, cohort, cache, monkeypatch):
    run(encoder, cohort, cache)
    monkeypatch.setattr("medfm.embeddings.shards.atomic_path", _refuse)
    monkeypatch.setattr("medfm.embeddings.store.write_json", _refuse)
    assert run(encoder, cohort, cache)[0].cached == 21


def _refuse(*_):
    raise StoreError("This place cannot be written to.")


def test_ctrl_c_keeps_what_was_computed(cohort, cache, monkeypatch):
    class Refs:
        def __iter__(self):
            for i, ref in enumerate(cohort.refs()):
                yield ref
                if i == 15:
                    raise KeyboardInterrupt

    encoder = TinyEncoder()
    # A window of 64 is hashed at a time: make the interrupt come between two batches instead.
    monkeypatch.setattr("medfm.embeddings.lookup._WINDOW", 4)
    plan = Plan(batch_size=4, workers=0, streams=1, flush_every=100)
    with pytest.raises(KeyboardInterrupt):
        extract(encoder, Refs(), BLOOD_CELL, store_of(encoder, cache), plan, Silent("", None))
    kept = len(store_of(encoder, cache))
    assert 4 <= kept <= 16
    done, _ = run(encoder, cohort, cache)
    assert (done.cached, done.computed) == (kept, 21 - kept)
