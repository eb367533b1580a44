"""Files of weights that are no weights, or no longer: refused in one line."""

import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_vit import google_arrays

from aplantida_jax.errors import UserError
from aplantida_jax.models.pretrained import describe


def _torch_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")


def _float8_safetensors(path):
    save_file({"a": np.ones(3, ml_dtypes.float8_e4m3fn)}, path)


def _truncated_npz(path):
    whole = path.with_suffix(".whole.npz")
    np.savez(whole, **google_arrays())
    path.write_bytes(whole.read_bytes()[:-200])


def _flipped_npz(path):
    np.savez(path.with_suffix(".npz"), **google_arrays())
    data = bytearray(path.with_suffix(".npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _objects_npz(path):
    with open(path, "wb") as out:
        np.savez(out, weights=np.array([{"a": 1}], dtype=object))


def _truncated_safetensors(path):
    save_file({"a": np.ones(100, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-50])


def _truncated_hdf5(path):
    import h5py

    with h5py.File(path, "w") as out:
        out["a"] = np.ones(1000)
    path.write_bytes(path.read_bytes()[:-3000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b""), "neither .npz nor .safetensors"),
        (lambda path: path.write_text("<html>Not found</html>"), "neither .npz nor"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00."), "never loaded"),
        # How torch.save began before its files were archives.
        (
            lambda path: path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
            "never loaded",
        ),
        (_torch_archive, "never loaded"),
        (_float8_safetensors, "NumPy can't hold it: .*float8"),
        (_objects_npz, "damaged, or not what it seems: Object arrays"),
        (_truncated_npz, "damaged"),
        (_flipped_npz, "damaged"),
        (_truncated_safetensors, "damaged"),
        (_truncated_hdf5, "damaged"),
        (lambda path: save_file({"a": np.ones(3)}, path), "is none of google_vit"),
    ],
)
def test_bad_file_is_refused_in_one_line(tmp_path, write, message):
    path = tmp_path / "weights.bin"  # the name tells nothing
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        describe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
