import email.message

import pytest

from aplantida_jax.data import http_answer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 30, 999_999_999.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59.0),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),
        ("Fri, 99 Dec", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        (None, None),
    ],
)
def test_retry_after(value, expected):
    headers = email.message.Message()
    headers["Date"] = "Fri, 31 Dec 1999 23:59:00 GMT"
    if value is not None:
        headers["Retry-After"] = value
    assert http_answer.retry_after(headers) == expected


def test_retry_after_without_the_hosts_clock():
    headers = email.message.Message()
    headers["Retry-After"] = "Fri, 31 Dec 1999 23:59:59 GMT"
    assert http_answer.retry_after(headers, now=946684739.0) == 60.0
