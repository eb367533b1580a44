"""What an audit makes of a download of another export, of licences, of the tail."""

import json

import numpy as np
import pytest
from small_collection import config_for, document, jpeg, served_collection

from aplantida_jax import paths
from aplantida_jax.data import (
    audit,
    audit_figures,
    audit_findings,
    download,
    export_dataset,
    schema_report,
)


def audited(config) -> dict:
    audit.run(config, paths.audit_dir(config))
    return json.loads((paths.audit_dir(config) / "audit.json").read_text())


def two_plants(root, server):
    """Six photos of a plant, one of them broken, and two of a rare one."""
    server.images = {f"{n}.jpg": jpeg(n) for n in range(8)}
    urls = [server.url(f"image/{name}") for name in server.images]
    common = document("Rosa canina", [*urls[:5], server.url("status/404")])
    config = config_for(root, [common, document("Rosa alba", urls[6:])])
    config.download.private_hosts = (server.host,)
    config.download.retries = 0
    config.audit.sample_urls = 0
    config.dataset.hold_out_rare = False
    export_dataset.run(config, root)
    return config


def test_a_download_of_more_than_the_export_has(tmp_path, server):
    config = two_plants(tmp_path, server)
    download.run(config, tmp_path)
    assert audited(config)["urls"]["download"]["not_exported"] == 0
    config.dataset.min_images_per_species = 5
    export_dataset.run(config, tmp_path)
    told = audited(config)
    assert told["photos"] == 6
    assert told["urls"]["download"] == {
        "asked": 6,
        "broken": 1,
        "not_exported": 2,
        "reasons": {"permanent: http_404": 1},
    }
    assert told["broken_url_rate"] == pytest.approx(1 / 6)
    assert told["images"]["downloaded"] == told["duplicates"]["images"] == 5
    assert [host["ok"] for host in told["hosts"]] == [5]
    page = (paths.audit_dir(config) / "audit.html").read_text()
    assert "The download holds 2 images that the export no longer has" in page
    # As it says: the stage again, and all is counted.
    download.run(config, tmp_path)
    assert audited(config)["urls"]["download"]["not_exported"] == 0


def test_a_download_of_nothing_that_the_export_has(tmp_path, server):
    config = served_collection(tmp_path, server, 3)
    download.run(config, tmp_path)
    documents = [document("Rosa alba", ["https://example.org/a.jpg"])]
    other = config_for(tmp_path, documents)
    other.audit.sample_urls = 0
    export_dataset.run(other, tmp_path)
    told = audited(other)
    assert told["urls"]["download"]["not_exported"] == 3
    assert (told["broken_url_rate"], told["images"]["downloaded"]) == (None, 0)


def test_the_broken_rate_is_that_of_the_download_where_it_asked_for_more(
    tmp_path, server
):
    config = two_plants(tmp_path, server)
    download.run(config, tmp_path)
    config.audit.sample_urls = 3
    told = audited(config)
    assert told["urls"]["sample"]["asked"] == 3
    assert told["broken_url_rate"] == pytest.approx(1 / 8)  # and no third


def test_the_broken_rate_is_that_of_the_sample_where_it_asked_for_more(
    tmp_path, server
):
    config = two_plants(tmp_path, server)
    config.dataset.min_images_per_species = 5
    export_dataset.run(config, tmp_path)
    download.run(config, tmp_path)
    config.dataset.min_images_per_species = 1
    export_dataset.run(config, tmp_path)
    config.audit.sample_urls = -1
    told = audited(config)
    assert told["urls"]["download"]["asked"] == 6
    assert told["broken_url_rate"] == pytest.approx(1 / 8)


def test_the_tail():
    assert audit_figures.of_classes(np.array([1, 1, 1, 2, 2, 3, 4, 5, 6, 10])) == {
        "total": 10,
        "median": 2.5,
        "mean": 3.5,
        "largest": 10,
        "with_1": 3,
        "with_2": 2,
        "with_3_or_more": 5,
    }


def figures(rate: float | None, *, errors: int = 0) -> dict:
    """As much of audit.json as the key figures need."""
    pairs = {"exact": errors, "near": 0, "near_of_different_classes": 0}
    return {
        "photos": 100,
        "classes": {"total": 10},
        "broken_url_rate": rate,
        "duplicates": {**pairs, "exact_of_different_classes": errors},
        "licences": [],
    }


@pytest.mark.parametrize(
    ("rate", "errors", "bad"),
    [(None, 0, 0), (0.049, 0, 0), (0.05, 0, 1), (0.3, 0, 1), (0.01, 1, 1), (1.0, 2, 2)],
)
def test_bad_key_figures_are_marked(rate, errors, bad):
    cards = audit_findings.cards(figures(rate, errors=errors))
    assert cards.count('class="card bad"') == bad


@pytest.mark.parametrize(("rate", "said"), [(None, 0), (0.049, 0), (0.05, 1)])
def test_a_broken_rate_on_the_target_is_a_finding(tmp_path, server, rate, said):
    told = audited(two_plants(tmp_path, server)) | {"broken_url_rate": rate}
    lines = list(audit_findings.sentences(told))
    assert sum("gave no picture" in line for line in lines) == said


def notices(root, licences) -> dict:
    images = [
        {"url": f"https://example.org/{n}.jpg", "license": licence}
        for n, licence in enumerate(licences)
    ]
    config = config_for(root, [{**document("Rosa alba", []), "images": images}])
    config.audit.sample_urls = 0
    export_dataset.run(config, root)
    return audited(config)


def test_every_author_of_a_notice_is_not_a_spelling(tmp_path):
    count = schema_report._MOST_VALUES + 100
    rights = ("some rights reserved (CC BY)", "all rights reserved")
    told = notices(tmp_path, (f"(c) A{n}, {r}" for n in range(count) for r in rights))
    free, denied = (
        {"raw": raw, "licence": licence, "admitted": bool(licence), "images": count}
        for raw, licence in zip(rights, ("CC-BY-4.0", None), strict=True)
    )
    assert told["licences"] == [free, denied]
    assert audit_findings.unknown_licences(told) == count
    lines = list(audit_findings.sentences(told))
    said = f"No table knows the licence of {count:,} images, in 1 spelling: left out."
    assert said in lines


def test_spellings_that_are_not_listed_one_by_one_are_counted_right(tmp_path):
    most = schema_report._MOST_VALUES
    unknown = [f"licence {n}" for n in range(most + 30)]
    told = notices(tmp_path, [*unknown, "cc-by-nc", "cc0", "CC BY 4.0"])
    assert audit_findings.unknown_licences(told) == most + 30
    known = {row["licence"]: row["images"] for row in told["licences"]}
    assert {**known, None: 0} == {
        None: 0,
        "CC-BY-NC-4.0": 1,
        "CC0-1.0": 1,
        "CC-BY-4.0": 1,
    }
    lines = " ".join(audit_findings.sentences(told))
    assert f"of {most + 30:,} images, in more than {most:,} spellings: " in lines
    page = (tmp_path / "data/audit/audit.html").read_text()
    assert "(more, not listed one by one)" in page
