"""LLaMA's slow tokeniser as the published ChatPose was trained and run with (transformers 4.31), on sentencepiece.

Later tokenisers treat blanks around added tokens and the mark of a word's start differently, which changes the ids of
ordinary prompts, so the old rules are written out here: the text is cut at added and special tokens; plain added tokens
eat the white space on both sides; without ``legacy``, only the very first piece of text gets the word-start mark.

Knows no model, no prompt and no pose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MODEL_FILE: Final = "tokenizer.model"
TOKENIZER_FILES: Final = (
    MODEL_FILE, "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json",
)  # fmt: skip
_WORD_START: Final = "\u2581"
_GUARD: Final = "\ue000"  # a private character that keeps spelled-out special tokens from being tokens
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerError(ValueError):
    """A vocabulary that cannot be used. The text says what is missing."""


@dataclass(frozen=True)
class _Marked:
    """A token found as such in the text. ``left`` and ``right``: white space on that side belongs to it."""

    id: int
    left: bool
    right: bool


class LlamaTokens:
    """``encode`` and ``decode``. Made from the tokenizer files of a checkpoint's folder; raises TokenizerError."""

    def __init__(self, folder: Path) -> None:
        import sentencepiece

        path = folder / MODEL_FILE
        if not path.is_file():
            raise TokenizerError(f"The vocabulary {MODEL_FILE} is missing in '{folder.name}'; download it again.")
        self._pieces: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.Load(str(path))
        except (RuntimeError, OSError) as error:
            raise TokenizerError(f"'{MODEL_FILE}' is damaged or not a LLaMA vocabulary; download it again.") from error
        config = _read(folder / "tokenizer_config.json")
        self.legacy = bool(config.get("legacy", True))
        self.adds_bos = bool(config.get("add_bos_token", True))
        specials = {**_specials(config, in_class=True), **_specials(_read(folder / "special_tokens_map.json"))}
        self._marked = {**self._added(folder, config, specials)}
        for content, (left, right) in specials.items():
            if content not in self._marked and self._pieces.piece_to_id(content) != self._pieces.unk_id():
                self._marked[content] = _Marked(int(self._pieces.piece_to_id(content)), left, right)
        unknown = self._pieces.id_to_piece(self._pieces.unk_id())
        self._marked.setdefault(unknown, _Marked(int(self._pieces.unk_id()), left=False, right=False))
        self.bos_id, self.eos_id = int(self._pieces.bos_id()), int(self._pieces.eos_id())
        self.size: int = max([int(self._pieces.get_piece_size()), *(m.id + 1 for m in self._marked.values())])
        longest_first = sorted(self._marked, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._names = {m.id: content for content, m in self._marked.items()}

    def token_id(self, token: str) -> int | None:
        """The id of an added or special token, or None where the vocabulary has no such token."""
        marked = self._marked.get(token)
        return None if marked is None else marked.id

    def guard(self, text: str) -> str:
        """The same text, in which nothing is taken for a special token: for words that a user typed."""
        return self._cut.sub(lambda m: m.group()[0] + _GUARD + m.group()[1:], text)

    def encode(self, text: str) -> list[int]:
        """Token ids, with the opening token first where the vocabulary asks for it."""
        if not self.legacy:
            text = _WORD_START + text.replace(_WORD_START, " ")
        parts = [part for part in self._cut.split(text) if part]
        for i, part in enumerate(parts):
            marked = self._marked.get(part)
            if marked is not None and marked.right and i + 1 < len(parts):
                parts[i + 1] = parts[i + 1].lstrip()
            if marked is not None and marked.left and i > 0:
                parts[i - 1] = parts[i - 1].rstrip()
        ids = [self.bos_id] if self.adds_bos else []
        for part in parts:
            marked = self._marked.get(part)
            ids += [marked.id] if marked is not None else self._words(part.replace(_GUARD, ""))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text as it was written: added tokens by their names, special ones too, nothing cleaned up."""
        text, run = "", []
        for token in [*ids, None]:
            name = None if token is None else self._names.get(token)
            if token is not None and name is None:
                run.append(self._pieces.id_to_piece(token) if token < self._pieces.get_piece_size() else "")
                continue
            text += _join(run) + (name or "")
            run = []
        return text[1:] if text.startswith(" ") else text

    # -- inside --------------------------------------------------------------------------------------------------
    def _words(self, text: str) -> list[int]:
        first = text.startswith(_WORD_START)
        if not self.legacy and first:
            text = text[1:]
        if not text:
            return []
        pieces: list[str] = self._pieces.encode(text, out_type=str)
        if not self.legacy and not first and not text.startswith(" ") and pieces[0].startswith(_WORD_START):
            pieces = ([pieces[0][1:]] if len(pieces[0]) > 1 else []) + pieces[1:]
        return [int(self._pieces.piece_to_id(piece)) for piece in pieces]

    def _added(
        self, folder: Path, config: dict[str, Any], specials: dict[str, tuple[bool, bool]]
    ) -> dict[str, _Marked]:
        """Tokens that were added after training: by added_tokens.json, or by newer files' added_tokens_decoder."""
        ids: dict[str, int] = {name: int(i) for name, i in _read(folder / "added_tokens.json").items()}
        if not ids:
            decoder: dict[str, Any] = config.get("added_tokens_decoder", {})
            first_new = self._pieces.get_piece_size()
            ids = {entry["content"]: int(i) for i, entry in decoder.items() if int(i) >= first_new}
        return {name: _Marked(i, *specials.get(name, (True, True))) for name, i in ids.items()}


def _specials(config: dict[str, Any], *, in_class: bool = False) -> dict[str, tuple[bool, bool]]:
    """Special tokens and which sides they strip: those written as plain words strip both, as the old program did.

    ``in_class``: the tokenizer's own settings, where plain words for the three basic tokens strip nothing.
    """
    found: dict[str, tuple[bool, bool]] = {}
    for key in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.get(key)
        if isinstance(value, dict):
            found[str(value["content"])] = (bool(value.get("lstrip")), bool(value.get("rstrip")))
        elif isinstance(value, str):
            plain = in_class and key in ("bos_token", "eos_token", "unk_token")
            found[value] = (not plain, not plain)
    for value in config.get("additional_special_tokens") or []:
        if isinstance(value, dict):
            found[str(value["content"])] = (bool(value.get("lstrip")), bool(value.get("rstrip")))
        else:
            found[str(value)] = (True, True)
    return found


def _join(pieces: Sequence[str]) -> str:
    """Pieces to text; runs of byte pieces are UTF-8."""
    data = b"".join(
        bytes([int(byte.group(1), 16)]) if (byte := _BYTE.fullmatch(piece)) else piece.encode() for piece in pieces
    )
    return data.decode("utf-8", errors="replace").replace(_WORD_START, " ")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"'{path.name}' is damaged; download it again.") from error
    return data if isinstance(data, dict) else {}
