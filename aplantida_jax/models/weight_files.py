"""Foreign weight files -> flat dictionaries of arrays; nothing is ever unpickled.

The container is told by the first bytes, not by the name: a NumPy archive (.npz), a
.safetensors, or an HDF5 file (Keras .h5 and .weights.h5). Anything else, a PyTorch
pickle above all, and whatever is torn or damaged, is a UserError of one line. Arrays of
bfloat16, which NumPy has not, come as float32.
"""

import zipfile
import zlib
from pathlib import Path

import ml_dtypes  # also teaches NumPy, and so safetensors, what bfloat16 is
import numpy as np
from safetensors import SafetensorError, safe_open

from aplantida_jax.errors import UserError

Arrays = dict[str, np.ndarray]

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = b"\x80"
_NO_PICKLE = "a PyTorch or pickle file is never loaded: convert it to .safetensors"


def read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All arrays of a file by name ("a/b/c" in HDF5), and the metadata it carries.

    Raises:
        UserError: missing, of no known kind, damaged, or holding objects.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"pretrained weights: there is no file {path}")
    with open(path, "rb") as source:
        start = source.read(9)
    try:
        if start.startswith(_ZIP):
            return _read_npz(path), {}
        if start.startswith(_HDF5):
            return _read_hdf5(path), {}
        if start[8:] == b"{":
            return _read_safetensors(path)
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path} is damaged, or not what it seems: {error}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if start.startswith(_PICKLE):
        raise UserError(f"{path}: {_NO_PICKLE}")
    raise UserError(
        f"{path} is neither .npz nor .safetensors nor .h5 (it starts with {start!r})"
    )


def _read_npz(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(not name.endswith(".npy") for name in names):
        raise UserError(f"{path} is a zip file, but no .npz: {_NO_PICKLE}")
    with np.load(path, allow_pickle=False) as stored:
        return {name: _plain(stored[name]) for name in stored.files}


def _read_hdf5(path: Path) -> Arrays:
    import h5py  # comes with TensorFlow; only these files need it

    arrays: Arrays = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with h5py.File(path, "r") as stored:
        stored.visititems(keep)
    return arrays


def _read_safetensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    try:
        with safe_open(path, framework="np") as stored:
            names = list(stored.keys())
            arrays = {name: _plain(stored.get_tensor(name)) for name in names}
            return arrays, stored.metadata() or {}
    except (SafetensorError, TypeError, AttributeError) as error:
        # NumPy has no float8, for one.
        raise UserError(f"{path} is damaged, or NumPy can't hold it: {error}") from None


def _plain(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32; .npz files hold it as two bytes of no kind, "V2"."""
    if array.dtype == np.dtype("V2"):
        array = array.view(ml_dtypes.bfloat16)
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
