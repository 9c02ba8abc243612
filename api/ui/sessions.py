"""Sign-ins of the pages: a signed cookie that names a key and ends by itself; nothing is kept on the server."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from itsdangerous import BadSignature, URLSafeSerializer

from data.errors import RatchetError
from db.base import new_id
from db.keys import VISITOR_KEY_ID
from db.models import ApiKey
from settings import Settings

COOKIE = "ratchet_session"
_SECRET_BYTES = 32
_SALT = "ratchet.session"


class SecretUnreadable(RatchetError):
    """The secret of sign-ins cannot be read; delete `session-secret` in RATCHET_VAR, or set RATCHET_SESSION_SECRET."""


@dataclass(frozen=True)
class Session:
    """Who is at the browser: a key, and the name under which that person chats and rates."""

    key_id: str
    user: str
    until_s: float  # seconds since 1970

    @property
    def is_visitor(self) -> bool:
        """Whether this is somebody without a key."""
        return self.key_id == VISITOR_KEY_ID

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return time.time() >= self.until_s


class Sessions:
    """Makes and reads the cookie's value."""

    def __init__(self, secret: str, session_s: float) -> None:
        self._signer = URLSafeSerializer(secret, salt=_SALT)
        self.session_s = session_s

    def begin(self, key: ApiKey, user: str) -> Session:
        """A session of the holder of a key."""
        return Session(key.id, user, time.time() + self.session_s)

    def begin_visit(self) -> Session:
        """A session of a visitor, whose name nobody can guess."""
        return Session(VISITOR_KEY_ID, new_id("visitor"), time.time() + self.session_s)

    def sign(self, session: Session) -> str:
        """The cookie's value."""
        return str(self._signer.dumps(asdict(session)))

    def build_cookie(self, session: Session | None, *, is_secure: bool) -> str:
        """The Set-Cookie header that leaves the session in the browser; None takes it away."""
        value, max_age_s = (self.sign(session), int(self.session_s)) if session else ("", 0)
        secure = "; Secure" if is_secure else ""
        return f"{COOKIE}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def read(self, value: str) -> Session | None:
        """The session in a cookie's value, unless it is not ours or has ended."""
        try:
            session = Session(**self._signer.loads(value))
        except (BadSignature, TypeError):
            return None
        return None if session.has_ended else session


def open_sessions(settings: Settings) -> Sessions:
    """Sessions signed with the configured secret, or with that of the file in `var`, which is made if need be."""
    return Sessions(settings.session_secret or _keep_secret(settings.session_secret_file), settings.session_s)


def _keep_secret(file: Path) -> str:
    """The secret in a file that only its owner may read; of several processes that begin at once one writes it.

    Raises:
        SecretUnreadable: the file is empty or cannot be read.
    """
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(FileExistsError):
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as opened:
                opened.write(secrets.token_urlsafe(_SECRET_BYTES))
            os.link(draft, file)  # whole or not at all, and never over another's
    draft.unlink(missing_ok=True)
    try:
        secret = file.read_text().strip()
    except OSError as error:
        raise SecretUnreadable from error
    if not secret:
        raise SecretUnreadable
    return secret
