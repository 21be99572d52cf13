"""What an installed server's Python does in these tests: ``python -I -m chatpose_server serve ...`` from a script.

Standard library only. It keeps the server's contract with the add-on: one line of JSON when it listens, the next free
port, /health, heartbeats, the end when nobody is left. ``behave.json`` beside the script says what goes wrong.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEHAVE: dict[str, Any] = json.loads((HERE / "behave.json").read_text(encoding="utf-8"))
CLIENTS: set[str] = set()
LAST = [time.monotonic()]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        with (HERE / "requests.txt").open("a", encoding="utf-8") as file:
            file.write(f"{self.command} {self.path}\n")
        answer: dict[str, Any] = {"service": "chatpose", "status": "ready", "api": 1, "version": "0.1.0"}
        status = 200
        if self.path != "/health" and self.headers.get("Authorization") != f"Bearer {BEHAVE['token']}":
            answer, status = {"error": {"code": "unauthorized", "message": "Wrong token."}}, 401
        elif self.path == "/v1/clients/heartbeat":
            LAST[0] = time.monotonic()
            (CLIENTS.discard if body["leaving"] else CLIENTS.add)(body["client"])
            answer = {"clients": len(CLIENTS), "alone_s": 1.0}
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _answer


def main() -> None:
    with (HERE / "started.txt").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if BEHAVE.get("die"):
        sys.exit(f"chatpose-server: {BEHAVE['die']}")
    options = dict(zip(sys.argv[5::2], sys.argv[6::2], strict=True))
    for port in range(int(options["--port"]), int(options["--port"]) + 20):
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
            break
        except OSError:
            continue
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "version": "0.1.0"}), flush=True)
    end_after = float(options["--exit-when-alone"])
    while CLIENTS or time.monotonic() - LAST[0] < end_after:
        time.sleep(0.02)


if __name__ == "__main__":
    ThreadingHTTPServer.allow_reuse_address = False
    main()
