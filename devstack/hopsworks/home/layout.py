"""Names and paths of the local Hopsworks, derived from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devstack.config import DevstackConfig

PROJECT_ID = 119
FEATURE_STORE_ID = 67
HOPSWORKS_VERSION = "5.2.0"
DOMAIN = "devstack.local"
CREATED = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Layout:
    """Paths and names of one local Hopsworks."""

    config: DevstackConfig

    @property
    def home(self) -> Path:
        return self.config.hopsworks_home

    @property
    def certs(self) -> Path:
        return self.config.certificates

    @property
    def task_key(self) -> Path:
        """Public key (PEM) that tokens of Airflow's tasks are checked with; without it none is accepted."""
        return self.certs / "airflow-tasks.pem"

    @property
    def metadata_db(self) -> Path:
        return self.home / "metadata.db"

    @property
    def online_db(self) -> Path:
        return self.home / "online.db"

    @property
    def datasets(self) -> Path:
        """Files of the project; ``/Projects/<project>/x`` is ``datasets/x``."""
        return self.home / "datasets"

    @property
    def uploads(self) -> Path:
        """Chunks of uploads that are not complete yet."""
        return self.home / "uploads"

    @property
    def locks(self) -> Path:
        """One lock file per running execution, held by its process for as long as that lives."""
        return self.home / "locks"

    @property
    def login_links(self) -> Path:
        """One file per link that may still log a browser in."""
        return self.home / "login-links"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse" / f"{self.feature_store_name}.db"

    @property
    def project(self) -> str:
        return self.config.project

    @property
    def feature_store_name(self) -> str:
        return f"{self.project.lower()}_featurestore"

    @property
    def avro_namespace(self) -> str:
        return f"{self.feature_store_name}.db"

    @property
    def creator(self) -> dict[str, str]:
        """The project's one user, as what it has made names it."""
        user = self.config.user
        return {"username": user, "email": f"{user}@{DOMAIN}", "firstName": user, "lastName": user}

    @property
    def project_path(self) -> str:
        """The project's folder as the dataset API calls it."""
        return f"/Projects/{self.project}"
