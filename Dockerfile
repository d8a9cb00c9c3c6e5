# syntax=docker/dockerfile:1
# The chat on a CPU. Build: docker build -t rag-qa .    Run: see compose.yaml and docs/deploy.md.
# Checked by a linter, never built: the machines of the project cannot build images.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy
RUN pip install "uv>=0.9" && uv venv /opt/rag
WORKDIR /src
# EXTRA=scale adds the clients of Milvus, and Ray (deploy/compose.scale.yaml).
ARG EXTRA=""
# The packages first: they change seldom, and this layer is large.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir rag && touch rag/__init__.py \
    && uv pip install --python /opt/rag/bin/python --torch-backend cpu --constraint constraints.txt ".${EXTRA:+[$EXTRA]}"
COPY rag rag
RUN uv pip install --python /opt/rag/bin/python --no-deps --reinstall-package rag-qa .

FROM python:3.11-slim-bookworm AS chat
LABEL org.opencontainers.image.title="rag-qa" \
      org.opencontainers.image.description="Question answering over your own documents" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --create-home --home-dir /data rag
COPY --from=build /opt/rag /opt/rag
ENV PATH=/opt/rag/bin:$PATH RAG_HOME=/data/rag HF_HOME=/data/hub PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /data
# Weights, indexes, conversations and users: all that must outlive the container.
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/ready', timeout=4)"]
ENTRYPOINT ["rag"]
CMD ["chat", "--host", "0.0.0.0"]
