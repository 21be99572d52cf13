"""Structured logs: one JSON object a line on standard error. Prompts and tokens are never in it, unless asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """``{"time", "level", "name", "event", ...}`` with everything that was passed in ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "name": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start(level: int = logging.INFO) -> None:
    """Sends our log and the libraries' warnings to standard error."""
    logging.raiseExceptions = False  # a log that cannot be written is no reason to write about it
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("chatpose").setLevel(level)


def pass_on(line: bytes, last_words: deque[str]) -> None:
    """A line from a child's standard error: one of ours as it is, anything else (a native library's warning, the
    traceback of a crash) wrapped into one of ours. ``last_words`` keeps the others.
    """
    text = line.decode("utf-8", "replace").rstrip()
    if text.startswith('{"time"'):
        with suppress(OSError):  # the log is on a full disk: the child must still be read, or it would block
            sys.stderr.write(text + "\n")
    elif text:
        last_words.append(text[:300])
        logging.getLogger("chatpose.worker").warning("said", extra={"text": text[:2000]})
