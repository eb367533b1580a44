"""Addresses without their user, password and options, wherever they are written."""

import re
from typing import Any

_HIDDEN = "(hidden)"
# The start of an address, also of one with a slash or the colon left out.
_SCHEME = re.compile(r"mongo\w*(?:\+\w*)?(?:\s*[:;]/*|//+)|://", re.IGNORECASE)
# host[:port], ... and then the path, the options, or the rest of a sentence.
_HOST = r"(\[[\da-fA-F:.]+\]|[\w.-]*)(:\d*)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*($|[/?'\"\s)])")
_OPTIONS = re.compile(r"\?")  # passwords of keys and proxies, session tokens
_SECRET_OPTION = re.compile(
    r"[?&;][^=&?]*(pass|pwd|token|secret|key|cred|auth|sig)[^=&?]*=", re.IGNORECASE
)
# What may stand before an address: else its scheme may be a part of a password.
_BEFORE = re.compile(r"(.*[\s'\"=(+,])?([a-z][\w.+-]*)?", re.IGNORECASE | re.DOTALL)
# "--config.source.uri=", which says where an address was given.
_FLAG = re.compile(r"-{0,2}[a-z_.]+=")


def redact(value: Any) -> Any:
    """A copy without the secrets of addresses: "mongodb://user:pw@host" keeps the host.

    An address may stand anywhere in a text and be wrong in any way: what is kept of a
    database's is only what looks like hosts and a path. Where its host begins is not
    clear, all behind its scheme is hidden. What has no scheme that is known, but an "@"
    and a ":" before it, may be "user:password@host".

    Args:
        value: a JSON value; dictionaries and sequences are gone through.
    """
    if isinstance(value, dict):
        return {name: redact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact(item) for item in value)
    if not isinstance(value, str):
        return value
    scheme = _SCHEME.search(value)
    if scheme is None:
        return _without_scheme(value)
    if "@" in value[scheme.end() :] and not _BEFORE.fullmatch(value[: scheme.start()]):
        return _without_scheme(value)
    return _of_address(value[: scheme.end()], value[scheme.end() :], scheme[0])


def _of_address(head: str, rest: str, scheme: str) -> str:
    # The last "@": a password may hold "@" and "/" unescaped. One behind a "?" may also
    # belong to an option.
    secret, _, public = rest.rpartition("@")
    is_mongodb = "mongo" in scheme.lower()
    if "?" in secret or (is_mongodb and not _HOSTS.match(public)):
        return head + _HIDDEN
    option = (_OPTIONS if is_mongodb else _SECRET_OPTION).search(public)
    return head + (public[: option.end()] + _HIDDEN if option else public)


def _without_scheme(text: str) -> str:
    flag = _FLAG.match(text)
    head, rest = (flag[0], text[flag.end() :]) if flag else ("", text)
    secret, _, public = rest.rpartition("@")
    if ":" not in secret.replace("mailto:", ""):
        option = _SECRET_OPTION.search(rest)
        return head + (rest[: option.end()] + _HIDDEN if option else rest)
    if "?" in secret:
        return head + _HIDDEN
    option = _OPTIONS.search(public)
    return head + (public[: option.end()] + _HIDDEN if option else public)
