"""Preprocessing: bit-exact with Pillow and torchvision, picklable, and strict about its input."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
import torchvision.transforms as tv
from PIL import Image

from medfm.core.errors import ReadError
from medfm.encoders.preprocessing import Preprocessing
from medfm.modalities.record import Record

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNIT = {"step": "to_unit_range"}
NORMALISE = {"step": "normalise", "mean": MEAN, "std": STD}
SIZES = [(360, 363), (250, 250), (400, 400), (224, 224), (80, 80), (31, 200), (1, 1), (223, 225)]


def steps(*pictures: dict) -> Preprocessing:
    return Preprocessing([{"step": "to_rgb"}, *pictures, UNIT, NORMALISE])


def resize(size: int = 224, **options: str) -> dict:
    return {"step": "resize", "size": [size, size], **options}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def published(*transforms: object) -> tv.Compose:
    return tv.Compose([*transforms, tv.ToTensor(), tv.Normalize(MEAN, STD)])


@pytest.mark.parametrize("size", SIZES)
def test_the_evaluation_path_is_bit_exact(size):
    """torchvision Resize((224, 224)), ToTensor, Normalize: DinoBloom's fixed split and RedDino."""
    array = picture(*size)
    expected = published(tv.Resize((224, 224)))(Image.fromarray(array))
    assert torch.equal(steps(resize())(array), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "pillow"), [("bicubic_pil", Image.Resampling.BICUBIC), ("lanczos_pil", Image.Resampling.LANCZOS)]
)
def test_the_k_fold_and_pretraining_paths_are_bit_exact(size, name, pillow):
    array = picture(*size)
    resized = Image.fromarray(array).resize((224, 224), pillow)
    assert torch.equal(steps(resize(resampler=name))(array), published()(resized))


@pytest.mark.parametrize("size", [(360, 363), (363, 360), (300, 500), (500, 300), (224, 300), (50, 70)])
def test_shorter_side_and_centre_crop_as_torchvision(size):
    """What timm and dinov2's own evaluation do: shorter side, bicubic, middle."""
    array = picture(*size)
    expected = published(tv.Resize(256, interpolation=tv.InterpolationMode.BICUBIC), tv.CenterCrop(224))(
        Image.fromarray(array)
    )
    ours = steps(resize(256, resampler="bicubic_pil", mode="shorter_side"), {"step": "center_crop", "size": [224, 224]})
    assert torch.equal(ours(array), expected)


@pytest.mark.parametrize("size", [(100, 300), (300, 100), (99, 101), (224, 224), (225, 227)])
def test_centre_crop_alone_with_padding_as_torchvision(size):
    array = picture(*size)
    expected = published(tv.CenterCrop(224))(Image.fromarray(array))
    assert torch.equal(steps({"step": "center_crop", "size": [224, 224]})(array), expected)


def test_oblong_targets():
    array = picture(100, 120)
    ours = Preprocessing([{"step": "resize", "size": [28, 42]}, UNIT])
    assert ours(array).shape == ours.shape == (3, 28, 42)
    assert torch.equal(ours(array), tv.Compose([tv.Resize((28, 42)), tv.ToTensor()])(Image.fromarray(array)))


def test_without_normalise_values_are_zero_to_one():
    out = Preprocessing([resize(8), UNIT])(picture(8, 8))
    assert out.min() >= 0 and out.max() <= 1
    assert torch.equal(out, tv.ToTensor()(Image.fromarray(picture(8, 8))))


def test_every_8_bit_value_is_exact():
    array = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert torch.equal(steps(resize(16))(array), published()(Image.fromarray(array)))


def test_bgr_reverses_the_picture_and_not_the_statistics():
    array = picture(30, 30)
    ours = steps(resize(28), {"step": "channel_order", "order": "bgr"})(array)
    assert torch.equal(ours, steps(resize(28))(np.ascontiguousarray(array[:, :, ::-1])))
    assert not torch.equal(ours, steps(resize(28))(array))
    assert torch.equal(steps(resize(28), {"step": "channel_order", "order": "rgb"})(array), steps(resize(28))(array))


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1)])
def test_grey_pictures_get_three_channels(shape):
    grey = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    colour = grey.reshape(40, 30, 1).repeat(3, axis=2)
    assert torch.equal(steps(resize(28))(grey), steps(resize(28))(colour))


def test_a_view_with_gaps_and_a_read_only_picture():
    big = picture(100, 100)
    view = big[10:60:2, 20:80:3]
    assert torch.equal(steps(resize(28))(view), steps(resize(28))(view.copy()))
    big.flags.writeable = False
    assert torch.equal(steps(resize(100))(big), steps(resize(100))(big.copy()))


def test_the_input_is_not_changed():
    array = picture(28, 28)
    before = array.copy()
    out = steps(resize(28))(array)
    out.zero_()
    assert np.array_equal(array, before)


def test_output_is_contiguous_float32():
    out = steps(resize())(picture(50, 60))
    assert out.dtype == torch.float32 and out.is_contiguous() and out.shape == (3, 224, 224)


def test_writing_into_a_batch():
    batch = np.zeros((2, 3, 28, 28), dtype=np.float32)
    prepare = steps(resize(28))
    row = prepare.array(picture(40, 40), out=batch[1])
    assert row.base is batch or row is batch[1] or np.shares_memory(row, batch)
    assert np.array_equal(batch[1], prepare.array(picture(40, 40)))
    assert not batch[0].any()
    for wrong in (np.zeros((3, 28, 27), np.float32), np.zeros((3, 28, 28), np.float64)):
        with pytest.raises(ReadError, match="does not fit"):
            prepare.array(picture(40, 40), out=wrong)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 3), np.uint16),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros((3, 10, 10), np.uint8),
        np.zeros((2, 10, 10, 3), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(10, np.uint8),
    ],
    ids=lambda a: f"{a.shape}{a.dtype}",
)
def test_pictures_of_another_kind_are_refused(bad):
    with pytest.raises(ReadError, match="cannot be preprocessed") as error:
        steps(resize(28))(Record("cell-7", "blood_cell", bad))
    assert "cell-7" in str(error.value) and str(bad.shape) in str(error.value)


def test_grey_without_to_rgb_is_refused():
    with pytest.raises(ReadError, match="cannot be preprocessed"):
        Preprocessing([resize(28), UNIT])(np.zeros((5, 5), np.uint8))


def test_digest_equality_hash_and_pickle():
    one, other = steps(resize()), steps(resize(resampler="bicubic_pil"))
    for twin in (
        pickle.loads(pickle.dumps(one)),
        copy.deepcopy(one),
        Preprocessing(one.to_list()),
        Preprocessing(one.steps),
    ):
        assert twin == one and hash(twin) == hash(one) and twin.digest == one.digest
        assert torch.equal(twin(picture(50, 50)), one(picture(50, 50)))
    assert one != other and one.digest != other.digest
    assert one != "something else"
    assert "resize" in repr(one)


def test_defaults_written_out_or_not_are_the_same():
    assert steps(resize()) == steps(resize(resampler="bilinear_pil", mode="squash"))


def test_shape_is_unknown_when_proportions_are_kept():
    with pytest.raises(ReadError, match="different sizes"):
        _ = steps(resize(mode="shorter_side")).shape


def _in_worker(job: tuple[Preprocessing, np.ndarray]) -> np.ndarray:
    prepare, array = job
    return prepare.array(array)


def test_a_worker_process_gives_the_same_bits():
    jobs = [(steps(resize(28)), picture(40, 50, seed)) for seed in range(3)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        theirs = pool.map(_in_worker, jobs)
    for job, result in zip(jobs, theirs, strict=True):
        assert np.array_equal(result, _in_worker(job))


def test_real_cells_are_bit_exact(blood_cells):
    files = sorted(p for p in blood_cells.rglob("*") if p.suffix.lower() in (".jpg", ".png", ".jpeg"))[:5]
    assert files
    for file in files:
        with Image.open(file) as image:
            rgb = image.convert("RGB")
        assert torch.equal(steps(resize())(np.asarray(rgb)), published(tv.Resize((224, 224)))(rgb))
