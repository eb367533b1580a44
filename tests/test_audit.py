import html.parser
import json
import struct

import pytest
from misbehaving_server import MisbehavingServer
from small_collection import config_for, document, jpeg

from aplantida_jax import paths
from aplantida_jax.data import audit, audit_page, download, export_dataset
from aplantida_jax.errors import UserError


@pytest.fixture
def server():
    with MisbehavingServer() as running:
        yield running


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

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        elif tag != "meta":
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
        {"raw": "cc-by", "licence": "CC-BY-4.0", "images": 13},
        {"raw": "<none>", "licence": None, "images": 1},
    ]
    assert told["regions"]["EU_SW"] == {"classes": 1, "photos": 12}
    assert told["regions"]["EU_EAST"] == {"classes": 1, "photos": 12}
    assert told["regions"]["none of these"] == {"classes": 1, "photos": 1}
    assert "Nothing is known before stage download." in page(config).texts
    # No body was asked for.
    assert len(server.requests) == 13 + 1


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
    shown = page(config)
    # The histogram and two pairs, all inside the file.
    assert len(shown.images) == 1 + 4
    assert all(source.startswith("data:image/") for source in shown.images)
    assert any("Rosa alba" in text and "Rosa canina" in text for text in shown.texts)
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


def test_histogram_counts_every_class_once():
    # Drawn from the counts of each interval; they must cover all.
    edges = audit_page._BINS
    assert edges[0] == 1
    assert list(edges) == sorted(set(edges))
    assert audit_page.histogram([1, 2, 4, 1000, 50_000]).startswith(b"\x89PNG")
    assert audit_page.histogram([1, 5]) == audit_page.histogram([1, 5])
