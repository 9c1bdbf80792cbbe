#!/usr/bin/env bash
# Gives Airflow the connection to the local Hopsworks server, whose API key is known only once that server was up.
set -euo pipefail

if [[ -n ${HOPSWORKS_API_KEY_FILE:-} ]]; then
  AIRFLOW_CONN_HOPSWORKS_DEFAULT=$(python3 - <<'PYTHON'
import json, os, pathlib

print(json.dumps({
    "conn_type": "hopsworks",
    "host": os.environ["HOPSWORKS_HOST"],
    "port": int(os.environ["HOPSWORKS_PORT"]),
    "password": pathlib.Path(os.environ["HOPSWORKS_API_KEY_FILE"]).read_text().strip(),
    "extra": {
        "project": os.environ["HOPSWORKS_PROJECT"],
        "hostname_verification": True,
        "trust_store_path": os.environ["HOPSWORKS_CA"],
    },
}))
PYTHON
  )
  export AIRFLOW_CONN_HOPSWORKS_DEFAULT
fi

exec /entrypoint "$@"
