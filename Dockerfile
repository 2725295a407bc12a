# One model behind a page in the browser and JSON over HTTP; docs/serve.md has the options.
#
#     docker build -t gateshift .                         # for CPUs
#     docker build -t gateshift --build-arg TORCH=cu128 . # for NVIDIA GPUs, with docker run --gpus all
#     docker run -p 7860:7860 -v "$PWD/run/best.safetensors:/model.safetensors:ro" gateshift
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# Which wheels of torch: the name of an index below download.pytorch.org/whl. Those for CPUs are a tenth of the size.
ARG TORCH=cpu
RUN python -m venv /opt/gateshift
RUN /opt/gateshift/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/${TORCH} torch torchvision
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/gateshift/bin/pip install --no-cache-dir '.[demo]'

FROM python:${PYTHON}-slim
COPY --from=build /opt/gateshift /opt/gateshift
RUN useradd --create-home gateshift
USER gateshift
WORKDIR /home/gateshift
ENV PATH=/opt/gateshift/bin:${PATH} PYTHONUNBUFFERED=1
EXPOSE 7860
# Other verbs work too: docker run ... gateshift predict /model.safetensors /clips
ENTRYPOINT ["gateshift"]
CMD ["serve", "/model.safetensors", "--host", "0.0.0.0"]
