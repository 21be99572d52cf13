"""Installing the server: choices as tables, and real installs of small wheels with a real Python and a real pip."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import build_addon
from chatpose_blender.client import local_install, processes
from chatpose_blender.client.local_install import (
    MARKER,
    Bundle,
    DiskFullError,
    Gpu,
    InstallBusyError,
    InstallCancelledError,
    InstallError,
    NotSupportedError,
    Plan,
    Python,
    choose_build,
)

NEW, OLD = Gpu("NVIDIA H100", "580.65.06"), Gpu("NVIDIA GTX 1060", "535.1")
BASE = getattr(sys, "_base_executable", sys.executable)

# -- choices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "gpu", "python", "system", "machine", "build"),
    [
        ("AUTO", None, (3, 11), "linux", "x86_64", "cpu"),
        ("AUTO", NEW, (3, 11), "linux", "x86_64", "cuda"),
        ("AUTO", OLD, (3, 11), "linux", "x86_64", "cpu"),
        ("CPU", NEW, (3, 11), "linux", "x86_64", "cpu"),
        ("CUDA", None, (3, 11), "linux", "x86_64", "cuda"),
        ("AUTO", NEW, (3, 12), "linux", "aarch64", "cuda"),
        ("AUTO", NEW, (3, 13), "win32", "AMD64", "cuda"),
        ("AUTO", NEW, (3, 11), "win32", "AMD64", "cpu"),  # PyTorch's file for it has no hash in the list
        ("AUTO", None, (3, 12), "win32", "AMD64", "cpu"),
        ("AUTO", None, (3, 11), "darwin", "arm64", "mps"),
        ("CUDA", None, (3, 11), "darwin", "arm64", "mps"),
        ("AUTO", None, (3, 11), "darwin", "x86_64", None),
        ("AUTO", None, (3, 11), "win32", "ARM64", None),
        ("AUTO", None, (3, 11), "linux", "riscv64", None),
    ],
)
def test_choose_build(choice, gpu, python, system, machine, build):
    if build is None:
        with pytest.raises(NotSupportedError, match="another computer and enter its address"):
            choose_build(choice, gpu, python, system, machine)
    else:
        assert choose_build(choice, gpu, python, system, machine) == build


def _tool(folder: Path, name: str, says: str, status: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\nprintf '%s' '{says}'\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("says", "status", "gpu"),
    [
        ("NVIDIA H100, 580.65.06\n", 0, NEW),
        ("NVIDIA H100, 580.65.06\nNVIDIA T4, 580.65.06\n", 0, NEW),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9, None),
        ("No devices were found\n", 0, None),
        ("", 0, None),
    ],
)
def test_find_gpu(tmp_path, monkeypatch, says, status, gpu):
    _tool(tmp_path, "nvidia-smi", says, status)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert local_install.find_gpu() == gpu


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("3\t11\t8\t0\t/opt/p\n", (3, 11)),
        ("3\t13\t8\t0\t/opt/p\n", (3, 13)),
        ("3\t10\t8\t0\t/opt/p\n", None),
        ("3\t14\t8\t0\t/opt/p\n", None),
        ("3\t12\t4\t0\t/opt/p\n", None),  # 32 bits
        ("3\t13\t8\t1\t/opt/p\n", None),  # free threads, which the wheels are not built for
        ("hello\n", None),
    ],
)
def test_probe_python(tmp_path, told, found):
    _tool(tmp_path, "python", told)
    python = local_install.probe_python(str(tmp_path / "python"))
    assert (python and python.version) == found


def test_the_shops_python_is_passed_over():
    assert local_install.probe_python(r"C:\Users\x\AppData\Local\Microsoft\WindowsApps\python.exe") is None


def test_blenders_own_python_is_the_last_choice(monkeypatch):
    monkeypatch.setattr(local_install, "_candidates", lambda: iter([BASE]))
    found = local_install.find_python("", "nowhere")
    assert found.version == sys.version_info[:2] and not found.is_blenders
    monkeypatch.setattr(local_install, "_candidates", lambda: iter([]))
    assert local_install.find_python("", BASE).is_blenders
    with pytest.raises(InstallError, match=r"^No Python was found .* press the button again\.$"):
        local_install.find_python("", "nowhere")
    with pytest.raises(InstallError, match="is not a 64-bit Python"):
        local_install.find_python("/nowhere/python", BASE)


@pytest.mark.parametrize(
    ("output", "kind", "says"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", DiskFullError,
         "The disk is full"),
        ("OSError: [WinError 112] There is not enough space on the disk", DiskFullError, "The disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE.", InstallError, "was not installed"),
        ("ProtocolError: ('Connection broken: IncompleteRead(10 bytes read)')", InstallError, "A download broke off"),
        ("ERROR: No matching distribution found for numpy==2.4.6", InstallError, "The package numpy==2.4.6 cannot be"),
        ("NewConnectionError: Failed to establish a new connection: [Errno -2] Name or service not known", InstallError,
         "The package index cannot be reached"),
        ("OSError: [WinError 206] The filename or extension is too long", InstallError, "A path is too long"),
        ("PermissionError: [WinError 32] The process cannot access the file", InstallError, "virus scanner"),
        ("Something new.", InstallError, "The install failed (Something new)"),
        ("", InstallError, "no reason was given"),
    ],
)  # fmt: skip
def test_what_pip_says_becomes_one_sentence(tmp_path, output, kind, says):
    error = local_install._of_pip(output, tmp_path)
    assert type(error) is kind and says in str(error)
    assert str(error).endswith(".") and "\n" not in str(error)


# -- real installs of small wheels ---------------------------------------------------------------------------------


def _wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """A wheel of a few files; -> its pinned requirement."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    whole = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for file, text in whole.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{file},sha256={digest},{len(text.encode())}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**whole, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(file, text)
    return (
        f"{name.replace('_', '-')}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    )


SERVER = {
    "chatpose_server/__init__.py": "",
    "chatpose_server/engine.py": "",
    "chatpose_server/__main__.py": "import sys\nprint('fetched', sys.argv[1:])\n",
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A bundle and a folder of wheels, with one environment made from them."""
    folder = tmp_path_factory.mktemp("install")
    wheels, bundle = folder / "wheels", folder / "bundle"
    wheels.mkdir()
    bundle.mkdir()
    alpha = _wheel(wheels, "alpha", "1.0", {"alpha/__init__.py": "X = 1\n", "alpha/data.txt": "12345"})
    other = "elsewhere==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:" + "0" * 64 + "\n"
    torch = _wheel(wheels, "torch", "2.0+cpu", {"torch/__init__.py": ""})
    transformers = _wheel(wheels, "transformers", "5.0", {"transformers/__init__.py": ""})
    (bundle / "server.txt").write_text(alpha + other + transformers, encoding="utf-8")
    (bundle / "torch-cpu.txt").write_text(torch, encoding="utf-8")
    (bundle / "server-wheel.txt").write_text(_wheel(bundle, "chatpose_server", "0.1.0", SERVER), encoding="utf-8")
    python = Python(BASE, sys.version_info[:2])
    plan = Plan(Bundle.find(bundle), folder / "root", "cpu", python, wheels=str(wheels))
    run(plan)
    return plan


def run(plan: Plan, stop: threading.Event | None = None, stages: list[str] | None = None):
    def report(stage: str, fraction: float) -> None:
        assert fraction <= 1
        if stages is not None and stages[-1:] != [stage]:
            stages.append(stage)

    return local_install.install(plan, report, stop or threading.Event(), online=False)


def site(plan: Plan) -> Path:
    return next(plan.folder.glob("**/site-packages"))


def again(plan: Plan) -> None:
    """As if it had been cut off before its end."""
    (plan.folder / MARKER).unlink(missing_ok=True)


def test_it_is_whole_and_said_to_be(plan):
    installed = local_install.find_installed(plan.root)
    assert (installed.version, installed.build, installed.fingerprint) == ("0.1.0", "cpu", plan.fingerprint)
    there = processes.ask([str(installed.interpreter), "-I", "-c", "import alpha, torch, sys; print(sys.prefix)"])
    assert there.strip() == str(plan.folder)
    assert local_install.cut_off_at(plan.root) == "" and not (plan.root / "tmp").exists()
    assert "fetched ['models', 'fetch']" in (plan.root / "install.log").read_text(encoding="utf-8")


def test_a_whole_one_is_left_as_it_is(plan):
    stages: list[str] = []
    marker = (plan.folder / MARKER).stat().st_mtime_ns
    run(plan, stages=stages)
    assert stages == [] and (plan.folder / MARKER).stat().st_mtime_ns == marker


@pytest.mark.parametrize("lost", ["alpha/data.txt", "alpha-1.0.dist-info/RECORD", "torch-2.0+cpu.dist-info"])
def test_what_was_cut_off_is_laid_down_anew(plan, lost):
    again(plan)
    path = site(plan) / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert local_install.find_installed(plan.root) is None, "half an environment was taken for one"
    stages: list[str] = []
    run(plan, stages=stages)
    assert path.exists() and local_install.find_installed(plan.root) is not None
    asked = {"Fetching PyTorch"} if lost.startswith("torch") else {"Fetching packages"}
    assert asked == {stage for stage in stages if stage.startswith("Fetching P") or stage == "Fetching packages"}


def test_a_damaged_file_is_refused(plan, tmp_path):
    again(plan)
    wheels = shutil.copytree(plan.wheels, tmp_path / "wheels")
    with zipfile.ZipFile(wheels / "alpha-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("alpha/evil.py", "")
    shutil.rmtree(site(plan) / "alpha-1.0.dist-info")
    with pytest.raises(InstallError, match="is not the file that was expected"):
        run(replace(plan, wheels=str(wheels)))
    assert local_install.find_installed(plan.root) is None
    run(plan)


def test_a_missing_file_is_named(plan, tmp_path):
    again(plan)
    shutil.rmtree(site(plan) / "alpha-1.0.dist-info")
    with pytest.raises(InstallError, match=r"The package alpha==1\.0 cannot be had"):
        run(replace(plan, wheels=str(tmp_path)))
    assert local_install.cut_off_at(plan.root) == "Fetching packages"
    run(plan)


def test_two_at_once_exclude_each_other(plan):
    lock = processes.FileLock(plan.root / "install.lock")
    assert lock.take()
    try:
        with pytest.raises(InstallBusyError, match="Another Blender is installing"):
            run(plan)
        with pytest.raises(InstallBusyError):
            local_install.remove(plan.root)
    finally:
        lock.free()


@pytest.mark.skipif(os.name != "posix", reason="Windows does not hand locks on")
def test_a_step_that_outlives_its_blender_keeps_the_lock(tmp_path):
    lock = processes.FileLock(tmp_path / "lock")
    assert lock.take()
    child = processes.spawn(
        [sys.executable, "-c", "import time; time.sleep(600)"], cwd=tmp_path, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, holds=lock.descriptor,
    )  # fmt: skip
    lock.free()
    try:
        assert not processes.FileLock(tmp_path / "lock").take()
    finally:
        processes.end(child.pid, 5.0, child)
    again = processes.FileLock(tmp_path / "lock")
    assert again.take()
    again.free()


KILLED = """
import os, sys, threading
from pathlib import Path
from chatpose_blender.client.local_install import Bundle, Plan, Python, install
bundle, root, python, wheels = sys.argv[1:]
def report(stage, fraction):
    if stage == "Fetching PyTorch":
        os.kill(os.getpid(), 9)
version = sys.version_info[:2]
install(Plan(Bundle.find(Path(bundle)), Path(root), "cpu", Python(python, version), wheels=wheels), report,
        threading.Event(), online=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal")
def test_a_killed_blender_s_install_goes_on_from_there(plan):
    again(plan)
    for name in ("alpha-1.0.dist-info", "torch-2.0+cpu.dist-info"):
        shutil.rmtree(site(plan) / name)
    command = [sys.executable, "-c", KILLED, *map(str, (plan.bundle.folder, plan.root, BASE, plan.wheels))]
    root = Path(build_addon.__file__).parent
    done = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert done.returncode == -9 and local_install.find_installed(plan.root) is None
    assert (site(plan) / "alpha-1.0.dist-info").exists(), "what was done before is kept"
    stages: list[str] = []
    run(plan, stages=stages)
    assert "Fetching PyTorch" in stages and "Fetching packages" not in stages
    assert local_install.find_installed(plan.root) is not None


def test_cancel_ends_the_step_and_is_taken_up_later(plan, monkeypatch):
    again(plan)
    stop = threading.Event()
    slow = [BASE, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(local_install._Run, "_pip", lambda self: slow)
    shutil.rmtree(site(plan) / "alpha-1.0.dist-info")
    children = []
    spawn = processes.spawn

    def watched(*arguments, **options):
        children.append(spawn(*arguments, **options))
        stop.set()
        return children[-1]

    monkeypatch.setattr(processes, "spawn", watched)
    with pytest.raises(InstallCancelledError, match="goes on from there"):
        run(plan, stop)
    assert children and children[-1].poll() is not None
    monkeypatch.undo()
    assert local_install.cut_off_at(plan.root) == "Fetching packages"
    run(plan)
    assert local_install.cut_off_at(plan.root) == ""


def test_a_full_disk_is_said_before_anything_is_fetched(plan, monkeypatch):
    again(plan)
    usage = shutil.disk_usage(plan.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
    with pytest.raises(DiskFullError, match=r"needs .* GB in .*, and 50 MB are free; free some space"):
        run(plan)
    monkeypatch.undo()
    run(plan)


def test_torch_that_the_index_lacks_is_fetched_by_uv(plan, monkeypatch):
    calls = []

    def call(self, command, stage, fraction=None):
        calls.append(command)
        if "-r" in command and command[-1].endswith("torch-cpu.txt") and "uv" not in command:
            raise InstallError("x", "ERROR: No matching distribution found for torch==2.0+cpu")

    monkeypatch.setattr(local_install._Run, "_call", call)
    for online, wheels, expected in ((True, "", True), (False, "", False), (True, plan.wheels, False)):
        calls.clear()
        lock = processes.FileLock(plan.root / "other.lock")
        one = local_install._Run(replace(plan, wheels=wheels), lambda *_: None, threading.Event(), lock, online)
        if expected:
            one._install_list(plan.bundle.folder / "torch-cpu.txt", 0.0, 1.0)
            assert calls[1][-1].endswith("uv.txt") and "--require-hashes" in calls[1]
            assert {"--torch-backend", "cpu", "--require-hashes", "--no-deps"} <= set(calls[2])
        else:
            with pytest.raises(InstallError):
                one._install_list(plan.bundle.folder / "torch-cpu.txt", 0.0, 1.0)
    shutil.rmtree(plan.root / "tmp")


def test_other_versions_are_tidied_away(plan):
    old = plan.root / "env-old"
    old.mkdir()
    (old / MARKER).write_text("{}", encoding="utf-8")
    local_install.tidy(plan.root, local_install.find_installed(plan.root))
    assert not old.exists() and plan.folder.exists()


def test_consent_says_what_how_large_and_where(plan):
    online = replace(plan, wheels="", root=Path.home() / "x")
    lines = " / ".join(online.consent())
    assert "Downloads about" in lines and "MB: PyTorch for the processor" in lines and f"~{os.sep}x" in lines
    assert "nothing is downloaded but" in plan.consent()[0]
    assert "needs driver 580 or newer" in " ".join(replace(online, gpu=OLD).consent())
    assert "this goes on from there" in replace(online, cut_off="Fetching PyTorch").consent()[0]


# -- what the zip carries ------------------------------------------------------------------------------------------


def test_the_zip_carries_lists_with_a_hash_for_everything(tmp_path):
    wheel = tmp_path / "chatpose_server-1.2.3-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    bundle = Bundle.find(build_addon.stage(tmp_path / "staged", wheel) / "wheels-server")
    assert bundle.version == "1.2.3"
    digest = hashlib.sha256(b"a wheel").hexdigest()
    assert digest in (bundle.folder / "server-wheel.txt").read_text(encoding="utf-8")
    for file in {*bundle.lists("cpu"), *bundle.lists("cuda"), bundle.folder / "uv.txt"}:
        entries = file.read_text(encoding="utf-8").split("\n    --hash")[0]
        assert "==" in entries
        for entry in filter(None, _entries(file)):
            assert "--hash=sha256:" in entry, entry
    prints = {bundle.fingerprint(build, python) for build in ("cpu", "cuda") for python in ((3, 11), (3, 12))}
    assert len(prints) == 4


def _entries(file: Path) -> list[str]:
    entries: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            entries[-1] += line
        else:
            entries.append(line)
    return entries


def test_the_lists_have_the_versions_that_were_tested():
    """What artists get is what the tests run with."""
    folder = Path(build_addon.__file__).parent / "requirements"
    pin = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;+\\]+)", re.MULTILINE)

    def pins(file: Path) -> dict[str, str]:
        return {re.sub(r"[._]", "-", name).lower(): version for name, version in pin.findall(file.read_text("utf-8"))}

    tested = pins(folder / "server.lock")
    ours = pins(folder / "managed" / "server.txt") | pins(folder / "managed" / "torch-cpu.txt")
    assert {name: version for name, version in ours.items() if tested.get(name, version) != version} == {}
    server = (Path(build_addon.__file__).parent / "server" / "pyproject.toml").read_text(encoding="utf-8")
    asked = tomllib.loads(server)["project"]["dependencies"]
    missing = {re.split(r"[>=<; ]", line)[0].lower() for line in asked} - set(ours)
    assert missing == set(), "run scripts/lock_managed.py"


def test_a_bundle_without_a_server_is_none(tmp_path):
    assert Bundle.find(tmp_path) is None


def test_the_note_of_a_cut_off_install_may_be_damaged(tmp_path):
    for text in ("", "{", "[]", json.dumps({"other": 1})):
        (tmp_path / "install.json").write_text(text, encoding="utf-8")
        assert local_install.cut_off_at(tmp_path) == ""


def test_remove(plan, tmp_path):
    copy = replace(plan, root=tmp_path / "root")
    shutil.copytree(plan.root, copy.root, symlinks=True)
    local_install.remove(copy.root)
    assert {path.name for path in copy.root.iterdir()} == {"install.lock"}
