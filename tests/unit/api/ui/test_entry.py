"""The pages on the app, without a browser: who is let in, what the headers say, and that the API stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.ui.sessions import COOKIE
from db.keys import VISITOR_KEY_ID, revoke_key
from tests.tiny import SAMPLE_EXAMPLES, SAMPLES
from tests.unit.api.live import Artifacts, Headers, Live, build_settings, start_app

FILE = {"file": ("a.csv", b"Context,Response\na,b\n")}


@pytest.fixture(scope="module")
def paged(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, artifacts: Artifacts, broker_url: str
) -> Iterator[Live]:
    """A started app with its pages, open to visitors; NiceGUI has one app in a process, so it is started once."""
    settings = build_settings(tmp_path_factory.mktemp("var"), sqlite_template, artifacts, broker_url)
    with start_app(settings.model_copy(update={"pages": True, "visitor_chat": True}), artifacts) as live:
        yield live


@pytest.fixture
def browser(paged: Live) -> Iterator[Live]:
    """The app, and nobody signed in."""
    paged.http.cookies.clear()
    yield paged
    paged.http.cookies.clear()


def get(live: Live, path: str) -> httpx.Response:
    response: httpx.Response = live.http.get(path, follow_redirects=False)
    return response


def sign_in(live: Live, caller: Headers, name: str = "", target: str = "") -> httpx.Response:
    form = {"key": caller["Authorization"].removeprefix("Bearer "), "name": name, "next": target}
    response: httpx.Response = live.http.post("/sign-in", data=form, follow_redirects=False)
    return response


class TestSignIn:
    def test_leads_each_role_to_its_own_page(self, browser: Live) -> None:
        callers = browser.callers
        for caller, target in ((callers.client, "/"), (callers.reviewer, "/review"), (callers.admin, "/dashboard")):
            response = sign_in(browser, caller)
            assert (response.status_code, response.headers["location"]) == (303, target)
            assert get(browser, target).status_code == 200

    def test_leads_back_to_the_page_that_was_wanted_and_never_elsewhere(self, browser: Live) -> None:
        assert (
            sign_in(browser, browser.callers.admin, target="/dashboard/runs").headers["location"] == "/dashboard/runs"
        )
        for elsewhere in ("//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"):
            assert sign_in(browser, browser.callers.admin, target=elsewhere).headers["location"] == "/dashboard"

    @pytest.mark.parametrize("key", ["", "rk-wrong", "revoked"])
    def test_refuses_a_wrong_key(self, browser: Live, key: str) -> None:
        caller = browser.callers.revoked if key == "revoked" else {"Authorization": f"Bearer {key}"}
        response = sign_in(browser, caller)
        assert response.status_code == 401
        assert "unknown or was revoked" in response.text
        assert "set-cookie" not in response.headers

    @pytest.mark.parametrize("name", ["reviewer:key-1", "x" * 129, "a\x00b"])
    def test_refuses_a_name_that_nobody_may_have(self, browser: Live, name: str) -> None:
        response = sign_in(browser, browser.callers.client, name)
        assert response.status_code == 422
        assert "Choose another name" in response.text

    def test_refuses_what_another_sites_page_sends(self, browser: Live) -> None:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert browser.http.post("/sign-in", data={"key": "x"}, headers=headers).status_code == 403
        same = browser.http.post("/sign-in", data={"key": "x"}, headers={"Origin": "http://testserver"})
        assert same.status_code == 401  # and no 403: only the key is wrong

    def test_signing_out_ends_it(self, browser: Live) -> None:
        sign_in(browser, browser.callers.admin)
        assert get(browser, "/dashboard").status_code == 200
        browser.http.post("/sign-out", follow_redirects=False)
        assert get(browser, "/dashboard").headers["location"] == "/sign-in?next=/dashboard"

    def test_the_form_runs_no_script_and_escapes_what_it_is_given(self, browser: Live) -> None:
        response = browser.http.get("/sign-in", params={"next": '"><script>x</script>'})
        assert "<script" not in response.text
        assert "script-src" not in response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


class TestAccess:
    @pytest.mark.parametrize("path", ["/dashboard", "/dashboard/runs", "/dashboard/runs/run-1", "/dashboard/versions",
                                      "/dashboard/data", "/review"])  # fmt: skip
    def test_a_page_is_for_its_role(self, browser: Live, path: str) -> None:
        assert get(browser, path).headers["location"].startswith("/sign-in?next=")
        sign_in(browser, browser.callers.client)
        assert get(browser, path).headers["location"].endswith("&why=role")
        sign_in(browser, browser.callers.admin)
        assert get(browser, path).status_code == 200

    def test_a_visitor_may_chat_and_nothing_else(self, browser: Live) -> None:
        response = get(browser, "/")
        assert response.status_code == 200
        assert response.headers["set-cookie"].startswith(COOKIE)
        assert "set-cookie" not in get(browser, "/").headers  # the same visitor
        assert get(browser, "/dashboard").headers["location"].endswith("&why=role")

    def test_a_forged_cookie_is_nobodys(self, browser: Live) -> None:
        browser.http.cookies.set(COOKIE, "forged.signature")
        assert get(browser, "/dashboard").headers["location"] == "/sign-in?next=/dashboard"

    def test_revoking_the_visitors_key_locks_visitors_out(self, browser: Live) -> None:
        with browser.services.database.transaction() as session:
            revoke_key(session, VISITOR_KEY_ID)
        browser.services.keys._known.clear()
        assert get(browser, "/").headers["location"] == "/sign-in?next=/"


class TestImport:
    def test_takes_an_admins_session_and_no_key_or_other_session(self, browser: Live) -> None:
        for headers in ({}, browser.callers.admin):
            assert browser.http.post("/dashboard/import", files=FILE, headers=headers).status_code == 401
        sign_in(browser, browser.callers.client)
        assert browser.http.post("/dashboard/import", files=FILE).status_code == 403
        sign_in(browser, browser.callers.admin)
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert browser.http.post("/dashboard/import", files=FILE, headers=foreign).status_code == 403
        assert browser.http.post("/dashboard/import", files=FILE).json()["imported"] == 1

    def test_takes_a_file_above_the_limit_of_other_bodies(self, browser: Live) -> None:
        sign_in(browser, browser.callers.admin)
        content = (SAMPLES / "support.csv").read_bytes()
        rows = content.split(b"\n", 1)[1]
        large = content + rows * 8
        assert len(large) > 1_000_000
        answer = browser.http.post("/dashboard/import", files={"file": ("b.csv", large)})
        assert answer.json()["imported"] == SAMPLE_EXAMPLES


class TestHeaders:
    def test_a_pages_scripts_run_by_its_nonce_only(self, browser: Live) -> None:
        first, second = get(browser, "/"), get(browser, "/sign-in")
        sign_in(browser, browser.callers.admin)
        first, second = get(browser, "/dashboard"), get(browser, "/dashboard")
        nonces = [re.findall(r"'nonce-([^']+)'", item.headers["Content-Security-Policy"]) for item in (first, second)]
        assert nonces[0] != nonces[1]
        policy = first.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
        assert set(re.findall(r"<script([^>]*)>", first.text)) and all(
            f'nonce="{nonces[0][0]}"' in attributes for attributes in re.findall(r"<script([^>]*)>", first.text)
        )
        assert "https://" not in re.sub(r"https://findahelpline\.com|https://www\.w3\.org", "", first.text)  # no CDN

    def test_pages_are_logged_counted_and_protected_as_calls_are(self, browser: Live) -> None:
        sign_in(browser, browser.callers.admin)
        response = get(browser, "/dashboard/runs/run-1")
        assert response.headers["X-Request-Id"].startswith("req-")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert 'route="/dashboard/runs/{run_id}",status="200"' in browser.http.get("/metrics").text

    def test_our_style_may_be_kept_for_ever(self, browser: Live) -> None:
        sign_in(browser, browser.callers.admin)
        [path] = re.findall(r'href="(/_nicegui/ratchet-[^"]+)"', get(browser, "/dashboard").text)
        response = get(browser, path)
        assert "--accent" in response.text
        assert "immutable" in response.headers["Cache-Control"]


class TestApi:
    def test_stays_as_it_is_beside_the_pages(self, browser: Live) -> None:
        http = browser.http
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/v1/nothing").headers["content-type"] == "application/problem+json"
        assert http.get("/dashboard/nothing").json()["status"] == 404
        wrong = http.delete("/v1/models")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET")
        assert http.post("/dashboard").status_code == 404
        assert http.get("/v1/models").status_code == 401  # a session is no key
        sign_in(browser, browser.callers.admin)
        assert http.get("/v1/models").status_code == 401
        assert not any("dashboard" in path or "sign" in path for path in http.get("/openapi.json").json()["paths"])
