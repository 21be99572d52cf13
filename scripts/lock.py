# SPDX-License-Identifier: GPL-3.0-or-later
"""Write requirements/*.lock: every package of every environment with its exact version.

    .venv/bin/python scripts/lock.py [server | blender-4.5 | ...]

A lock is what pip would install today for the .in file of the same name (and, for the server, its pyproject.toml).
Nothing is installed here. Build tags of this machine ("+cpu") are left out, so that each machine gets its own build.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"


def wanted(name: str) -> list[str]:
    """The requirements that the lock called `name` answers, as pip writes them."""
    lines = (REQUIREMENTS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    requirements = [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]
    if name == "server":
        project = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        requirements += project["dependencies"]
    return requirements


def resolve(requirements: list[str]) -> dict[str, str]:
    """Every package that pip would install for `requirements`, with its version."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", str(report), *requirements], check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {item["metadata"]["name"]: item["metadata"]["version"].split("+")[0] for item in installs}


def main(names: list[str]) -> None:
    """Write the locks called `names`, or all."""
    for name in names or sorted(path.stem for path in REQUIREMENTS.glob("*.in")):
        pins = resolve(wanted(name))
        lines = [f"{package}=={pins[package]}" for package in sorted(pins, key=str.lower)]
        head = f"# Made by scripts/lock.py from {name}.in. Python 3.11.\n"
        (REQUIREMENTS / f"{name}.lock").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"requirements/{name}.lock: {len(lines)} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
