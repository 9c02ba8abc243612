"""Settings that are made of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import Settings


@pytest.mark.parametrize(
    ("url", "folder", "remote"),
    [
        ("", "var/artifacts", ""),
        ("/srv/artifacts", "/srv/artifacts", ""),
        ("s3://bucket/artifacts", "var/artifact-cache", "s3://bucket/artifacts"),
    ],
)
def test_artifacts_live_in_a_folder_or_at_a_url(url: str, folder: str, remote: str) -> None:
    settings = Settings(artifacts_url=url, var=Path("var"), _env_file=None)  # type: ignore[call-arg]
    assert (settings.artifacts, settings.remote_artifacts) == (Path(folder), remote)
