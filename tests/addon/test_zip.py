# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip that people install: accepted by this Blender's own tool, the same for the same sources, installable."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import bpy
import pytest

import build_addon

TOOL = Path(bpy.utils.system_resource("SCRIPTS"), "addons_core", "bl_pkg", "cli", "blender_ext.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_addon.build(tmp_path_factory.mktemp("zip"))


def test_blender_accepts_it(built):
    tags = next(Path(bpy.utils.system_resource("SCRIPTS"), "modules").glob("*/extensions/tags.py"))
    command = [sys.executable, str(TOOL), "validate", str(built), "--valid-tags", str(tags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_same_sources_same_bytes(built, tmp_path):
    assert build_addon.build(tmp_path).read_bytes() == built.read_bytes()


def test_holds_what_blender_and_the_licences_ask_for(built):
    names = set(zipfile.ZipFile(built).namelist())
    assert {"blender_manifest.toml", "__init__.py", "LICENSE", "body/SMPLX_STANDIN.npz", "body/NOTICE.txt"} <= names
    assert any(name.startswith("icons/") and name.endswith(".png") for name in names)
    strangers = [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".svg", ".zip", ".whl"))]
    assert not strangers


def test_server_travels_along_when_asked(tmp_path):
    wheel = tmp_path / "chatpose_server-0.0-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    staged = build_addon.stage(tmp_path / "staged", wheel)
    assert (staged / "wheels-server" / wheel.name).read_bytes() == b"a wheel"


def test_staging_again_leaves_nothing_old(tmp_path):
    staged = build_addon.stage(tmp_path / "staged")
    (staged / "old.py").write_text("", encoding="utf-8")
    build_addon.stage(staged)
    assert not (staged / "old.py").exists()
