"""The queue alone: no HTTP, no poses. Time is a number the tests set, wherever a limit is tested."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress

import pytest
from chatpose_server.faults import ChatPoseError
from chatpose_server.jobs import JobQueue, Limits
from chatpose_server.progress import Cancelled


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@contextmanager
def queue(clock=None, **limits):
    made = JobQueue(Limits(**limits), clock or time.monotonic)
    yield made
    assert made.close(1.0)


class Gate:
    """Work that says when it runs, and goes on when it is let."""

    def __init__(self, result=None):
        self.running, self.go = threading.Event(), threading.Event()
        self.result = result or {"ok": True}

    def __call__(self, control):
        self.running.set()
        while not self.go.wait(0.005):
            control.progress("Working", 0.5)
        return self.result


def code(raised):
    return raised.value.fault.code


def test_a_job_runs_and_its_answer_is_kept():
    with queue() as q:
        view = q.submit(lambda control: {"answer": 42}, task="t")
        over = q.wait(view.id, 5)
    assert (over.state, over.result, over.fraction, over.position) == ("done", b'{"answer": 42}', 1.0, None)


def test_a_lane_is_serial_and_in_order_and_lanes_run_side_by_side():
    order, gate = [], Gate()
    with queue() as q:
        q.submit(gate, task="t", lane="model")
        assert gate.running.wait(60)
        ids = [q.submit(lambda c, i=i: order.append(i) or {}, task="t", lane="model").id for i in range(5)]
        assert q.wait(q.submit(lambda c: {}, task="t", lane="light").id, 5).state == "done"
        assert [q.get(i).position for i in ids] == [1, 2, 3, 4, 5]
        gate.go.set()
        assert q.wait(ids[-1], 5).state == "done"
    assert order == [0, 1, 2, 3, 4]


def test_progress_never_goes_back_and_text_grows():
    seen, resume = [], threading.Event()

    def work(control):
        control.progress("One", 0.5)
        control.progress("Two", 0.3)
        control.progress("Three", 7.0)
        control.on_text("half")
        resume.wait(5)
        return {}

    with queue() as q:
        view = q.submit(work, task="t")
        unwatch = q.watch(view.id, lambda: seen.append(q.get(view.id)))
        while q.get(view.id).text != "half":
            time.sleep(0.001)
        resume.set()
        q.wait(view.id, 5)
        unwatch()
    fractions = [v.fraction for v in seen]
    assert fractions == sorted(fractions) and max(fractions) == 1.0
    assert [v.version for v in seen] == sorted({v.version for v in seen})


def test_cancel_waiting_running_and_over():
    gate = Gate()
    with queue() as q:
        running, waiting = q.submit(gate, task="t"), q.submit(Gate(), task="t")
        assert gate.running.wait(60)
        assert q.cancel(waiting.id).state == "cancelled"
        assert q.cancel(running.id).stage == "Stopping"
        over = q.wait(running.id, 5)
        assert (over.state, over.result) == ("cancelled", None)
        assert q.cancel(running.id) == over
        done = q.wait(q.submit(lambda c: {}, task="t").id, 5)
        assert q.cancel(done.id) == done


def test_work_that_ends_before_it_sees_the_cancel_is_cancelled_all_the_same():
    running, go = threading.Event(), threading.Event()

    def deaf(control):
        running.set()
        go.wait(5)
        return {"late": True}

    with queue() as q:
        view = q.submit(deaf, task="t")
        assert running.wait(60)
        q.cancel(view.id)
        go.set()
        over = q.wait(view.id, 5)
    assert (over.state, over.result) == ("cancelled", None)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), SystemExit(1), MemoryError(), KeyboardInterrupt(), RecursionError()]
)
def test_whatever_a_job_does_only_it_fails(error):
    def bad(control):
        raise error

    with queue() as q:
        over = q.wait(q.submit(bad, task="t").id, 5)
        assert over.state == "failed"
        assert over.fault.code == ("out_of_memory" if isinstance(error, MemoryError) else "internal")
        assert q.wait(q.submit(lambda c: {"next": 1}, task="t").id, 5).state == "done"


def test_an_answer_that_is_not_json_fails_its_job():
    with queue() as q:
        assert q.wait(q.submit(lambda c: {"x": float("nan")}, task="t").id, 5).fault.code == "internal"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_is_replaced_and_what_waited_is_done():
    class Once:  # the worker itself breaks, not the work
        def __call__(self, job):
            del q._execute
            raise TypeError

    with queue() as q:
        q._execute = Once()
        broken, behind = q.submit(lambda c: {}, task="t"), q.submit(lambda c: {}, task="t")
        broken = q.wait(broken.id, 5)
        assert (broken.state, broken.fault.code) == ("failed", "internal")
        assert q.wait(behind.id, 5).state == "done"


class TestLimits:
    def test_waiting_is_bounded(self):
        gate = Gate()
        with queue(waiting=3, per_client=99) as q:
            q.submit(gate, task="t")
            assert gate.running.wait(60)
            ids = [q.submit(lambda c: {}, task="t").id for _ in range(3)]
            with pytest.raises(ChatPoseError) as raised:
                q.submit(lambda c: {}, task="t")
            assert code(raised) == "queue_full" and raised.value.fault.retry_after >= 1
            gate.go.set()
            assert [q.wait(i, 5).state for i in ids] == ["done"] * 3

    def test_one_client_cannot_take_it_all(self):
        gate = Gate()
        with queue(per_client=2) as q:
            q.submit(gate, task="t", client="a")
            q.submit(lambda c: {}, task="t", client="a")
            with pytest.raises(ChatPoseError) as raised:
                q.submit(lambda c: {}, task="t", client="a")
            assert code(raised) == "client_queue_full"
            other = q.submit(lambda c: {}, task="t", client="b")
            gate.go.set()
            assert q.wait(other.id, 5).state == "done"

    def test_waiting_bytes_are_bounded(self):
        gate = Gate()
        with queue(waiting_bytes=100) as q:
            q.submit(gate, task="t")
            assert gate.running.wait(60)
            q.submit(lambda c: {}, task="t", weight=90)
            with pytest.raises(ChatPoseError) as raised:
                q.submit(lambda c: {}, task="t", weight=20)
            assert code(raised) == "queue_full"
            gate.go.set()

    def test_time_limit_stops_at_the_next_step(self):
        clock, gate = Clock(), Gate()
        with queue(clock, run_s=10) as q:
            view = q.submit(gate, task="t")
            assert gate.running.wait(60)
            clock.now += 11
            over = q.wait(view.id, 5)
        assert (over.state, over.fault.code) == ("failed", "timeout")

    def test_stuck_work_is_answered_in_time_and_its_late_result_dropped(self):
        clock, go, running = Clock(), threading.Event(), threading.Event()

        def stuck(control):
            running.set()
            go.wait(5)
            return {"late": True}

        with queue(clock, run_s=10) as q:
            view, behind = q.submit(stuck, task="t"), q.submit(lambda c: {}, task="t")
            assert running.wait(60)
            clock.now += 16
            assert q.get(view.id).fault.code == "timeout"
            assert q.get(behind.id).state == "queued"  # the model is still busy: nobody else may call it
            go.set()
            assert q.wait(behind.id, 5).state == "done"
            assert q.get(view.id).result is None

    def test_the_wall_clock_is_not_looked_at(self, monkeypatch):
        gate = Gate()
        with queue(run_s=10) as q:
            view = q.submit(gate, task="t")
            assert gate.running.wait(60)
            monkeypatch.setattr(time, "time", lambda: 4e9)  # the machine's clock is set far ahead
            gate.go.set()
            assert q.wait(view.id, 5).state == "done"
            assert q.get(view.id).state == "done"

    def test_finished_jobs_are_forgotten_by_number_age_and_size(self):
        clock = Clock()
        with queue(clock, kept=3, kept_s=60, kept_bytes=10_000) as q:
            ids = [q.submit(lambda c: {}, task="t").id for _ in range(5)]
            for i in ids:
                with suppress(ChatPoseError):
                    q.wait(i, 5)
            q.wait(ids[-1], 5)
            with pytest.raises(ChatPoseError) as raised:
                q.get(ids[0])
            assert code(raised) == "job_not_found"
            assert q.stats().kept == 3
            big = q.wait(q.submit(lambda c: {"x": "y" * 20_000}, task="t").id, 5)
            assert q.get(big.id).result and q.stats().kept == 1  # the newest stays, however large
            clock.now += 61
            assert q.stats().kept == 0 and q.stats().kept_bytes == 0
            assert not q._jobs and not q._keys


class TestIdempotency:
    def test_same_key_same_request_same_job_once(self):
        ran = []
        with queue() as q:
            views = [q.submit(lambda c: ran.append(1) or {}, task="t", key="k", fingerprint="f") for _ in range(5)]
            assert len({v.id for v in views}) == 1
            q.wait(views[0].id, 5)
            assert q.submit(lambda c: ran.append(1) or {}, task="t", key="k", fingerprint="f").state == "done"
        assert ran == [1]

    def test_another_request_under_the_same_key_is_refused(self):
        with queue() as q:
            q.submit(lambda c: {}, task="t", key="k", fingerprint="f")
            with pytest.raises(ChatPoseError) as raised:
                q.submit(lambda c: {}, task="t", key="k", fingerprint="g")
        assert code(raised) == "idempotency_conflict"

    def test_keys_of_two_clients_do_not_meet(self):
        with queue() as q:
            a = q.submit(lambda c: {}, task="t", key="k", fingerprint="f", client="a")
            b = q.submit(lambda c: {}, task="t", key="k", fingerprint="f", client="b")
        assert a.id != b.id

    def test_the_key_goes_with_its_job(self):
        clock = Clock()
        with queue(clock, kept_s=10) as q:
            first = q.wait(q.submit(lambda c: {}, task="t", key="k", fingerprint="f").id, 5)
            clock.now += 11
            assert q.submit(lambda c: {}, task="t", key="k", fingerprint="f").id != first.id


class TestClosing:
    def test_running_work_may_finish_and_waiting_work_is_cancelled(self):
        gate = Gate()
        q = JobQueue()
        running, waiting = q.submit(gate, task="t"), q.submit(Gate(), task="t")
        assert gate.running.wait(60)
        threading.Timer(0.1, gate.go.set).start()
        assert q.close(5)
        assert q.get(running.id).state == "done"
        assert (q.get(waiting.id).state, q.get(waiting.id).fault.code) == ("cancelled", "shutting_down")
        with pytest.raises(ChatPoseError) as raised:
            q.submit(lambda c: {}, task="t")
        assert code(raised) == "shutting_down"

    def test_work_that_goes_on_too_long_is_cancelled(self):
        gate = Gate()
        q = JobQueue()
        view = q.submit(gate, task="t")
        assert gate.running.wait(60)
        assert q.close(0.1)
        assert (q.get(view.id).state, q.get(view.id).fault.code) == ("cancelled", "shutting_down")


def test_thousands_from_many_threads_none_lost_none_doubled():
    ran, lock, views = [], threading.Lock(), {}

    def work(number):
        def run(control):
            with lock:
                ran.append(number)
            if number % 7 == 0:
                raise Cancelled
            return {"n": number}

        return run

    with queue(waiting=10_000, per_client=10_000, kept=10_000) as q:

        def send(start):
            for n in range(start, 2000, 8):
                views[n] = q.submit(work(n), task="t", lane=f"lane{n % 3}").id

        threads = [threading.Thread(target=send, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        over = {n: q.wait(i, 20) for n, i in views.items()}
    assert sorted(ran) == list(range(2000))
    assert all(v.result == b'{"n": %d}' % n for n, v in over.items() if n % 7)
    assert sum(v.state == "done" for v in over.values()) == 2000 - len(range(0, 2000, 7))
    assert q.stats().submitted == 2000
