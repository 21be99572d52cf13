"""What panels share: text in lines as wide as the sidebar, columns of pictures; and keys that are off."""

from __future__ import annotations

from types import SimpleNamespace

import blf
import bpy
import pytest
from bl_ext.dev.chatpose import keymaps
from bl_ext.dev.chatpose.panels import sidebar

SENTENCE = "Another answer is on its way, illimitable as it is: wait for it or cancel it."
TEXTS = [
    SENTENCE,
    "iiiiiiii " * 40,
    "WWWWWWWW " * 40,
    "x" * 300,
    "first\n\nsecond line\n",
    "候補を選んでください。" * 12,
]


def _context(width: float, scale: float = 1.0) -> SimpleNamespace:
    preferences = SimpleNamespace(system=SimpleNamespace(ui_scale=scale), ui_styles=bpy.context.preferences.ui_styles)
    return SimpleNamespace(preferences=preferences, region=SimpleNamespace(width=width))


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("room", [90.0, 240.0, 600.0])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_line_is_wider_than_the_panel(addon, text, room, scale):
    lines = sidebar.lines_of(_context(room, scale), text, room * scale)
    assert lines and len(lines) <= 12
    assert max(blf.dimensions(0, line)[0] for line in lines) <= room * scale + 1
    if not lines[-1].endswith("…"):
        assert "".join(lines).replace(" ", "") == "".join(text.split())


def test_narrow_letters_fill_the_line_as_wide_ones_do(addon):
    counts = [len(sidebar.lines_of(_context(300), f"{letter * 6} " * 30, 300)) for letter in "iW"]
    assert counts[0] < counts[1], "counting letters instead of measuring them gives the same"


def test_columns_follow_the_width(addon):
    counts = [sidebar.columns(_context(width), 68) for width in (10, 250, 400, 800)]
    assert counts == sorted(counts) and counts[0] == 2 and counts[-1] > 8
    assert sidebar.columns(_context(800, 2.0), 68) == sidebar.columns(_context(400, 1.0), 68)


def test_every_key_is_for_an_operator_of_ours_and_its_settings():
    pressed = [(key.letter, key.operator) for key in keymaps.KEYS]
    assert len({letter for letter, _ in pressed}) == len(pressed), "no letter twice"
    for key in keymaps.KEYS:
        operator = getattr(bpy.ops.chatpose, key.operator.partition(".")[2]).get_rna_type()
        assert set(key.settings) <= set(operator.properties.keys())


def test_keys_are_off_until_they_are_switched_on(addon, monkeypatch):
    items = []

    def new(operator, letter, value, **modifiers):
        items.append(SimpleNamespace(idname=operator, active=True, properties=SimpleNamespace(), **modifiers))
        return items[-1]

    keymap = SimpleNamespace(keymap_items=SimpleNamespace(new=new, remove=items.remove))
    config = SimpleNamespace(keymaps=SimpleNamespace(new=lambda **_: keymap))
    window = SimpleNamespace(window_manager=SimpleNamespace(keyconfigs=SimpleNamespace(addon=config)))
    monkeypatch.setattr(keymaps, "bpy", SimpleNamespace(context=window))
    monkeypatch.setattr(keymaps, "_made", [])
    keymaps.load()
    assert len(items) == len(keymaps.KEYS) and not any(item.active for item in items)
    keymaps.unload()
    assert items == []
