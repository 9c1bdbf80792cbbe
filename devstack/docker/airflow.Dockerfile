# Airflow's own image plus this package, installed in place so that mounted folders take effect.
FROM maven:3.9-eclipse-temurin-17 AS jars
COPY flink_jobs/connectors/pom.xml /build/pom.xml
RUN mvn -q -B -f /build/pom.xml dependency:copy-dependencies -DoutputDirectory=/jars
COPY flink_jobs/java /build/java
RUN mvn -q -B -f /build/java/pom.xml package -DoutputDirectory=/jars/java && rm -r /jars/java/build

FROM apache/airflow:3.3.2
USER root
RUN mkdir -p /var/lib/devstack /opt/airflow/state \
    && chown airflow:0 /var/lib/devstack /opt/airflow/state \
    && chmod 700 /var/lib/devstack /opt/airflow/state
COPY --from=jars /jars /opt/jars
COPY --chown=airflow:0 pyproject.toml uv.lock README.md LICENSE /opt/hopsworks-flink/
COPY --chown=airflow:0 plugins /opt/hopsworks-flink/plugins
COPY --chown=airflow:0 flink_jobs /opt/hopsworks-flink/flink_jobs
COPY --chmod=755 devstack/docker/airflow-entrypoint.sh /airflow-entrypoint.sh
USER airflow
# The lock overrides a pin of the Hopsworks SDK (see pyproject.toml), which pip cannot: hence versions without resolution.
RUN cd /opt/hopsworks-flink \
    && uv export --frozen --no-dev --no-emit-project --no-hashes --output-file /tmp/requirements.txt > /dev/null \
    && uv pip install --no-cache --no-deps -r /tmp/requirements.txt \
    && uv pip install --no-cache --no-deps --editable . \
    && rm /tmp/requirements.txt
ENTRYPOINT ["/usr/bin/dumb-init", "--", "/airflow-entrypoint.sh"]
CMD ["standalone"]
