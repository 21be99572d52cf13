"""GET /metrics: counts in Prometheus' text format. Knows the queue's and the host's numbers, no request's content."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..jobs import QueueStats
from ..model_host import ModelStatus
from ..worker.answers import Vitals


class RequestCounts:
    """Answers by HTTP status, counted outside the guard so that refusals are seen too."""

    def __init__(self) -> None:
        self.by_status: Counter[int] = Counter()

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """The counting ASGI middleware."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def count(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.by_status[message["status"]] += 1
                await send(message)

            await app(scope, receive, count if scope["type"] == "http" else send)

        return counted


def render(stats: QueueStats, counts: RequestCounts, model: ModelStatus, worker: Vitals, clients: int) -> str:
    """The text. Labels come from fixed sets, so nothing needs escaping."""
    lines: list[str] = []

    def metric(name: str, kind: str, help_text: str, samples: dict[str, float]) -> None:
        lines.append(f"# HELP chatpose_{name} {help_text}")
        lines.append(f"# TYPE chatpose_{name} {kind}")
        lines.extend(f"chatpose_{name}{labels} {value:.15g}" for labels, value in samples.items())

    metric("jobs_waiting", "gauge", "Jobs in the queue.", {"": stats.waiting})
    metric("jobs_running", "gauge", "Jobs being worked on.", {"": stats.running})
    metric("jobs_kept", "gauge", "Finished jobs that can still be asked for.", {"": stats.kept})
    metric("jobs_kept_bytes", "gauge", "Size of the kept answers.", {"": stats.kept_bytes})
    metric("jobs_submitted_total", "counter", "Jobs taken on.", {"": stats.submitted})
    metric("jobs_refused_total", "counter", "Jobs refused because the queue was full.", {"": stats.refused})
    finished = {f'{{task="{task}",state="{state}"}}': float(n) for (task, state), n in sorted(stats.finished.items())}
    metric("jobs_finished_total", "counter", "Jobs by task and final state.", finished)
    seconds = {f'{{task="{task}"}}': round(s, 3) for task, s in sorted(stats.seconds.items())}
    metric("jobs_seconds_total", "counter", "Time spent on jobs.", seconds)
    statuses = {f'{{status="{status}"}}': float(n) for status, n in sorted(counts.by_status.items())}
    metric("http_answers_total", "counter", "HTTP answers by status.", statuses)
    metric("model_ready", "gauge", "1 while a model is loaded.", {"": float(model.state == "ready")})
    metric("clients", "gauge", "Blenders that said they are alive.", {"": clients})
    metric("worker_crashes_total", "counter", "Times that the model's process died.", {"": worker.crashes})
    for name, pid, what in (("process", "self", "this process"), ("worker", worker.pid, "the model's process")):
        resident = None if pid is None else _resident_bytes(pid)
        if resident is not None:
            metric(f"{name}_resident_bytes", "gauge", f"Memory of {what}.", {"": resident})
    return "\n".join(lines) + "\n"


def _resident_bytes(pid: int | str) -> int | None:
    if not sys.platform.startswith("linux"):
        return None  # the other systems have no file for it, and it is not worth a dependency
    import resource

    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None  # it has just ended
    return pages * resource.getpagesize()
