"""Prints the OpenAPI document: `python -m api.openapi > openapi.json`."""

from __future__ import annotations

import json

from api.app import create_app
from settings import Settings


def render_openapi() -> str:
    """The document as it is committed."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render_openapi(), end="")
