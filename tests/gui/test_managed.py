# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty user folder to a pose by one button, and nothing left running when Blender has closed.

Blender is handed a Python 3.11 and a folder of wheels, as a studio without network would.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Blender

import build_addon
from scripts import server_process, wheels
from scripts.blender import chroots

LIMIT = 1500  # seconds; about 90 on a quiet machine


@pytest.fixture(scope="module")
def zip_with_server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The add-on as people install it: with the server's wheel in it."""
    folder = tmp_path_factory.mktemp("full")
    return build_addon.build(folder, wheels.build_server(Path(sys.executable), folder))


def _weights() -> Path:
    """The folder with the default model's weights, as the server's own cache has them."""
    server_process.fetch_weights(Path(sys.executable))
    code = "from chatpose_server.models import store; print(store.cache_dir())"
    return Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def test_one_button_to_a_pose(blender: Blender, zip_with_server: Path) -> None:
    if Path(sys.base_prefix) == Path("/usr"):
        pytest.skip("the managed install: this Python lives in /usr, which cannot be shown to another system")
    out = blender.out / "managed"  # a user folder that nothing was ever installed in
    out.mkdir()
    archive = shutil.copy2(zip_with_server, out)
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e")
    done = chroots.run(blender.chroot, out, *install, f"/mnt/out/{Path(archive).name}")
    assert done.returncode == 0, done.stdout + done.stderr

    python = Path(sys.base_prefix) / "bin" / "python3.11"
    settings = {"CHATPOSE_PYTHON": str(python), "CHATPOSE_WHEELS": "/mnt/wheels", "CHATPOSE_CACHE": "/mnt/weights"}
    shown = {Path(sys.base_prefix): sys.base_prefix, wheels.ensure(Path(sys.executable)): "/mnt/wheels"}
    shown[_weights()] = "/mnt/weights"
    window = chroots.run_window(
        blender.chroot, out, "tests/gui/managed_in_window.py", settings, LIMIT, shown, "tests/gui/after_managed.py"
    )
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {out}\n{window.log}"

    seen = json.loads((out / "managed.json").read_text(encoding="utf-8"))
    assert {"Making a Python environment", "Fetching packages", "Fetching PyTorch", "Starting the server"} <= set(
        seen["stages"]
    )
    assert seen["states"].index("NOT_INSTALLED") < seen["states"].index("INSTALLING") < seen["states"].index("STARTING")
    assert seen["fractions_rise"], "the bar went back"
    assert seen["folder"].startswith("/mnt/out/blender_user/"), "the server was put somewhere else"
    assert seen["alive"] and seen["arm_after"] != seen["arm_before"], "the pose changed nothing"
    # The window went on drawing while pip worked. On a machine with little to spare that says little; a hang says much.
    assert seen["longest_pause"] < 20, f"Blender stood still for {seen['longest_pause']:.1f} s"
    after = json.loads((out / "after.json").read_text(encoding="utf-8"))
    assert not after["left"], f"the server outlived its last Blender: {after['left']}"
    shutil.rmtree(out / "blender_user")  # 1.1 GB
