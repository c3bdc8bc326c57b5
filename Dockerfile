# LLaMA-Factory with this package, on the CUDA base that PyTorch's own wheels run on:
#
#   docker build -t firempo .
#   docker run --gpus all --rm -it -v "$PWD/work:/work" -v "$HOME/.cache/huggingface:/root/.cache/huggingface" firempo
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3 python3-dev python3-venv gcc g++ \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/firempo-plugin
COPY . .
RUN python3 -m venv /opt/venv \
    && pip install uv==0.13.9 \
    && uv pip install --constraints requirements/lock.txt --build-constraints requirements/lock.txt '.[demo]' \
    && firempo doctor

WORKDIR /work
CMD ["bash"]
