"""What the user sets once: where the server is and how to prove who asks."""

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from . import __package__ as base_package
from . import local
from .client.http import DEFAULT_ADDRESS, BadAddressError, Endpoint
from .rig.body import STANDIN_FILE


def _on_address(self: bpy.types.AddonPreferences, context: bpy.types.Context) -> None:
    """Who gives an address means the server there."""
    self.server = "ADDRESS"


class Settings:
    """The preferences' values; ``panels.preferences`` draws them."""

    server: EnumProperty(
        name="Server",
        description="Where poses are made",
        items=(
            ("LOCAL", "This Computer", "A server that ChatPose installs, starts and ends by itself"),
            ("ADDRESS", "At an Address", "A server that somebody else runs, here or on another computer"),
        ),
    )
    start_server: BoolProperty(
        name="Start with Blender",
        description="Start the installed server together with Blender, so that the first pose need not wait",
        default=True,
    )
    compute: EnumProperty(
        name="Compute With",
        description="Which build of PyTorch is installed. Takes effect at the next install",
        items=(
            ("AUTO", "What Is Found", "The NVIDIA card if there is one whose driver is new enough, else the processor"),
            ("CPU", "Processor", "The small download. Enough for the default model"),
            ("CUDA", "NVIDIA Card", "The large download, whatever is found"),
        ),
    )
    server_python: StringProperty(
        name="Python",
        description="A Python 3.11, 3.12 or 3.13 to install the server with. Leave it empty to have one found",
        subtype="FILE_PATH",
    )
    wheels_folder: StringProperty(
        name="Folder of Wheels",
        description="Install from the files in this folder instead of from the network",
        subtype="DIR_PATH",
    )
    address: StringProperty(
        name="Server Address",
        description="Where the ChatPose server listens. Addresses on this computer work without online access",
        default=DEFAULT_ADDRESS,
        update=_on_address,
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

    remember_poses: BoolProperty(
        name="Remember Poses",
        description="Keep every pose with its prompt in the library, on this computer, for use in other files",
        default=True,
    )


def get(context: bpy.types.Context) -> Settings | None:
    """None while the add-on is registered without being enabled in the preferences."""
    addon = context.preferences.addons.get(base_package)
    return None if addon is None else addon.preferences


def endpoint(context: bpy.types.Context) -> Endpoint:
    """The server's address and token as the preferences have them; touches no file."""
    settings = get(context)
    if settings is None:
        return Endpoint()
    if settings.server == "LOCAL":
        return Endpoint(local.address())
    token_file = bpy.path.abspath(settings.token_file) if settings.token_file else ""
    return Endpoint(settings.address, settings.token, token_file)


def is_local(context: bpy.types.Context) -> bool:
    """Whether poses are made by a server of this computer that ChatPose looks after."""
    settings = get(context)
    return settings is not None and settings.server == "LOCAL"


def install_settings(context: bpy.types.Context) -> local.Settings:
    """What the artist chose for an install."""
    settings = get(context)
    return local.Settings() if settings is None else local.settings_of(settings)


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
