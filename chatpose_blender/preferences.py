"""What the user sets once: where the server is and how to prove who asks."""

import bpy
from bpy.props import BoolProperty, StringProperty

from . import __package__ as base_package
from .client.http import DEFAULT_ADDRESS, BadAddressError, Endpoint
from .rig.body import STANDIN_FILE


class ChatPosePreferences(bpy.types.AddonPreferences):
    bl_idname = base_package

    address: StringProperty(
        name="Server Address",
        description="Where the ChatPose server listens. Addresses on this computer work without online access",
        default=DEFAULT_ADDRESS,
    )
    token: StringProperty(
        name="Token",
        description="What the server asks for. Leave it empty to read the file that a server on this computer writes",
        subtype="PASSWORD",
    )
    token_file: StringProperty(
        name="Token File",
        description="File that holds the token. Leave it empty for the place where the server puts it",
        subtype="FILE_PATH",
    )
    body_file: StringProperty(
        name="Body File",
        description="Your own licensed SMPL-X body (npz) for Add SMPL-X Body. Leave it empty for the free one",
        subtype="FILE_PATH",
    )
    check_at_start: BoolProperty(
        name="Check Connection at Start",
        description="Look for the server once when Blender starts",
        default=True,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """The preferences' box."""
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "address")
        column.prop(self, "token")
        column.prop(self, "token_file")
        column.prop(self, "check_at_start")
        column.prop(self, "body_file")
        column.operator("chatpose.check_connection")


def get(context: bpy.types.Context) -> ChatPosePreferences | None:
    """None while the add-on is registered without being enabled in the preferences."""
    addon = context.preferences.addons.get(base_package)
    return None if addon is None else addon.preferences


def endpoint(context: bpy.types.Context) -> Endpoint:
    """The server's address and token as the preferences have them; touches no file."""
    settings = get(context)
    if settings is None:
        return Endpoint()
    token_file = bpy.path.abspath(settings.token_file) if settings.token_file else ""
    return Endpoint(settings.address, settings.token, token_file)


def body_file(context: bpy.types.Context) -> str:
    """The body that Add SMPL-X Body makes: the artist's own file, or the free one that came with the add-on."""
    settings = get(context)
    own = settings.body_file if settings is not None else ""
    return bpy.path.abspath(own) if own else str(STANDIN_FILE)


def refusal(context: bpy.types.Context) -> str:
    """Why the server may not be asked at all, for a button's tooltip; "" when it may.

    This computer is never blocked. Other hosts need Blender's online access, as the extension platform asks.
    """
    try:
        is_loopback = endpoint(context).is_loopback
    except BadAddressError as error:
        return str(error).removesuffix(".")
    if is_loopback or bpy.app.online_access:
        return ""
    return "The server is on another computer: allow online access in Preferences, System, Network"


CLASSES = (ChatPosePreferences,)
