# One image for every Ebbmark process: the locked wheels and our own, and nothing to build or install with.
FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /venv
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock
COPY deploy/build.lock deploy/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --only-binary :all: -r deploy/build.lock
COPY . .
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . \
    && pip --python /venv/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
# A volume mounted over /spool takes its owner from here.
RUN groupadd --gid 10001 ebbmark \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /bin/false ebbmark \
    && install --directory --owner 10001 --group 10001 --mode 0700 /spool
COPY --from=builder /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["ebbmark"]
