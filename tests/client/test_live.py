"""The live solver's conversation: newest goal first, each begun from the last answer, nothing late is taken."""

from __future__ import annotations

import threading
import time

import pytest

from chatpose_blender.client.contract import Pose
from chatpose_blender.client.http import Endpoint
from chatpose_blender.client.live import Goal, Live
from tests.fake_server import FakeServer

START = Pose({"pelvis": (1.0, 0.0, 0.0, 0.0)}, (0.0, 0.0, 0.0))
REST = {"pelvis": (0.0, 0.9, 0.0)}


def goal(x: float, *pins: str) -> Goal:
    return Goal({"left_wrist": (x, 0.0, 0.0)}, pins, 4)


def answer(x: float) -> dict:
    return {"poses": [{"joints": {"pelvis": [1, 0, 0, 0]}, "transl": [x, 0, 0]}]}


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def live(server):
    solver = Live(Endpoint(server.address), START, REST)
    yield solver
    solver.close()


def until(condition, limit=20.0):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return found


def sent(server) -> list[dict]:
    return [body for method, _, body, _ in server.requests if method == "POST"]


def test_a_goal_is_solved_from_where_the_body_is(server, live):
    server.answer = answer(0.5)
    live.ask(goal(1.0, "left_ankle"))
    found = until(live.take)
    assert found.pose.transl == (0.5, 0.0, 0.0) and found.goal == goal(1.0, "left_ankle")
    (body,) = sent(server)
    assert (body["task"], body["steps"], body["pins"]) == ("ik", 4, ["left_ankle"])
    assert body["targets"] == {"left_wrist": [1.0, 0.0, 0.0]} and body["rest"] == {"pelvis": [0.0, 0.9, 0.0]}
    assert body["pose"]["transl"] == [0.0, 0.0, 0.0]
    live.ask(goal(2.0))
    until(live.take)
    assert sent(server)[1]["pose"]["transl"] == [0.5, 0.0, 0.0], "begun from the last answer"
    assert live.idle and live.answers == 2


def test_goals_that_were_overtaken_are_never_sent(server, live):
    server.hold = threading.Event()
    live.ask(goal(0.0))
    until(lambda: sent(server))
    for x in range(1, 50):
        live.ask(goal(float(x)))
    server.hold.set()
    until(lambda: live.answers == 2)
    assert [body["targets"]["left_wrist"][0] for body in sent(server)] == [0.0, 49.0]
    assert live.take().goal == goal(49.0) and live.take() is None, "only the newest answer is kept"


def test_what_was_asked_before_a_restart_is_dropped(server, live):
    server.hold = threading.Event()
    server.answer = answer(9.0)
    live.ask(goal(1.0))
    until(lambda: sent(server))
    live.restart(Pose(START.joints, (0.1, 0.0, 0.0)))
    server.hold.set()
    until(lambda: live.idle)
    assert live.take() is None
    live.ask(goal(2.0))
    until(live.take)
    assert sent(server)[-1]["pose"]["transl"] == [0.1, 0.0, 0.0]


def test_a_fault_is_told_and_the_next_goal_tries_again(server, live):
    server.failure = {"code": "invalid_request", "message": "That joint cannot be dragged."}
    live.ask(goal(1.0))
    until(lambda: live.problem)
    assert live.problem == "That joint cannot be dragged."
    server.failure = None
    live.ask(goal(2.0))
    until(live.take)
    assert live.problem == ""


def test_without_a_server_the_reason_is_there():
    with FakeServer() as gone:
        address = gone.address
    solver = Live(Endpoint(address), START, REST)
    solver.ask(goal(1.0))
    assert "not running" in until(lambda: solver.problem)
    solver.close()


def test_closing_in_mid_work_is_quick_and_silent(server):
    server.hold = threading.Event()
    solver = Live(Endpoint(server.address), START, REST)
    solver.ask(goal(1.0))
    until(lambda: sent(server))
    solver.close()
    assert solver.take() is None
    server.hold.set()
