"""Pages declare who may see them."""

from __future__ import annotations

import pytest
from fastapi.responses import PlainTextResponse
from starlette.routing import Route

from api.ui import access, mount
from data.vocabulary import KeyRole


class TestCheckPagesDeclareAccess:
    def test_accepts_the_pages_that_there_are(self) -> None:
        mount.build_pages()
        access.check_pages_declare_access()
        assert {"/", "/review", "/dashboard", "/dashboard/runs/{run_id}"} <= set(access.list_page_paths())

    def test_refuses_a_page_that_declares_nothing(self) -> None:
        with pytest.raises(RuntimeError, match="/hidden"):
            access.check_pages_declare_access([Route("/hidden", PlainTextResponse("x"))])

    def test_only_the_chat_is_open_to_clients(self) -> None:
        mount.build_pages()
        assert [path for path, role in access._pages.items() if role is KeyRole.CLIENT] == ["/"]
