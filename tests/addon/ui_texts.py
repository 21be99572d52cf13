"""Every English text of the interface, collected from the registered classes and from the code that draws."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import bpy
from bl_ext.dev.chatpose import keymaps, registration, titles
from bl_ext.dev.chatpose.client.connection import State

PACKAGE = Path(registration.__file__).parent
DRAWN = ("text", "placeholder", "heading")  # keywords whose literals Blender shows
SAID = ("draw_text", "poll_message_set", "pgettext", "pgettext_iface", "pgettext_tip", "pgettext_rpt")
BASES = (
    bpy.types.Operator, bpy.types.Panel, bpy.types.PropertyGroup, bpy.types.AddonPreferences, bpy.types.UIList,
    bpy.types.FileHandler,
)  # fmt: skip
NAMES = {"ChatPose", "Pose-NDF", "Python", "SMPL-X", "VPoser"}  # the same in every language
LATER: set[str] = set()  # newer than the tables: these show in English until somebody translates them


def all_texts() -> set[str]:
    """Every text that can be translated: it has a letter, and is no identifier."""
    texts = {*_of_classes(), *(state.value for state in State), *(key.label for key in keymaps.KEYS), *titles.TITLES}
    for folder in ("operators", "panels"):
        for path in (PACKAGE / folder).glob("*.py"):
            texts |= set(_of_code(path))
    for name in ("preferences.py", "keymaps.py"):
        texts |= set(_of_code(PACKAGE / name))
    return {text for text in texts - NAMES - LATER if any(letter.isalpha() for letter in text)}


def _of_classes() -> Iterator[str]:
    for cls in registration.CLASSES:
        base = next(base for base in BASES if issubclass(cls, base))
        inherited = {prop.identifier for prop in base.bl_rna.properties}
        if issubclass(cls, bpy.types.Operator | bpy.types.Panel):
            yield cls.bl_label
            yield getattr(cls, "bl_description", "")
        rna = cls.bl_rna
        if issubclass(cls, bpy.types.Operator):  # an operator's own properties are in its other type
            rna = getattr(bpy.ops.chatpose, cls.bl_idname.partition(".")[2]).get_rna_type()
        for prop in rna.properties:
            if prop.identifier in inherited:
                continue
            yield prop.name
            yield prop.description
            if prop.type == "ENUM":
                for item in prop.enum_items:
                    yield item.name
                    yield item.description


def _of_code(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named_texts = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ("refusal" in node.name or node.name == "busy"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from _literals(inner.value, named_texts)
        if isinstance(node, ast.Call):
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            plain = named.get("translate")
            if isinstance(plain, ast.Constant) and plain.value is False:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"label", "operator", "prop", "progress", "menu", "popover"}:
                for keyword in DRAWN:
                    if keyword in named:
                        yield from _literals(named[keyword])
            if name in SAID:
                for argument in node.args[2:3] if name == "draw_text" else node.args:
                    yield from _literals(argument)


def _literals(node: ast.expr, named_texts: Mapping[str, ast.expr] = {}) -> Iterator[str]:
    """The texts that an expression can be: a literal or its name, either side of a choice. Formatted ones are for
    pgettext.
    """
    node = named_texts.get(node.id, node) if isinstance(node, ast.Name) else node
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body, named_texts)
        yield from _literals(node.orelse, named_texts)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _literals(value, named_texts)
