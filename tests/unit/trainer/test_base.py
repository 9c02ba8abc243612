"""A missing base model says how to get one."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.artifact import load_artifact
from trainer.base import load_base
from trainer.errors import BaseModelMissing


def test_a_missing_folder_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseModelMissing, match="RATCHET_BASE_MODEL=smollm2-135m"):
        load_base(str(tmp_path / "nothing"))


def test_the_artifact_is_whole_and_has_a_chat_template(base_folder: Path) -> None:
    artifact = load_artifact(base_folder)
    assert "chat_template.jinja" in artifact.manifest["files"]
    assert "ctranslate2/model.bin" in artifact.manifest["files"]
