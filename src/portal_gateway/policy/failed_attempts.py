"""Failed and anonymous attempts: how many a client address may make."""

from portal_gateway.config.rate_limits import RateSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.request_limits import Limit, NamedLimit, RequestLimits
from portal_gateway.policy.token_bucket import Bucket, BucketTable, take
from portal_gateway.wire.ip_addresses import network_of

__all__ = ["FailedAttempts"]


class FailedAttempts:
    """Holds each client address to a rate of requests without a valid credential.

    Only such a request takes a token, so one with a valid credential is never refused for what
    others at its address do. Attempts are counted for the client's network (`network_of`).
    """

    def __init__(self, section: RateSection, table: BucketTable) -> None:
        limit = Limit.of(section)
        assert limit is not None
        self._limit = limit
        self._table = table

    def is_over(self, network: str, now: int) -> bool:
        """Whether the next failed attempt of ``network`` would be one too many."""
        return self._table.moments.get(network, 0) - now > self._limit.rate.room

    def refusal(self, address: str, now: int) -> GatewayError | None:
        """Count a failed attempt; the error for one too many."""
        bucket = Bucket(self._table, network_of(address), self._limit.rate)
        admitted, until_full = take((bucket,), now)
        if admitted:
            return None
        limits = RequestLimits.of([NamedLimit("failed-auth", self._limit, bucket)])
        error = limits.refusal(until_full)
        return fault(error.cause.code, error.detail, [*error.fields, *limits.fields(until_full)])
