# Flink's own image plus Python with apache-flink: what a cluster needs to run PyFlink jobs. No connector jars, jobs bring theirs.
FROM flink:2.3.0-scala_2.12-java17

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY flink_jobs/pyproject.toml flink_jobs/uv.lock /opt/pyflink/
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv>=0.5" \
    && /opt/uv/bin/uv sync --frozen --no-cache --directory /opt/pyflink \
    && rm -rf /opt/uv
# Checkpoints, savepoints and uploads; a volume mounted here takes over the owner.
RUN mkdir -p /opt/flink-state && chown flink:flink /opt/flink-state
