"""A conversation that keeps up with the mouse: the newest goal is solved, those that it overtook are dropped.

One thread, one connection, one request at a time, each begun from the last answer. The main thread only says where
things should go and takes what has come; it never waits. Knows no bpy.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .contract import IkRequest, Pose, Vec3
from .http import Client, ClientError, Endpoint, failure_sentence

_LOOK_SECONDS: Final = 5.0  # the server answers at once when it is done
_CLOSE_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Goal:
    """Where joints should go, in metres in SMPL-X's frame; those in ``pins`` above all. ``steps``: see IkRequest."""

    targets: Mapping[str, Vec3]
    pins: tuple[str, ...] = ()
    steps: int = 16


@dataclass(frozen=True)
class Answer:
    """A solved pose, and the goal that it answers."""

    pose: Pose
    goal: Goal


class LiveError(ClientError):
    code = "live"


class Live:
    """Solves one body's goals until ``close``, the rest of it staying as it was at the start. All methods are the main
    thread's.
    """

    def __init__(self, endpoint: Endpoint, start: Pose, rest: Mapping[str, Vec3], prior: str | None = None) -> None:
        self._endpoint = endpoint
        self._rest = rest
        self._prior = prior
        self._changed = threading.Condition()
        self._home = self._pose = start
        self._turn = 0  # counts restarts: an answer to what was asked before one is dropped
        self._goal: Goal | None = None
        self._answer: Answer | None = None
        self._closed = False
        self._busy = False
        self.answers = 0
        self.problem: str = ""
        self._thread = threading.Thread(target=self._run, name="chatpose-live", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether everything that was asked has been answered and taken."""
        with self._changed:
            return self._goal is None and not self._busy and self._answer is None

    def ask(self, goal: Goal) -> None:
        """The newest goal; one that waits is forgotten."""
        with self._changed:
            self._goal = goal
            self._changed.notify()

    def take(self) -> Answer | None:
        """The newest answer that was not taken yet."""
        with self._changed:
            answer, self._answer = self._answer, None
            return answer

    def restart(self, pose: Pose) -> None:
        """Goes on from this pose; whatever was asked before is forgotten."""
        with self._changed:
            self._pose, self._goal, self._answer = pose, None, None
            self._turn += 1

    def close(self) -> None:
        """Ends the thread; one that hangs on a dead server ends with Blender."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    # -- the thread ------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        client: Client | None = None
        try:
            while (task := self._next()) is not None:
                goal, start, turn = task
                try:
                    client = client or Client(self._endpoint)
                    pose = self._solve(client, goal, start)
                except ClientError as error:
                    self._end(turn, str(error))
                except Exception as error:  # noqa: BLE001 - a thread that dies silently is a body that no longer moves
                    self._end(turn, f"ChatPose itself failed ({type(error).__name__}); report it.")
                else:
                    self._end(turn, "", Answer(pose, goal))
        finally:
            if client is not None:
                client.close()

    def _next(self) -> tuple[Goal, Pose, int] | None:
        with self._changed:
            while self._goal is None and not self._closed:
                self._changed.wait()
            if self._closed or self._goal is None:
                return None
            goal, self._goal, self._busy = self._goal, None, True
            return goal, self._pose, self._turn

    def _solve(self, client: Client, goal: Goal, start: Pose) -> Pose:
        request = IkRequest(start, goal.targets, goal.pins, goal.steps, self._rest, self._home, self._prior)
        status = client.submit(request, uuid.uuid4().hex)
        while not status.finished:
            if self._closed:
                client.cancel(status.id)
                raise LiveError("The drag is over.")
            status = client.look(status.id, _LOOK_SECONDS)
        if status.result is None or not status.result.poses:
            failure = status.failure
            raise LiveError(failure_sentence(failure.message, failure.hint) if failure else "The server gave no pose.")
        return status.result.poses[0]

    def _end(self, turn: int, problem: str, answer: Answer | None = None) -> None:
        with self._changed:
            self._busy = False
            self.problem = problem
            if answer is not None and turn == self._turn:
                self._pose, self._answer = answer.pose, answer
                self.answers += 1
