"""Work that takes longer than a redraw may wait, a few milliseconds of it a tick. Knows nothing of what the work is."""

import time
from collections.abc import Iterator

import bpy

from .. import session

_TICK_SECONDS = 0.01
_BUDGET_SECONDS = 0.004  # of a tick: with its last step, six at most, it stays under 10 ms


class OverTicks:
    """An operator whose work is a generator. Scripts get it at once; a button gets it tick by tick, Blender goes on
    drawing meanwhile, and Esc takes back what was begun.
    """

    errors: tuple[type[Exception], ...] = ()
    """What the work raises for the artist to read; what was begun is taken back then too."""
    cancelled = "Cancelled; nothing was changed."

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        """The work, in steps of a few milliseconds. Closed half way it leaves nothing behind, but for what
        ``taking_back`` sees to.
        """
        raise NotImplementedError

    def taking_back(self) -> Iterator[None]:
        """What is left to do after work that was closed half way."""
        return iter(())

    def status(self) -> str:
        """What the status bar says meanwhile."""
        raise NotImplementedError

    def refuse(self, sentence: str) -> set[str]:
        """What could not be begun, for the artist."""
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.by_ticks = False
        try:
            for _ in self.work(context):
                pass
        except self.errors as error:
            return self.refuse(str(error))
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if context.window is None or bpy.app.background:  # where no timer fires
            return self.execute(context)
        self.by_ticks = True
        self.sentence = ""
        self.running = self.work(context)
        try:
            next(self.running)  # what cannot be done is said at once
        except StopIteration:
            return {"FINISHED"}
        except self.errors as error:
            return self.refuse(str(error))
        self.timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(self.status())
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC" and event.value == "PRESS" and not self.sentence:
            self._turn_back(self.cancelled)
        if event.type != "TIMER":
            return {"RUNNING_MODAL"}
        return self.tick(context)

    def tick(self, context: bpy.types.Context) -> set[str]:
        """A few milliseconds of the work."""
        end = time.perf_counter() + _BUDGET_SECONDS
        try:
            while time.perf_counter() < end:
                next(self.running)
        except StopIteration:
            self._stop(context)
            return {"CANCELLED"} if self.sentence else {"FINISHED"}
        except self.errors as error:
            self._turn_back(str(error))
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator itself, for example when the window closes."""
        self.running.close()
        for _ in self.taking_back():
            pass
        self._stop(context)

    def _turn_back(self, sentence: str) -> None:
        self.sentence = sentence
        self.running.close()
        self.running = self.taking_back()

    def _stop(self, context: bpy.types.Context) -> None:
        context.window_manager.event_timer_remove(self.timer)
        context.workspace.status_text_set(None)
        if self.sentence:
            session.fail(self.sentence)
