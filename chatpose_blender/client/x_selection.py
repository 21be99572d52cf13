"""Run by a Python of its own, for it may crash or hang: writes the picture of X11's clipboard to standard output.

Blender itself pastes no pictures under X11 (GHOST_SystemX11::getCapabilities). Ends with NO_PICTURE where the clipboard
holds none, with NO_DISPLAY where there is no X11. May wait for ever for the program that owns the clipboard: whoever
starts it ends it.

Selections: Inter-Client Communication Conventions Manual 2.0, sections 2.4 and 2.7.2 (INCR).
"""

import ctypes
import sys

NO_PICTURE, NO_DISPLAY = 2, 3  # exit statuses
KINDS = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff")  # the first that is offered is taken
MAX_BYTES = 200_000_000
_SELECTION_NOTIFY, _PROPERTY_NOTIFY, _PROPERTY_CHANGE_MASK, _NEW_VALUE = 31, 28, 1 << 22, 0  # X11/X.h
_ALL = 1 << 28  # of a property's 32-bit units

_Id, _Long, _Pointer, _Int = ctypes.c_ulong, ctypes.c_long, ctypes.c_void_p, ctypes.c_int
_FUNCTIONS = {
    "XOpenDisplay": (_Pointer, (ctypes.c_char_p,)),
    "XDefaultRootWindow": (_Id, (_Pointer,)),
    "XCreateSimpleWindow": (_Id, (_Pointer, _Id, _Int, _Int, *[ctypes.c_uint] * 3, _Id, _Id)),
    "XSelectInput": (_Int, (_Pointer, _Id, _Long)),
    "XInternAtom": (_Id, (_Pointer, ctypes.c_char_p, _Int)),
    "XConvertSelection": (_Int, (_Pointer, _Id, _Id, _Id, _Id, _Id)),
    "XNextEvent": (_Int, (_Pointer, _Pointer)),
    "XGetWindowProperty": (_Int, (_Pointer, _Id, _Id, _Long, _Long, _Int, _Id, *[_Pointer] * 5)),
    "XFree": (_Int, (_Pointer,)),
}


class _SelectionEvent(ctypes.Structure):
    _fields_ = (
        ("type", _Int), ("serial", _Id), ("send_event", _Int), ("display", _Pointer), ("requestor", _Id),
        ("selection", _Id), ("target", _Id), ("property", _Id), ("time", _Id),
    )  # fmt: skip


class _PropertyEvent(ctypes.Structure):
    _fields_ = (
        ("type", _Int), ("serial", _Id), ("send_event", _Int), ("display", _Pointer), ("window", _Id),
        ("atom", _Id), ("time", _Id), ("state", _Int),
    )  # fmt: skip


class _Event(ctypes.Union):
    _fields_ = (("type", _Int), ("selection", _SelectionEvent), ("property", _PropertyEvent), ("pad", _Long * 24))


class Clipboard:
    """X11's clipboard as it is now. Raises OSError where there is no X11."""

    def __init__(self) -> None:
        self._x = ctypes.CDLL("libX11.so.6")
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._x, name)
            function.restype, function.argtypes = result, arguments
        self._display = self._x.XOpenDisplay(None)
        if not self._display:
            raise OSError("there is no X11 display")
        root = self._x.XDefaultRootWindow(self._display)
        self._window = self._x.XCreateSimpleWindow(self._display, root, 0, 0, 1, 1, 0, 0, 0)
        self._x.XSelectInput(self._display, self._window, _PROPERTY_CHANGE_MASK)
        self._place = self._atom("CHATPOSE")

    def targets(self) -> list[int]:
        """In what kinds its owner gives it, as atoms; [] without an owner."""
        data = self._ask(self._atom("TARGETS"))
        size = ctypes.sizeof(_Id)  # what the server sends as 32 bits comes as a long
        return [int.from_bytes(data[i : i + size], sys.byteorder) for i in range(0, len(data), size)]

    def picture(self) -> bytes:
        """A picture's file; b"" where there is none."""
        offered = self.targets()
        kind = next((atom for atom in map(self._atom, KINDS) if atom in offered), 0)
        return self._ask(kind) if kind else b""

    def _atom(self, name: str) -> int:
        return self._x.XInternAtom(self._display, name.encode("ascii"), 0)

    def _ask(self, target: int) -> bytes:
        """The clipboard in one of its kinds; b"" when its owner refuses."""
        self._x.XConvertSelection(self._display, self._atom("CLIPBOARD"), target, self._place, self._window, 0)
        while True:
            event = self._next()
            if event.type == _SELECTION_NOTIFY and event.selection.target == target:
                break
        if not event.selection.property:
            return b""
        kind, data = self._take()
        return self._in_pieces() if kind == self._atom("INCR") else data

    def _in_pieces(self) -> bytes:
        """What is too large for one property: each piece that is taken is followed by the next, the last is empty."""
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < MAX_BYTES:
            event = self._next()
            if event.type != _PROPERTY_NOTIFY or event.property.state != _NEW_VALUE:
                continue
            kind, data = self._take()
            if not kind:  # the news of a value that was taken already
                continue
            if not data:
                return b"".join(pieces)
            pieces.append(data)
        return b""

    def _next(self) -> _Event:
        event = _Event()
        self._x.XNextEvent(self._display, ctypes.byref(event))
        return event

    def _take(self) -> tuple[int, bytes]:
        """The property's type and bytes; it is gone afterwards. Type 0: there was none."""
        kind, form, count, after, data = _Id(), _Int(), _Id(), _Id(), _Pointer()
        out = [ctypes.byref(each) for each in (kind, form, count, after, data)]
        self._x.XGetWindowProperty(self._display, self._window, self._place, 0, _ALL, 1, 0, *out)
        size = ctypes.sizeof(_Long) if form.value == 32 else form.value // 8
        taken = ctypes.string_at(data.value, count.value * size) if data.value else b""
        if data.value:
            self._x.XFree(data)
        return kind.value, taken


def main() -> int:
    """The script; -> its exit status."""
    try:
        data = Clipboard().picture()
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201 - read by whoever started it
        return NO_DISPLAY
    sys.stdout.buffer.write(data)
    return 0 if data else NO_PICTURE


if __name__ == "__main__":
    sys.exit(main())
