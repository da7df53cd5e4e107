# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package natter && cp target/release/natter /natter

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 natter
COPY --from=build /natter /usr/local/bin/natter
USER natter
ENTRYPOINT ["natter"]
CMD ["--help"]
