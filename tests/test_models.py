"""The example of the package, as it is printed."""

import doctest

from tiny_vit import MINI, google_file

from aplantida_jax import models


def test_the_example_of_the_package_runs(tmp_path):
    path = google_file(tmp_path, **MINI)
    found = doctest.testmod(models, extraglobs={"path": path})
    assert found.failed == 0
    assert found.attempted > 10
