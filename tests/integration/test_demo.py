"""The demo's stack keeps to its folder, whatever the environment points at."""

from pathlib import Path

import httpx
import pytest

from demo import open_clients, open_stack
from tests.processes import find_free_port
from tests.tiny import build_tiny_gpt2

pytestmark = pytest.mark.slow


def test_does_not_touch_the_database_and_the_broker_of_a_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_DATABASE_URL", f"sqlite:///{tmp_path / 'deployed.db'}")
    monkeypatch.setenv("RATCHET_BROKER_URL", f"redis://127.0.0.1:{find_free_port()}/0")
    monkeypatch.setenv("RATCHET_ARTIFACTS_URL", str(tmp_path / "deployed-artifacts"))
    folder = tmp_path / "demo"
    folder.mkdir()
    with (
        open_stack(str(build_tiny_gpt2(tmp_path / "tiny")), folder) as address,
        open_clients(f"sqlite:///{folder / 'ratchet.db'}", address) as (client, admin, _),
    ):
        completion = client.chat("My week was long.", tokens=4)
        assert completion is not None, "the chat failed"
        client.rate(completion, "up", "simulated-1")
        assert (client.requests, client.failures) == (2, 0)
        assert admin.get("/v1/admin/runs").status_code == httpx.codes.OK
    assert (folder / "artifacts").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "tiny"]
