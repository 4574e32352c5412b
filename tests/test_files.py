"""Files that appear whole or not at all, and the sentences when they cannot."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fsmnet.files
from fsmnet.errors import UserError
from fsmnet.files import (
    PART,
    append,
    atomic_folder,
    atomic_path,
    atomic_write,
    check_claim,
    make_folder,
    making_way,
    open_numpy,
    parse_json,
    remove_parts,
    sha256,
    write_text,
)

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL_SENTENCE = "cannot be written (no space left on device); free space or choose another place with --out"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def raiser(error):
    def refuse(*_, **__):
        raise error

    return refuse


def test_a_file_appears_at_the_end_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "result.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")  # writers choose the format by the suffix
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["result.nii.gz"]


def test_an_existing_file_is_replaced_at_the_end_only(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("error", [ValueError("mistake"), KeyboardInterrupt(), UserError("in words already")])
@pytest.mark.parametrize("writer", [atomic_write, atomic_path])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, writer, error):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as raised, writer(path):
        raise error
    assert raised.value is error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["result.bin"]


def test_a_temporary_file_that_the_writer_renamed_away_is_no_mistake(tmp_path):
    # Some writers replace the file they are given instead of filling it.
    with atomic_path(tmp_path / "result.bin") as temporary:
        (tmp_path / "other").write_bytes(b"theirs")
        (tmp_path / "other").rename(temporary)
    assert (tmp_path / "result.bin").read_bytes() == b"theirs"
    assert names(tmp_path) == ["result.bin"]


@pytest.mark.parametrize("place", ["fsmnet.files.os.fsync", "fsmnet.files.os.replace", "fsmnet.files.tempfile.mkstemp"])
def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path, monkeypatch, place):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(place, raiser(FULL))
    with pytest.raises(UserError) as error, atomic_write(path) as file:
        file.write(b"new")
    assert str(error.value) == f"{path}: {FULL_SENTENCE}"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["result.bin"]


def test_a_disk_that_fills_up_while_a_writer_writes_is_said_in_words(tmp_path):
    def write(path):
        path.write_bytes(b"half")
        raise FULL

    with pytest.raises(UserError, match="no space left on device"), atomic_path(tmp_path / "result.bin") as temporary:
        write(temporary)
    assert names(tmp_path) == []


def test_a_folder_without_rights_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr("fsmnet.files.os.access", lambda *_: False)
    with pytest.raises(UserError, match="this output folder is not writable; choose another with --out"):
        make_folder(tmp_path / "out")
    with pytest.raises(UserError, match="not writable"), atomic_write(tmp_path / "out" / "result.bin"):
        pytest.fail("the writer must not be reached")


def test_a_file_in_the_way_of_a_folder_is_said_in_words(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for folder, reason in ((tmp_path / "taken", "file exists"), (tmp_path / "taken" / "below", "not a directory")):
        with pytest.raises(UserError) as error:
            make_folder(folder)
        assert str(error.value) == f"{folder}: cannot make this output folder ({reason}); choose another with --out"


def test_a_folder_in_the_way_of_a_file_is_said_in_words(tmp_path):
    (tmp_path / "result.bin").mkdir()
    with pytest.raises(UserError, match=r"result\.bin: cannot be written \(is a directory\)"):
        write_text(tmp_path / "result.bin", "text")
    assert names(tmp_path) == ["result.bin"]


def test_making_a_folder_twice_is_no_mistake(tmp_path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == make_folder(folder) == folder
    assert folder.is_dir()


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "result.txt", "text")
        with atomic_path(tmp_path / "result.bin") as temporary:
            os.chmod(temporary, 0o600)  # as some writers do
        after = os.umask(umask)
    finally:
        os.umask(before)
    assert after == umask  # reading it leaves it alone
    for name in ("result.txt", "result.bin"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
def test_threads_leave_the_permissions_alone(tmp_path):
    before = os.umask(0o022)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: write_text(tmp_path / f"{number}.txt", "text"), range(200)))
        after = os.umask(0o022)
    finally:
        os.umask(before)
    assert after == 0o022
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_what_a_killed_writer_left_is_found_by_its_name(tmp_path):
    with atomic_path(tmp_path / "a.nii.gz") as temporary:
        left = temporary.name
    others = [f"{PART}abcdefgh-b-a.nii.gz", "a.nii.gz", "a.json", f"{PART}abcdefgh-a.nii"]
    for name in (left, *others):
        (tmp_path / name).write_text("half")
    folder = tmp_path / f"{PART}abcdefgh-a"
    folder.mkdir()
    (folder / "0001.dcm").write_text("half")
    remove_parts(tmp_path, {"a.nii.gz", "a"})
    assert names(tmp_path) == sorted(others)


def test_what_killed_processes_left_goes_at_the_next_start(tmp_path):
    """Of a living one and of another machine it stays."""
    code = (
        "import os, signal, sys; from pathlib import Path; from fsmnet.files import atomic_folder, atomic_path\n"
        "folder = Path(sys.argv[1])\n"
        "with atomic_folder(folder / 'series'), atomic_path(folder / 'a.bin') as part:\n"
        "    part.write_bytes(b'half'); print('there', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    left = names(tmp_path)
    assert len(left) == 2
    foreign = [f"{PART}00000000-{process.pid}-abcdefgh-a.bin", f"{PART}notes", f"{PART}abcdefgh-a.bin"]
    for name in foreign:
        (tmp_path / name).touch()
    write_text(tmp_path / "b.txt", "b")
    assert names(tmp_path) == sorted([*left, *foreign, "b.txt"])
    process.kill()
    process.communicate()
    fsmnet.files._SEEN.clear()  # as in a new process
    write_text(tmp_path / "b.txt", "b")
    assert names(tmp_path) == sorted([*foreign, "b.txt"])


def test_a_folder_makes_way_for_the_one_that_replaces_it(tmp_path):
    old, new = tmp_path / "bundle", tmp_path / "made"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "a.txt").write_text(text)
    with pytest.raises(OSError, match="nothing to rename"), making_way(old):
        raise OSError("nothing to rename")
    assert (old / "a.txt").read_text() == "old"
    with making_way(old):
        new.rename(old)
    assert (old / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["bundle"]
    with making_way(tmp_path / "nothing there"):
        pass
    assert names(tmp_path) == ["bundle"]


def test_what_made_way_comes_back_where_the_process_was_killed_before_the_new_one_was_there(tmp_path):
    out = tmp_path / "bundle"
    code = (
        "import os, sys; from pathlib import Path; from fsmnet.files import atomic_folder\n"
        "Path.rename = lambda path, to, move=Path.rename: move(path, to) if path.name == 'bundle' else os._exit(9)\n"
        "with atomic_folder(Path(sys.argv[1])) as part:\n    (part / 'new').touch()"
    )
    out.mkdir()
    (out / "old").touch()
    assert subprocess.run([sys.executable, "-c", code, str(out)], check=False).returncode == 9
    assert not out.exists()
    remove_parts(tmp_path, {"another"})
    assert not out.exists()
    remove_parts(tmp_path, {"bundle"})
    assert names(tmp_path) == ["bundle"]
    assert names(out) == ["old"]


def test_a_folder_is_replaced_when_the_new_one_is_whole(tmp_path):
    out, outside = tmp_path / "out", tmp_path / "outside"
    for folder, name in ((out, "old"), (outside, "kept")):
        folder.mkdir()
        (folder / name).touch()

    def fill():
        with atomic_folder(out) as part:
            (part / "half").touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"out: cannot be written \(no space left on device\); free space"):
        fill()
    assert names(tmp_path) == ["out", "outside"]
    assert names(out) == ["old"]
    with atomic_folder(out) as part:
        (part / "new").touch()
    assert names(out) == ["new"]
    link = tmp_path / "link"
    link.symlink_to(outside, target_is_directory=True)
    with atomic_folder(link) as part:
        (part / "new").touch()
    assert (link.is_symlink(), names(link), names(outside)) == (False, ["new"], ["kept"])
    assert names(tmp_path) == ["link", "out", "outside"]


def test_what_is_added_to_a_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    class Full(io.FileIO):
        def write(self, data):
            if len(data) < 9:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data[:6])

    with Full(tmp_path / "log", "ab") as stream, pytest.raises(UserError, match=r"log: cannot be written \(no space"):
        append(stream, tmp_path / "log", b"nine bytes")
    assert (tmp_path / "log").read_bytes() == b""


def test_hash_of_a_folder(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    hashes = "".join(hashlib.sha256(name.encode()).hexdigest() for name in "ab")
    assert sha256(tmp_path) == hashlib.sha256(hashes.encode()).hexdigest()


def test_text_is_utf_8_with_the_line_ends_it_has(tmp_path):
    write_text(tmp_path / "note.txt", "0.5 µm\n")
    assert (tmp_path / "note.txt").read_bytes() == b"0.5 \xc2\xb5m\n"


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "file.bin").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "file.bin") == expected
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_entries_nobody_needs_are_not_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, image=np.arange(3), other=np.zeros(100))
    data = bytearray(path.read_bytes())
    data[data.index(b"other.npy") + 400] ^= 255  # within the other's values
    path.write_bytes(data)
    file = open_numpy(path)
    assert file.names == ("image", "other")
    np.testing.assert_array_equal(file.read("image"), np.arange(3))
    with pytest.raises(UserError, match=r"a.npz: damaged or not a NumPy file of numbers \(Bad CRC-32"):
        file.read("other")


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    return stream.getvalue()


def test_what_a_header_claims_is_compared_with_the_file(tmp_path):
    (tmp_path / "a.npy").write_bytes(header((1400, 1400, 1400)) + bytes(80))
    with pytest.raises(UserError, match=r"a.npy: .*its header claims 21952000000 bytes, and 80 are there"):
        open_numpy(tmp_path / "a.npy").read("")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("image.npy", header((10**12,)))
    with pytest.raises(UserError, match=r"b.npz: .*its header claims 8000000000000 bytes, and 0 are there"):
        open_numpy(tmp_path / "b.npz").read("image")
    with pytest.raises(UserError, match="the volume is said to have 9000000 bytes, and 10 bytes are stored for it"):
        check_claim(tmp_path / "a", "the volume", 9_000_000, 10)
    with pytest.raises(UserError, match=r"the volume has \d+ GiB, this machine's memory \d+ GiB; save a part"):
        check_claim(tmp_path / "a", "the volume", 1 << 60, 1 << 60)


def test_json_nested_too_deeply_is_no_json():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
