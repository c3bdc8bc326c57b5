"""Files are whole or absent whatever ends the writing, by threads and by links, and stay where nothing changed."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from firempo_plugin.errors import UserError
from firempo_plugin.files import (
    file_digest,
    is_unicode,
    plain,
    private_folder,
    read_object,
    refuse_unwritable,
    replacing,
    write_text,
)


def test_what_fails_in_mid_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError), replacing(tmp_path / "a") as part:
        part.write_text("new, and only ha\ud83d", encoding="utf-8")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_equal_content_keeps_the_file_and_its_time(tmp_path):
    write_text(tmp_path / "a", "same")
    os.utime(tmp_path / "a", (1, 1))
    write_text(tmp_path / "a", "same")
    assert (tmp_path / "a").stat().st_mtime == 1
    write_text(tmp_path / "a", "other")
    assert (tmp_path / "a").stat().st_mtime > 1


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    write_text(tmp_path / "there" / "a", "old")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "a")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_text() == "new"


@pytest.mark.parametrize("write", [lambda path: write_text(path, "new"), refuse_unwritable])
def test_what_is_no_plain_file_is_never_replaced(tmp_path, write):
    """Root could: /dev/null would become a file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "folder", "link"):
        with pytest.raises(UserError, match=r"is no plain file; name another one"):
            write(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_cannot_be_written_is_refused_beforehand_and_nothing_is_left(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(UserError, match=r"a/b cannot be written: .*; name another file"):
        refuse_unwritable(tmp_path / "a" / "b")
    refuse_unwritable(tmp_path / "a")
    refuse_unwritable(tmp_path / "c")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_threads_that_write_one_file_do_not_mix(tmp_path):
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "a", text), texts * 4))
    assert (tmp_path / "a").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_what_has_to_last_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), rename(*names)))
    write_text(tmp_path / "a", "text", lasting=True)
    assert done == ["sync", "name", "sync"]
    assert (tmp_path / "a").read_text() == "text"


def test_folders_are_for_their_owner_alone(tmp_path):
    private_folder(tmp_path / "a" / "b")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_digest_and_halves_of_characters(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert is_unicode("é🙂")
    assert not is_unicode("a\ud83d")
    assert plain("a\ud83d🙂") == "a\ufffd🙂"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff{}", b"[" * 100_000])
def test_a_note_that_somebody_changed_is_named_with_what_to_do(tmp_path, content):
    (tmp_path / "note.json").write_bytes(content)
    with pytest.raises(UserError, match=r"note\.json was changed, and holds no JSON object any more; delete it"):
        read_object(tmp_path / "note.json", "delete it")
    (tmp_path / "note.json").write_bytes(b'{"a": 1}')
    assert read_object(tmp_path / "note.json", "delete it") == {"a": 1}
