# One image for all roles: `docker build -t loki-siem-exporter .`
#
# The base is an argument, so that a company can build on its own hardened image: any with glibc and this Python.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements-image.lock ./
# Wheels only, each checked by its hash: nothing is compiled, so no compiler is needed and none stays.
RUN python -m venv /opt/loki-siem \
 && /opt/loki-siem/bin/pip install --require-hashes --only-binary :all: -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY connectors connectors
# Byte code is made here, for the root file system is read-only where this runs. Of botocore's descriptions of three hundred
# services the connectors use the ones kept here; the rest are 25 MB.
RUN /opt/loki-siem/bin/pip install --no-deps --no-build-isolation . \
 && /opt/loki-siem/bin/pip uninstall -y setuptools pip \
 && find /opt/loki-siem/lib/python3.*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name s3 ! -name sqs ! -name sts ! -name sso ! -name sso-oidc ! -name kms -exec rm -rf {} + \
 && python -m compileall -q -j 0 /opt/loki-siem/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="loki-siem-exporter" \
      org.opencontainers.image.description="Reads Grafana Loki completely, redacts every line, delivers it to a SIEM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/loki-siem /opt/loki-siem
COPY --from=build /src/LICENSE /usr/share/doc/loki-siem-exporter/LICENSE
# 65532 is the "nonroot" of distroless images; a number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
WORKDIR /etc/loki-siem
ENV PATH=/opt/loki-siem/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 9464
# Kubernetes has its own probes and ignores this; it is for plain engines and compose.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import sys, urllib.request as u; sys.exit(u.urlopen('http://127.0.0.1:9464/healthz/live', timeout=2).status != 200)"]
ENTRYPOINT ["loki-siem"]
CMD ["run", "-c", "/etc/loki-siem/config.yaml"]
