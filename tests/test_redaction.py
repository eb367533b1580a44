import pytest

from aplantida_jax import redaction


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mongodb://host/db", "mongodb://host/db"),
        ("mongodb://ana:pw@host:1/db?x=y", "mongodb://host:1/db?(hidden)"),
        ("mongodb+srv://ana:p@ss/w#r:d @host", "mongodb+srv://host"),
        ("mongodb://ana:%40%2f@[::1]:27017,b.c:1/d", "mongodb://[::1]:27017,b.c:1/d"),
        ("ana@example.org", "ana@example.org"),
        ("https://example.org/about?page=2", "https://example.org/about?page=2"),
        (["x://u:p@h", ("y://u:p@h",)], ["x://h", ("y://h",)]),
        (
            "mongodb://h/?tls=true&tlsCertificateKeyFilePassword=p w&w=1",
            "mongodb://h/?(hidden)",
        ),
        ("https://h/a?api_key=abcd", "https://h/a?api_key=(hidden)"),
        # What cannot be told apart is hidden whole.
        ("mongodb://ana:p?w@host", "mongodb://(hidden)"),
        ("mongodb://host/?proxyPassword=a@bcd", "mongodb://(hidden)"),
        ("mongodb://ana:secret", "mongodb://(hidden)"),
        ("mongodb:/ana:secret/host", "mongodb:/(hidden)"),
        ("'mongodb://ana:pw@host' is odd", "'mongodb://host' is odd"),
        ({"a": {"uri": "x://u:p@h"}, "n": 3}, {"a": {"uri": "x://h"}, "n": 3}),
        (None, None),
        # Mistyped in other ways; the flag says where it was given.
        ("mongodb//ana:pw@host", "mongodb//host"),
        ("mongodb;//ana:pw@host", "mongodb;//host"),
        ("mongodb ://ana:pw@host", "mongodb ://host"),
        ("mongodb//ana:secret", "mongodb//(hidden)"),
        ("mngodb:ana:secret@h/x", "h/x"),
        ("mongdb:/ana:secret@h", "h"),
        ("ana:secret@h/db", "h/db"),
        ("//ana:secret@h:27017/", "h:27017/"),
        ("ana:p?w@h", "(hidden)"),
        ("ana:pw@h/?proxyPassword=abc", "h/?(hidden)"),
        ("h/?proxyPassword=abc", "h/?proxyPassword=(hidden)"),
        # A password that holds what looks like a scheme.
        ("ana:a://b@secret@h", "h"),
        ("ana:mongo:x@h", "h"),
        ("--config.a.uri=mngodb:ana:secret@h", "--config.a.uri=h"),
        # No secret at all.
        ("mailto:ana@example.org", "mailto:ana@example.org"),
        ("/data/mongo/plants 2.jsonl", "/data/mongo/plants 2.jsonl"),
        ("/data/2025-01-01T10:00/plants.jsonl", "/data/2025-01-01T10:00/plants.jsonl"),
    ],
)
def test_redact_keeps_all_but_user_and_password(value, expected):
    assert redaction.redact(value) == expected
