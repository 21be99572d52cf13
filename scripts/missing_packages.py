# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the packages of a lock file that this interpreter's environment does not hold whole.

    python missing_packages.py requirements/server.lock

Standard library only; run by the environment that is looked at. pip lays a package down file by file, so one that was
cut off can look installed. Such a package is forgotten here (its metadata is removed), and pip lays it down anew.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path


def is_whole(package: metadata.Distribution) -> bool:
    """Every file that the package's RECORD names is there, in the size it names. pip writes RECORD last."""
    if package.read_text("RECORD") is None:
        return False
    for file in package.files or ():
        if file.name.endswith(".pyc"):
            continue  # made on the way, and remade when missing
        try:
            size = Path(str(file.locate())).stat().st_size
        except OSError:
            return False
        if file.size is not None and size != file.size:
            return False
    return True


def missing(lock: Path) -> list[str]:
    """Names of `lock` that are absent, of another version, or not whole; the last are made absent."""
    names: list[str] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        requirement = line.split("#")[0].strip()
        if not requirement:
            continue
        name, version = requirement.split("==")
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            names.append(name)
            continue
        if package.version.split("+")[0] != version:  # "2.13.0+cpu" is a build of 2.13.0
            names.append(name)
        elif not is_whole(package):
            names.append(name)
            shutil.rmtree(Path(str(package.locate_file(""))) / package._path.name)  # type: ignore[attr-defined]
    return names


if __name__ == "__main__":
    print("\n".join(missing(Path(sys.argv[1]))))
