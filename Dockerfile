# The graph as an image: `webserver` (default) or `daemon`.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 jersey
WORKDIR /app

COPY requirements.txt ./
RUN pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
    -r requirements.txt
COPY pyproject.toml README.md ./
COPY jersey_assets ./jersey_assets
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && pip check

COPY dagster.yaml workspace.yaml docker-entrypoint.sh ./
COPY presets ./presets
ENV DAGSTER_HOME=/app/dagster_home \
    JERSEY_DATA_ROOT=/data \
    JERSEY_ARTIFACT_ROOT=/app/artifacts
RUN mkdir -p "$DAGSTER_HOME" "$JERSEY_ARTIFACT_ROOT" \
    && cp dagster.yaml "$DAGSTER_HOME" \
    && dagster instance info > /dev/null \
    && chown -R jersey:jersey "$DAGSTER_HOME" "$JERSEY_ARTIFACT_ROOT"

USER jersey
EXPOSE 3000
ENTRYPOINT ["./docker-entrypoint.sh"]
CMD ["webserver"]
