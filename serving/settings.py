"""Environment -> Settings; what is unsafe outside one's own machine is refused."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from complaints.cores import MOST, usable_cores
from complaints.errors import InvalidInput
from serving.scopes import parse_key

# Keys shorter than this can be guessed; `openssl rand -hex 32` gives 64 characters.
SHORTEST_KEY = 16


class Settings(BaseSettings):
    """Everything the service can be told, by JIANWEI_… variables; the defaults run offline on one machine."""

    model_config = SettingsConfigDict(env_prefix="JIANWEI_", extra="ignore", frozen=True)

    home: Path = Field(Path("var"), description="Folder of databases, models and caches")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated, KEY or KEY:scope+scope; needed off 127.0.0.1"
    )
    model: str = Field("consumer", description="Registered model to serve")
    policy: str = Field("default", description="Risk policy: packaged name or file")
    pilot_policy: str | None = Field(None, description="Risk policy on trial, beside the one in force")
    pilot_share: float = Field(0.0, ge=0, le=1, description="Share of business lines on which it is tried")
    pilot_lines: Annotated[tuple[str, ...], NoDecode] = Field((), description="Comma-separated lines surely on trial")
    customer_key: SecretStr | None = Field(None, description="Key of customer hashes; by default the store makes one")
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite under home by default")
    audit_share: float = Field(
        0.02, ge=0, le=1, description="Share of predictions that is drawn for review whatever they say"
    )
    second_share: float = Field(0.0, ge=0, le=1, description="Share of reviewed cases that another person reviews too")
    review_budget: int = Field(200, ge=1, description="Reviews that all people together mean to do in a day")
    lease_minutes: float = Field(15.0, gt=0, le=1440, description="How long a case is one person's own")
    workers: int = Field(default_factory=usable_cores, ge=1, le=MOST, description="Encoder threads")
    queue: int = Field(256, ge=1, description="Texts that may wait; beyond that callers are told to come back")
    timeout: float = Field(3.0, gt=0, description="Seconds after which a single prediction is given up")
    shadow_share: float = Field(
        0.1, ge=0, le=1, description="Share of the traffic that a challenger answers in shadow; 0 loads none"
    )
    poll: float = Field(5.0, gt=0, description="Seconds between looks at the champion alias")

    @field_validator("api_keys", "pilot_lines", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @model_validator(mode="after")
    def _safe(self) -> Self:
        try:
            keys = [parse_key(key.get_secret_value())[0] for key in self.api_keys]
        except InvalidInput as error:
            raise ValueError(f"JIANWEI_API_KEYS: {error}") from None
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise ValueError(
                f"JIANWEI_API_KEYS holds a key of fewer than {SHORTEST_KEY} characters; "
                "make one with `openssl rand -hex 32`"
            )
        if self.customer_key is not None and len(self.customer_key.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(
                f"JIANWEI_CUSTOMER_KEY has fewer than {SHORTEST_KEY} characters; make one with `openssl rand -hex 32`"
            )
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"refusing to listen on {self.host} without API keys: anyone who reaches this address could read "
                "and send complaints. Set JIANWEI_API_KEYS (openssl rand -hex 32), or listen on 127.0.0.1"
            )
        return self

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'jianwei.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry URI: MLFLOW_TRACKING_URI, or SQLite under home."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Where runs of the local MLflow database keep their files."""
        return self.home.absolute() / "artifacts"

    @property
    def models(self) -> Path:
        """Bundles: what training leaves, and what serving has fetched."""
        return self.home.absolute() / "models"


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(**given: object) -> Settings:
    """Settings from the environment, overruled by `given` where not None; raises InvalidInput in plain words."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        faults = [
            ": ".join(filter(None, [f"JIANWEI_{'_'.join(map(str, f['loc'])).upper()}" if f["loc"] else "", f["msg"]]))
            for f in error.errors()
        ]
        raise InvalidInput("; ".join(fault.removeprefix("Value error, ") for fault in faults)) from None
