# What `make demo` and `make test` need. For NVIDIA's GPUs: --build-arg JAX='jax[cuda12]', whose wheels
# bring CUDA; the host has the driver and NVIDIA's container toolkit.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*

WORKDIR /solojax
COPY . .
RUN make .venv/installed && rm -rf /root/.cache

ARG JAX=jax
# It is of the release that is there already.
# hadolint ignore=DL3013
RUN .venv/bin/python -m pip install --no-cache-dir "${JAX}"

ENV PATH=/solojax/.venv/bin:$PATH NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["make", "demo"]
