import numpy as np
import pytest
from scipy.spatial import ConvexHull

from medfm.cohorts.synthetic_cells import CLASSES, SITES, Canvas, draw_cell, draw_red_cell, expose
from medfm.core.randomness import generator


def test_an_empty_field_has_the_light_of_its_site() -> None:
    for look in SITES.values():
        image = expose(Canvas(64, 64), look, generator(0)).astype(float)
        brightest = 255 * np.array(look.light)
        assert (image.mean(axis=(0, 1)) < brightest + 1).all()
        assert (image.mean(axis=(0, 1)) > 0.75 * brightest).all()


def test_sites_differ_in_colour_more_than_patients_of_one_site() -> None:
    def colour(site: str, strength: float) -> np.ndarray:
        canvas = Canvas(64, 64)
        draw_red_cell(canvas, 32, 32, 28, generator(1))
        return expose(canvas, SITES[site], generator(2), strength)[24:40, 24:40].mean(axis=(0, 1))

    within = np.abs(colour("north", 0.95) - colour("north", 1.05)).max()
    between = np.abs(colour("south", 1.0) - colour("west", 1.0)).max()
    assert between > 2 * within


def test_stain_absorbs_light() -> None:
    canvas = Canvas(10, 10)
    before = canvas.density.copy()
    mask = np.zeros((10, 10))
    mask[4:6, 4:6] = 1
    canvas.stain(mask, np.array([1.0, 2.0, 3.0]))
    assert np.allclose(canvas.density[5, 5], [1, 2, 3])
    assert np.array_equal(canvas.density[0], before[0])


def test_red_cells_are_paler_in_the_middle() -> None:
    canvas = Canvas(60, 60)
    draw_red_cell(canvas, 30, 30, 20, generator(0))
    assert canvas.density[30, 30, 1] < canvas.density[30, 44, 1]
    assert canvas.density[0, 0, 1] == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_nucleus_takes_a_plausible_share(kind: str) -> None:
    shares = [draw_cell(Canvas(100, 100), 50, 50, kind, 1.0, generator(seed)) for seed in range(12)]
    low, high = {
        "lymphocyte": (0.5, 0.85),
        "erythroblast": (0.2, 0.45),
        "monocyte": (0.2, 0.6),
        "neutrophil": (0.08, 0.4),
        "eosinophil": (0.1, 0.4),
    }[kind]
    assert low < np.median(shares) < high
    assert len(set(shares)) == 12


def test_cells_stay_where_they_were_put() -> None:
    canvas = Canvas(120, 160)
    draw_cell(canvas, 120, 40, "monocyte", 1.0, generator(0))
    darkness = canvas.density.sum(axis=2)
    rows, columns = np.nonzero(darkness > 1.0)
    assert abs(rows.mean() - 40) < 8
    assert abs(columns.mean() - 120) < 8
    assert darkness[80:].max() < 0.1


def test_shape_sets_the_classes_apart() -> None:
    """Solidity, the nucleus' share of its convex hull, needs no colour at all."""

    def solidity(kind: str) -> float:
        values = []
        for seed in range(16):
            canvas = Canvas(110, 110)
            draw_cell(canvas, 55, 55, kind, 1.1, generator(seed))
            red = canvas.density[..., 0]
            nucleus = np.argwhere(red > 0.6 * red.max())
            values.append(len(nucleus) / ConvexHull(nucleus).volume)
        return float(np.median(values))

    found = {kind: solidity(kind) for kind in CLASSES}
    assert min(found["lymphocyte"], found["erythroblast"]) > 0.9
    assert max(found["neutrophil"], found["eosinophil"]) < 0.85
    assert found["neutrophil"] < found["monocyte"] < found["lymphocyte"]
