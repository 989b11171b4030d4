# edgetl-device for a board: 64-bit Arm, or x86. The build context is a folder with its wheel.
FROM python:3.12-slim-bookworm

COPY edgetl_device-*.whl /wheels/
RUN python -m pip install --no-cache-dir /wheels/edgetl_device-*.whl && rm -r /wheels

# Any user may run it; bundles and photos are mounted here.
ENV HOME=/tmp
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["edgetl-device"]
CMD ["doctor"]
