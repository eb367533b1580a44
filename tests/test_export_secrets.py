"""No piece of a password reaches a log, an error, a traceback or a manifest.

200 addresses with nasty secrets go through the real entry point, in one process of
their own at the most talkative log level, and everything that it writes is searched:
those of the export, and for every kind of address those of the stages that only record
it, and of an export that finds it in the environment.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import bson
import pytest
from mongo_server import MongoServer
from small_collection import config_for

from aplantida_jax.data import export_dataset

ROOT = Path(__file__).resolve().parents[1]
KINDS = 20  # of addresses
PIECE = 4  # characters of a secret that may not be seen together
# Letters that no message has in such an order; every piece holds two of them.
LETTERS = "QXZJWVKÑ€ß字"
SPECIAL = "/@:%#?& ;=+'\"[]\\,$"
QUICK = ["--config.audit.sample_urls=0", "--config.audit.thumbnails=0"]
PLANT = bson.encode(
    {
        "_id": 1,
        "latinName": "Rosa canina",
        "images": [{"url": "https://example.org/1.jpg", "license": "cc0"}],
    }
)
# What main does with each address, and what an uncaught exception would show.
DRIVER = """
import json, os, sys, traceback
from aplantida_jax import main
from aplantida_jax.data import audit, download, export_dataset, mongodb

mongodb._SERVER_WAIT_MS = 200
mongodb._PAUSES_S = ()
for number, (arguments, environment) in enumerate(json.load(sys.stdin)):
    # Flags can be parsed once in a process.
    child = os.fork()
    if child:
        print("exit", number, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        continue
    sys.argv = ["main", "--config=configs/dataset.py", "--log_level=debug", *arguments]
    sys.argv += ["--config.dataset.min_images_per_species=1"]
    os.environ.update(environment)
    try:
        code = main.main(sys.argv)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stderr.flush()
    os._exit(code)
"""


def secret(generator: random.Random) -> str:
    """Special characters between letters, so that any four of it are telling."""
    return "".join(
        generator.choice(LETTERS) + generator.choice(SPECIAL + LETTERS)
        for _ in range(generator.randrange(3, 9))
    )


def addresses(server: str, refusing: str) -> list[tuple[str, list[str]]]:
    """200 addresses and the secrets in each; hosts as "127.0.0.1:port"."""
    generator, found = random.Random(20), []
    for number in range(200):
        user, password = secret(generator), secret(generator)
        raw = f"{user}:{password}"
        encoded = f"{quote(user, safe='')}:{quote(password, safe='')}"
        option = quote(password, safe="")
        uri = [
            # Cannot be parsed, or not as it was meant (nor can the last two).
            f"mongodb://{raw}@127.0.0.1:1/",
            f"mongodb+srv://{raw}@cluster.invalid/?connectTimeoutMS=300",
            f"mongodb://{encoded}@127.0.0.1:port/",
            f"mongodb://{encoded}@[::1/",
            f"mongodb:/{encoded}@127.0.0.1/",
            f"mongo://{raw}@127.0.0.1/",
            f"{encoded}@127.0.0.1:27017",
            f"mongodb://{raw}@",
            # Nobody there.
            f"mongodb://{encoded}@127.0.0.1:1/",
            f"mongodb+srv://{encoded}@cluster.invalid/?connectTimeoutMS=300",
            # Refused.
            f"mongodb://{encoded}@{refusing}/",
            f"mongodb://{encoded}@{refusing}/?authMechanism=PLAIN",
            # Options.
            f"mongodb://{encoded}@{server}/?tls=true"
            f"&tlsCertificateKeyFile=/none&tlsCertificateKeyFilePassword={option}",
            f"mongodb://{server}/?authMechanism=MONGODB-AWS"
            f"&authMechanismProperties=AWS_SESSION_TOKEN:{option}",
            f"mongodb://{server}/?authMechanismProperties={option}",
            f"mongodb://{server}/?tls={option}&secretKey={option}",
            f"mongodb://{server}/?proxyHost=127.0.0.1&proxyPassword={password}",
            # Read, with an option that pymongo does not know.
            f"mongodb://{server}/?myToken={option}",
            f"mongodb//{raw}@127.0.0.1/",
            f"mngodb:{raw}@127.0.0.1/x",
        ][number % KINDS]
        found.append((uri, [user, password, quote(user), option]))
    return found


def exported(root: Path) -> Path:
    """A dataset of one image, which is on a host that nobody may ask."""
    images = [{"url": "http://127.0.0.1:1/1.jpg", "license": "cc0"}]
    row = {"_id": 1, "latinName": "Rosa canina", "images": images}
    config = config_for(root, [row])
    export_dataset.run(config, root)
    return Path(config.data_dir)


def commands(root: Path, uris: list[str]) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and environment of every run."""
    data = exported(root / "exported")
    found: list[tuple[list[str], dict[str, str]]] = [
        ([f"--config.source.uri={uri}", f"--config.data_dir={root}/{n}"], {})
        for n, uri in enumerate(uris)
    ]
    for number, uri in enumerate(uris[:KINDS]):
        for stage in ("audit", "download"):
            own = shutil.copytree(data, root / f"{stage}{number}")
            arguments = [f"--config.source.uri={uri}", f"--config.data_dir={own}"]
            found.append(([*arguments, f"--config.stage={stage}", *QUICK], {}))
        where = f"--config.data_dir={root}/environment{number}"
        found.append(([where], {"APLANTIDA_MONGODB_URI": uri}))
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> tuple[str, list[tuple[str, list[str]]]]:
    """All that was written, and what may not be in it."""
    root = tmp_path_factory.mktemp("secrets")
    with MongoServer([PLANT]) as server, MongoServer([PLANT]) as refusing:
        refusing.refusal = {"code": 18, "errmsg": "Authentication failed."}
        hosts = [s.uri.removeprefix("mongodb://")[:-1] for s in (server, refusing)]
        cases = addresses(*hosts)
        ended = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(commands(root, [uri for uri, _ in cases])),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    written = [ended.stdout, ended.stderr]
    files = [path for path in root.rglob("*.*") if path.suffix != ".png"]
    written += [
        path.read_bytes().decode(errors="replace") for path in files if path.is_file()
    ]
    # Pictures hold any four letters by chance.
    return re.sub(r"base64,[\w+/=]+", "", "\n".join(written)), cases


def test_no_piece_of_a_secret_is_seen(outcome):
    written, cases = outcome
    for uri, secrets in cases:
        for hidden in secrets:
            pieces = {hidden[i : i + PIECE] for i in range(len(hidden) - PIECE + 1)}
            seen = sorted(piece for piece in pieces if piece in written)
            assert not seen, f"{seen} of {uri}"


def test_every_address_ended_in_one_line_or_was_read(outcome):
    written, cases = outcome
    codes = [line.split()[2] for line in written.splitlines() if line[:5] == "exit "]
    assert len(cases) == 200
    export, others = codes[:200], codes[200:]
    assert set(export) == {"0", "1"}
    assert "Traceback" not in written
    # Those with an option that pymongo does not know were read, and recorded.
    assert export[17] == "0"
    assert "/?(hidden)" in written
    # Stages that only record the address do so, whatever it is.
    stages = [others[i] for i in range(3 * KINDS) if i % 3 < 2]
    assert stages == ["0"] * (2 * KINDS)
    environment = others[2::3]
    assert environment[17] == "0"
    assert set(environment) == {"0", "1", "2"}
    for message in (
        "does not answer",
        "refused (code 18)",
        "no usable MongoDB address",
        "APLANTIDA_MONGODB_URI must be a mongodb://",
    ):
        assert message in written
