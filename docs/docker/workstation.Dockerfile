# edgetl with everything that training needs. The build context is a folder with both wheels.
FROM python:3.12-slim-bookworm

COPY edgetl_device-*.whl edgetl-*.whl /wheels/
RUN python -m pip install --no-cache-dir /wheels/edgetl_device-*.whl "$(echo /wheels/edgetl-*.whl)[train]" && rm -r /wheels

# Any user may run it; photos and runs are mounted here, and a volume at /cache keeps decoded photos and features. A new
# volume gets the permissions of this folder.
RUN install -d -m 1777 /cache
ENV HOME=/tmp EDGETL_CACHE=/cache
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["edgetl"]
CMD ["--help"]
