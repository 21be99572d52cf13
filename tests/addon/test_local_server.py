"""The server of this computer as Blender shows it: mode, buttons, states, self-test, diagnostics."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import bpy
import pytest
from bl_ext.dev.chatpose import local, preferences, session
from bl_ext.dev.chatpose.client import local_server, processes
from bl_ext.dev.chatpose.client.connection import State
from bl_ext.dev.chatpose.client.local_install import Bundle, Installed, Plan, Python
from bl_ext.dev.chatpose.client.local_server import LocalServer, Phase, Places, Status
from bl_ext.dev.chatpose.panels import main as main_panel
from bl_ext.dev.chatpose.panels import server as server_panel

from tests.addon import effort

FAKE = Path(__file__).parent.parent / "client" / "fake_chatpose.py"
BUTTONS = ("install", "cancel", "start", "stop", "restart", "unload", "remove")


@pytest.fixture
def settings(monkeypatch):
    """The preferences as a new user has them."""
    chosen = preferences.get(bpy.context)
    before = {name: getattr(chosen, name) for name in ("address", "server", "wheels_folder")}
    chosen.server, chosen.wheels_folder = "LOCAL", ""
    yield chosen
    for name, value in before.items():
        setattr(chosen, name, value)
    chosen.server = before["server"]


@pytest.fixture
def managed(settings, tmp_path, monkeypatch):
    """A hold on a server in an empty folder."""
    monkeypatch.setenv("CHATPOSE_TOKEN_FILE", str(tmp_path / "shared" / "token"))
    (tmp_path / "shared").mkdir()
    session.stop()
    session.start()
    local._server = LocalServer(Places(tmp_path / "server", tmp_path / "shared"), None, sys.executable)
    yield local._server
    session.stop()
    session.start()


def known(managed: LocalServer, phase: Phase, **more: object) -> None:
    """What a worker would have said."""
    managed._inbox.put(Status(phase, **more))
    local.pump()


def grey(name: str) -> bool:
    return not getattr(bpy.ops.chatpose, name).poll()


# -- where -----------------------------------------------------------------------------------------------------------


def test_a_new_user_has_this_computers_server(managed):
    assert preferences.is_local(bpy.context) and preferences.endpoint(bpy.context).is_loopback
    assert preferences.get(bpy.context).bl_rna.properties["server"].default == "LOCAL"


def test_who_gives_an_address_means_the_server_there(managed, settings):
    settings.address = "http://127.0.0.1:1234"
    assert settings.server == "ADDRESS"
    assert preferences.endpoint(bpy.context).address == "http://127.0.0.1:1234"


def test_poses_go_where_the_server_listens(managed):
    assert preferences.endpoint(bpy.context).address == "http://127.0.0.1:7673"
    known(managed, Phase.RUNNING, address="http://127.0.0.1:7680")
    assert preferences.endpoint(bpy.context).address == "http://127.0.0.1:7680"


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_every_state_has_a_picture():
    assert set(main_panel._STATE_ICONS) == set(State)
    icons = bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
    assert set(main_panel._STATE_ICONS.values()) <= {icon.identifier for icon in icons}


@pytest.mark.parametrize(
    ("phase", "more", "state", "text"),
    [
        (Phase.NOT_INSTALLED, {}, State.NOT_INSTALLED, "The pose server is not installed on this computer yet."),
        (Phase.INSTALLING, {"stage": "Fetching PyTorch", "fraction": 0.4}, State.INSTALLING, "Fetching PyTorch (40%)."),
        (Phase.STOPPED, {}, State.STOPPED, "Press Start Server."),
        (Phase.STOPPED, {"problem": "The disk is full."}, State.STOPPED, "The disk is full."),
        (Phase.STARTING, {"stage": "Starting the server"}, State.STARTING, "Starting the server."),
        (Phase.LOST, {"problem": "It ended; press Start Server."}, State.LOST, "It ended; press Start Server."),
    ],
)
def test_the_panel_says_what_the_server_does(managed, phase, more, state, text):
    known(managed, phase, **more)
    assert (session.current.connection.state, session.current.connection.text) == (state, text)


IDLE_BUTTONS = {
    Phase.NOT_INSTALLED: {"remove"},
    Phase.STOPPED: {"start", "remove"},
    Phase.LOST: {"start", "remove"},
    Phase.RUNNING: {"stop", "restart", "unload", "remove"},
}


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.UNKNOWN])
@pytest.mark.parametrize("can_install", [True, False])
def test_buttons_that_make_no_sense_are_grey(managed, settings, phase, can_install, tmp_path):
    settings.wheels_folder = str(tmp_path)
    known(managed, phase, can_install=can_install)
    expected = IDLE_BUTTONS.get(phase, {"cancel"}) | ({"install"} if can_install and phase in IDLE_BUTTONS else set())
    assert {name for name in BUTTONS if not grey(f"server_{name}")} == expected


def test_installing_asks_for_online_access_or_a_folder(managed, settings, tmp_path):
    managed._inbox.put(Status(Phase.NOT_INSTALLED, can_install=True))
    local.pump()
    settings.wheels_folder = str(tmp_path)
    assert local.refusal(settings) == "" and not grey("server_install")
    settings.wheels_folder = ""
    if bpy.app.online_access:
        assert local.refusal(settings) == ""
    else:
        assert "online access" in local.refusal(settings) or "offline" in local.refusal(settings)
        assert grey("server_install")


class Recorder:
    """A layout that writes down what is drawn."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, name: str):
        def draw(*arguments: object, text: str = "", **_: object) -> object:
            self.said += [text] if text else [str(a) for a in arguments]
            return self

        return draw

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _plan(folder: Path, version: str = "0.1.0") -> Plan:
    for name in ("server.txt", "torch-cpu.txt", "server-wheel.txt"):
        (folder / name).write_text(f"chatpose-server=={version}\n", encoding="utf-8")
    return Plan(Bundle(folder, version), folder, "cpu", Python("p", (3, 11)))


def test_the_offer_is_read_before_the_button(managed, tmp_path):
    known(managed, Phase.NOT_INSTALLED, plan=_plan(tmp_path))
    drawn = Recorder()
    server_panel.draw_needed(bpy.context, drawn)
    whole = " ".join(drawn.said)
    assert "Downloads about" in whole and "Blender is not changed" in whole
    assert whole.index("Downloads about") < whole.index("chatpose.server_install")


def test_progress_shows_the_stage_and_the_log(managed):
    known(managed, Phase.INSTALLING, stage="Fetching PyTorch", fraction=0.4, log=("Collecting torch",))
    drawn = Recorder()
    server_panel.draw_needed(bpy.context, drawn)
    assert {"Fetching PyTorch", "Collecting torch", "Cancel"} <= set(drawn.said)


def test_an_update_is_offered(managed, tmp_path):
    installed = Installed(tmp_path, "0.1.0", "cpu", "3.11", "x")
    for version, offered in (("0.1.0", False), ("0.2.0", True)):
        status = Status(Phase.RUNNING, installed=installed, plan=_plan(tmp_path, version))
        drawn = Recorder()
        server_panel.draw(bpy.context, drawn, status)
        assert ("Update Server" in drawn.said) is offered


def test_a_running_server_takes_no_room_in_the_main_panel(managed):
    known(managed, Phase.RUNNING, address="http://127.0.0.1:9")
    drawn = Recorder()
    server_panel.draw_needed(bpy.context, drawn)
    assert drawn.said == []


# -- what happens ----------------------------------------------------------------------------------------------------


def test_pose_without_a_server_says_what_to_press(managed, pump, monkeypatch):
    monkeypatch.setattr(local, "DEFAULT_ADDRESS", "http://127.0.0.1:9")  # where nobody listens
    known(managed, Phase.NOT_INSTALLED)
    bpy.ops.chatpose.add_body()
    bpy.context.scene.chatpose.prompt = "sit"
    bpy.ops.chatpose.pose()
    pump(lambda: session.current.work is None, session.pump)
    assert session.current.problem.sentence == "The pose server is not installed on this computer yet."
    assert session.current.connection.state is State.NOT_INSTALLED


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for an environment's Python is a POSIX script")
def test_start_pose_state_stop(managed, pump, monkeypatch, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(local_server, "PORT", probe.getsockname()[1])
    folder = tmp_path / "server" / "env-12345678"
    (folder / "bin").mkdir(parents=True)
    (tmp_path / "shared" / "token").write_text("t" * 43, encoding="utf-8")
    python = folder / "bin" / "python"
    python.write_text(f"#!{sys.executable}\n{FAKE.read_text(encoding='utf-8')}", encoding="utf-8")
    python.chmod(0o755)
    (folder / "bin" / "behave.json").write_text(json.dumps({"token": "t" * 43}), encoding="utf-8")
    marker = {"version": "0.1.0", "build": "cpu", "python": "3.11", "fingerprint": "12345678"}
    (folder / "complete.json").write_text(json.dumps(marker), encoding="utf-8")

    def both():
        local.pump()
        session.pump()

    known(managed, Phase.STOPPED)
    bpy.ops.chatpose.server_start()
    pump(lambda: session.current.connection.state is State.READY, both)
    assert local.address() == managed.status.address and local.pump() == local.IDLE_TICK_SECONDS
    pid = int((folder / "bin" / "started.txt").read_text(encoding="utf-8"))
    bpy.ops.chatpose.server_stop()
    pump(lambda: session.current.connection.state is State.STOPPED and not managed.waiting, both)
    assert not processes.is_alive(pid) and local.pump() is None


def test_one_look_at_an_empty_folder(managed, pump):
    session.look(bpy.context)

    def both():
        local.pump()
        session.pump()

    pump(lambda: not managed.waiting and not session.current.jobs.waiting, both)
    assert managed.status.phase is Phase.NOT_INSTALLED and managed.status.plan is None


POSE = {"format": "smplx-quat-wxyz", "joints": {"left_shoulder": [0.7, 0, 0, 0.714]}}
SELF_TESTS = [
    ({"poses": [POSE], "text": "Done.", "model": "fake"}, "", "Self-test passed: a pose from fake in "),
    ({"poses": [{**POSE, "joints": {"left_shoulder": [1, 0, 0, 0]}}], "text": "Done."}, "did not raise the arm", ""),
    ({"poses": [{**POSE, "joints": {"head": [1, 0, 0, 0]}}], "text": "Done."}, "without a usable pose", ""),
    ({"poses": [], "text": "I cannot."}, "without a usable pose", ""),
]


@pytest.mark.parametrize(("answer", "problem", "said"), SELF_TESTS)
def test_self_test(server, settle, answer, problem, said):
    server.answer = {"seed": 1, **answer}
    objects = len(bpy.data.objects)
    bpy.ops.chatpose.self_test()
    settle()
    assert len(bpy.data.objects) == objects
    if problem:
        assert problem in session.current.problem.sentence
    else:
        assert session.current.problem is None and session.current.answer.startswith(said)


def test_diagnostics_are_made_in_a_thread_and_copied(managed, pump, monkeypatch):
    told = []
    monkeypatch.setattr(local, "_copy", told.append)
    bpy.ops.chatpose.copy_diagnostics()
    pump(lambda: told, local.pump)
    assert f"Blender {bpy.app.version_string}" in told[0] and "Connection: " in told[0] and "GPU: " in told[0]
    assert f"{Path.home()}{os.sep}" not in told[0]


def test_a_tick_is_short(managed):
    known(managed, Phase.RUNNING, address="http://127.0.0.1:9")
    for _ in range(5):
        managed._inbox.put(replace(managed.status, clients=2))
        tick = effort.spent(local.pump)
        assert effort.is_short(tick), tick
    assert local.status().clients == 2
