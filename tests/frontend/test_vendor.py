# SPDX-License-Identifier: Apache-2.0
"""Files of others are the ones that were looked at, with their licences; pages ask nobody else for anything."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FRONTEND = Path(__file__).resolve().parents[2] / "frontend"
VENDOR = FRONTEND / "static" / "vendor"


def test_every_vendored_file_has_the_recorded_checksum() -> None:
    recorded = dict(
        reversed(line.split(maxsplit=1)) for line in (VENDOR / "SHA256SUMS").read_text().splitlines()
    )
    found = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == recorded


def test_every_vendored_folder_has_its_licence() -> None:
    for folder in (path for path in VENDOR.iterdir() if path.is_dir()):
        text = (folder / "LICENSE.txt").read_text()
        assert "Copyright" in text and len(text) > 800


def test_no_file_of_ours_names_another_server() -> None:
    address = re.compile(r"""(?:src|href|url\(|@import|fetch\()\s*[=(]?\s*["']?(?:https?:)?//""")
    ours = [*FRONTEND.rglob("*.html"), *(FRONTEND / "static" / "frontend").iterdir()]
    assert len(ours) > 20
    assert not [path.name for path in ours if address.search(path.read_text())]


def test_no_template_has_inline_script_or_handlers() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|javascript:|\sstyle=", re.IGNORECASE)
    assert not [path.name for path in FRONTEND.rglob("*.html") if inline.search(path.read_text())]
