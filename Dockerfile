# syntax=docker/dockerfile:1
# Portal Gateway, for amd64 and arm64; deploy/README.rst says how it is run.
#
#   docker build -t portal-gateway .
#   docker run -p 8443:8443 -v ./config.yaml:/etc/gateway/config.yaml portal-gateway
ARG ALPINE=3.23

FROM alpine:${ALPINE} AS build
# zope.interface has no wheel for musl, and mypyc writes C. All the rest comes as wheels.
RUN apk add --no-cache python3 python3-dev py3-pip gcc musl-dev
WORKDIR /build
COPY . .
ARG COMPILE=1
RUN COMPILE=${COMPILE} deploy/image/build.sh /opt/portal-gateway

FROM alpine:${ALPINE}
LABEL org.opencontainers.image.title="Portal Gateway" \
    org.opencontainers.image.description="An authenticating, observable gateway in front of the Portal relay network" \
    org.opencontainers.image.licenses="MIT"
# Without what Alpine compiled of Python's library, which is never used for the most part.
RUN apk add --no-cache python3 '!pyc' \
    && rm -rf /usr/lib/python3*/ensurepip /usr/lib/python3*/lib2to3 /usr/lib/python3*/pydoc_data \
    && addgroup -S -g 10001 gateway \
    && adduser -S -D -H -u 10001 -G gateway -h /var/lib/gateway -s /sbin/nologin gateway \
    && install -d -m 755 /etc/gateway \
    && install -d -m 700 -o gateway -g gateway /var/lib/gateway
COPY --from=build /opt/portal-gateway /opt/portal-gateway
ENV PATH=/opt/portal-gateway/bin:$PATH \
    PORTAL_GATEWAY_LISTEN=0.0.0.0:8443
# Python keeps what it compiles for the check of health, which runs twice a minute. The daemon's own modules
# would be 6 MB more, for a second less at its start.
RUN python3 -m portal_gateway.health_command --help >/dev/null
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/gateway
VOLUME /var/lib/gateway
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python3", "-m", "portal_gateway.health_command", "--config", "/etc/gateway/config.yaml"]
ENTRYPOINT ["portal-gateway"]
CMD ["run", "--config", "/etc/gateway/config.yaml"]
