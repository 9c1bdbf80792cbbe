# The local Hopsworks server and its online consumer, from the project's lock.
FROM python:3.11-slim-bookworm

# keytool, which makes the Java key stores of the project's credentials.
RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/hopsworks-flink
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY plugins plugins
COPY flink_jobs flink_jobs
COPY devstack devstack
RUN pip install --no-cache-dir "uv>=0.5" \
    && uv sync --frozen --no-cache --no-dev --group devstack \
    && pip uninstall -y uv
ENV PATH=/opt/hopsworks-flink/.venv/bin:$PATH PYTHONUNBUFFERED=1
# Shared with Airflow, which runs as this user: the API key and the stores are readable by their owner only.
RUN mkdir -p /var/lib/devstack && chown 50000:0 /var/lib/devstack && chmod 700 /var/lib/devstack
USER 50000:0
