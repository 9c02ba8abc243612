"""Our stylesheet, named by its content so that browsers may keep it for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import Response
from nicegui import app as nicegui_app

FOLDER = Path(__file__).parent / "static"
STYLE = (FOLDER / "ratchet.css").read_text()
STYLE_PATH = f"/_nicegui/ratchet-{hashlib.sha256(STYLE.encode()).hexdigest()[:12]}.css"
HEAD = f'<link rel="stylesheet" href="{STYLE_PATH}"><meta name="color-scheme" content="light dark">'


def add_style_route() -> None:
    """Serve the stylesheet with the framework's own assets."""

    @nicegui_app.get(STYLE_PATH, include_in_schema=False)
    def read_style() -> Response:
        return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=31536000, immutable"})
