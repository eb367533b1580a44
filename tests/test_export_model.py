import collections
import json
from pathlib import Path

import pytest
import tiny_export as tiny

from aplantida_jax import files, models, paths
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle, export_model, tfjs

# What a browser runs for MobileNetV2 of any width: 52 convolutions, each fused with its
# bias and activation, 10 residual additions, and normalisation, mean and head.
OPERATIONS = {
    "_FusedConv2D": 35,
    "FusedDepthwiseConv2dNative": 17,
    "AddV2": 10,
    "Sub": 1,
    "Mul": 1,
    "Mean": 1,
    "_FusedMatMul": 1,
    "Identity": 1,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return tiny.exported(tmp_path_factory.getbasetemp())


def weights_of(directory: Path) -> dict[str, dict]:
    model = tfjs.read_model(directory)
    return {w["name"]: w for g in model["weightsManifest"] for w in g["weights"]}


def stored_as(weight: dict) -> str:
    return weight.get("quantization", {}).get("dtype", weight["dtype"])


def refuse_constant(name: str):
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("precision", tfjs.PRECISIONS)
def test_everything_is_fused_and_the_topology_is_plain_json(exported, precision):
    directory = bundle.variants_dir(exported) / precision
    text = (directory / tfjs.MODEL).read_text()
    model = json.loads(text, parse_constant=refuse_constant)
    assert dict(tfjs.operations(model)) == OPERATIONS


def test_a_factorised_head_and_torch_padding_add_only_what_they_must(tmp_path):
    module = models.create(
        "mobilenet_v2_0.35", num_classes=40, head_rank=8, padding="torch"
    )
    info = {
        "model": {"image_size": tiny.SIZE},
        "input": {"mean": tiny.MEAN, "std": tiny.STD},
    }
    variables = tiny.random_variables(module, tiny.SIZE)
    export_model.write_saved_model(module, variables, info, tmp_path / "saved")
    export_model.write_variants(tmp_path / "saved", tmp_path / "variants")

    model = tfjs.read_model(tmp_path / "variants" / "uint8")

    assert dict(tfjs.operations(model)) == {**OPERATIONS, "MatMul": 1, "PadV2": 5}
    stored = {
        tuple(weight["shape"]): stored_as(weight)
        for weight in weights_of(tmp_path / "variants" / "uint8").values()
    }
    assert stored[(1280, 8)] == "uint8"
    assert stored[(8, 40)] == "uint8"


def test_biases_keep_rank_one(exported):
    # The wasm kernels abort on any other, and only a browser shows it.
    directory = bundle.variants_dir(exported) / "float32"
    model, weights = tfjs.read_model(directory), weights_of(directory)
    for node in model["modelTopology"]["node"]:
        if "Fused" in node["op"]:
            assert len(weights[node["input"][2]]["shape"]) == 1


def test_bits_are_saved_on_large_kernels_and_most_after_the_blocks(exported):
    def stored(precision):
        weights = weights_of(bundle.variants_dir(exported) / precision).values()
        kinds = collections.defaultdict(set)
        for weight in weights:
            shape = weight["shape"]
            if weight["dtype"] != "float32":
                continue
            if shape in ([1, 1, 112, 1280], [1280, 12]):
                kind = "end"
            elif len(shape) == 4 and shape[:2] == [1, 1] and shape[2:] != [1, 3]:
                kind = "blocks"
            else:
                kind = "rest"
            kinds[kind].add(stored_as(weight))
        return kinds

    assert stored("float32") == {k: {"float32"} for k in ("end", "blocks", "rest")}
    assert stored("float16") == {
        "end": {"float16"},
        "blocks": {"float16"},
        "rest": {"float32"},
    }
    assert stored("uint8") == {
        "end": {"uint8"},
        "blocks": {"float16"},
        "rest": {"float32"},
    }


def test_smaller_precisions_are_smaller_files(exported):
    sizes = [
        files.size_of(bundle.variants_dir(exported) / precision)
        for precision in tfjs.PRECISIONS
    ]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * 1.2 * sizes[2]


def test_the_bundle_is_the_variant_that_was_asked_for(exported):
    found = bundle.read(paths.bundle_dir(exported))
    variant = bundle.variants_dir(exported) / "float32" / tfjs.MODEL
    assert found["weights"] == "float32"
    assert found["files"][tfjs.MODEL]["sha256"] == files.sha256_file(variant)
    assert found["licence"] == {
        "profile": "production",
        "publishable": True,
        "reasons": [],
    }


@pytest.fixture
def workspace(tmp_path):
    return tiny.workspace(tmp_path, images=3)


@pytest.fixture
def quick(monkeypatch):
    """Replaces the slow middle by files that tell how often they were written."""
    written = []

    def saved_model(module, variables, info, directory):
        written.append("saved_model")
        (directory / "variables").mkdir()
        (directory / "saved_model.pb").write_bytes(b"graph")

    def variants(saved, directory):
        written.append("variants")
        for precision in tfjs.PRECISIONS:
            (directory / precision).mkdir()
            model = {"modelTopology": {"node": []}, "weights": precision}
            (directory / precision / tfjs.MODEL).write_text(json.dumps(model))

    monkeypatch.setattr(export_model, "write_saved_model", saved_model)
    monkeypatch.setattr(export_model, "write_variants", variants)
    return written


def run(config) -> None:
    export_model.run(config, paths.run_dir(config, config.export.run))


def test_a_rerun_redoes_only_what_changed(workspace, quick):
    run(workspace)
    assert quick == ["saved_model", "variants"]
    run(workspace)
    assert quick == ["saved_model", "variants"]

    workspace.export.weights = "uint8"
    run(workspace)
    assert quick == ["saved_model", "variants"]
    assert bundle.read(paths.bundle_dir(workspace))["weights"] == "uint8"

    tiny.write_run(workspace, epoch=2)
    run(workspace)
    assert quick == ["saved_model", "variants", "saved_model"]
    assert bundle.read(paths.bundle_dir(workspace))["checkpoint"]["epoch"] == 2


def test_a_deleted_variant_is_made_again(workspace, quick):
    run(workspace)
    (bundle.variants_dir(workspace) / "uint8" / tfjs.MODEL).unlink()
    run(workspace)
    assert quick == ["saved_model", "variants", "variants"]


def test_dry_run_writes_nothing(workspace, quick):
    workspace.dry_run = True
    run(workspace)
    assert not Path(workspace.dist_dir).exists()


def test_a_tainted_student_does_not_ship_but_may_be_tried(workspace, quick):
    taint = {"name": "flowers-nc", "kind": "data", "licences": ["CC-BY-NC-4.0"]}
    tiny.write_run(workspace, provenance=[taint])

    with pytest.raises(UserError, match="may not ship: data 'flowers-nc': CC-BY-NC"):
        run(workspace)
    assert not Path(workspace.dist_dir).exists()

    workspace.dataset.licence_profile = "experimental"
    run(workspace)
    licence = bundle.read(paths.bundle_dir(workspace))["licence"]
    assert licence["publishable"] is False
    assert "flowers-nc" in licence["reasons"][0]


def test_a_regional_model_is_refused(workspace, quick):
    tiny.write_run(workspace, region="EU_SW")
    with pytest.raises(UserError, match="region EU_SW only"):
        run(workspace)


def test_missing_calibration_names_its_stage(workspace, quick):
    paths.calibration(paths.run_dir(workspace, workspace.export.run)).unlink()
    with pytest.raises(UserError, match="calibration.json is missing: stage 'calib"):
        run(workspace)


def test_a_calibration_of_another_label_map_is_refused(workspace, quick):
    tiny.write_calibration(workspace, label_map="0" * 64)
    with pytest.raises(UserError, match="another label map|was made for label map"):
        run(workspace)
