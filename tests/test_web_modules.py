"""The app's modules that need no model, against what they mirror in Python."""

import base64
import shutil

import cv2
import numpy as np
import pytest
import tiny_export as tiny

from aplantida_jax import web_server
from aplantida_jax.data import decode, transforms
from aplantida_jax.evaluate import answers, calibration
from aplantida_jax.export import browser, web_files

# Runs preprocess.js on pixels that come and go in base64.
HARNESS = """
async ([rgba, side, size]) => {
  const { resample } = await import("./preprocess.js");
  const bytes = Uint8ClampedArray.from(atob(rgba), (c) => c.charCodeAt(0));
  const pixels = Array.from(resample(bytes, side, size));
  return btoa(pixels.map((byte) => String.fromCharCode(byte)).join(""));
}
"""


# Shares of 64 that are whole, nearly so, and not; less than it; one pixel.
SIDES = (1, 2, 10, 40, 63, 64, 65, 71, 100, 127, 128, 192, 199, 256, 333, 640)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page that can import the modules."""
    tiny.needs_browser()
    site = tmp_path_factory.mktemp("modules")
    for name in ("preprocess.js", "decision.js"):
        shutil.copy(web_files.WEB / name, site)
    (site / "index.html").write_text("<!doctype html><link rel=icon href='data:,'>")
    with web_server.serve(site) as url, browser.open_page(url) as opened:
        yield opened


@pytest.mark.parametrize("side", SIDES)
def test_preprocess_js_gives_the_bytes_that_opencv_gives(page, side):
    rng = np.random.default_rng(side)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    rgba = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    encoded = base64.b64encode(rgba.tobytes()).decode()

    answer = base64.b64decode(page.evaluate(HARNESS, [encoded, side, 64]))

    expected = transforms.resample(image, 64)
    np.testing.assert_array_equal(
        np.frombuffer(answer, np.uint8).reshape(64, 64, 3), expected
    )


def test_centre_box_is_the_same_in_both_languages(page):
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 5000, (300, 2)).tolist()
    boxes = page.evaluate(
        """async (sizes) => {
          const { centreBox } = await import("./preprocess.js");
          const input = { size: 224, resize: 256 };
          return sizes.map(([width, height]) => centreBox(width, height, input));
        }""",
        sizes,
    )
    for (width, height), box in zip(sizes, boxes, strict=True):
        x, y, side = transforms.centre_box(width, height, image_size=224, resize=256)
        assert box == {"x": x, "y": y, "side": side}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_comes_upright_and_cropped_as_in_python(page, orientation):
    data = tiny.jpeg(tiny.picture(orientation, 90, 61), orientation)
    pixels = page.evaluate(
        """async (jpeg) => {
          const { pixelsOf } = await import("./preprocess.js");
          const bytes = Uint8Array.from(atob(jpeg), (c) => c.charCodeAt(0));
          const input = { size: 32, resize: 36 };
          return Array.from(await pixelsOf(new Blob([bytes]), input));
        }""",
        base64.b64encode(data).decode(),
    )

    image = decode.decode(data, max_pixels=10**6)
    expected = transforms.evaluation_view(image, image_size=32, resize=36)
    difference = np.abs(np.array(pixels).reshape(32, 32, 3) - expected.astype(int))
    assert difference.max() <= 1  # JPEG decoders may round differently


def test_transparent_pixels_lie_over_white(page):
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[:20] = (10, 20, 30, 255)
    data = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    corners = page.evaluate(
        """async (png) => {
          const { pixelsOf } = await import("./preprocess.js");
          const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
          const pixels = await pixelsOf(new Blob([bytes]), { size: 32, resize: 32 });
          return [Array.from(pixels.slice(0, 3)), Array.from(pixels.slice(-3))];
        }""",
        base64.b64encode(data).decode(),
    )
    assert corners == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("genus_threshold", [0.5, None])
@pytest.mark.parametrize("threshold", [0.4, None])
def test_the_app_decides_as_the_report_does(page, threshold, genus_threshold):
    label_map = tiny.label_map()
    logits = np.random.default_rng(3).normal(0, 2.5, (200, 12)).astype(np.float32)
    rule = {"threshold": threshold, "genus_threshold": genus_threshold}
    decided = page.evaluate(
        """async ([rows, classes, calibration]) => {
          const { decide } = await import("./decision.js");
          const logits = rows.map((row) => Float32Array.from(row));
          return logits.map((row) => decide(row, classes, calibration));
        }""",
        [
            logits.tolist(),
            label_map.to_json()["classes"],
            {**rule, "temperature": 1.4},
        ],
    )

    genus_of, genus_names = answers.genera(label_map)
    none = np.zeros(len(logits), np.int32)
    expected = answers.judge(
        none.astype(np.uint64), none, logits, genus_of=genus_of, temperature=1.4
    )
    species, genus = calibration.decide(expected, **rule)
    kinds = np.select([species, genus], ["species", "genus"], "unsure")
    assert [answer["kind"] for answer in decided] == kinds.tolist()
    top = [[entry["taxon"]["class_id"] for entry in a["top"]] for a in decided]
    np.testing.assert_array_equal(top, expected.top_class)
    first = [answer["top"][0]["probability"] for answer in decided]
    np.testing.assert_allclose(first, expected.confidence, rtol=1e-5)
    names = [genus_names[index] for index in expected.top_genus]
    assert [answer["genus"]["name"] for answer in decided] == names
