# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the add-on together: a folder that Blender can load, and the zip that people install.

    python3 build_addon.py [--out dist] [--server-wheel FILE]

Standard library only. The zip is the same, byte for byte, for the same sources.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ADDON_ID = "chatpose"  # the manifest's id, which can never change
BODY = ROOT / "server" / "chatpose_server" / "body" / "assets"
LISTS = ROOT / "requirements" / "managed"  # what the add-on installs beside the server's wheel, with hashes

# A zip entry cannot be older than this, and the real times would make two builds differ.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    """The add-on's version, as its manifest says it."""
    manifest = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"', manifest, re.MULTILINE)
    if not found:
        raise ValueError('blender_manifest.toml has no line of the form: version = "1.2.3"')
    return found.group(1)


def stage(target: Path, server_wheel: Path | None = None) -> Path:
    """Lay the add-on out in `target` (made, or emptied) the way Blender wants it, and return `target`.

    The package's files stand beside the manifest; the artists' files (icons, body, notices) come from where the project
    keeps the one copy of each. With `server_wheel`, the local server travels along in wheels-server/, with the lists of
    everything that it needs.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "chatpose_blender", target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    for name in ("blender_manifest.toml", "LICENSE"):
        shutil.copy2(ROOT / name, target)
    for folder, files in (("icons", sorted((ROOT / "icons").glob("*.png"))), ("body", sorted(BODY.glob("*")))):
        (target / folder).mkdir(exist_ok=True)
        for file in files:
            shutil.copy2(file, target / folder)
    if server_wheel:
        _stage_server(target / "wheels-server", server_wheel)
    return target


def _stage_server(folder: Path, wheel: Path) -> None:
    folder.mkdir()
    for file in (wheel, *sorted(LISTS.glob("*.txt"))):
        shutil.copy2(file, folder)
    name, version = wheel.name.split("-")[:2]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pin = f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n"
    (folder / "server-wheel.txt").write_text(pin, encoding="utf-8")


def zip_folder(folder: Path, file: Path) -> Path:
    """Write everything under `folder` into the zip `file`, reproducibly, and return `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".part")
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also when built on Windows
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return half.replace(file)


def build(out: Path, server_wheel: Path | None = None) -> Path:
    """Build the zip into the folder `out` and return its path."""
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(Path(folder, ADDON_ID), server_wheel)
        return zip_folder(staged, out / f"{ADDON_ID}-{version()}.zip")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the ChatPose add-on's zip.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)")
    parser.add_argument("--server-wheel", type=Path, help="a wheel of chatpose-server that travels along")
    arguments = parser.parse_args()
    print(build(arguments.out, arguments.server_wheel))
