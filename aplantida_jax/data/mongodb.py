"""A collection on a MongoDB server: its documents as BSON, in the order of `_id`.

The server projects and sorts, and sends batches; while one is worked on the next is on
its way. pymongo never retries `getMore`: after a lost connection this goes on behind
the last `_id`, of whatever type, so that nothing is read twice or missed. Documents are
handed on undecoded, because one with invalid UTF-8 would cost its whole batch.

No message carries the user or password of the URI, nor an option that may be a secret.
"""

import re
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pymongo
from absl import logging
from pymongo import errors

from aplantida_jax import redaction
from aplantida_jax.data.id_order import RARE_TYPES, Element, id_of, resumed_after
from aplantida_jax.errors import UserError

_ADDRESS = re.compile(r"mongodb(\+srv)?://")
_SERVER_WAIT_MS = 10_000
# A server that says nothing for so long is as good as gone; one without an index on
# what it sorts by needs its time before the first batch.
_SOCKET_WAIT_MS = 300_000
# Before each try in a row; any document that arrives sets them back.
_PAUSES_S = (0.1, 1.0, 2.0, 5.0, 10.0)
# The server's codes (its src/mongo/base/error_codes.yml).
_BAD_VALUE = 2  # a query that it does not understand
_REFUSED = frozenset((13, 18, 8000))  # Unauthorized, AuthenticationFailed, AtlasError
# It gave this read up, not the collection: MaxTimeMSExpired,
# FailedToSatisfyReadPreference, QueryPlanKilled, CursorKilled, ExceededTimeLimit,
# Interrupted. CursorNotFound is a class of its own.
_GIVEN_UP = frozenset((50, 133, 175, 237, 262, 11601))


def is_mongodb(uri: str) -> bool:
    return _ADDRESS.match(uri) is not None


def describe(uri: str) -> str:
    """The address for messages: without user, password and options."""
    shown: str = redaction.redact(uri)
    return shown.split("?")[0]


def raw_documents(source: Any) -> Iterator[bytes]:
    """Yields every document of the collection that `config.source` names.

    Raises:
        UserError: no server there, access refused, no documents; or the connection is
            lost again and again without a document in between.
    """
    reading = _Reading(source)
    with _client(source.uri) as client:
        while True:
            try:
                for raw in _split(_read_ahead(reading.cursor(client))):
                    reading.arrived(raw)
                    yield raw
                break
            except errors.PyMongoError as error:
                reading.recover(error)
    if not reading.found:
        raise UserError(
            f"{source.database}.{source.collection} at {describe(source.uri)} has no "
            "documents: check --config.source.database and --config.source.collection"
        )


class _Reading:
    """How far the collection was read, and what was learnt of its server.

    Attributes:
        found: has any document come?
    """

    def __init__(self, source: Any):
        self.found = False
        self._source = source
        self._batch_size = source.batch_size
        self._last: Element | None = None
        self._unknown: frozenset[str] = frozenset()
        self._failures = 0

    def cursor(self, client: pymongo.MongoClient) -> Any:
        """Batches, as they come, of what has not been read yet."""
        collection = client[self._source.database][self._source.collection]
        return collection.find_raw_batches(
            resumed_after(self._last, self._unknown),
            list(self._source.fields),
            batch_size=self._batch_size,
            sort=[("_id", pymongo.ASCENDING)],
        )

    def arrived(self, raw: bytes) -> None:
        self.found, self._failures, self._last = True, 0, id_of(raw)

    def recover(self, error: errors.PyMongoError) -> None:
        """Returns when it is worth going on; else raises UserError."""
        if self.found and self._last is None:  # nothing to go on behind
            raise _explained(self._source.uri, error) from None
        code = getattr(error, "code", 0)
        lost = isinstance(error, errors.AutoReconnect | errors.CursorNotFound)
        if lost or code in _GIVEN_UP:
            self._pause(error)
        elif isinstance(error, errors.ProtocolError) and self._batch_size > 1:
            # Not every server keeps a batch within what the protocol can carry.
            self._batch_size = max(1, self._batch_size // 8)
        elif code == _BAD_VALUE and not self._unknown:
            self._unknown = RARE_TYPES
        else:
            raise _explained(self._source.uri, error) from None

    def _pause(self, error: errors.PyMongoError) -> None:
        never = isinstance(error, errors.ServerSelectionTimeoutError) and not self.found
        if never or self._failures == len(_PAUSES_S):
            raise _explained(self._source.uri, error) from None
        logging.warning("connection lost: going on behind the last document")
        time.sleep(_PAUSES_S[self._failures])
        self._failures += 1


def _client(uri: str) -> pymongo.MongoClient:
    try:
        # pymongo's warnings about an address repeat the options, secret ones too.
        with warnings.catch_warnings(record=True) as odd:
            warnings.simplefilter("always")
            client: pymongo.MongoClient = pymongo.MongoClient(
                uri,
                serverSelectionTimeoutMS=_SERVER_WAIT_MS,
                socketTimeoutMS=_SOCKET_WAIT_MS,
            )
    except (errors.PyMongoError, ValueError, TypeError, OSError) as error:
        raise _explained(uri, error) from None
    if odd:
        logging.warning("%s: %d odd options are left out", describe(uri), len(odd))
    return client


def _read_ahead(batches: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same; the next one is fetched while the last one is worked on."""
    coming = _fetch(batches)
    while (batch := coming.result()) is not None:
        coming = _fetch(batches)
        yield batch


def _fetch(batches: Iterator[bytes]) -> Future[bytes | None]:
    """The next one, or None, when it has come; nobody has to wait for it.

    A daemon: Ctrl-C ends the process although the server says nothing. The threads of a
    ThreadPoolExecutor would be waited for.
    """
    coming: Future[bytes | None] = Future()

    def fetch() -> None:
        try:
            coming.set_result(next(batches, None))
        except BaseException as error:
            coming.set_exception(error)

    threading.Thread(target=fetch, daemon=True).start()
    return coming


def _split(batches: Iterator[bytes]) -> Iterator[bytes]:
    for batch in batches:
        at = 0
        while at < len(batch):
            end = at + int.from_bytes(batch[at : at + 4], "little")
            yield batch[at:end]
            at = end


def _explained(uri: str, error: Exception) -> UserError:
    """Says what happened without pymongo's message, which may hold the password."""
    where = describe(uri)
    if isinstance(error, errors.OperationFailure):
        if error.code in _REFUSED:
            return UserError(
                f"{where} refused (code {error.code}): check user, password and rights"
            )
        return UserError(
            f"{where} stopped with error {error.code}: see the server's log, mend that "
            "and run this again"
        )
    if isinstance(error, errors.InvalidName):
        return UserError(
            "--config.source.database or --config.source.collection is no possible name"
        )
    if isinstance(error, errors.ConnectionFailure):
        return UserError(f"{where} does not answer: is the server running there?")
    return UserError(
        f"--config.source.uri is no usable MongoDB address ({type(error).__name__}): "
        "in a user or password, ':', '/', '?', '#', '@' and '%' are written %3A, %2F, "
        "%3F, %23, %40 and %25; the options' files must exist; the name of a "
        "mongodb+srv address must be known"
    )
