"""Print the packages of requirement lists that the environment of the running Python does not hold whole.

    python -I env_check.py server.txt torch-cpu.txt

Run by the Python of the environment that is looked at (the managed server's, or a developer's), never imported. pip
lays a package down file by file, so one that was cut off can look installed; its metadata is removed here, and pip lays
it down anew.
"""

import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.markers import Marker  # this environment holds pip and perhaps nothing else

_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+))?", re.MULTILINE)


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


def missing(text: str) -> list[str]:
    """Names of the list that this computer needs and that are absent, of another version, or not whole."""
    names: list[str] = []
    for name, version, marker in _ENTRY.findall(text):
        if marker and not Marker(marker.strip()).evaluate():
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            names.append(name)
            continue
        there = package.version if "+" in version else package.version.split("+")[0]
        if there != version:
            names.append(name)
        elif not is_whole(package):
            names.append(name)
            shutil.rmtree(Path(str(package.locate_file(""))) / package._path.name)  # type: ignore[attr-defined]
    return names


if __name__ == "__main__":
    for list_file in sys.argv[1:]:
        print("\n".join(missing(Path(list_file).read_text(encoding="utf-8"))))  # noqa: T201 - read by the installer
