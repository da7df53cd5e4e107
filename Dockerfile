# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package natter && cp target/release/natter /natter

FROM debian:bookworm-slim
# Certificates for backends that are reached by https.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 natter
COPY --from=build /natter /usr/local/bin/natter
USER natter
ENTRYPOINT ["natter"]
CMD ["--help"]
