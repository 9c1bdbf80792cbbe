# Flink's own image plus Python with apache-flink: what a cluster needs to run PyFlink jobs. No connector jars, jobs bring theirs.
FROM maven:3.9-eclipse-temurin-17 AS guard
COPY devstack/flink/java /build
RUN mvn -q -B -f /build/pom.xml package -DoutputDirectory=/jars

FROM flink:2.3.0-scala_2.12-java17

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY flink_jobs/pyproject.toml flink_jobs/uv.lock /opt/pyflink/
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv>=0.5" \
    && /opt/uv/bin/uv sync --frozen --no-cache --directory /opt/pyflink \
    && rm -rf /opt/uv
# Its REST API refuses what web pages of other origins make a browser send.
COPY --from=guard /jars/*.jar /opt/flink/lib/
# Checkpoints, savepoints and uploads; a volume mounted here takes over the owner.
RUN mkdir -p /opt/flink-state && chown flink:flink /opt/flink-state
