"""The pose server of this computer: Install, Start, Stop, Restart, Unload, Update, Remove; Self-Test, Diagnostics."""

import bpy

from .. import __package__ as base_package
from .. import local, preferences, session
from ..client.contract import PoseRequest, Result
from ..client.local_server import Phase
from .polls import Explains, busy

_TEST_PROMPT = "raise the left arm"
_HARDLY_TURNED = 0.995  # a quaternion's w; 11 degrees


class Local(Explains):
    """Needs the add-on's own server, and that nothing is being done with it. ``when``: the phases that it is for."""

    bl_options = {"REGISTER"}
    when = frozenset(Phase)
    otherwise = ""

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        status = local.status()
        if status.at_work:
            return f"Wait for the server: {status.stage.lower()}"
        return "" if status.phase in cls.when else cls.otherwise

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.order(context)
        local.wake()
        return {"FINISHED"}

    def order(self, context: bpy.types.Context) -> None:
        """What the button asks for; it only begins it."""
        raise NotImplementedError


class CHATPOSE_OT_server_install(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_install"
    bl_label = "Install Server"
    bl_description = "Download and install the pose server as described above, then start it"
    when = frozenset({Phase.UNKNOWN, Phase.NOT_INSTALLED, Phase.STOPPED, Phase.LOST, Phase.RUNNING})

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if not local.server().status.can_install:
            return "This build of the add-on came without the server: install the add-on's full zip"
        return super().refusal(context) or local.refusal(preferences.get(context))

    def order(self, context: bpy.types.Context) -> None:
        local.server().install(preferences.install_settings(context), bpy.app.online_access)


class CHATPOSE_OT_server_cancel(Explains, bpy.types.Operator):
    bl_idname = "chatpose.server_cancel"
    bl_label = "Cancel Install"
    bl_description = "Stop for now. What was downloaded is kept, and the next install goes on from there"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if local.status().at_work else "Nothing is under way"

    def execute(self, context: bpy.types.Context) -> set[str]:
        local.server().cancel()
        return {"FINISHED"}


class CHATPOSE_OT_server_start(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_start"
    bl_label = "Start Server"
    bl_description = "Start the pose server of this computer, or join the one that another Blender has started"
    when = frozenset({Phase.UNKNOWN, Phase.STOPPED, Phase.LOST})
    otherwise = "The server is running, or not installed"

    def order(self, context: bpy.types.Context) -> None:
        local.server().start(bpy.app.online_access)


class CHATPOSE_OT_server_stop(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_stop"
    bl_label = "Stop Server"
    bl_description = "End the pose server, for every Blender window that uses it"
    when = frozenset({Phase.RUNNING})
    otherwise = "The server is not running"

    def order(self, context: bpy.types.Context) -> None:
        local.server().stop()


class CHATPOSE_OT_server_restart(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_restart"
    bl_label = "Restart Server"
    bl_description = "End the pose server and start it again"
    when = frozenset({Phase.RUNNING})
    otherwise = "The server is not running"

    def order(self, context: bpy.types.Context) -> None:
        local.server().restart(bpy.app.online_access)


class CHATPOSE_OT_server_unload(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_unload"
    bl_label = "Unload Model"
    bl_description = "Give the model's memory back, for instance before rendering. The next pose loads it again"
    when = frozenset({Phase.RUNNING})
    otherwise = "The server is not running"

    def order(self, context: bpy.types.Context) -> None:
        local.server().unload()


class CHATPOSE_OT_server_remove(Local, bpy.types.Operator):
    bl_idname = "chatpose.server_remove"
    bl_label = "Remove Server"
    bl_description = "End the pose server and delete what was installed for it. The language model's files stay"
    when = frozenset({Phase.UNKNOWN, Phase.NOT_INSTALLED, Phase.STOPPED, Phase.LOST, Phase.RUNNING})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def order(self, context: bpy.types.Context) -> None:
        local.server().remove()


class CHATPOSE_OT_self_test(Explains, bpy.types.Operator):
    bl_idname = "chatpose.self_test"
    bl_label = "Run Self-Test"
    bl_description = "Ask the server for one pose and look at it, without touching the scene"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return preferences.refusal(context) or busy()

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.begin(preferences.endpoint(context), "Testing", PoseRequest(_TEST_PROMPT), None, _judge)
        return {"FINISHED"}


def _judge(work: session.Work, result: Result) -> None:
    """A test that was passed says so in the panel; one that was not is a problem like any other."""
    shoulder = result.poses[0].joints.get("left_shoulder") if result.poses else None
    if shoulder is None:
        session.fail("Self-test: the server answered without a usable pose; restart it, or install it again.")
    elif abs(shoulder[0]) > _HARDLY_TURNED:
        session.fail("Self-test: the server answered, but did not raise the arm; its model may be damaged.")
    else:
        session.current.answer = f"Self-test passed: a pose from {result.model} in {work.seconds:.1f} s."


class CHATPOSE_OT_copy_diagnostics(Explains, bpy.types.Operator):
    bl_idname = "chatpose.copy_diagnostics"
    bl_label = "Copy Diagnostics"
    bl_description = "Copy versions, system, graphics card and the server's last log lines. No prompts, names or token"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "Wait for the server" if local.status().at_work else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        connection, problem = session.current.connection, session.current.problem
        local.server().diagnose(
            [
                f"ChatPose {base_package} in Blender {bpy.app.version_string}"
                f" ({'online' if bpy.app.online_access else 'offline'})",
                f"Connection: {connection.title}, server {connection.version or 'unknown'},"
                f" model {connection.capabilities.model or 'unknown'}",
                f"Last problem: {problem.sentence} {problem.details}" if problem else "Last problem: none",
            ]
        )
        local.wake()
        self.report({"INFO"}, "Diagnostics copied")
        return {"FINISHED"}


CLASSES = (
    CHATPOSE_OT_server_install,
    CHATPOSE_OT_server_cancel,
    CHATPOSE_OT_server_start,
    CHATPOSE_OT_server_stop,
    CHATPOSE_OT_server_restart,
    CHATPOSE_OT_server_unload,
    CHATPOSE_OT_server_remove,
    CHATPOSE_OT_self_test,
    CHATPOSE_OT_copy_diagnostics,
)
