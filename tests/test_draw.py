import cv2
import numpy as np
import pytest

from aplantida_jax.demo import habits, leaves, look, scenery, sketch
from aplantida_jax.demo.draw import draw
from aplantida_jax.demo.species import SPECIES


def photo(species: int = 0, observation: int = 0, photo: int = 1, **changed):
    arguments = {"seed": 5, "image_size": 64} | changed
    return draw(
        SPECIES[species].traits,
        species=species,
        observation=observation,
        photo=photo,
        **arguments,
    )


def histogram(image: np.ndarray) -> np.ndarray:
    """Square roots of shares of hue, saturation and value; their dot is a likeness."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    bins = cv2.calcHist([hsv], [0, 1, 2], None, [12, 3, 3], [0, 180, 0, 256, 0, 256])
    return np.sqrt(bins.ravel() / bins.sum())


def test_same_arguments_same_pixels():
    np.testing.assert_array_equal(photo(3, 2, 2), photo(3, 2, 2))


@pytest.mark.parametrize(
    "other", [{"species": 1}, {"observation": 1}, {"photo": 2}, {"seed": 6}]
)
def test_every_argument_changes_the_picture(other):
    first, second = photo(), photo(**other)
    assert first.shape != second.shape or (first != second).mean() > 0.5


def test_every_individual_is_framed_in_its_own_way():
    assert len({photo(observation=number).shape for number in range(12)}) > 6


def test_photos_count_from_one():
    with pytest.raises(ValueError, match="count from 1"):
        photo(photo=0)


@pytest.mark.parametrize("species", range(len(SPECIES)))
def test_every_species_can_be_drawn(species):
    for observation in range(3):
        image = photo(species, observation)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 55 <= min(image.shape[:2]) <= 74
        assert max(image.shape[:2]) <= 74 * 4 / 3 + 1
        assert image.std() > 10


@pytest.mark.parametrize("kind", scenery.KINDS)
def test_every_background_can_be_drawn(kind):
    streams = np.random.default_rng(0), np.random.default_rng(1)
    image = scenery.background(kind, 50, 70, *streams)
    assert image.shape == (50, 70, 3)
    assert image.dtype == np.uint8
    assert 20 < image.mean() < 250


def test_photos_of_one_individual_are_more_alike_than_of_two():
    pairs = range(24)
    same = [histogram(photo(18, i, 1)) @ histogram(photo(18, i, 2)) for i in pairs]
    other = [histogram(photo(18, i, 1)) @ histogram(photo(18, i + 1, 2)) for i in pairs]
    assert np.mean(same) > np.mean(other) + 0.05


def test_colours_alone_tell_species_better_than_chance_but_not_well():
    species, train, test = 6, 30, 10
    features = np.array(
        [[histogram(photo(s, o)) for o in range(train + test)] for s in range(species)]
    )  # [species, observations, bins]
    centroids = features[:, :train].mean(axis=1)
    distance = np.linalg.norm(
        features[:, train:, None] - centroids[None, None], axis=-1
    )
    right = distance.argmin(axis=-1) == np.arange(species)[:, None]
    assert 1.8 / species < right.mean() < 0.9


def test_place_puts_base_and_tip_where_the_frame_says():
    frames = np.array([[1.0, 2.0, np.pi / 2, 3.0], [0.0, 0.0, np.pi, 0.5]])
    needle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    placed = sketch.place(needle, frames, stretch=0.5)
    expected = [[[1, 2], [1, 5], [-0.5, 2]], [[0, 0], [-0.5, 0], [0, -0.25]]]
    np.testing.assert_allclose(placed, expected, atol=1e-12)


def test_bend_moves_the_tip_sideways_and_the_base_not():
    frame = np.array([[0.0, 0.0, 0.0, 2.0]])
    placed = sketch.place(np.array([[0.0, 0.0], [1.0, 0.0]]), frame, bend=0.25)
    np.testing.assert_allclose(placed[0], [[0, 0], [2, 0.5]], atol=1e-12)


def test_on_stem_gives_position_and_direction():
    stem = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    frames = sketch.on_stem(stem, np.array([0.25, 1.0]))
    np.testing.assert_allclose(frames, [[0, 0.5, np.pi / 2, 1], [1, 1, 0, 1]])


def test_painting_gives_premultiplied_alpha_in_stacking_order():
    square = np.array([[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]])
    shapes = sketch.Sketch()
    shapes.add(sketch.Layer(square, np.array([200.0, 0, 0])))
    shapes.add(sketch.Layer(square * 0.5, np.array([0, 100.0, 0])))
    canvas = np.zeros((40, 40, 4), np.uint8)
    # y points up in the plant and down in the picture.
    sketch.paint(canvas, shapes, np.array([[40.0, 0, 0], [0, -40.0, 40.0]]))
    assert canvas[30, 10].tolist() == [0, 100, 0, 255]
    assert canvas[10, 30].tolist() == [200, 0, 0, 255]
    assert canvas[0, 0].tolist() == [0, 0, 0, 0]
    assert (canvas[..., :3].max(axis=-1) <= canvas[..., 3]).all()


def test_leaf_outlines_have_the_shape_that_they_are_named_for():
    def half_width(name):
        side = leaves.outline(name, "entire", 0.3)[:36]
        return side[:, 0], side[:, 1]

    widest = {
        name: x[y.argmax()]
        for name in ("ovate", "elliptic", "spatulate")
        for x, y in [half_width(name)]
    }
    assert widest["ovate"] < 0.4 < widest["elliptic"] < 0.6 < widest["spatulate"]
    assert half_width("cordate")[0].min() < -0.05  # lobes behind the stalk
    assert half_width("elliptic")[1].max() == pytest.approx(0.3, abs=0.01)
    palmate = leaves.outline("palmate", "entire", 0.3)
    np.testing.assert_allclose(palmate[:36], palmate[36:][::-1] * (1, -1))


def test_a_toothed_margin_is_longer_than_an_entire_one():
    def length(margin):
        outline = leaves.outline("ovate", margin, 0.3)
        return np.linalg.norm(np.diff(outline, axis=0), axis=1).sum()

    assert length("serrate") > 1.1 * length("entire")
    assert length("spiny") > length("crenate") > length("entire")


@pytest.mark.parametrize(
    ("division", "count"),
    [("simple", 1), ("trifoliate", 3), ("digitate", 5), ("pinnate", 9)],
)
def test_compound_leaves_have_their_leaflets(division, count):
    frames = np.array([[0.0, 0.0, 0.0, 1.0], [5.0, 5.0, 1.0, 2.0]])
    parts = leaves.leaflets(frames, division)
    assert parts.shape == (2 * count, 4)
    reach = np.linalg.norm(parts[count:, :2] - (5, 5), axis=1)
    assert (reach <= 2).all()


@pytest.mark.parametrize("species", [0, 10, 16, 19, 21, 26])
def test_plants_grow_from_the_ground_to_about_one(species):
    traits = SPECIES[species].traits
    for number in range(8):
        rng = np.random.default_rng([1, number])
        plant = habits.grow(look.individual(traits, rng), rng)
        top = max(stem[:, 1].max() for stem in plant.stems)
        assert 0.35 < top < 1.5
        assert plant.leaves.shape[1] == plant.flowers.shape[1] == 4
        assert len(plant.leaves) >= 4
        assert (plant.leaves[:, 3] > 0).all()
        assert (plant.flowers[:, 3] > 0).all()
