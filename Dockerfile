# The image of Headrace: headrace, headrace-sim and headrace-bench, on a slim Debian.
#
#   docker build -t headrace .            or: buildah build -t headrace .
#
# BASE must be a Debian 12. VERSION is what the programs call themselves; the context has no .git.
ARG BASE=debian:12-slim

FROM ${BASE} AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends gcc libc6-dev make pkg-config \
        libcurl4-openssl-dev libjson-c-dev libyaml-dev libssl-dev libmicrohttpd-dev \
        libxxhash-dev libpcre2-dev libnghttp2-dev >/dev/null
WORKDIR /src
COPY Makefile ./
COPY src src
COPY cmd cmd
COPY crds crds
ARG VERSION=0.1.0
RUN make -j"$(nproc)" VERSION="${VERSION}" \
    && make VERSION="${VERSION}" PREFIX=/usr DESTDIR=/out install \
    && strip /out/usr/bin/*

FROM ${BASE}
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates libcurl4 libjson-c5 \
        libyaml-0-2 libssl3 libmicrohttpd12 libxxhash0 libpcre2-8-0 libnghttp2-14 \
        >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*.log /var/log/apt \
    && ldconfig
COPY --from=build /out/ /
# A library that was forgotten above fails the build here and not the pod later.
RUN for program in headrace headrace-sim headrace-bench; do \
        ! ldd "/usr/bin/$program" | grep 'not found' || exit 1; done
LABEL org.opencontainers.image.title="Headrace" \
      org.opencontainers.image.description="Kubernetes ingress controller for inference services" \
      org.opencontainers.image.licenses="Apache-2.0"
# Nobody's number: no entry in /etc/passwd is needed, and runAsNonRoot can check it.
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/usr/bin/headrace"]
CMD ["run"]
