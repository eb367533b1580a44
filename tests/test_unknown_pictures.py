"""The demo's pictures without a plant."""

import numpy as np
import pytest

from aplantida_jax import files
from aplantida_jax.data import decode
from aplantida_jax.demo import unknown_pictures


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("unknown")
    unknown_pictures.write(directory, seed=3, count=2, image_size=64)
    return directory


def test_there_are_kinds_of_pictures_and_all_differ(written):
    found = sorted(written.rglob("*.jpg"))
    assert len(unknown_pictures.KINDS) >= 8
    assert len(found) == 2 * len(unknown_pictures.KINDS)
    assert {path.parent.name for path in found} == set(unknown_pictures.KINDS)
    assert len({files.sha256_file(path) for path in found}) == len(found)
    for path in found:
        image = decode.decode(path.read_bytes(), max_pixels=10**6)
        assert 50 <= min(image.shape[:2]) <= 80


def test_dark_is_dark_and_the_sun_is_bright(written):
    def mean(kind):
        data = (written / kind / "0.jpg").read_bytes()
        return float(np.mean(decode.decode(data, max_pixels=10**6)))

    assert mean("dark") < 30
    assert mean("overexposed") > 200


def test_a_lost_picture_comes_back_the_same(written):
    path = written / "animal" / "1.jpg"
    before = files.sha256_tree(written)
    path.unlink()
    unknown_pictures.write(written, seed=3, count=2, image_size=64)
    assert files.sha256_tree(written) == before
