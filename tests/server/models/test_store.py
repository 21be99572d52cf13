"""The cache of weights: whatever happens in the middle, what is there is whole, and the next run puts it right."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chatpose_server.models import store
from chatpose_server.models.store import StoreError
from chatpose_server.progress import Cancelled

from . import fake_registry
from .fake_registry import NAME

ROOT = Path(__file__).parents[3]
FILES = {"model.safetensors", "config.json", "tokenizer.json", "complete.json"}


class Registry:
    """The fake registry's folder, and the cache beside it."""

    def __init__(self, folder):
        self.folder, self.cache = folder / "registry", folder / "cache"
        self.folder.mkdir()
        self.target = self.cache / "models" / NAME

    @property
    def asked(self):
        """How many times something was downloaded."""
        log = self.folder / "asked"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def left(self):
        """What is in the cache beside the model and its lock."""
        if not self.target.parent.exists():
            return []
        return [p.name for p in self.target.parent.iterdir() if p.name not in (NAME, f"{NAME}.lock")]

    def whole(self):
        store.verify(NAME)
        return {p.name for p in self.target.iterdir()} == FILES and not self.left()

    def process(self):
        path = os.pathsep.join([str(ROOT), str(ROOT / "server")])
        environment = os.environ | {"CHATPOSE_CACHE": str(self.cache), "PYTHONPATH": path}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.server.models.fake_registry", str(self.folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def registry(tmp_path, monkeypatch):
    made = Registry(tmp_path)
    monkeypatch.setenv("CHATPOSE_CACHE", str(made.cache))
    fake_registry.install(made.folder, monkeypatch.setattr, monkeypatch.setitem)
    return made


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_fetched_once(registry):
    for _ in range(3):
        assert store.ensure(NAME) == registry.target
        assert store.repaired(NAME) == registry.target
    assert registry.whole() and registry.asked == 1


# -- damaged between two runs ------------------------------------------------------------------------------------------
def _flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


DAMAGE = {
    "a bit": lambda folder: _flip(folder / "model.safetensors", 700),
    "the last byte": lambda folder: _flip(folder / "tokenizer.json", -1),
    "cut off": lambda folder: os.truncate(folder / "model.safetensors", 100),
    "emptied": lambda folder: os.truncate(folder / "config.json", 0),
    "longer": lambda folder: (folder / "config.json").open("ab").write(b" "),
    "deleted": lambda folder: (folder / "model.safetensors").unlink(),
    "a folder": lambda folder: ((folder / "config.json").unlink(), (folder / "config.json").mkdir()),
    "no stamp": lambda folder: (folder / "complete.json").unlink(),
    "half a stamp": lambda folder: os.truncate(folder / "complete.json", 40),
    "another's stamp": lambda folder: (folder / "complete.json").write_text('{"source": "x", "files": {}}'),
    "a stamp that is a list": lambda folder: (folder / "complete.json").write_text("[]"),
    "a binary stamp": lambda folder: (folder / "complete.json").write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_weights_are_noticed_and_fetched_anew(registry, how):
    store.ensure(NAME)
    DAMAGE[how](registry.target)
    with pytest.raises(StoreError) as raised:
        store.verify(NAME)
    assert "models fetch" in str(raised.value)
    store.repaired(NAME)
    assert registry.whole() and registry.asked == 2


def test_damage_that_cannot_be_replaced_now_is_not_used(registry):
    store.ensure(NAME)
    DAMAGE["a bit"](registry.target)
    (registry.folder / "offline").touch()
    with pytest.raises(StoreError, match="Check the network"):
        store.repaired(NAME)
    assert not store.is_ready(NAME)
    (registry.folder / "offline").unlink()
    store.repaired(NAME)
    assert registry.whole()


def test_a_download_that_is_another_file_is_not_kept(registry):
    (registry.folder / "tiny-1-py3-none-any.whl").write_bytes(b"something else")
    with pytest.raises(StoreError, match="not the file that was expected"):
        store.ensure(NAME)
    assert not registry.target.exists() and not registry.left()


# -- the disk ----------------------------------------------------------------------------------------------------------
class FullDisk:
    """Every write, folder and move of this process, counted; the ``full_at``-th and all after it fail."""

    def __init__(self, monkeypatch, full_at):
        self.done, self.full_at = 0, full_at
        opened, disk = io.open, self

        def full(real):
            def write(*arguments, **options):
                disk.count()
                return real(*arguments, **options)

            return write

        class Writable:  # a file written in C cannot be given another ``write``
            def __init__(self, made):
                self._made = made

            def write(self, data):
                disk.count()
                return self._made.write(data)

            def __getattr__(self, name):
                return getattr(self._made, name)

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                self._made.close()

        def open_wrapped(file, mode="r", *arguments, **options):
            made = opened(file, mode, *arguments, **options)
            return Writable(made) if set(mode) & set("wax+") and isinstance(file, str | os.PathLike) else made

        monkeypatch.setattr(io, "open", open_wrapped)
        for name in ("mkdir", "replace"):
            monkeypatch.setattr(os, name, full(getattr(os, name)))

    def count(self):
        self.done += 1
        if self.done >= self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_becomes_full_at_any_write_leaves_nothing_behind(registry, monkeypatch):
    failed = 0
    for full_at in range(1, 100):
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, full_at)
            try:
                store.ensure(NAME)
            except StoreError as error:
                assert "disk became full" in str(error) and "\n" not in str(error)
                failed += 1
            else:
                break
            finally:
                reached = disk.done
        assert not store.is_ready(NAME) and not registry.left(), full_at
        assert reached == full_at
    assert failed > 15 and registry.whole()


def test_too_little_space_is_said_before_anything_is_downloaded(registry, monkeypatch):
    monkeypatch.setattr(store, "_FREE_BYTES_NEEDED", 10**18)
    with pytest.raises(StoreError, match="Not enough disk space"):
        store.ensure(NAME)
    assert registry.asked == 0


def test_a_file_where_the_cache_should_be(registry):
    registry.cache.write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be written"):
        store.ensure(NAME)


# -- several at once, and ones that die --------------------------------------------------------------------------------
def test_two_at_once_download_once(registry):
    (registry.folder / "hold").touch()
    both = [registry.process() for _ in range(2)]
    until(lambda: registry.asked == 1)
    (registry.folder / "hold").unlink()
    for process in both:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out.strip(), error) == (0, str(registry.target), "")
    assert registry.whole() and registry.asked == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process's pip keeps its folder open there")
def test_a_killed_fetch_keeps_nobody_waiting_and_its_leftovers_go(registry):
    (registry.folder / "hold").touch()
    process = registry.process()
    until(lambda: registry.asked == 1 and any(registry.target.parent.glob(".tiny.*/wheel/half.part")))
    process.kill()
    process.communicate(timeout=120)
    assert registry.left()  # what it had begun
    (registry.folder / "hold").unlink()
    waited = []
    store.ensure(NAME, lambda stage, _: waited.append(stage))
    assert registry.whole() and not any("Waiting" in stage for stage in waited)


def test_cancelled_in_the_middle_leaves_nothing(registry):
    stages = []

    def stop_at(number):
        def progress(stage, fraction):
            stages.append(stage)
            if len(stages) == number:
                raise Cancelled

        return progress

    for number in range(1, 100):
        stages.clear()
        try:
            store.ensure(NAME, stop_at(number))
        except Cancelled:
            assert not store.is_ready(NAME) and not registry.left()
        else:
            break
    assert number > 3 and registry.whole()


def test_the_stamp_says_what_is_inside(registry):
    store.ensure(NAME)
    stamp = json.loads((registry.target / "complete.json").read_text())
    assert stamp["files"] == {name: store.sha256(registry.target / name) for name in FILES - {"complete.json"}}
