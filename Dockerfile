# The container in which Galaxy Zoo's production runs its jobs (docs/production.md).
#
#     docker build -t zoobot3d .                                  # CPU
#     docker build --build-arg ACCELERATOR=cuda -t zoobot3d .     # GPU: needs the NVIDIA container toolkit to run

ARG PYTHON_VERSION=3.11.13

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
ARG ACCELERATOR=cpu
ARG EXTRAS=fast,hub,wandb
WORKDIR /build
COPY pyproject.toml requirements.txt README.md LICENSE ./
COPY zoobot3d_tf ./zoobot3d_tf
RUN python -m venv /opt/zoobot3d
RUN /opt/zoobot3d/bin/pip install --no-cache-dir --no-compile --constraint requirements.txt ".[${EXTRAS}]"
# The libraries of CUDA are packages of pip, so that both images have the same small base.
RUN case "${ACCELERATOR}" in \
      cpu) ;; \
      cuda) /opt/zoobot3d/bin/pip install --no-cache-dir --no-compile --constraint requirements.txt "tensorflow[and-cuda]" ;; \
      *) echo "ACCELERATOR must be cpu or cuda; received ${ACCELERATOR}" >&2; exit 1 ;; \
    esac
# 430 MB of headers, which only the compilation of new operations of TensorFlow needs.
RUN rm -r /opt/zoobot3d/lib/python3*/site-packages/tensorflow/include

FROM python:${PYTHON_VERSION}-slim-bookworm
ENV PATH=/opt/zoobot3d/bin:${PATH} \
    PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 zoobot
COPY --from=build /opt/zoobot3d /opt/zoobot3d
COPY deploy /opt/zoobot3d/deploy
USER zoobot
WORKDIR /home/zoobot
# A job has no server to ask: the container is healthy if the installed command starts.
HEALTHCHECK --interval=5m --timeout=1m --retries=3 CMD ["zoobot3d", "--version"]
CMD ["zoobot3d", "--help"]
