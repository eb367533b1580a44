"""An image's URL in its one spelling, by which two documents name the same image."""

import re
from urllib.parse import quote, urlsplit, urlunsplit

REPLACEMENT = "\ufffd"  # stands for bytes that were no UTF-8
_LONGEST_URL = 2000
_URL_SAFE = "/%:@!$&'()*+,;=~-._"
# What the rest of `canonical_url` would leave as it is, as almost all addresses are.
_CANONICAL = re.compile(
    r"https?://[a-z0-9.-]+/[\w/%:@!$&'()*+,;=~.-]*(?:\?[\w/%:@!$&'()*+,;=~.?-]+)?",
    re.ASCII,
)


def canonical_url(raw: object, *, relative: bool) -> str:
    """The one spelling of an image's address, "" when it is none that we ask for.

    http(s) without user, password and fragment; or, where `relative`, a path that stays
    under the dump's directory.
    """
    if not isinstance(raw, str) or not 0 < len(raw) <= _LONGEST_URL:
        return ""
    if _CANONICAL.fullmatch(raw):
        return raw
    if REPLACEMENT in raw:
        return ""
    try:
        parts = urlsplit(raw.strip())
        port = parts.port
        path = quote(parts.path, safe=_URL_SAFE)
        query = quote(parts.query, safe=_URL_SAFE + "?")
    except (ValueError, UnicodeEncodeError):
        return ""
    if not parts.scheme and not parts.netloc and relative:
        return _relative(path)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return ""
    if not host.isascii() or re.search(r"[\s\\]", host):
        return ""
    host = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, path or "/", query, ""))


def _relative(path: str) -> str:
    segments = [segment for segment in path.split("/") if segment != "."]
    # %2e and %5c: what a server would unquote must not climb either.
    dangerous = any(s in ("", "..") or "\\" in s for s in segments)
    if dangerous or re.search(r"%(2e|2f|5c|00)", path, re.IGNORECASE):
        return ""
    return "/".join(segments)
