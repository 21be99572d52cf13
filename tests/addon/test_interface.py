"""House style of labels and tooltips, and registration, checked over all of our classes."""

from __future__ import annotations

import bpy
import pytest
from bl_ext.dev.chatpose import icons, registration, session

CLASSES = registration.CLASSES
OPERATORS = [cls for cls in CLASSES if issubclass(cls, bpy.types.Operator)]
SMALL_WORDS = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "not", "of", "on", "or", "the", "to", "with"}
BASES = (
    bpy.types.Operator, bpy.types.Panel, bpy.types.PropertyGroup, bpy.types.AddonPreferences, bpy.types.UIList,
)  # fmt: skip


def _properties(cls):
    inherited = {prop.identifier for base in BASES for prop in base.bl_rna.properties}
    return [prop for prop in cls.bl_rna.properties if prop.identifier not in inherited]


def _is_title_case(label: str) -> bool:
    words = [word for word in label.replace("(", "").replace(")", "").split() if word[0].isalpha()]
    return all(word[0].isupper() or (i > 0 and word in SMALL_WORDS) for i, word in enumerate(words))


def _texts():
    for cls in CLASSES:
        rna = cls.bl_rna
        if issubclass(cls, bpy.types.Operator | bpy.types.Panel):
            yield cls.__name__, cls.bl_label, getattr(cls, "bl_description", None) or rna.description
        for prop in _properties(cls):
            yield f"{cls.__name__}.{prop.identifier}", prop.name, prop.description
            if prop.type == "ENUM":
                for item in prop.enum_items:
                    yield f"{cls.__name__}.{prop.identifier}.{item.identifier}", item.name, item.description


TEXTS = list(_texts())


def test_texts_were_found():
    assert len(TEXTS) > 40


@pytest.mark.parametrize(("where", "label", "tip"), TEXTS, ids=[text[0] for text in TEXTS])
def test_labels_are_title_case_and_tips_have_no_full_stop(where, label, tip):
    assert label and _is_title_case(label), label
    if "_PT_" in where.split(".")[0]:
        return
    assert tip, "every operator, property and choice explains itself"
    assert tip[0].isupper() or not tip[0].isalpha()
    assert not tip.endswith(".") and tip != label


@pytest.mark.parametrize("cls", OPERATORS)
def test_operators_have_our_prefix_and_explain_why_they_are_grey(cls, monkeypatch):
    assert cls.bl_idname.startswith("chatpose.")
    assert cls.bl_options & {"REGISTER", "UNDO", "INTERNAL"}, "Blender would not know of it"
    if not hasattr(cls, "poll"):
        return
    messages = []
    monkeypatch.setattr(cls, "poll_message_set", messages.append, raising=False)
    if not cls.poll(bpy.context):
        assert messages and messages[0][0].isupper() and not messages[0].endswith(".")


def test_changes_of_the_scene_can_be_undone():
    for cls in OPERATORS:
        changes = cls.bl_idname in {"chatpose.apply_pose", "chatpose.add_body", "chatpose.key_pose"}
        assert not changes or "UNDO" in cls.bl_options


def test_panels_are_in_our_tab():
    places = {(p.bl_space_type, p.bl_region_type, p.bl_category) for p in CLASSES if issubclass(p, bpy.types.Panel)}
    assert places == {("VIEW_3D", "UI", "ChatPose")}


def test_icons_are_there():
    assert all(tuple(icons._previews[name].image_size) == (64, 64) for name in icons.NAMES)
    assert icons.value("none") == 0


def test_disabling_leaves_nothing_and_enabling_works_again(addon):
    addon.unregister()
    try:
        assert not hasattr(bpy.types.Scene, "chatpose")
        assert not any(hasattr(bpy.types, cls.__name__) for cls in CLASSES)
        assert not bpy.app.timers.is_registered(session.pump)
        assert session._on_load not in bpy.app.handlers.load_pre
    finally:
        addon.register()
    assert hasattr(bpy.types.Scene, "chatpose") and hasattr(bpy.types, "CHATPOSE_OT_pose")
