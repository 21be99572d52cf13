"""Every fault of the table is done to a real server, and nothing is lost."""

from __future__ import annotations

import pytest

from .faults import FAULTS


@pytest.mark.parametrize("title", FAULTS)
def test_fault(title, tmp_path):
    seen = FAULTS[title](tmp_path)
    assert seen.saw and "\n" not in seen.saw and str(tmp_path) not in seen.saw and seen.lost == "nothing"
