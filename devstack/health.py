"""Health checks: each asks its part over the part's own protocol. ``python -m devstack.health PART`` makes one.

A check returns nothing when all is well, otherwise a few words on what is missing. ``since`` is when the part
was started, in seconds since the epoch.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from datetime import datetime, timezone
from typing import Any

import requests

from devstack.config import DevstackConfig

_TIMEOUT_SECONDS = 5
# A consumer that cannot start exits within seconds.
_ONLINEFS_SETTLE_SECONDS = 3


def kafka(config: DevstackConfig, since: float) -> str | None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # log_level 0: librdkafka would print each failed attempt.
    client = AdminClient({"bootstrap.servers": config.kafka_bootstrap, "log_level": 0})
    try:
        brokers = client.list_topics(timeout=_TIMEOUT_SECONDS).brokers
    except KafkaException:
        return "the broker does not answer yet"
    return None if brokers else "the cluster has no broker"


def flink_jobmanager(config: DevstackConfig, since: float) -> str | None:
    answer = _get(f"{config.flink_url}/overview")
    return answer if isinstance(answer, str) else None


def flink_taskmanagers(config: DevstackConfig, since: float) -> str | None:
    answer = _get(f"{config.flink_url}/taskmanagers")
    if isinstance(answer, str):
        return answer
    registered = answer.get("taskmanagers", [])
    if config.hosts == "parts":
        address = f"@{socket.gethostname()}:"
        return None if any(address in one["path"] for one in registered) else "this TaskManager is not registered"
    slots, wanted = sum(one["slotsNumber"] for one in registered), config.taskmanagers * config.task_slots
    return None if slots >= wanted else f"{slots} of {wanted} task slots are registered"


def hopsworks(config: DevstackConfig, since: float) -> str | None:
    api = f"{config.hopsworks_url}/hopsworks-api/api"
    if not config.hopsworks_api_key_file.is_file() or not config.hopsworks_ca.is_file():
        return "its certificates and API key do not exist yet"
    key = config.hopsworks_api_key_file.read_text().strip()
    for url, headers in (
        (f"{api}/variables/versions", {}),
        (f"{api}/project/getProjectInfo/{config.project}", {"Authorization": f"ApiKey {key}"}),
    ):
        answer = _get(url, headers=headers, verify=str(config.hopsworks_ca))
        if isinstance(answer, str):
            return answer
    return None


def hopsworks_onlinefs(config: DevstackConfig, since: float) -> str | None:
    # It has no port: it is healthy once it has outlived a failing start.
    return None if time.time() - since >= _ONLINEFS_SETTLE_SECONDS else "settling"


def airflow(config: DevstackConfig, since: float) -> str | None:
    answer = _get(f"{config.airflow_url}/api/v2/monitor/health")
    if isinstance(answer, str):
        return answer
    missing = [name for name in ("scheduler", "dag_processor", "triggerer") if not _beats(answer, name, since)]
    if answer.get("metadatabase", {}).get("status") != "healthy":
        missing.insert(0, "metadatabase")
    return f"waiting for {', '.join(missing)}" if missing else None


def _beats(answer: dict[str, Any], component: str, since: float) -> bool:
    """Healthy by a heartbeat since its start: for a while Airflow counts that of an earlier process."""
    facts = answer.get(component) or {}
    beat = facts.get(f"latest_{component}_heartbeat")
    if facts.get("status") != "healthy" or not beat:
        return False
    moment = datetime.fromisoformat(beat.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp() >= since


def _get(url: str, headers: dict[str, str] | None = None, verify: str | bool = True) -> dict[str, Any] | str:
    """The JSON object that a URL answers with, or what is wrong."""
    session = requests.Session()
    # Without proxies and ~/.netrc of the environment.
    session.trust_env = False
    try:
        response = session.get(url, headers=headers, verify=verify, timeout=_TIMEOUT_SECONDS)
        if response.status_code != 200:
            return f"answers with status {response.status_code}"
        return response.json()
    except requests.exceptions.SSLError:
        return "its certificate is not signed by the stack's CA"
    except requests.exceptions.ConnectionError:
        return "does not listen yet"
    except requests.exceptions.Timeout:
        return "does not answer in time"
    except (requests.exceptions.RequestException, ValueError) as error:
        return f"answers wrongly ({type(error).__name__})"
    finally:
        session.close()


# By the names of the parts.
CHECKS = {
    "kafka": kafka,
    "flink-jobmanager": flink_jobmanager,
    "flink-taskmanager": flink_taskmanagers,
    "hopsworks": hopsworks,
    "hopsworks-onlinefs": hopsworks_onlinefs,
    "airflow": airflow,
}


def main() -> int:
    """The exit code tells whether the part of this container works; the output, what is missing."""
    import psutil

    parser = argparse.ArgumentParser(prog="python -m devstack.health")
    parser.add_argument("part", choices=CHECKS)
    missing = CHECKS[parser.parse_args().part](DevstackConfig(), psutil.Process(1).create_time())
    if missing:
        sys.stdout.write(f"{missing}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
