"""What is known of the server, as one value with a text for the panel. Pure: it does no I/O and keeps no time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from . import http
from .contract import Capabilities, Health


class State(Enum):
    """Every state that a connection can be in; each has a title for the panel."""

    UNKNOWN = "Not Checked Yet"
    CHECKING = "Checking"
    OFF = "Server Not Running"
    STARTING = "Server Starting"
    LOADING = "Loading the Model"
    READY = "Ready"
    BUSY = "Busy"
    WRONG_SERVER = "Not a ChatPose Server"
    WRONG_VERSION = "Version Does Not Match"
    WRONG_TOKEN = "Token Not Accepted"  # noqa: S105 - a title, not a secret
    LOST = "Connection Lost"
    ERROR = "Server Error"


WAITING: Final = frozenset({State.STARTING, State.LOADING})
"""States that end by themselves, so that it is worth looking again."""

_STATE_OF_ERROR: Final[dict[str, State]] = {
    http.ServerOffError.code: State.OFF,
    http.ServerSilentError.code: State.OFF,
    http.NotChatPoseError.code: State.WRONG_SERVER,
    http.ServerTooOldError.code: State.WRONG_VERSION,
    http.ServerTooNewError.code: State.WRONG_VERSION,
    http.WrongTokenError.code: State.WRONG_TOKEN,
    http.ServerBusyError.code: State.BUSY,
    http.ServerLoadingError.code: State.LOADING,
    http.AnswerCutOffError.code: State.LOST,
}


_NOTHING_KNOWN: Final = Capabilities()


@dataclass(frozen=True)
class Connection:
    """``text`` is one sentence for the panel; ``fraction`` is 0..1 while loading; ``max_prompt`` in characters."""

    state: State = State.UNKNOWN
    text: str = "Press Check Connection to look for the server."
    fraction: float = 0.0
    version: str = ""
    capabilities: Capabilities = _NOTHING_KNOWN

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
        return replace(self, state=State.BUSY, text=f"The server works on {others} first.")

    def working(self) -> Connection:
        """The server answers and is at work for us."""
        return replace(self, state=State.READY, text=_ready_text(self.capabilities), fraction=0.0)

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
