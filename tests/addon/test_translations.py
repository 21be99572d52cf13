"""Every text of the interface in every language that is shipped."""

from __future__ import annotations

import re

import pytest
from bl_ext.dev.chatpose import translations

from tests.addon.ui_texts import LATER, all_texts

TABLES = {language: translations.read(language) for language in translations.LOCALES}
SAME = {"de": 0.05, "es": 0.05, "fr": 0.05, "ja": 0.01, "zh": 0.01}  # at most so many texts are the English ones
OWN_LETTERS = {"ja": re.compile("[\u3040-\u30ff\u4e00-\u9fff]"), "zh": re.compile("[\u4e00-\u9fff]")}


@pytest.mark.parametrize("language", TABLES)
def test_every_text_is_translated(addon, language):
    missing = sorted(all_texts() - TABLES[language].keys())
    assert not missing, f"translations/{language}.json lacks {len(missing)} texts: {missing}"


@pytest.mark.parametrize("language", TABLES)
def test_a_translation_is_one_and_keeps_the_house_style(language):
    table = TABLES[language]
    same = [english for english, text in table.items() if english == text]
    assert len(same) <= SAME[language] * len(table), same
    assert not [text for english, text in table.items() if text.endswith((".", "。")) or not text.strip()]
    assert not [text for english, text in table.items() if english.count("{") != text.count("{")]
    own = OWN_LETTERS.get(language)
    assert own is None or sum(own.search(text) is not None for text in table.values()) > 0.95 * len(table)


def test_nothing_is_translated_that_no_longer_exists(addon):
    left = set.union(*(set(table) for table in TABLES.values())) - all_texts()
    assert not left, f"these are in no label, tooltip or reason any more: {sorted(left)}"


def test_what_is_for_later_is_not_there_yet():
    assert not LATER & set.union(*(set(table) for table in TABLES.values()))


def test_all_languages_have_the_same_texts():
    assert len({frozenset(table) for table in TABLES.values()}) == 1
