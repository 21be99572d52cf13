"""The server of this computer: started once, shared, kept, lost, stopped, removed. A scripted server stands for it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chatpose_blender.client import local_server, processes
from chatpose_blender.client.local_install import MARKER, Bundle, Installed, InstallError, Plan, Python
from chatpose_blender.client.local_server import Diagnosed, LocalServer, Phase, Places, Record, Status, scrub

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for an environment's Python is a POSIX script")

TOKEN = "t" * 43
JANE, JANE_ON_A_MAC = ("/".join(("", place, "jane")) for place in ("home", "Users"))
LIMIT = 60.0  # seconds that only a hang takes


class World:
    """An installed server's folder, and everything that was started in it."""

    def __init__(self, folder: Path) -> None:
        self.places = Places(folder / "server", folder / "shared")
        self.bin = self.places.root / "env-12345678" / "bin"
        self.bin.mkdir(parents=True)
        self.places.shared.mkdir()
        (self.places.shared / "token").write_text(TOKEN, encoding="utf-8")
        source = Path(__file__).with_name("fake_chatpose.py").read_text(encoding="utf-8")
        (self.bin / "python").write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
        (self.bin / "python").chmod(0o755)
        marker = {"version": "0.1.0", "build": "cpu", "python": "3.11", "fingerprint": "12345678"}
        (self.bin.parent / MARKER).write_text(json.dumps(marker), encoding="utf-8")
        self.behave()
        self.blenders: list[LocalServer] = []

    def behave(self, **how: object) -> None:
        (self.bin / "behave.json").write_text(json.dumps({"token": TOKEN, **how}), encoding="utf-8")

    def blender(self) -> LocalServer:
        self.blenders.append(LocalServer(self.places, None, sys.executable))
        return self.blenders[-1]

    def lines(self, name: str) -> list[str]:
        path = self.bin / name
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.lines("started.txt")]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATPOSE_TOKEN_FILE", str(tmp_path / "shared" / "token"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(local_server, "PORT", probe.getsockname()[1])
    monkeypatch.setattr(local_server, "ALONE_SECONDS", 30.0)
    monkeypatch.setattr(local_server, "BEAT_SECONDS", 0.05)
    made = World(tmp_path)
    yield made
    for blender in made.blenders:
        blender.close()
    for pid in made.pids:
        processes.end(pid, 0.0)


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.01)


def settle(blender: LocalServer) -> Status:
    """Drains until nothing is under way."""
    wait_for(lambda: blender.drain() is not None and not blender.waiting, "the worker")
    blender.drain()
    return blender.status


def started(blender: LocalServer) -> Status:
    blender.start()
    status = settle(blender)
    assert status.phase is Phase.RUNNING, status
    return status


def gone(pid: int) -> bool:
    """The process has ended; one that nobody has waited for yet counts."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return not processes.is_alive(pid)
    return state == "Z"


# -- starting and sharing ------------------------------------------------------------------------------------------


def test_it_starts_and_says_where(world):
    status = started(world.blender())
    assert status.address == f"http://127.0.0.1:{local_server.PORT}" and status.version == "0.1.0"
    assert Record.read(world.places.shared) == Record(world.pids[0], status.address, "0.1.0")
    wait_for(lambda: "POST /v1/clients/heartbeat" in world.lines("requests.txt"), "a heartbeat")


def test_every_state_on_the_way_is_told(world):
    blender, seen = world.blender(), []
    blender.start()
    wait_for(lambda: seen.extend(blender._inbox.get() for _ in range(blender._inbox.qsize())) or not blender.busy, "it")
    assert [status.phase for status in seen][:1] == [Phase.STARTING] and seen[0].at_work
    assert seen[0].stage == "Starting the server"


def test_two_blenders_at_once_start_one(world):
    first, second = world.blender(), world.blender()
    first.start()
    second.start()
    assert settle(first).address == settle(second).address and len(world.pids) == 1
    wait_for(lambda: first.drain() is not None and first.status.clients == 2, "the first to hear of the second")


def test_a_later_blender_joins(world):
    address = started(world.blender()).address
    later = world.blender()
    later.survey(local_server.Settings())
    status = settle(later)
    assert (status.phase, status.address, len(world.pids)) == (Phase.RUNNING, address, 1)


def test_a_taken_port_means_the_next_free_one(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", local_server.PORT))
        taken.listen()
        assert started(world.blender()).address != f"http://127.0.0.1:{local_server.PORT}"


def test_a_record_that_nobody_answers_for_is_not_believed(world):
    Record(2**22 + 1, "http://127.0.0.1:9", "0.1.0").write(world.places.shared)
    assert started(world.blender()).address != "http://127.0.0.1:9"


def test_another_program_on_the_recorded_port_is_not_believed(world):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        threading.Thread(target=_say_hello, args=(other,), daemon=True).start()
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        Record(os.getpid(), address, "0.1.0").write(world.places.shared)
        assert started(world.blender()).address != address


def _say_hello(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def test_a_half_written_record_is_none(world):
    (world.places.shared / "server.json").write_text('{"pid": 1', encoding="utf-8")
    assert Record.read(world.places.shared) is None
    started(world.blender())


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_it_dies_while_starting(world):
    world.behave(die="The weights file is damaged.")
    blender = world.blender()
    blender.start()
    status = settle(blender)
    assert status.phase is Phase.STOPPED
    assert status.problem == "The server ended while starting: The weights file is damaged."
    world.behave()
    assert started(blender).problem == ""


def test_it_is_killed(world):
    blender = world.blender()
    started(blender)
    os.kill(world.pids[0], 9)
    wait_for(lambda: blender.drain() is not None and blender.status.phase is Phase.LOST, "the loss to be seen")
    assert blender.status.problem.startswith("The server ended unexpectedly") and blender.status.address == ""
    started(blender)
    assert len(world.pids) == 2


def test_not_installed(world):
    shutil.rmtree(world.bin.parent)
    blender = world.blender()
    blender.start()
    status = settle(blender)
    assert (status.phase, status.problem) == (
        Phase.NOT_INSTALLED,
        "The server is not installed yet; press Install Server.",
    )


def test_an_environment_whose_python_is_gone_counts_as_none(world):
    (world.bin / "python").unlink()
    blender = world.blender()
    blender.survey(local_server.Settings())
    assert settle(blender).phase is Phase.NOT_INSTALLED


# -- ending --------------------------------------------------------------------------------------------------------


def test_stop_ends_it_for_everybody(world):
    first, second = world.blender(), world.blender()
    started(first)
    started(second)
    second.stop()
    assert settle(second).phase is Phase.STOPPED
    wait_for(lambda: gone(world.pids[0]), "the end of the process")
    assert Record.read(world.places.shared) is None
    wait_for(lambda: first.drain() is not None and first.status.phase is Phase.LOST, "the first to see it")


def test_restart_is_another_process(world):
    blender = world.blender()
    started(blender)
    blender.restart()
    assert settle(blender).phase is Phase.RUNNING
    assert len(world.pids) == 2 and gone(world.pids[0]) and not gone(world.pids[1])


def test_a_process_that_only_has_its_number_is_left_alone(world):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        Record(bystander.pid, "http://127.0.0.1:9", "0.1.0").write(world.places.shared)
        blender = world.blender()
        blender.stop()
        settle(blender)
        assert bystander.poll() is None and Record.read(world.places.shared) is None
    finally:
        bystander.kill()
        bystander.wait()


def test_it_ends_with_its_last_blender(world, monkeypatch):
    monkeypatch.setattr(local_server, "ALONE_SECONDS", 0.2)
    first, second = world.blender(), world.blender()
    started(first)
    started(second)
    wait_for(lambda: first.drain() is not None and first.status.clients == 2, "both to be known")
    first.close()
    time.sleep(0.6)  # three times what it takes a lonely one to end
    assert not gone(world.pids[0])
    second.close()
    wait_for(lambda: gone(world.pids[0]), "the end of the process")


def test_remove_leaves_nothing(world):
    blender = world.blender()
    started(blender)
    (pid,) = world.pids
    blender.remove()
    status = settle(blender)
    assert (status.phase, status.installed) == (Phase.NOT_INSTALLED, None)
    assert gone(pid)
    assert {path.name for path in world.places.root.iterdir()} == {"install.lock"}


def test_an_update_replaces_what_runs(world, monkeypatch):
    blender = world.blender()
    started(blender)
    old = world.pids
    new = shutil.copytree(world.bin.parent, world.places.root / "env-87654321")
    (new / "bin" / "started.txt").unlink()
    marker = {"version": "0.2.0", "build": "cpu", "python": "3.11", "fingerprint": "87654321"}
    (new / MARKER).write_text(json.dumps(marker), encoding="utf-8")
    installed = Installed(new, **marker)
    plan = Plan(Bundle(new, "0.2.0"), world.places.root, "cpu", Python("p", (3, 11)))
    monkeypatch.setattr(blender, "_replan", lambda settings: plan)
    monkeypatch.setattr(local_server.local_install, "install", lambda *_: installed)
    blender.install(local_server.Settings())
    status = settle(blender)
    pid = int((new / "bin" / "started.txt").read_text(encoding="utf-8"))
    try:
        assert (status.phase, status.installed, status.problem) == (Phase.RUNNING, installed, "")
        assert gone(old[0]) and not gone(pid)
        assert not world.bin.exists(), "the old version was left lying about"
    finally:
        processes.end(pid, 0.0)


def test_a_failed_install_says_why_and_leaves_what_was(world, monkeypatch):
    def fail(*_: object) -> None:
        raise InstallError("The disk is full; free some space and press the button again.")

    blender = world.blender()
    plan = Plan(Bundle(world.bin, "0.2.0"), world.places.root, "cpu", Python("p", (3, 11)))
    monkeypatch.setattr(blender, "_replan", lambda settings: plan)
    monkeypatch.setattr(local_server.local_install, "install", fail)
    blender.install(local_server.Settings())
    status = settle(blender)
    assert (status.phase, status.installed.version) == (Phase.STOPPED, "0.1.0")
    assert status.problem == "The disk is full; free some space and press the button again."


def test_unload_asks_the_server(world):
    blender = world.blender()
    started(blender)
    blender.unload()
    assert settle(blender).problem == ""
    assert "POST /v1/models/unload" in world.lines("requests.txt")


# -- telling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"{Path.home()}/env/x.py", "~/env/x.py"),
        (f"{JANE}/x", "/home/<user>/x"),
        (f"{JANE_ON_A_MAC}/x", "/Users/<user>/x"),
        (r"C:\Users\Jane Doe\x", r"C:\Users\<user>\x"),
        (r"C:\Users\jane", r"C:\Users\<user>"),
        (r"C:\\Users\\jane\\x", r"C:\\Users\\<user>\\x"),
        ("Authorization: Bearer abc", "Authorization: Bearer <token>"),
        (f"token {TOKEN}.", "token <token>."),
        ("GET /health 200", "GET /health 200"),
    ],
)
def test_scrub(said, kept):
    assert scrub(said, TOKEN) == kept


def test_diagnostics_hold_what_helps_and_nothing_private(world):
    (world.places.root / "server.log").write_text(f"loaded {JANE}/models with {TOKEN}\n", encoding="utf-8")
    blender = world.blender()
    blender.diagnose(["Blender 4.5"])
    wait_for(lambda: not blender.busy, "the worker")
    (told,) = [message for message in blender.drain() if isinstance(message, Diagnosed)]
    assert told.text.startswith("Blender 4.5\nSystem: ")
    for part in ("GPU: ", "Local server: ", "Carried by the add-on: nothing", "-- server.log", "/home/<user>/models"):
        assert part in told.text
    assert TOKEN not in told.text and "jane" not in told.text


def test_an_update_is_seen(tmp_path):
    installed = Installed(tmp_path, "0.1.0", "cpu", "3.11", "x")
    plans = [Plan(Bundle(tmp_path, version), tmp_path, "cpu", Python("p", (3, 11))) for version in ("0.1.0", "0.2.0")]
    assert [Status(installed=installed, plan=plan).update for plan in plans] == [False, True]
    assert not Status(plan=plans[1]).update
