# docker build --target api|worker|glimpse .        For a GPU: --target worker-cuda
# Each binary is built separately, so the API's image has no model code.

FROM rust:1.95-bookworm AS source
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY shared shared
COPY api api
COPY worker worker
COPY tests tests

FROM source AS build-api
RUN cargo build --release --locked --package glimpse-api

FROM source AS build-worker
RUN cargo build --release --locked --package glimpse-worker

FROM source AS build-glimpse
RUN cargo build --release --locked --package glimpse

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home glimpse
USER glimpse
WORKDIR /app

FROM base AS api
COPY --from=build-api /src/target/release/glimpse-api /usr/local/bin/
ENV GLIMPSE_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["glimpse-api"]

FROM base AS worker
COPY --from=build-worker /src/target/release/glimpse-worker /usr/local/bin/
COPY models/demo models/demo
ENV GLIMPSE_MODEL=/app/models/demo GLIMPSE_APP=glimpse/demo
ENTRYPOINT ["glimpse-worker"]

FROM base AS glimpse
COPY --from=build-glimpse /src/target/release/glimpse /usr/local/bin/
COPY models/demo models/demo
ENV GLIMPSE_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["glimpse"]

# The CUDA compiler comes from PyPI. One binary for every GPU of CUDA_CAPS, and for CPUs.
FROM source AS build-worker-cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY scripts/build-cuda scripts/
COPY tools/cuda tools/cuda
COPY tools/gpu_check/kernels.c tools/gpu_check/
ARG CUDA_CAPS=80,86,89,90
RUN scripts/build-cuda --caps "$CUDA_CAPS"

FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS worker-cuda
# /var/cache/glimpse is the Hub's cache. A new volume there takes its owner from the image.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home glimpse \
    && install -d -o glimpse /var/cache/glimpse
USER glimpse
WORKDIR /app
COPY --from=build-worker-cuda /src/target/cuda/bin/glimpse-worker /usr/local/bin/
COPY models/demo models/demo
ENV GLIMPSE_MODEL=/app/models/demo GLIMPSE_APP=glimpse/demo GLIMPSE_DEVICE=cuda:0 HF_HOME=/var/cache/glimpse
ENTRYPOINT ["glimpse-worker"]
