import datetime
import hashlib
import json
import os

import pytest
from killed_child import kill_inside

from aplantida_jax import files
from aplantida_jax.errors import UserError

# SHA-256 of b"abc", FIPS 180-2 appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ROWS = [{"a": 1, "name": "Ñame"}, {"a": 2, "name": "×"}, {"a": 3, "name": ""}]


def test_a_user_error_is_one_line_with_its_exit_code():
    assert str(UserError("a\n  b\t c")) == "a b c"
    assert UserError("x").exit_code == 1
    assert UserError("x", exit_code=2).exit_code == 2


def test_json_round_trip(tmp_path):
    value = {"ñ": [1, 2.5, None, True, "×"]}
    files.write_json(tmp_path / "new" / "a.json", value)
    assert files.read_json(tmp_path / "new" / "a.json", made_by="split") == value
    assert os.stat(tmp_path / "new" / "a.json").st_mode & 0o777 == 0o644


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_say(tmp_path, number):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", [number])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is missing: stage 'split' makes it"), (b"{", "run stage 'split' again")]
    + [(b'"\xff"', "run stage 'split' again")],
)
def test_a_missing_or_broken_json_file_names_its_stage(tmp_path, content, said):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        files.read_json(path, made_by="split")
    assert str(path) in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    files.write_text(path, "old")

    def fail():
        with files.atomic_open(path) as out:
            out.write(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file_and_a_leftover_to_sweep(tmp_path):
    path = tmp_path / "a"
    files.write_text(path, "old")
    kill_inside(
        "with files.atomic_open(path / 'a') as out:\n"
        "    out.write(b'half of the n')\n"
        "    out.flush()\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n",
        tmp_path,
    )
    assert path.read_text() == "old"
    (tmp_path / "not_ours.tmp").write_text("")
    assert files.sweep_temporary(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "not_ours.tmp"]


def test_jsonl_ends_in_count_and_hash(tmp_path):
    path = tmp_path / "a.jsonl"
    assert files.write_jsonl(path, iter(ROWS)) == 3
    *lines, trailer = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line) for line in lines] == ROWS
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    assert json.loads(trailer) == {"_trailer": {"count": 3, "sha256": digest}}
    assert list(files.read_jsonl(path, made_by="split")) == ROWS


NONE_AND_NUMBERS = {"a": None, "b": [2**64 - 1, -(2**63), 0.1, -0.0, 1e300], "c": (1,)}


def test_jsonl_holds_what_json_does(tmp_path):
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, [NONE_AND_NUMBERS])
    line = path.read_bytes().splitlines()[0]
    assert json.loads(line) == json.loads(json.dumps(NONE_AND_NUMBERS))
    assert list(files.read_jsonl(path, made_by="split")) == [json.loads(line)]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("-inf"), ValueError),
        ([None, {"deep": float("nan")}], ValueError),
        (2**64, TypeError),
        ({1: 2}, TypeError),
        ("\ud800", TypeError),
        (datetime.datetime(2026, 1, 1), TypeError),
        ({1, 2}, TypeError),
    ],
    ids=["nan", "inf", "deep nan", "65 bits", "key", "surrogate", "date", "set"],
)
def test_jsonl_refuses_what_json_cannot_say(tmp_path, value, error):
    with pytest.raises(error):
        files.write_jsonl(tmp_path / "a.jsonl", [{"value": value}])
    assert list(tmp_path.iterdir()) == []


def test_jsonl_with_nan_is_damaged(tmp_path):
    (tmp_path / "a").write_bytes(b'{"a": NaN}\n')
    with pytest.raises(UserError, match="is damaged"):
        list(files.read_jsonl(tmp_path / "a", made_by="split"))


def test_jsonl_of_nothing_is_a_trailer(tmp_path):
    assert files.write_jsonl(tmp_path / "a", []) == 0
    assert list(files.read_jsonl(tmp_path / "a", made_by="split")) == []


def test_every_truncation_of_a_jsonl_file_is_noticed(tmp_path):
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, ROWS)
    whole = path.read_bytes()
    # Without its last newline a file still says all that it said.
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="run stage 'split' again"):
            list(files.read_jsonl(path, made_by="split"))


def test_every_flipped_bit_of_a_jsonl_file_is_noticed(tmp_path):
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, [{"ñ": 1}])
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="run stage 'split' again"):
            list(files.read_jsonl(path, made_by="split"))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines, b'{"a": 4}\n'],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], *lines],
        lambda lines: [*lines[:-1], b"\n", lines[-1]],
        lambda lines: [*lines[:-1], b"7\n", lines[-1]],
        lambda lines: [*lines[:-1], b'"_trailer"\n', lines[-1]],
    ],
    ids=["appended", "two trailers", "swapped", "doubled", "blank", "number", "text"],
)
def test_altered_lines_of_a_jsonl_file_are_noticed(tmp_path, change):
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, ROWS)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(UserError, match="is damaged"):
        list(files.read_jsonl(path, made_by="split"))


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_file(tmp_path / "a") == ABC
    assert files.sha256_tree(tmp_path / "a") == ABC
    data = os.urandom(3_000_000)  # several chunks
    (tmp_path / "b").write_bytes(data)
    assert files.sha256_file(tmp_path / "b") == hashlib.sha256(data).hexdigest()


def test_the_hash_of_a_tree_is_of_its_names_and_contents(tmp_path):
    def make(root, *contents):
        for name, text in contents:
            files.write_text(root / name, text)
        return files.sha256_tree(root)

    one = make(tmp_path / "one", ("a", "1"), ("sub/b", "2"))
    assert make(tmp_path / "same", ("sub/b", "2"), ("a", "1")) == one
    others = {
        make(tmp_path / "other text", ("a", "1"), ("sub/b", "3")),
        make(tmp_path / "other name", ("a", "1"), ("sub/c", "2")),
        make(tmp_path / "other place", ("a", "1"), ("b", "2")),
        make(tmp_path / "swapped", ("a", "2"), ("sub/b", "1")),
        make(tmp_path / "more", ("a", "1"), ("sub/b", "2"), ("sub/c", "")),
    }
    assert len(others | {one}) == 6


def test_size_counts_every_byte(tmp_path):
    files.write_text(tmp_path / "a", "12")
    files.write_text(tmp_path / "sub" / "b", "345")
    assert files.size_of(tmp_path) == 5
    assert files.size_of(tmp_path / "sub" / "b") == 3
