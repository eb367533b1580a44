import random

import pytest

from aplantida_jax.data import credits


def photo(attribution="", licence="CC-BY-4.0", source="inaturalist", host="a.org"):
    url = f"https://{host}/1.jpg" if host else "images/1.jpg"
    return {
        "attribution": attribution,
        "licence": licence,
        "source": source,
        "url": url,
    }


def text_of(photos):
    return "".join(credits.of_photos(photos).lines())


def test_who_where_under_what():
    photos = [
        photo("(c) Ana Pérez, some rights reserved (CC BY)"),
        photo("(c) Ana Pérez", host="b.org"),
        photo("Zoe", host="b.org"),
        photo("ángel", host="b.org"),
        photo("", source="  gbif ", host=""),
        photo("Ana", "CC0-1.0"),
    ]
    assert text_of(photos) == (
        "\nCC-BY-4.0 (5 photos)\n"
        "https://creativecommons.org/licenses/by/4.0/\n"
        "  from gbif\n"
        "    authors whom the source does not name (1)\n"
        "  from inaturalist (https://b.org/, https://a.org/)\n"
        "    (c) Ana Pérez (2)\n"
        "    Zoe (1)\n"
        "    ángel (1)\n"
        "\nCC0-1.0 (1 photo)\n"
        "https://creativecommons.org/publicdomain/zero/1.0/\n"
        "  from inaturalist (https://b.org/, https://a.org/)\n"
        "    Ana (1)\n"
    )


def test_the_order_of_photos_does_not_matter():
    photos = [photo(f"author {n % 7}", host=f"{n % 5}.org") for n in range(50)]
    first = text_of(photos)
    random.Random(1).shuffle(photos)
    assert text_of(photos) == first
    assert "(https://0.org/, https://1.org/, https://2.org/ and 2 more)" in first


def test_it_grows_with_authors_not_with_photos():
    few = text_of(photo(f"author {n % 10}") for n in range(100))
    many = text_of(photo(f"author {n % 10}") for n in range(10_000))
    assert few.count("\n") == many.count("\n")


@pytest.mark.parametrize(
    ("attribution", "author"),
    [
        ("(c) Ana, some rights reserved (CC BY-NC)", "(c) Ana"),
        ("(c) Ana, no rights reserved (CC0)", "(c) Ana"),
        ("Ana  Ruiz\n", "Ana Ruiz"),
        ("(c) Ana, all rights reserved", "(c) Ana, all rights reserved"),
        ("no rights reserved by Ana", "no rights reserved by Ana"),
        ("", ""),
    ],
)
def test_author_of(attribution, author):
    assert credits.author_of(attribution) == author


def test_unnamed_authors_are_counted_by_licence():
    found = credits.of_photos([photo(), photo("Ana"), photo("", "CC0-1.0")])
    assert found.unnamed() == {"CC-BY-4.0": 1, "CC0-1.0": 1}
    assert found.authors() == 1
