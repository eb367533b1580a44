"""The app's own files and TensorFlow.js, and how they come to lie in one directory.

TensorFlow.js is not in the repository: scripts/install_web.sh puts the versions of
web/package-lock.json into web/node_modules. In a site its files lie in `vendor/`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from aplantida_jax.errors import UserError

WEB = Path(__file__).resolve().parent / "web"

# What both the app and the validation page load.
MODULES = ("bundle.js", "classifier.js", "preprocess.js")
APP = (
    *MODULES,
    "app.js",
    "decision.js",
    "i18n.js",
    "icon.svg",
    "index.html",
    "manifest.webmanifest",
    "style.css",
    "view.js",
    "worker.js",
)
VALIDATION = (*MODULES, "validate.html", "validate.js")

_SCOPE = "@tensorflow"
# Classic scripts that hang themselves on a global; the ES modules of these packages
# import bare names, which a worker can't resolve without a bundler.
_VENDOR = {
    "tfjs-core": ("tf-core.es2017.min.js",),
    "tfjs-converter": ("tf-converter.es2017.min.js",),
    "tfjs-backend-cpu": ("tf-backend-cpu.es2017.min.js",),
    "tfjs-backend-wasm": (
        "tf-backend-wasm.es2017.min.js",
        "tfjs-backend-wasm.wasm",
        "tfjs-backend-wasm-simd.wasm",
    ),
}


def vendor_files(web: Path = WEB) -> Iterator[Path]:
    """The files of TensorFlow.js that a site needs.

    Raises:
        UserError: not installed, or not in the version that package.json asks for.
    """
    wanted = json.loads((web / "package.json").read_text())["dependencies"]
    for package, names in _VENDOR.items():
        directory = web / "node_modules" / _SCOPE / package
        found = _version(directory)
        if found != wanted[f"{_SCOPE}/{package}"]:
            raise UserError(
                f"{directory} is {found or 'missing'}, not version "
                f"{wanted[f'{_SCOPE}/{package}']}: run scripts/install_web.sh"
            )
        for name in names:
            yield directory / "dist" / name


def install(names: tuple[str, ...], site: Path) -> None:
    """Copies our files `names` and TensorFlow.js into the directory `site`."""
    for name in names:
        shutil.copyfile(WEB / name, site / name)
    vendor = site / "vendor"
    vendor.mkdir()
    for file in vendor_files():
        shutil.copyfile(file, vendor / file.name)


def _version(directory: Path) -> str:
    try:
        return json.loads((directory / "package.json").read_text())["version"]
    except FileNotFoundError:
        return ""
