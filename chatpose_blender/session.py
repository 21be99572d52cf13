"""This Blender's one conversation with the server: connection, running job, last answer, last problem.

Main thread only. Worker threads talk to it through the jobs' inbox, which ``pump`` drains from one Blender timer;
the timer exists only while something is under way. Poses reach the rig through an operator, so one answer is one undo
step.
"""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import bpy

from . import local, preferences, seen
from .client.connection import ANSWERS, Connection
from .client.contract import Pose, PoseRequest, Request, Result
from .client.http import Endpoint, ServerOffError
from .client.jobs import Connected, Errand, Failed, Finished, Jobs, Message, Progressed
from .client.local_server import Phase
from .rig.apply import Snapshot
from .rig.target import Target

TICK_SECONDS = 0.05  # an answer waits at most this long for the main thread
CLOCK_SECONDS = 0.5  # between redraws that only show the time that has passed
HELD_TICK_SECONDS = 0.25  # while an answer waits for the artist to leave Edit Mode
DRAIN_SECONDS = 0.004  # of a tick, so that with drawing and posing it stays under 10 ms
START_CHECK_SECONDS = 1.0  # after start-up, when the window is drawn
_POSING_MODES = {"OBJECT", "POSE"}  # undo steps of other modes do not hold a rig's pose
_BLOCKING_OPERATORS = ("TRANSFORM_OT_", "POSE_OT_", "CHATPOSE_OT_")  # an undo step inside these would break them
_WAITING_OPERATORS = {"CHATPOSE_OT_motion_from_picture"}  # only listens for Esc while the answer is on its way


@dataclass(frozen=True)
class Work:
    """The job that is under way, as the panel shows it."""

    handle: str
    title: str
    target: Target | None
    request: Request | None
    apply: Callable[["Work", Result], None]
    started: float
    question: str = ""
    stage: str = "Looking for the server"
    fraction: float = 0.0
    text: str = ""
    part: tuple[int, int] = (0, 1)  # which of how many jobs that are one thing to the artist
    failed: Callable[["Work", Failed], bool] | None = None  # asked first when it fails; True: seen to
    live: bool = False  # belongs to a tool of ours that is running, so it need not wait for the tool's end

    @property
    def words(self) -> str:
        """What the artist asked, "" for a tool that takes no words."""
        return self.question or (self.request.prompt if isinstance(self.request, PoseRequest) else "")

    @property
    def seconds(self) -> float:
        """Since the button was pressed."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Problem:
    """What went wrong last: ``sentence`` for the panel, ``details`` for Copy Details."""

    sentence: str
    details: str = ""


class Tool(Protocol):
    """What runs in a viewport and shows poses of its own on a rig, as dragging does. One at a time."""

    target: Target
    ending: bool | None  # set by a button: True keeps the pose, False brings the old one back; its operator does it

    def end(self) -> None:
        """Asks the server nothing more; the rig stays as it is."""
        ...


_Kind = TypeVar("_Kind", bound=Tool)


@dataclass(frozen=True)
class Browser:
    """Candidates that are shown on the rig one after the other, and the rig's pose before the first."""

    target: Target
    poses: tuple[Pose, ...]
    before: Snapshot
    figures: tuple[str, ...]  # each pose's picture, by key
    prompt: str
    result: Result
    changes: str = ""  # the pose that the words changed, as JSON
    index: int = 0


@dataclass
class Session:
    """All that is remembered outside the .blend file."""

    jobs: Jobs = field(default_factory=Jobs)
    connection: Connection = field(default_factory=Connection)
    work: Work | None = None
    held: tuple[Work, Result] | None = None  # an answer that waits for a mode in which it can be applied
    browser: Browser | None = None  # candidates that are being stepped through
    tool: Tool | None = None
    answer: str = ""
    problem: Problem | None = None
    drawn: float = 0.0  # when the panels were last told to redraw, in time.monotonic()'s seconds


current = Session()


# -- for operators ---------------------------------------------------------------------------------------------------


def look(context: bpy.types.Context, *, then_start: bool = False) -> None:
    """Looks for the server, and where it is this computer's own, for what is installed; ``then_start``: starts it."""
    if preferences.is_local(context) and not local.server().busy:
        local.server().survey(preferences.install_settings(context), then_start, bpy.app.online_access)
        local.wake()
    check(context)


def check(context: bpy.types.Context) -> None:
    """Looks for the server in a thread."""
    current.connection = current.connection.checking()
    current.jobs.check(preferences.endpoint(context))
    _wake()


def begin(
    endpoint: Endpoint,
    title: str,
    request: Request,
    target: Target | None,
    apply: Callable[[Work, Result], None],
    question: str = "",
) -> None:
    """Starts a job; ``apply(work, result)`` is called on the main thread when it is done.

    ``question``: the artist's own words where the request does not hold them.
    """
    current.problem = None
    current.answer = ""
    handle = current.jobs.submit(endpoint, request)
    current.work = Work(handle, title, target, request, apply, time.monotonic(), question)
    _wake()


def run(title: str, errand: Errand, target: Target | None, apply: Callable[[Work, Any], None]) -> None:
    """Starts work of our own in a thread, as reading a picture; the panel shows it as it shows a job."""
    current.problem = None
    current.answer = ""
    handle = current.jobs.run(errand)
    current.work = Work(handle, title, target, None, apply, time.monotonic(), stage=title)
    _wake()


def cancel() -> bool:
    """Drops the job that is under way; False when there was none."""
    work = current.work
    if work is None:
        return False
    current.jobs.cancel(work.handle)
    current.work = current.held = None
    current.problem = Problem("Cancelled; nothing was changed.")
    redraw()
    return True


def running(kind: type[_Kind]) -> _Kind | None:
    """The tool that runs, if it is of this kind."""
    return current.tool if isinstance(current.tool, kind) else None


def can(task: str) -> bool:
    """Whether the server does this task, as far as is known."""
    known = current.connection.capabilities.tasks
    return not known or task in known


def fail(sentence: str, details: str = "") -> None:
    """Shows a problem in the panel until the next job."""
    current.problem = Problem(sentence, details)
    redraw()


# -- the timer -------------------------------------------------------------------------------------------------------


def pump() -> float | None:
    """One tick: takes what has arrived; -> seconds until the next, or None when there is nothing to wait for."""
    if current.held is not None:
        return _apply_held()
    for message in current.jobs.drain(DRAIN_SECONDS):
        _take(message)
    if current.held is not None:
        return TICK_SECONDS  # the pose gets a tick of its own
    if current.jobs.waiting:
        if time.monotonic() - current.drawn > CLOCK_SECONDS:
            redraw()
        return TICK_SECONDS
    return None


def _take(message: Message) -> None:
    if isinstance(message, Connected):
        current.connection = _with_local(message.connection)
        redraw()
        return
    work = current.work
    if work is None or work.handle != message.handle:
        return
    if isinstance(message, Progressed):
        status = message.status
        connection = current.connection
        if work.request is not None:
            current.connection = (
                connection.queued(status.position) if status.state == "queued" else connection.working()
            )
        stage = status.stage or ("Waiting for its turn" if status.state == "queued" else "Thinking")
        done, count = work.part
        stage = stage if count == 1 else f"{work.title}: {stage}"
        current.work = replace(work, stage=stage, fraction=(done + status.fraction) / count, text=status.text)
    elif isinstance(message, Finished):
        current.held = (work, message.result)
        if work.request is not None:
            current.connection = current.connection.working()
    elif isinstance(message, Failed):
        current.work = None
        if work.failed is not None and work.failed(work, message):
            return
        sentence = message.sentence
        if message.code == ServerOffError.code and preferences.is_local(bpy.context):
            sentence = current.connection.text  # what to press, instead of an address
        current.problem = Problem(sentence, message.details)
        if message.by_server:
            current.connection = current.connection.working()
    redraw()


def _with_local(connection: Connection) -> Connection:
    """A server of this computer that does not answer is stopped, or not installed, or being started."""
    return connection.with_local(local.status()) if preferences.is_local(bpy.context) else connection


def _on_local() -> None:
    """Something is new about the server of this computer."""
    status = local.status()
    if preferences.is_local(bpy.context):
        before = current.connection
        if status.phase is Phase.RUNNING and before.state not in ANSWERS:
            check(bpy.context)
        else:
            current.connection = before.with_local(status)
    redraw()


def _apply_held() -> float | None:
    assert current.held is not None
    work, result = current.held
    obstacle = _obstacle(work.live)
    if obstacle:
        current.work = replace(work, stage=obstacle, fraction=1.0)
        redraw()
        return HELD_TICK_SECONDS
    current.held = current.work = None
    if isinstance(result, Result):
        current.answer = result.text
    try:
        work.apply(work, result)
    except RuntimeError as error:  # an operator that refuses reports through this
        current.problem = Problem(str(error).removeprefix("Error: ").strip())
    except Exception as error:  # noqa: BLE001 - Blender would drop the timer without a word to the artist
        current.problem = Problem(
            f"ChatPose itself failed ({type(error).__name__}); use Copy Details and report it.", _where(error)
        )
    redraw()
    return TICK_SECONDS if current.jobs.waiting else None


def _where(error: Exception) -> str:
    """An error's way through the code without folders, which may hold the artist's name."""
    steps = traceback.extract_tb(error.__traceback__)
    return "; ".join(f"{Path(step.filename).name}:{step.lineno} {step.name}" for step in steps) + f"; {error!r}"


def _obstacle(live: bool) -> str:
    """Why a pose cannot be applied at this moment; "" when it can. ``live``: our own tool waits for it."""
    context = bpy.context
    if _is_rendering():  # changing data that is being rendered can crash Blender
        return "The answer waits for the end of the render"
    if context.mode not in _POSING_MODES:
        return "The answer waits for you to go back to Object or Pose Mode"
    for window in context.window_manager.windows:
        for operator in window.modal_operators:
            name = operator.bl_idname
            if not live and name.startswith(_BLOCKING_OPERATORS) and name not in _WAITING_OPERATORS:
                return "The answer waits for you to finish what you are doing"
    return ""


@contextlib.contextmanager
def in_window() -> Iterator[None]:
    """A context as a button has it, with the 3D viewport if there is one: timers run outside of any window."""
    context = bpy.context
    window = context.window or next(iter(context.window_manager.windows), None)
    if window is None or bpy.app.background:  # a file's windows are there in background mode too, but cannot be drawn
        yield
        return
    areas = [area for area in window.screen.areas if area.type == "VIEW_3D"]
    area = max(areas, key=lambda a: a.width * a.height, default=None)
    place = {"window": window}
    if area is not None:
        place |= {"area": area, "region": next(region for region in area.regions if region.type == "WINDOW")}
    with context.temp_override(**place):
        yield


def _is_rendering() -> bool:
    return bpy.app.is_job_running("RENDER")


def redraw() -> None:
    """Redraws the sidebars of the 3D viewports, and nothing else."""
    current.drawn = time.monotonic()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def _wake() -> None:
    if not bpy.app.timers.is_registered(pump):
        bpy.app.timers.register(pump, first_interval=TICK_SECONDS, persistent=True)
    redraw()


# -- life ------------------------------------------------------------------------------------------------------------


def start() -> None:
    """Called when the add-on is enabled: nothing runs yet, one look for the server is on its way."""
    global current  # noqa: PLW0603 - a session lives from register to unregister
    current = Session()
    local.start(_on_local)
    bpy.app.handlers.load_pre.append(_on_load)
    bpy.app.handlers.undo_pre.append(_on_undo)
    if not bpy.app.background:
        bpy.app.timers.register(_first_check, first_interval=START_CHECK_SECONDS, persistent=True)


def stop() -> None:
    """Called when the add-on is disabled: cancels everything and leaves nothing registered."""
    for timer in (pump, _first_check):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    for handlers, handler in ((bpy.app.handlers.load_pre, _on_load), (bpy.app.handlers.undo_pre, _on_undo)):
        if handler in handlers:
            handlers.remove(handler)
    _end_tool()
    current.jobs.close()
    local.stop()


def _first_check() -> None:
    settings = preferences.get(bpy.context)
    if settings is not None and settings.check_at_start and not preferences.refusal(bpy.context):
        look(bpy.context, then_start=settings.start_server)


@bpy.app.handlers.persistent
def _on_load(*_: object) -> None:
    """Another file: the job was for a rig of the old one."""
    if current.work is not None:
        current.jobs.cancel(current.work.handle)
    current.work = current.held = current.browser = None
    _end_tool()
    seen.forget()
    current.answer, current.problem = "", None


@bpy.app.handlers.persistent
def _on_undo(*_: object) -> None:
    """Undo brings back the pose from before the candidates, or from before a tool, by itself."""
    current.browser = None
    _end_tool()


def _end_tool() -> None:
    """The rig is left to whoever asks for this; the tool's operator ends itself when it sees it."""
    tool, current.tool = current.tool, None
    if tool is not None:
        tool.end()
