# SPDX-License-Identifier: GPL-3.0-or-later
"""After Blender's end: how long the server lived on. Run by the chroot's Python; writes OUT/after.json."""

import json
import time
from pathlib import Path

OUT = Path("/mnt/out")
LIMIT = 120  # seconds; the add-on's ALONE_SECONDS is 15

pid = json.loads((OUT / "managed.json").read_text(encoding="utf-8"))["pid"]
start = time.monotonic()


def servers() -> list[str]:
    """Command lines of everything that runs from the server's environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "chatpose_server" in command:
            found.append(command)
    return found


alive_at_first = Path(f"/proc/{pid}").exists()
while servers() and time.monotonic() - start < LIMIT:
    time.sleep(0.2)
result = {"alive_at_first": alive_at_first, "left": servers(), "seconds": time.monotonic() - start}
(OUT / "after.json").write_text(json.dumps(result), encoding="utf-8")
