# Worker image: tilefleet without DataFusion, with ONNX Runtime, no shell. docs/how-to/container-image.md says how to build and run
# it. The steps are a script, so that they are tested where there is no container engine.
#
#   docker build -t tilefleet .
#   docker build -t tilefleet:VERSION-cuda --build-arg PROVIDER=cuda .

FROM rust:1.95.0-slim-bookworm AS build
ENV RUSTUP_TOOLCHAIN=1.95.0 \
    TILEFLEET_PYTHON=/opt/build-python/bin/python
WORKDIR /source
COPY scripts/image scripts/image
RUN scripts/image/build-steps tools
COPY Cargo.toml Cargo.lock LICENSE-MIT LICENSE-APACHE ./
COPY benches benches
COPY crates crates
COPY src src
RUN scripts/image/build-steps binary
ARG PROVIDER=cpu
RUN scripts/image/build-steps root /image "$PROVIDER"

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tilefleet" \
      org.opencontainers.image.description="Turns a bucket of image tiles into a queryable table of embeddings and predictions" \
      org.opencontainers.image.source="https://github.com/tilefleet/tilefleet" \
      org.opencontainers.image.documentation="https://github.com/tilefleet/tilefleet/tree/main/docs" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
# The variables of NVIDIA's container toolkit; without a GPU they mean nothing.
ENV TILEFLEET_CACHE=/var/cache/tilefleet \
    TMPDIR=/tmp \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["/opt/tilefleet/tilefleet"]
CMD ["--help"]
