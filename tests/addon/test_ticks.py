"""Work over several ticks: no step is long, and what is cut off half way leaves nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import session
from bl_ext.dev.chatpose.operators import motion as motion_operators
from bl_ext.dev.chatpose.operators import ticks
from bl_ext.dev.chatpose.rig import body, keyframes, motions, smplx
from bl_ext.dev.chatpose.rig import rotations as rot

from tests.addon import effort

FRAMES = 300
FILE = str(body.STANDIN_FILE)


@pytest.fixture
def keyed(addon):
    """A body with a long motion."""
    rig = body.make_body(bpy.context, body.load_body(FILE))
    dice = np.random.default_rng(5)
    turns = {j: rot.unit(dice.normal(size=(FRAMES, 4)) * 0.1 + (2, 0, 0, 0)) for j in smplx.JOINTS}
    keyframes.write(rig, list(range(1, FRAMES + 1)), turns)
    return rig


def _steps(rig, name):
    frames = range(1, FRAMES + 1)
    return {
        "a body is made": lambda: body.making(bpy.context, body.load_body(FILE)),
        "keys are remembered": lambda: keyframes.remembering(rig),
        "a motion is read": lambda: motions.sampling(rig, frames),
        "poses are read": lambda: motion_operators.reading_frames(bpy.context, rig, frames),
    }[name]()


@pytest.mark.parametrize("name", ["a body is made", "keys are remembered", "a motion is read", "poses are read"])
def test_no_step_is_long(keyed, name):
    keyframes.finish(_steps(keyed, name))  # once unmeasured: the first of everything loads something
    steps = _steps(keyed, name)
    efforts: list[effort.Effort] = []
    with contextlib.suppress(StopIteration):
        while True:
            efforts.append(effort.spent(next, steps))
    assert len(efforts) > 30
    assert not [e for e in efforts if not effort.is_short(e)]


def test_what_takes_long_is_noticed(tmp_path):
    file = tmp_path / "settings.json"
    assert effort.is_short(effort.spent(lambda: None))
    assert not effort.is_short(effort.spent(lambda: [abs(i) for i in range(2 * effort.TICK_CALLS)]))
    assert not effort.is_short(effort.spent(file.write_text, "{}", "utf-8"))
    assert not effort.is_short(effort.spent(socket.create_server, ("127.0.0.1", 0)))


@pytest.mark.parametrize("count", [1, 3, 5, 30, 59])
def test_a_body_that_is_cut_off_leaves_nothing(addon, count):
    first = body.make_body(bpy.context, body.load_body(FILE))
    kinds = (bpy.data.objects, bpy.data.meshes, bpy.data.armatures, bpy.data.materials)
    before = [sorted(kind.keys()) for kind in kinds]
    making = body.making(bpy.context, body.load_body(FILE))
    for _ in range(count):
        next(making)
    making.close()
    assert [sorted(kind.keys()) for kind in kinds] == before
    assert bpy.context.view_layer.objects.active == first and first.select_get()


def test_correctives_that_are_cut_off_leave_nothing(addon):
    file = body.load_body(FILE)
    posedirs = np.zeros((*file.vertices.shape, 486), np.float32)
    posedirs[:100] = 0.01
    making = body.making(bpy.context, dataclasses.replace(file, posedirs=posedirs))
    for _ in range(80):
        next(making)
    assert bpy.data.shape_keys and bpy.data.armatures
    making.close()
    assert not [*bpy.data.objects, *bpy.data.meshes, *bpy.data.armatures, *bpy.data.shape_keys, *bpy.data.materials]


def test_what_a_damaged_body_names_is_refused(addon, tmp_path):
    file = dict(np.load(FILE))
    file["f"] = file["f"].copy()
    file["f"][7, 1] = len(file["v_template"])
    np.savez(tmp_path / "bad.npz", **file)
    with pytest.raises(body.BodyFileError, match="vertices that it does not have"):
        body.load_body(str(tmp_path / "bad.npz"))


# -- the operator ------------------------------------------------------------------------------------------------------


class _Work(ticks.OverTicks):
    """Five steps; ``done`` says which were done, and which were taken back."""

    errors = (ValueError,)
    fails_at = -1

    def __init__(self) -> None:
        self.done: list[str] = []
        self.told: list[str] = []

    def report(self, kind, sentence):
        self.told.append(sentence)

    def status(self):
        return "Working    Esc: Cancel"

    def work(self, context):
        for i in range(5):
            if i == self.fails_at:
                raise ValueError("This cannot be done.")
            self.done.append(f"step {i}")
            yield

    def taking_back(self):
        yield
        self.done.append("taken back")


@pytest.fixture
def window(monkeypatch):
    """A window's context, and a clock by which each tick has time for two steps."""
    now = iter(range(10**6))
    monkeypatch.setattr(ticks, "time", SimpleNamespace(perf_counter=lambda: next(now) * ticks._BUDGET_SECONDS / 2.5))
    monkeypatch.setattr(ticks, "bpy", SimpleNamespace(app=SimpleNamespace(background=False), types=bpy.types))
    manager = SimpleNamespace(
        event_timer_add=lambda *_, **__: "timer", event_timer_remove=lambda _: None, modal_handler_add=lambda _: None
    )
    said: list[str | None] = []
    workspace = SimpleNamespace(status_text_set=said.append)
    session.current.problem = None
    yield SimpleNamespace(window="window", window_manager=manager, workspace=workspace, said=said)
    session.current.problem = None


def _play(work, window, *events):
    """What the operator answered to each event, until it ended."""
    answers = [work.invoke(window, None)]
    for kind in events:
        if answers[-1] != {"RUNNING_MODAL"}:
            break
        answers.append(work.modal(window, SimpleNamespace(type=kind, value="PRESS")))
    return answers


TICKS = ["TIMER"] * 9


def test_a_button_gets_its_work_tick_by_tick(addon, window):
    work = _Work()
    answers = _play(work, window, "MOUSEMOVE", *TICKS)
    assert work.done == [f"step {i}" for i in range(5)]
    assert answers[-1] == {"FINISHED"} and len(answers) > 3, "over several ticks"
    assert window.said == ["Working    Esc: Cancel", None] and session.current.problem is None


def test_esc_takes_back_over_ticks_too(addon, window):
    work = _Work()
    answers = _play(work, window, "TIMER", "ESC", *TICKS)
    assert work.done[-1] == "taken back" and len(work.done) < 6
    assert answers[-1] == {"CANCELLED"} and session.current.problem.sentence == work.cancelled
    assert window.said[-1] is None


@pytest.mark.parametrize("step", [0, 3])
def test_work_that_fails_is_taken_back_and_says_why(addon, window, step):
    work = _Work()
    work.fails_at = step
    assert _play(work, window, *TICKS)[-1] == {"CANCELLED"}
    said = session.current.problem.sentence if step else work.told[0]
    assert said == "This cannot be done." and ("taken back" in work.done) == bool(step)


def test_scripts_get_it_at_once(addon):
    work = _Work()
    assert work.execute(bpy.context) == {"FINISHED"} and len(work.done) == 5
    work = _Work()
    work.fails_at = 2
    assert work.execute(bpy.context) == {"CANCELLED"} and work.told == ["This cannot be done."]
