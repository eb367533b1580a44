import json
import shutil

import pytest
import tiny_export as tiny

from aplantida_jax import files, paths
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle, parity, reference, validate_export


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    tiny.needs_browser()
    return tiny.validated(tmp_path_factory.getbasetemp())


def result_of(config) -> dict:
    return json.loads((paths.validation_dir(config) / "validation.json").read_text())


def test_browser_and_savedmodel_say_what_jax_says(validated):
    result = result_of(validated)

    assert result["passed"] is True
    assert result["images"] == 20
    assert result["splits"] == {"test": 15, "val": 5}
    for name in ("saved_model", "float32"):
        assert result["variants"][name]["max_abs_difference"] < 1e-3
        assert result["variants"][name]["top1_agreement"] == 1.0
    assert result["variants"]["float16"]["correlation"] > 0.9999
    assert result["variants"]["uint8"]["correlation"] > 0.98


def test_the_browser_sees_the_same_pixels_in_every_orientation(validated):
    pixels = result_of(validated)["pixels"]
    # JPEG decoders may differ by one level; the photos have orientations 1 to 8, of
    # which a wrong one would change nearly every value.
    assert pixels["values"] == 20 * tiny.SIZE * tiny.SIZE * 3
    assert pixels["max_difference"] <= 1
    assert pixels["different"] <= 0.02 * pixels["values"]


def test_times_and_bytes_are_those_of_each_precision(validated):
    variants = result_of(validated)["variants"]
    for precision in ("float32", "float16", "uint8"):
        found = variants[precision]
        directory = bundle.variants_dir(validated) / precision
        assert found["bytes"] == files.size_of(directory)
        assert set(found["files"]) == {path.name for path in directory.iterdir()}
        assert 0 < found["median_ms"] < 5000
        assert found["load_ms"] > 0
        assert found["first_ms"] > 0


def test_a_rerun_has_nothing_to_do(validated, monkeypatch):
    def fail(*args):
        raise AssertionError("it works again")

    monkeypatch.setattr(validate_export, "validate", fail)
    validate_export.run(validated, paths.run_dir(validated, "student_finetune"))


def test_the_table_shows_every_variant(validated):
    lines = validate_export.table(result_of(validated)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(parity.TOP1_AGREEMENT)


@pytest.fixture
def copied(validated, tmp_path):
    """A copy of what the stage reads, to be spoilt."""
    config = validated.copy_and_resolve_references()
    for field in ("data_dir", "runs_dir", "dist_dir"):
        target = tmp_path / field
        shutil.copytree(config[field], target)
        config[field] = str(target)
    shutil.rmtree(paths.validation_dir(config))
    return config


def run(config) -> None:
    validate_export.run(config, paths.run_dir(config, config.export.run))


def test_the_plain_backend_agrees_too_and_weak_limits_fail(copied, monkeypatch):
    # The reference gets the wrong answers: what the browser says can't agree.
    monkeypatch.setattr(
        reference,
        "flax_logits",
        lambda module, variables, info, pixels: (
            -_logits(module, variables, info, pixels)
        ),
    )
    copied.export.backend = "cpu"

    with pytest.raises(UserError, match=r"differs from the trained one \(saved_model"):
        run(copied)

    result = result_of(copied)
    assert result["passed"] is False
    assert result["backend"] == "cpu"
    # The browser agrees with the SavedModel all the same.
    variants = result["variants"]
    assert variants["float32"]["correlation"] == pytest.approx(
        variants["saved_model"]["correlation"], abs=1e-6
    )
    # A failure is not "done": the next run works again.
    assert not (paths.validation_dir(copied) / "manifest.json").exists()


_logits = reference.flax_logits


def test_altered_weights_are_noticed_before_any_work(copied):
    shard = bundle.variants_dir(copied) / "uint8" / "group1-shard1of1.bin"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 4
    shard.write_bytes(data)
    with pytest.raises(
        UserError, match=r"uint8 is not what stage 'export_model' wrote"
    ):
        run(copied)


def test_too_few_photos_are_refused(copied):
    copied.export.validation_images = 21
    with pytest.raises(UserError, match="only 20 photos of test and val.*for fewer"):
        run(copied)


def test_a_bundle_of_another_precision_is_refused(copied):
    copied.export.weights = "uint8"
    with pytest.raises(UserError, match="holds float32 weights.*'export_model'"):
        run(copied)


def test_an_unknown_backend_is_refused(copied):
    copied.export.backend = "webgl"
    with pytest.raises(UserError, match="runs wasm or cpu"):
        run(copied)


def test_dry_run_writes_nothing(copied):
    copied.dry_run = True
    run(copied)
    assert not paths.validation_dir(copied).exists()
