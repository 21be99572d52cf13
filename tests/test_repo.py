# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of the repository as a whole: it stands alone, its parts agree, its notices are true."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import lock
from scripts.environments import REQUIREMENTS, ROOT

LARGEST_FILE = 30_000_000  # bytes: BlazePose, which no Python registry carries; larger weights are fetched


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:4096] and path != Path(__file__):
            found.append((path.relative_to(ROOT).as_posix(), data.decode("utf-8")))
    return found


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one developer's machine", r"(?<![\w$])/(?:work/|root/|home/\w+/|Users/\w+/|private/tmp)"),
        ("a folder outside the repository", r"\.\./shared"),
        ("a package registry's host", r"\bpypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org"),
        ("a leftover of a merge", r"^(?:<{7}|>{7}) "),
    ],
)
def test_no_file_holds(what: str, pattern: str) -> None:
    hits = [
        f"{name}:{text[: match.start()].count(chr(10)) + 1}: {match.group()}"
        for name, text in texts()
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]
    assert not hits, f"{what} in {hits}"


def test_no_file_is_too_large_or_a_pickle() -> None:
    for path in tracked():
        assert path.stat().st_size <= LARGEST_FILE, path
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"}, path


def test_addon_and_server_have_one_version() -> None:
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    package = (ROOT / "server" / "chatpose_server" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{manifest["version"]}"' in package


def test_notice_names_the_body_that_ships() -> None:
    assets = ROOT / "server" / "chatpose_server" / "body" / "assets"
    digest = hashlib.sha256((assets / "SMPLX_STANDIN.npz").read_bytes()).hexdigest()
    assert digest in (assets / "NOTICE.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in REQUIREMENTS.glob("*.in")))
def test_lock_answers_what_is_asked(name: str) -> None:
    pins = dict(
        line.split("==")
        for line in (REQUIREMENTS / f"{name}.lock").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    pins = {package.lower().replace("_", "-"): version for package, version in pins.items()}
    for text in lock.wanted(name):
        asked = Requirement(text)
        if asked.marker is None or asked.marker.evaluate():
            version = pins.get(asked.name.lower().replace("_", "-"))
            assert version and asked.specifier.contains(version), f"{text} is not in {name}.lock: run scripts/lock.py"
