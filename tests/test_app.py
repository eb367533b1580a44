"""The app in a real browser, with a real model behind it."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import cv2
import pytest
import tiny_export as tiny

from aplantida_jax import files, paths, web_server
from aplantida_jax.export import browser, bundle, pwa, reference

READY = ".status progress"  # hidden when the model is ready, or can't be had
PHONE = {
    "viewport": {"width": 360, "height": 640},
    "has_touch": True,
    "is_mobile": True,
    "locale": "es-ES",
}


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    tiny.needs_browser()
    return tiny.validated(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(tiny.jpeg(tiny.picture(3, 90, 70), orientation=6))
    return str(path)


@pytest.fixture
def build(validated, tmp_path):
    """Builds the app with a bundle whose calibration is changed, without the stage."""

    def make(**calibration) -> Path:
        source = tmp_path / "bundle"
        shutil.copytree(paths.bundle_dir(validated), source)
        metadata = json.loads((source / bundle.METADATA).read_text())
        metadata["calibration"].update(calibration)
        files.write_json(source / bundle.METADATA, metadata)
        pwa.build(tmp_path / "pwa", source)
        return tmp_path / "pwa"

    return make


@contextlib.contextmanager
def opened(site: Path, *, headers=None, complaint=None):
    """The app, open, when its model is ready or has failed.

    `complaint` is what it must report to the console; by default nothing.
    """
    expected = contextlib.nullcontext()
    if complaint:
        expected = pytest.raises(browser.PageError, match=complaint)
    with (
        expected,
        web_server.serve(site, headers=headers) as url,
        browser.open_page(url, context=PHONE) as page,
    ):
        page.wait_for_selector(READY, state="hidden")
        yield page


def answer_to(page, photo: str) -> str:
    page.set_input_files("#pick", photo)
    page.wait_for_selector(".badge")
    return page.inner_text(".answer")


def test_a_confident_answer_names_the_species(build, photo):
    with opened(build(threshold=0.0)) as page:
        assert "Modelo 1.0 · 12 especies" in page.inner_text(".status")
        shown = answer_to(page, photo)
        assert "Identificada" in shown
        assert "species-" in shown
        assert page.locator(".candidates li").count() == 4
        assert page.get_attribute("html", "lang") == "es"

        page.click("[data-language=en]")
        assert "Identified" in page.inner_text(".answer")
        assert page.inner_text("h2 >> nth=0").split()[0] in {
            "Oak",
            "Pine",
            "Rose",
            "Sage",
        }
        assert page.get_attribute("html", "lang") == "en"
        # 360 pixels are enough.
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_below_the_threshold_it_says_so_and_helps(build, photo):
    with opened(build(threshold=0.999, genus_threshold=0.9999)) as page:
        shown = answer_to(page, photo)
        assert "No concluyente" in shown
        assert "Identificada" not in shown
        assert page.locator(".advice li").count() == 4
        assert page.locator(".candidates li").count() == 5


def test_a_threshold_that_was_never_found_is_never_reached(build, photo):
    site = build(threshold=None, genus_threshold=None, temperature=0.001)
    with opened(site) as page:
        assert "No concluyente" in answer_to(page, photo)


def test_it_backs_off_to_the_genus(build, photo):
    with opened(build(threshold=None, genus_threshold=0.0)) as page:
        shown = answer_to(page, photo)
        assert "Solo el género" in shown
        assert re.search(r"Género (Quercus|Pinus|Rosa|Salvia)", shown)


def test_the_app_names_what_the_savedmodel_names(build, validated, photo):
    shape = {"size": tiny.SIZE, "resize": tiny.RESIZE}
    pixels = reference.pixels_of(
        [Path(photo).read_bytes()], shape=shape, max_pixels=10**6
    )
    logits = reference.saved_model_logits(paths.saved_model_dir(validated), pixels)
    expected = tiny.label_map().taxa[int(logits.argmax())].latin_name

    with opened(build(threshold=0.0)) as page:
        answer_to(page, photo)
        assert page.inner_text(".answer > .latin") == expected


def test_a_photo_is_sent_nowhere(build, photo):
    with opened(build(threshold=0.0)) as page:
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.reload()
        page.wait_for_selector(READY, state="hidden")
        # The worker's requests are seen too.
        assert any(url.endswith("model.json") for url in requests)
        requests.clear()
        answer_to(page, photo)
        assert [url for url in requests if not url.startswith("blob:")] == []


@pytest.mark.parametrize("name", ["group1-shard1of1.bin", "classes.json"])
def test_a_file_with_another_hash_is_not_used(build, photo, name):
    site = build(threshold=0.0)
    altered = site / "models" / "student" / "1.0" / name
    data = bytearray(altered.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)

    with opened(site, complaint=rf"{name} has SHA-256") as page:
        assert "no es el publicado" in page.inner_text(".status")
        page.set_input_files("#pick", photo)
        page.wait_for_timeout(300)
        assert page.locator(".badge").count() == 0
        assert page.is_visible("#retry")


def test_a_missing_shard_is_told_and_can_be_tried_again(build, photo):
    site = build(threshold=0.0)
    shard = site / "models" / "student" / "1.0" / "group1-shard1of1.bin"
    aside = shard.rename(site / "aside.bin")
    with opened(site, complaint="404") as page:
        assert "No se pudo descargar el modelo" in page.inner_text(".status")
        # A photo taken meanwhile waits for the model.
        page.set_input_files("#pick", photo)
        aside.rename(shard)
        page.click("#retry")
        page.wait_for_selector(".badge.species")


def test_what_is_no_photo_is_told_apart(build, tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("not a picture")
    with opened(build()) as page:
        assert "Foto ilegible" in answer_to(page, str(text))
        assert not page.is_visible(".photo")


def test_a_photo_can_be_dropped(build, tmp_path):
    site = build(threshold=0.0)
    (site / "photo.png").write_bytes(cv2.imencode(".png", tiny.picture(1))[1].tobytes())
    with opened(site) as page:
        transfer = page.evaluate_handle(
            """async () => {
              const blob = await (await fetch("photo.png")).blob();
              const transfer = new DataTransfer();
              transfer.items.add(new File([blob], "photo.png", { type: blob.type }));
              return transfer;
            }"""
        )
        page.dispatch_event("main", "drop", {"dataTransfer": transfer})
        page.wait_for_selector(".badge.species")


def test_credits_and_model_are_a_key_press_away(build):
    with opened(build(threshold=0.5)) as page:
        page.focus("#about")
        page.keyboard.press("Enter")
        page.wait_for_selector(".credits:not(:empty)")
        shown = page.inner_text("dialog")
        assert "Ana Pérez" in shown
        assert "50" in shown
        assert tiny.label_map().fingerprint[:12] in shown
        page.keyboard.press("Escape")
        assert not page.is_visible("dialog")


def test_it_works_without_webassembly(build, photo):
    # iOS in lockdown mode, for one. Plain JavaScript takes over.
    site = build(threshold=0.0)
    for wasm in site.glob("vendor/*.wasm"):
        wasm.write_bytes(b"not webassembly")
    with opened(site) as page:
        assert "Identificada" in answer_to(page, photo)


def test_threads_of_an_isolated_page_are_left_alone(build, photo):
    headers = web_server.CROSS_ORIGIN_ISOLATION
    with opened(build(threshold=0.0), headers=headers) as page:
        assert page.evaluate("crossOriginIsolated")
        assert "Identificada" in answer_to(page, photo)
