import html.parser
import json
import struct

import cv2
import numpy as np
import pytest
from small_collection import config_for, document, jpeg

from aplantida_jax import paths
from aplantida_jax.data import (
    audit,
    audit_chart,
    audit_findings,
    decode,
    download,
    export_dataset,
)
from aplantida_jax.errors import UserError


def collection(root, server, broken=("status/404",)):
    """Ten photos, one of them twice, one of them under two names, and broken URLs."""
    server.images = {f"{n}.jpg": jpeg(n) for n in range(10)}
    server.images |= {"again.jpg": jpeg(3), "wrong.jpg": jpeg(5, quality=60)}
    urls = [server.url(f"image/{name}") for name in server.images]
    documents = [
        document(
            "Rosa canina",
            [*urls[:-1], *map(server.url, broken)],
            distribution={"countries": ["ES", "PL"]},
        ),
        document("Rosa alba", urls[-1:], distribution={"countries": ["BR"]}),
    ]
    documents[0]["images"].append({"url": "https://x.org/a.jpg", "license": "<none>"})
    config = config_for(root, documents)
    config.download.private_hosts = (server.host,)
    config.download.retries = 0
    export_dataset.run(config, root)
    return config


def found(config) -> dict:
    return json.loads((paths.audit_dir(config) / "audit.json").read_text())


class Page(html.parser.HTMLParser):
    """Checks that tags close, and keeps texts and images."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []
        self.everything = " ".join(self.texts)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        elif tag == "source":
            self.images.append(dict(attrs)["srcset"])
        elif tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def page(config) -> Page:
    return Page((paths.audit_dir(config) / "audit.html").read_text())


def test_before_the_download(tmp_path, server):
    config = collection(tmp_path, server)
    audit.run(config, tmp_path)
    told = found(config)
    assert (told["photos"], told["classes"]["total"]) == (13, 2)
    assert told["urls"]["sample"] == {
        "asked": 13,
        "broken": 1,
        "unasked": 0,
        "reasons": {"http_404": 1},
    }
    assert told["broken_url_rate"] == pytest.approx(1 / 13)
    assert (told["images"], told["duplicates"]) == (None, None)
    assert told["licences"] == [
        {"raw": "cc-by", "licence": "CC-BY-4.0", "admitted": True, "images": 13},
        {"raw": "<none>", "licence": None, "admitted": False, "images": 1},
    ]
    assert told["export"]["documents_read"] == 2
    assert told["credits"] == {"authors": 0, "photos_without_author": {"CC-BY-4.0": 13}}
    assert told["sources"] == {"s": 13}
    assert (told["classes"]["with_1"], told["classes"]["with_3_or_more"]) == (1, 1)
    assert told["label_errors"] == []
    assert told["regions"]["EU_SW"] == {"classes": 1, "photos": 12}
    assert told["regions"]["EU_EAST"] == {"classes": 1, "photos": 12}
    assert told["regions"]["none of these"] == {"classes": 1, "photos": 1}
    assert "Nothing is known before stage download." in page(config).texts
    # A 404 is asked about again until the host has answered a HEAD as it should.
    assert 13 <= len(server.requests) <= 13 + 1


def test_after_the_download(tmp_path, server):
    config = collection(tmp_path, server, ["status/404", "status/500", "bytes/0"])
    config.audit.sample_urls = 0
    download.run(config, tmp_path)
    audit.run(config, tmp_path)
    told = found(config)
    assert told["urls"]["sample"] is None
    assert told["urls"]["download"]["asked"] == 15
    assert told["broken_url_rate"] == pytest.approx(3 / 15)
    assert told["images"]["downloaded"] == 12
    duplicates = told["duplicates"]
    assert (duplicates["exact"], duplicates["near"]) == (1, 1)
    assert duplicates["near_of_different_classes"] == 1
    (error,) = told["label_errors"]
    assert {image["url"] for image in error["images"]} == {
        server.url("image/5.jpg"),
        server.url("image/wrong.jpg"),
    }
    assert {image["latin_name"] for image in error["images"]} == {
        "Rosa canina",
        "Rosa alba",
    }
    assert told["hosts"] == [
        {"host": server.host, "photos": 15, "ok": 12, "permanent": 1}
        | {"rejected": 1, "temporary": 1}
    ]
    shown = page(config)
    assert "1 pair of photos are under the names of two species: " in shown.everything
    assert "an answer without bytes" in shown.texts
    # The histogram for light and dark pages and two pairs, all inside the file.
    assert len(shown.images) == 2 + 4
    assert all(source.startswith("data:image/") for source in shown.images)
    assert {"Rosa alba", "Rosa canina"} <= set(shown.texts)
    assert "<none>" in shown.texts
    png = (paths.audit_dir(config) / "images_per_class.png").read_bytes()
    assert struct.unpack(">II", png[16:24])[0] > 500


def test_the_sample_can_be_all_or_none(tmp_path, server):
    config = collection(tmp_path, server)
    config.audit.sample_urls = 4
    audit.run(config, tmp_path)
    assert found(config)["urls"]["sample"]["asked"] == 4
    config.audit.sample_urls = -1
    audit.run(config, tmp_path)
    assert found(config)["urls"]["sample"]["asked"] == 13
    config.audit.sample_urls = 0
    audit.run(config, tmp_path)
    assert found(config)["broken_url_rate"] is None


def test_hosts_without_head(tmp_path, server):
    config = collection(tmp_path, server, ["nohead/a.jpg"])
    audit.run(config, tmp_path)
    assert found(config)["broken_url_rate"] == 0.0


def test_an_audit_is_not_repeated_until_something_changes(tmp_path, server):
    config = collection(tmp_path, server)
    audit.run(config, tmp_path)
    asked = len(server.requests)
    audit.run(config, tmp_path)
    assert len(server.requests) == asked
    download.run(config, tmp_path)
    asked = len(server.requests)
    audit.run(config, tmp_path)
    assert len(server.requests) > asked
    assert found(config)["images"]["downloaded"] == 12


def test_a_dry_run_writes_and_asks_nothing(tmp_path, server):
    config = collection(tmp_path, server)
    config.dry_run = True
    audit.run(config, tmp_path)
    assert server.requests == []
    assert not paths.audit_dir(config).exists()


def test_without_an_export_it_names_the_stage(tmp_path):
    config = config_for(tmp_path, [])
    with pytest.raises(UserError, match="stage 'export_dataset' makes it"):
        audit.run(config, tmp_path)


def test_the_page_says_what_is_wrong_and_what_is_denied(tmp_path, server):
    config = collection(tmp_path, server)
    config.audit.sample_urls = -1
    audit.run(config, tmp_path)
    shown = page(config)
    # 1 of 13 is above 5 %; a licence of somebody's invention is shown as it is.
    assert "7.7% of the URLs gave no picture; the target is under 5 %." in shown.texts
    assert "<none>" in shown.texts
    text = (paths.audit_dir(config) / "audit.html").read_text()
    assert "<none>" not in text
    assert "http://" not in text.replace(server.url(""), "")


def test_long_lists_are_cut_on_the_page_but_not_in_the_file(tmp_path):
    images = [{"url": "https://x.org/0.jpg", "license": "cc-by"}]
    images += [
        {"url": f"https://x.org/{n}.jpg", "license": f"licence <{n}>"}
        for n in range(1, 60)
    ]
    config = config_for(tmp_path, [{**document("Rosa alba", []), "images": images}])
    config.audit.sample_urls = 0
    export_dataset.run(config, tmp_path)
    audit.run(config, tmp_path)
    assert len(found(config)["licences"]) == 60
    texts = page(config).texts
    assert sum(text.startswith("licence <") for text in texts) == 40
    assert "And 19 more, in audit.json." in texts


def test_every_reason_against_an_image_is_explained():
    for reason in decode.REASONS:
        assert audit_findings.meaning(f"rejected: {reason}"), reason
    assert audit_findings.meaning("http_404") == "the host does not have it"
    assert audit_findings.meaning("http_418") == ""


def test_histogram_counts_every_class_once():
    counts = [1, 2, 4, 5, 9, 10, 999, 1000, 50_000]
    assert audit_chart.bars(counts) == {
        "1": 1,
        "2": 1,
        "3–4": 1,
        "5–9": 2,
        "10–19": 1,
        "20–49": 0,
        "50–99": 0,
        "100–199": 0,
        "200–499": 0,
        "500–999": 1,
        "1,000+": 2,
    }


def test_histogram_is_drawn_for_light_and_dark_pages():
    light = audit_chart.histogram([1, 5])
    assert light.startswith(b"\x89PNG")
    assert audit_chart.histogram([1, 5]) == light
    pixels = {
        dark: cv2.imdecode(
            np.frombuffer(audit_chart.histogram([1, 5], dark=dark), np.uint8), 1
        )
        for dark in (False, True)
    }
    assert np.median(pixels[False]) > 240
    assert np.median(pixels[True]) < 40
