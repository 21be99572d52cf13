"""What is known of the server, as one value with a text for the panel. Pure: it does no I/O and keeps no time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from . import http
from .contract import Capabilities, Health
from .local_server import Phase, Status


class State(Enum):
    """Every state that a connection can be in; each has a title for the panel."""

    UNKNOWN = "Not Checked Yet"
    CHECKING = "Checking"
    NOT_INSTALLED = "Server Not Installed"
    INSTALLING = "Installing the Server"
    OFF = "Server Not Running"  # at an address: who starts it is not us
    STOPPED = "Server Stopped"  # ours: Start Server starts it
    STARTING = "Server Starting"
    LOADING = "Loading the Model"
    READY = "Ready"
    BUSY = "Busy"
    WRONG_SERVER = "Not a ChatPose Server"
    TOO_OLD = "Server Too Old"
    TOO_NEW = "Server Too New"
    WRONG_TOKEN = "Token Not Accepted"  # noqa: S105 - a title, not a secret
    LOST = "Connection Lost"
    ERROR = "Server Error"


WAITING: Final = frozenset({State.INSTALLING, State.STARTING, State.LOADING})
"""States that end by themselves, so that it is worth looking again."""

ANSWERS: Final = frozenset({State.CHECKING, State.LOADING, State.READY, State.BUSY, State.WRONG_TOKEN, State.TOO_OLD,
                            State.TOO_NEW})  # fmt: skip
"""States in which a ChatPose server is there, or may be."""

_STATE_OF_ERROR: Final[dict[str, State]] = {
    http.ServerOffError.code: State.OFF,
    http.ServerSilentError.code: State.OFF,
    http.NotChatPoseError.code: State.WRONG_SERVER,
    http.ServerTooOldError.code: State.TOO_OLD,
    http.ServerTooNewError.code: State.TOO_NEW,
    http.WrongTokenError.code: State.WRONG_TOKEN,
    http.ServerBusyError.code: State.BUSY,
    http.ServerLoadingError.code: State.LOADING,
    http.AnswerCutOffError.code: State.LOST,
}


_NOTHING_KNOWN: Final = Capabilities()


@dataclass(frozen=True)
class Connection:
    """``text`` is one sentence for the panel; ``fraction`` is 0..1 while installing, starting and loading;
    ``position`` is how many jobs come before ours while the server is busy, 0 where that is not known.
    """

    state: State = State.UNKNOWN
    text: str = "Press Check Connection to look for the server."
    fraction: float = 0.0
    version: str = ""
    capabilities: Capabilities = _NOTHING_KNOWN
    position: int = 0

    @property
    def title(self) -> str:
        """Two or three words in Title Case."""
        return self.state.value

    @property
    def is_waiting(self) -> bool:
        """Whether the state will change without anybody doing anything."""
        return self.state in WAITING

    def checking(self) -> Connection:
        """A check has begun."""
        return replace(self, state=State.CHECKING, text="Looking for the server.", fraction=0.0)

    def queued(self, position: int) -> Connection:
        """Our job waits behind ``position`` others; 0 when it runs."""
        if position <= 0:
            return self.working()
        others = "another job" if position == 1 else f"{position} other jobs"
        return replace(self, state=State.BUSY, text=f"The server works on {others} first.", position=position)

    def working(self) -> Connection:
        """The server answers and is at work for us."""
        return replace(self, state=State.READY, text=_ready_text(self.capabilities), fraction=0.0, position=0)

    def after_error(self, error: http.ClientError, *, in_mid_job: bool = False) -> Connection:
        """A request failed. One that failed in the middle of a job means that a server was there and is gone."""
        state = _STATE_OF_ERROR.get(error.code)
        if isinstance(error, http.ServerFaultError):  # the job is at fault, the connection is not
            return self
        if state is None:
            return replace(self, state=State.ERROR, text=str(error), fraction=0.0)
        if in_mid_job and state is State.OFF:
            state = State.LOST
        return replace(self, state=state, text=str(error), fraction=0.0)

    def with_local(self, local: Status) -> Connection:
        """What is known when the server is this computer's own: what we do with it comes before what it says."""
        state = _STATE_OF_PHASE.get(local.phase)
        if state is None:  # it runs, or nobody has looked: what the server itself says stands
            return self
        if local.phase in _AT_REST and self.state in ANSWERS:  # somebody started one by hand
            return self
        text = local.problem or _TEXT_OF_STATE[state]
        if local.at_work:
            text = f"{local.stage} ({local.fraction:.0%})." if local.fraction > 0 else f"{local.stage}."
        return Connection(state, text, local.fraction)


_AT_REST: Final = frozenset({Phase.NOT_INSTALLED, Phase.STOPPED})
_STATE_OF_PHASE: Final = {
    Phase.NOT_INSTALLED: State.NOT_INSTALLED,
    Phase.INSTALLING: State.INSTALLING,
    Phase.STOPPED: State.STOPPED,
    Phase.STARTING: State.STARTING,
    Phase.STOPPING: State.STOPPED,
    Phase.REMOVING: State.STOPPED,
    Phase.LOST: State.LOST,
}
_TEXT_OF_STATE: Final = {
    State.NOT_INSTALLED: "The pose server is not installed on this computer yet.",
    State.INSTALLING: "Installing the server.",
    State.STOPPED: "Press Start Server.",
    State.STARTING: "The server is starting.",
    State.LOST: "The server ended unexpectedly; press Start Server.",
}


def from_health(health: Health, capabilities: Capabilities | None = None) -> Connection:
    """A server answered: is it ready, loading, starting or broken?"""
    if health.status == "ready":
        caps = capabilities or _NOTHING_KNOWN
        return Connection(State.READY, _ready_text(caps), 1.0, health.version, caps)
    if health.status == "loading":
        stage = health.stage or "Loading the model"
        return Connection(State.LOADING, f"{stage} ({health.fraction:.0%}).", health.fraction, health.version)
    if health.status == "starting":
        return Connection(State.STARTING, "The server is starting.", health.fraction, health.version)
    text = http.failure_sentence(health.message or "The server reports an error", "Look at the server's own window")
    return Connection(State.ERROR, text, 0.0, health.version)


def _ready_text(capabilities: Capabilities) -> str:
    return f"Ready with {capabilities.model}." if capabilities.model else "Ready to pose."
