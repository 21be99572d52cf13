"""The connection as a state machine: every state, every way into it, what the panel says."""

from __future__ import annotations

import re

import pytest

from chatpose_blender.client import http
from chatpose_blender.client.connection import ANSWERS, WAITING, Connection, State, from_health
from chatpose_blender.client.contract import Capabilities, Health
from chatpose_blender.client.local_server import Phase, Status

READY = Connection(State.READY, "Ready with fake.", 1.0, "0.1.0", Capabilities(model="fake"))


def health(status: str, **more: object) -> Connection:
    return from_health(Health(status, 1, "0.1.0", **more), Capabilities(model="fake"))


def error(kind: type[http.ClientError], *more: object, mid_job: bool = False) -> Connection:
    return READY.after_error(kind("Something is wrong.", *more), in_mid_job=mid_job)


def local(phase: Phase, before: Connection | None = None, **more: object) -> Connection:
    return (before or Connection()).with_local(Status(phase, **more))


INSTALLING = {"stage": "Fetching PyTorch", "fraction": 0.42}

WAYS = [
    # how it came about, the state, the sentence, the fraction, the queue's position
    ("nothing was done", Connection(), State.UNKNOWN, "Press Check Connection to look for the server.", 0, 0),
    ("a look began", READY.checking(), State.CHECKING, "Looking for the server.", 0, 0),
    ("/health: ready", health("ready"), State.READY, "Ready with fake.", 1, 0),
    ("/health: loading", health("loading", stage="Reading weights", fraction=0.4), State.LOADING,
     "Reading weights (40%).", 0.4, 0),
    ("/health: starting", health("starting", fraction=0.1), State.STARTING, "The server is starting.", 0.1, 0),
    ("/health: error", health("error"), State.ERROR,
     "The server reports an error. Look at the server's own window.", 0, 0),
    ("queued behind one", READY.queued(1), State.BUSY, "The server works on another job first.", 1, 1),
    ("queued behind three", READY.queued(3), State.BUSY, "The server works on 3 other jobs first.", 1, 3),
    ("its turn came", READY.queued(3).queued(0), State.READY, "Ready with fake.", 0, 0),
    ("nobody listens", error(http.ServerOffError), State.OFF, "Something is wrong.", 0, 0),
    ("nobody answers", error(http.ServerSilentError), State.OFF, "Something is wrong.", 0, 0),
    ("another program", error(http.NotChatPoseError), State.WRONG_SERVER, "Something is wrong.", 0, 0),
    ("an old server", error(http.ServerTooOldError), State.TOO_OLD, "Something is wrong.", 0, 0),
    ("a new server", error(http.ServerTooNewError), State.TOO_NEW, "Something is wrong.", 0, 0),
    ("another token", error(http.WrongTokenError), State.WRONG_TOKEN, "Something is wrong.", 0, 0),
    ("a full queue", error(http.ServerBusyError, 5.0), State.BUSY, "Something is wrong.", 0, 0),
    ("a loading server", error(http.ServerLoadingError), State.LOADING, "Something is wrong.", 0, 0),
    ("cut off", error(http.AnswerCutOffError), State.LOST, "Something is wrong.", 0, 0),
    ("gone in mid-job", error(http.ServerOffError, mid_job=True), State.LOST, "Something is wrong.", 0, 0),
    ("the job's own fault", error(http.ServerFaultError, "bad_pose"), State.READY, "Ready with fake.", 1, 0),
    ("anything else", error(http.AnswerTooLargeError), State.ERROR, "Something is wrong.", 0, 0),
    ("local: not installed", local(Phase.NOT_INSTALLED), State.NOT_INSTALLED,
     "The pose server is not installed on this computer yet.", 0, 0),
    ("local: installing", local(Phase.INSTALLING, READY, **INSTALLING), State.INSTALLING,
     "Fetching PyTorch (42%).", 0.42, 0),
    ("local: install failed", local(Phase.NOT_INSTALLED, problem="The disk is full."), State.NOT_INSTALLED,
     "The disk is full.", 0, 0),
    ("local: stopped", local(Phase.STOPPED), State.STOPPED, "Press Start Server.", 0, 0),
    ("local: starting", local(Phase.STARTING, stage="Starting the server"), State.STARTING,
     "Starting the server.", 0, 0),
    ("local: stopping", local(Phase.STOPPING, READY, stage="Stopping the server"), State.STOPPED,
     "Stopping the server.", 0, 0),
    ("local: removing", local(Phase.REMOVING, READY, stage="Removing the server"), State.STOPPED,
     "Removing the server.", 0, 0),
    ("local: lost", local(Phase.LOST, READY, problem="It ended."), State.LOST, "It ended.", 0, 0),
    ("local: runs", local(Phase.RUNNING, READY), State.READY, "Ready with fake.", 1, 0),
    ("local: not looked at", local(Phase.UNKNOWN, READY), State.READY, "Ready with fake.", 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("how", "connection", "state", "text", "fraction", "position"), WAYS, ids=[w[0] for w in WAYS])
def test_ways(how, connection, state, text, fraction, position):
    assert (connection.state, connection.text) == (state, text)
    assert (connection.fraction, connection.position) == (fraction, position)


def test_every_state_is_reached_and_has_a_title():
    assert {way[2] for way in WAYS} == set(State)
    assert {connection.title for _, connection, *_ in WAYS} == {state.value for state in State}
    assert all(re.fullmatch(r"[A-Z][\w ]+", state.value) for state in State)


def test_states_that_end_by_themselves_show_a_bar():
    waiting = {state for _, connection, state, *_ in WAYS if connection.is_waiting}
    assert waiting == WAITING == {State.INSTALLING, State.STARTING, State.LOADING}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("phase", [Phase.NOT_INSTALLED, Phase.STOPPED])
def test_a_server_that_was_started_by_hand_counts(state, phase):
    """Nothing of ours runs, but something answers: it is used."""
    after = local(phase, Connection(state, "As before."))
    if state in ANSWERS:
        assert after == Connection(state, "As before.")
    else:
        assert after.state.name == phase.name


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("phase", [Phase.INSTALLING, Phase.STARTING, Phase.STOPPING, Phase.LOST])
def test_what_we_do_with_it_comes_before_what_it_said(state, phase):
    after = local(phase, Connection(state, "As before."), stage="At it")
    assert after.text != "As before." and after.state in {State.INSTALLING, State.STARTING, State.STOPPED, State.LOST}
