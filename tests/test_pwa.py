import json
import re
import shutil

import pytest
import tiny_export as tiny

from aplantida_jax import files, paths
from aplantida_jax.errors import UserError
from aplantida_jax.export import bundle, pwa, web_files


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    tiny.needs_browser()
    return tiny.validated(tmp_path_factory.getbasetemp())


@pytest.fixture
def copied(validated, tmp_path):
    """A configuration with its own copy of what ships, to be spoilt."""
    config = validated.copy_and_resolve_references()
    shutil.copytree(config.dist_dir, tmp_path / "dist")
    config.dist_dir = str(tmp_path / "dist")
    return config


def run(config) -> None:
    pwa.run(config, paths.run_dir(config, config.export.run))


def test_the_stage_builds_a_site_of_its_own_files_only(copied):
    run(copied)
    site = paths.pwa_dir(copied)

    found = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}
    assert {"index.html", "worker.js", "models/current.json"} <= found
    assert "vendor/tfjs-backend-wasm-simd.wasm" in found
    assert "models/student/1.0/model.json" in found
    # Manifests of stages name hosts and paths of whoever built the app.
    assert not [name for name in found if name.endswith("manifest.json")]
    assert not [name for name in found if "validate" in name]
    pointer = json.loads((site / "models/current.json").read_text())
    metadata = site / "models" / pointer["metadata"]
    assert pointer["sha256"] == files.sha256_file(metadata)


def test_a_rerun_has_nothing_to_do_until_the_site_changes(copied):
    run(copied)
    site = paths.pwa_dir(copied)
    before = (site / "index.html").stat().st_mtime_ns
    run(copied)
    assert (site / "index.html").stat().st_mtime_ns == before
    (site / "app.js").write_text("altered")
    run(copied)
    assert (site / "app.js").read_text() != "altered"


def test_a_bundle_without_validation_is_refused(copied):
    (paths.validation_dir(copied) / "validation.json").unlink()
    with pytest.raises(UserError, match="missing: stage 'validate_export' makes it"):
        run(copied)


def test_a_failed_validation_is_refused(copied):
    result = paths.validation_dir(copied) / "validation.json"
    (result.parent / "manifest.json").unlink()
    files.write_json(result, {**json.loads(result.read_text()), "passed": False})
    with pytest.raises(UserError, match="did not pass"):
        run(copied)
    assert not paths.pwa_dir(copied).exists()


def test_a_validation_of_other_weights_is_refused(copied):
    result = paths.validation_dir(copied) / "validation.json"
    found = json.loads(result.read_text())
    found["variants"]["float32"]["files"]["model.json"] = "0" * 64
    metadata = bundle.read(paths.bundle_dir(copied))
    files.write_json(result, found)
    with pytest.raises(UserError, match="about other weights than the bundle's"):
        pwa.require_validated(metadata, result)


def test_dry_run_builds_nothing(copied):
    copied.dry_run = True
    run(copied)
    assert not paths.pwa_dir(copied).exists()


def test_tensorflow_js_must_be_installed_in_the_pinned_version(tmp_path):
    shutil.copy(web_files.WEB / "package.json", tmp_path)
    with pytest.raises(UserError, match=r"missing.*run scripts/install_web\.sh"):
        list(web_files.vendor_files(tmp_path))
    package = tmp_path / "node_modules" / "@tensorflow" / "tfjs-core"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "3.0.0"}')
    with pytest.raises(UserError, match=r"is 3\.0\.0, not version 4\.22\.0"):
        list(web_files.vendor_files(tmp_path))


def test_no_file_of_the_app_knows_another_host():
    lock = web_files.WEB / "package-lock.json"
    for path in (*(web_files.WEB / name for name in web_files.APP), lock):
        hosts = set(re.findall(r"https?://([\w.-]+)", path.read_text()))
        assert hosts <= {"www.w3.org"}, path  # the name of SVG's namespace
    assert "resolved" not in lock.read_text()


def test_the_content_security_policy_allows_nothing_inline_or_foreign():
    html = (web_files.WEB / "index.html").read_text()
    policy = re.search(r'Policy"\s+content="([^"]+)"', html).group(1)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert "unsafe-inline" not in policy
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]* src=)", html)
    assert not re.search(r"\s(?:style|on\w+)=", html)


def test_both_languages_have_the_same_messages():
    source = (web_files.WEB / "i18n.js").read_text()
    spanish, english = re.search(
        r"  es: \{\n(.*?)\n  \},\n  en: \{\n(.*?)\n  \},\n", source, re.DOTALL
    ).groups()
    key = re.compile(r"^    (\w+):", re.MULTILINE)
    assert key.findall(spanish) == key.findall(english)
    html = (web_files.WEB / "index.html").read_text()
    used = re.findall(r'data-(?:text|label|alt)="(\w+)"', html)
    assert set(used) <= set(key.findall(spanish))
