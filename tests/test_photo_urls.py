import dataclasses

import numpy as np
import pytest

from aplantida_jax.data import records
from aplantida_jax.data.photo_urls import PhotoUrls
from aplantida_jax.errors import UserError

PHOTO = records.Photo(
    *("", "p", "Rosa canina", 0, "", "s", "CC0-1.0", "cc0", "", ("ES",), ("EU_SW",))
)


@pytest.fixture
def photos():
    urls = [f"https://{host}.org/ñ {n}.jpg" for n in range(5) for host in ("a", "b")]
    made = [
        dataclasses.replace(PHOTO, image_id=records.image_id_of(url), url=url)
        for url in [*urls, "images/1.jpg"]
    ]
    return sorted(made, key=lambda photo: photo.image_id)


@pytest.fixture
def path(tmp_path, photos):
    records.write_photos(tmp_path / "split.jsonl", photos)
    return tmp_path / "split.jsonl"


def test_every_photo_has_its_url_also_when_the_file_is_replaced(path, photos):
    urls = PhotoUrls(path)
    records.write_photos(path, photos[:2])
    assert {photo.image_id: urls.url(photo.image_id) for photo in photos} == {
        photo.image_id: photo.url for photo in photos
    }
    expected = [int(photo.image_id, 16) for photo in photos]
    np.testing.assert_array_equal(urls.image_id, np.array(expected, np.uint64))
    assert set(urls.example) == {"a.org", "b.org", ""}
    urls.close()


def test_a_stranger_has_none(path):
    urls = PhotoUrls(path)
    for stranger in ("0" * 16, "f" * 16, "0123456789abcdef"):
        with pytest.raises(KeyError):
            urls.url(stranger)
    urls.close()


def test_a_split_that_is_not_what_was_written_is_refused(path, photos):
    """Each would send training to a wrong address, or to none."""
    whole = path.read_bytes()
    *lines, trailer = whole.splitlines(keepends=True)
    damaged = (
        # Another address.
        whole.replace(b"https://a.org", b"https://c.org", 1),
        # A line less, no trailer, more after it.
        b"".join([*lines[1:], trailer]),
        b"".join(lines),
        whole + lines[0],
        # A number for an address.
        whole.replace(b'"https://a.org', b'5,"x":"', 1),
    )
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match="'split'"):
            PhotoUrls(path)
    records.write_photos(path, photos[::-1])
    with pytest.raises(UserError, match="not sorted by image_id"):
        PhotoUrls(path)


@pytest.mark.parametrize("damage", [b'{"no": 1}\n', b"[]\n", b"{"])
def test_a_damaged_or_missing_split_is_refused(path, damage):
    path.write_bytes(damage)
    with pytest.raises(UserError, match="'split'"):
        PhotoUrls(path)
    path.unlink()
    with pytest.raises(UserError, match="'split'"):
        PhotoUrls(path)
