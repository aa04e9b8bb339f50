"""What of a configuration stands as long as the process: where and how it listens."""

from dataclasses import replace

from portal_gateway.config.model import Config, GatewaySection

__all__ = ["keep_standing"]


def keep_standing(config: Config, running: Config) -> tuple[Config, list[str]]:
    """``config`` with the listeners of ``running``, and the keys at which the two differ."""
    gateway, changed = _keep_gateway(config.gateway, running.gateway)
    metrics = config.metrics
    if metrics.listen != running.metrics.listen:
        changed.append("metrics.listen")
        # Whether a key is needed was said of the other address, and goes with it.
        auth = metrics.auth or running.metrics.auth
        metrics = replace(metrics, listen=running.metrics.listen, auth=auth)
    return replace(config, gateway=gateway, metrics=metrics), changed


def _keep_gateway(
    wanted: GatewaySection, running: GatewaySection
) -> tuple[GatewaySection, list[str]]:
    changed = []
    if wanted.listen_endpoint != running.listen_endpoint:
        changed.append("gateway.listen")
    tls = wanted.tls
    if (tls is None) != (running.tls is None):
        changed.append("gateway.tls")
        tls = running.tls
    elif tls is not None and running.tls is not None:
        address = running.tls.redirect_from
        if tls.redirect_from != address:
            changed.append("gateway.tls.redirect_from")
        tls = replace(tls, redirect_from=address)
    changed += [
        f"gateway.{key}"
        for key in ("workers", "reuse_port")
        if getattr(wanted, key) != getattr(running, key)
    ]
    kept = replace(
        wanted,
        listen=running.listen,
        listen_endpoint=running.listen_endpoint,
        tls=tls,
        workers=running.workers,
        reuse_port=running.reuse_port,
    )
    return kept, changed
