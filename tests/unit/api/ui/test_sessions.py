"""Sign-ins: signed, ending by themselves, with a secret that only its owner can read."""

from __future__ import annotations

import stat
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from api.ui.sessions import COOKIE, SecretUnreadable, Session, Sessions, open_sessions
from db.keys import VISITOR_KEY_ID
from db.models import ApiKey
from settings import Settings

KEY = ApiKey(id="key-1")


class TestSessions:
    def test_reads_back_what_it_signed(self) -> None:
        sessions = Sessions("a secret", 60)
        session = sessions.begin(KEY, "Ann")
        assert sessions.read(sessions.sign(session)) == session
        assert (session.key_id, session.user, session.is_visitor, session.has_ended) == ("key-1", "Ann", False, False)

    @pytest.mark.parametrize("value", ["", "x", "x.y", "WzFd.y"])
    def test_reads_nothing_that_it_did_not_sign(self, value: str) -> None:
        assert Sessions("a secret", 60).read(value) is None

    def test_reads_nothing_that_another_secret_signed_or_that_was_changed(self) -> None:
        sessions = Sessions("a secret", 60)
        value = sessions.sign(sessions.begin(KEY, "Ann"))
        assert Sessions("another", 60).read(value) is None
        assert sessions.read("x" + value) is None

    def test_ends(self) -> None:
        sessions = Sessions("a secret", 60)
        over = replace(sessions.begin(KEY, "Ann"), until_s=1.0)
        assert over.has_ended
        assert sessions.read(sessions.sign(over)) is None

    def test_a_visitor_has_a_name_that_nobody_guesses(self) -> None:
        sessions = Sessions("a secret", 60)
        first, second = sessions.begin_visit(), sessions.begin_visit()
        assert first.is_visitor
        assert first.key_id == VISITOR_KEY_ID
        assert first.user != second.user
        assert len(first.user) >= 32

    def test_the_cookie_is_for_the_server_alone_and_goes_when_the_session_goes(self) -> None:
        sessions = Sessions("a secret", 60)
        [kept] = SimpleCookie(sessions.build_cookie(sessions.begin(KEY, "Ann"), is_secure=True)).values()
        assert (kept.key, kept["httponly"], kept["samesite"], kept["secure"]) == (COOKIE, True, "Lax", True)
        assert kept["max-age"] == "60"
        [dropped] = SimpleCookie(sessions.build_cookie(None, is_secure=False)).values()
        assert (dropped.value, dropped["max-age"], dropped["secure"]) == ("", "0", "")


class TestOpenSessions:
    def test_makes_a_secret_once_that_only_its_owner_reads(self, tmp_path: Path) -> None:
        settings = Settings(var=tmp_path / "var")
        value = open_sessions(settings).sign(Session("key-1", "Ann", 4e9))
        assert open_sessions(settings).read(value) is not None
        assert stat.S_IMODE(settings.session_secret_file.stat().st_mode) == 0o600
        assert [file.name for file in settings.var.iterdir()] == ["session-secret"]

    def test_takes_the_configured_secret(self, tmp_path: Path) -> None:
        settings = Settings(var=tmp_path, session_secret="configured")
        value = open_sessions(settings).sign(Session("key-1", "Ann", 4e9))
        assert Sessions("configured", 60).read(value) is not None
        assert list(tmp_path.iterdir()) == []

    def test_refuses_an_empty_secret(self, tmp_path: Path) -> None:
        settings = Settings(var=tmp_path)
        settings.session_secret_file.touch()
        with pytest.raises(SecretUnreadable, match="delete"):
            open_sessions(settings)
        settings.session_secret_file.unlink()
        settings.session_secret_file.mkdir()
        with pytest.raises(SecretUnreadable):
            open_sessions(settings)
