"""The one settings class: environment variables with the prefix RATCHET_, or a `.env` file. Imports nothing of ours."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How one deployment runs. A field is `RATCHET_<NAME>` in the environment; `.env.example` shows the usual ones."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", env_file=".env", extra="ignore")

    var: Path = Path("var")  # everything that a run writes goes below this folder
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    database_url: str = ""  # empty: SQLite in `var`
    broker_url: str = ""  # empty: the embedded Valkey that `ratchet up` starts
    artifacts_url: str = ""  # a folder, or a URL for fsspec such as s3://bucket/artifacts; empty: `var/artifacts`
    artifacts_kept: int = Field(default=6, ge=3)  # copies from such a URL that stay on this machine
    engine_url: str = (
        ""  # OpenAI-compatible server that writes the replies, such as http://gpu:8000; empty: this process
    )
    engine_key: str = ""  # its API key; empty: it asks for none
    engine_artifacts: str = ""  # the folder of the artifacts as that server sees it; empty: as we do
    engine_timeout_s: float = Field(default=30.0, gt=0)  # it has failed when it says nothing for so long
    engine_streams: int = Field(
        default=64, ge=1, le=1000
    )  # requests to an engine that batches them itself, such as this, at once
    base_model: str = "gpt2"
    engine: Literal["auto", "ctranslate2", "openvino"] = "auto"  # what writes the replies here
    compute_type: str = (
        "float32"  # of what is served: float32, int8, bfloat16, or auto: what the trainer chose for each version
    )
    prefix_cache_mb: int = Field(default=256, ge=0)  # kept by OpenVINO for prompts that begin like earlier ones
    threads: int = Field(default=2, ge=1, le=256)  # processor threads for serving
    queue_limit: int = Field(default=64, ge=1)  # chat requests that may wait; one more gets 429
    max_reply_tokens: int = Field(default=512, ge=1, le=4096)  # ceiling of a request's max_tokens
    max_prompt_tokens: int = Field(default=4096, ge=1)  # older turns are left out of a longer prompt
    rate_per_minute: float = Field(default=600.0, gt=0)  # requests of one key in the long run; one more gets 429
    rate_burst: int = Field(default=120, ge=1)  # requests of one key at once
    streams_per_key: int = Field(default=64, ge=1)  # replies on their way to one key; one more gets 429
    crisis_region: str = ""  # country code whose helplines a crisis reply names; empty: the international ones
    crisis_resources: dict[str, str] = {}  # texts by country code as a JSON object; they go before the built-in table
    cors_origins: tuple[str, ...] = ()  # origins whose pages may call, as a JSON list; none: CORS is off
    pages: bool = True  # serve chat, review and dashboard to browsers beside the HTTP interface
    visitor_chat: bool = False  # whether people may chat and rate in the browser without a key
    session_secret: str = ""  # signs sign-ins on the pages; empty: one that is made and kept in `var`
    session_s: float = Field(default=43_200.0, gt=0)  # a sign-in on the pages ends after so long
    otlp_endpoint: str = ""  # OTLP/HTTP collector of traces, such as http://localhost:4318; empty: no traces
    poll_s: float = Field(default=1.0, gt=0)  # how often the API looks for a moved production pointer
    lease_s: float = Field(default=30.0, gt=0)  # a run whose worker is silent this long may be claimed by another
    tick_s: float = Field(default=10.0, gt=0)  # how often beat sweeps lost nudges and dead runs
    max_attempts: int = Field(default=3, ge=1)  # a run that died this often is failed; clean stops do not count
    # The schedule until an admin sets it (`PUT /v1/admin/schedule`).
    schedule_s: float = Field(default=0.0, ge=0)  # seconds between scheduled runs; 0 means only when asked
    schedule_min_ratings: int = Field(default=50, ge=1)  # new ratings that a scheduled run waits for
    trainer_threads: int = Field(default=0, ge=0, le=256)  # processor threads for training; 0: the physical cores
    trainer_silence_s: float = Field(default=3600.0, gt=0)  # a trainer without a sign of life for so long is ended
    trunk_cache_gb: float = Field(default=4.0, ge=0)  # 10^9 bytes kept of the frozen lower blocks' output; 0: none
    # Retention, carried out at each tick; 0 keeps everything.
    keep_unrated_days: float = Field(default=0.0, ge=0)  # completions without feedback go after so many days
    keep_run_folders: int = Field(default=0, ge=0)  # folders of the newest ended runs that stay
    keep_artifacts: int = Field(default=0, ge=0)  # newest versions whose weights stay, beside those once in production
    reviews_per_item: int = Field(default=2, ge=1)  # reviewers that the queue shows one reply to

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{(self.var / 'ratchet.db').absolute()}"

    @property
    def artifacts(self) -> Path:
        """Folder of the artifacts; where they live at a URL, of the copies on this machine."""
        if self.remote_artifacts:
            return self.var / "artifact-cache"
        return Path(self.artifacts_url) if self.artifacts_url else self.var / "artifacts"

    @property
    def remote_artifacts(self) -> str:
        """URL of the artifacts; empty when they live in a folder."""
        return self.artifacts_url if "://" in self.artifacts_url else ""

    @property
    def session_secret_file(self) -> Path:
        """Where the secret of sign-ins is kept when none is configured."""
        return self.var / "session-secret"

    @property
    def runs(self) -> Path:
        """Folder with one folder for each run."""
        return self.var / "runs"

    @property
    def trunk_cache(self) -> Path:
        """Folder of what runs keep of the frozen lower blocks' output."""
        return self.var / "trunk-cache"

    @property
    def crisis_memory(self) -> Path:
        """File of what the crisis classifier said of the pool in the run before."""
        return self.var / "crisis-memory.npz"

    @property
    def holdout_cache(self) -> Path:
        """Folder of what production and the anchor answered to the hold-out."""
        return self.var / "holdout-cache"

    @property
    def broker_file(self) -> Path:
        """Where `ratchet up` writes the URL of the embedded broker, for the other commands."""
        return self.var / "broker-url"

    @property
    def broker(self) -> str:
        """URL of the broker; empty when none is configured and no embedded one was started."""
        if self.broker_url:
            return self.broker_url
        return self.broker_file.read_text().strip() if self.broker_file.exists() else ""


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
