"""Whose token this is: the one question that a bearer token is asked.

A token that was verified is known by its SHA-256 until it expires, as API keys are: what it costs
its holder's next request is a hash and a lookup. A new set of keys forgets all of them.
"""

from collections import OrderedDict
from hashlib import sha256
from typing import Final, NamedTuple

from portal_gateway.config.jwt_tokens import JWTSection
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.policy.credentials import refused_fields
from portal_gateway.policy.jwt_claims import ExpiredToken, Holder, holder_of
from portal_gateway.wire.jwt_keys import KeySet
from portal_gateway.wire.jwt_parsing import (
    MAX_TOKEN_LENGTH,
    BadToken,
    Token,
    read_json_object,
    read_token,
)

__all__ = ["KeyWanted", "TokenTable"]

_MOST_KNOWN: Final = 10_000
"""Tokens that are known: some 10 MB, or 130 MB if all are as long as can be. Above it the one that
was verified first is forgotten, which costs its holder to be verified again."""


class KeyWanted(NamedTuple):
    """The token names a key that is not here. ``any_known`` says whether another one is."""

    name: str | None
    any_known: bool

    @property
    def refusal(self) -> GatewayError:
        """The answer when no such key can be had."""
        if self.any_known:
            return _refusal("The token is signed by no known key")
        return fault("token_keys_unavailable", "the issuer's keys cannot be fetched")


class TokenTable:
    """Judges the tokens of one issuer. Its ``repr`` shows none.

    ``keys`` is ``None`` until they have been fetched.
    """

    __slots__ = ("_keys", "_known", "section")

    def __init__(self, section: JWTSection, keys: KeySet | None) -> None:
        self.section = section
        self._keys = keys
        # In the order of their verification; the front of a dict is slow to find again.
        self._known: OrderedDict[bytes, Holder] = OrderedDict()

    def __len__(self) -> int:
        """Tokens that are known."""
        return len(self._known)

    def use(self, keys: KeySet) -> None:
        """Verify with these from now on."""
        self._keys = keys
        self.forget()

    def forget(self) -> None:
        """Have every token verified anew."""
        self._known.clear()

    def look_up(self, credential: bytes, now: float) -> Caller | GatewayError | KeyWanted | None:
        """Whose token this is, at ``now`` in seconds since the epoch.

        ``None`` for what does not look like a token. Returns, without raising it, the refusal
        ``invalid_token`` or ``expired_token`` (401).
        """
        if credential.count(b".") != 2 or len(credential) > MAX_TOKEN_LENGTH:
            return None
        digest = sha256(credential).digest()
        known = self._known.get(digest)
        if known is not None:
            if now < known.expires:
                return known.caller
            del self._known[digest]
        try:
            token = read_token(credential)
            if token is None:
                return None
            holder = self._verified(token, now)
        except ExpiredToken as expired:
            return _refusal(str(expired), "expired_token")
        except BadToken as bad:
            return _refusal(str(bad))
        if isinstance(holder, KeyWanted):
            return holder
        if len(self._known) >= _MOST_KNOWN:
            self._known.popitem(last=False)
        self._known[digest] = holder
        return holder.caller

    def _verified(self, token: Token, now: float) -> Holder | KeyWanted:
        section = self.section
        if token.algorithm != section.algorithm:
            raise BadToken("The token is not signed by the algorithm of this gateway")
        keys = self._keys
        key = None if keys is None else keys.find(token.key_name)
        if keys is None or key is None:
            return KeyWanted(token.key_name, keys is not None)
        if not keys.verifies(key, token.signed, token.signature):
            raise BadToken("The signature of the token does not verify")
        return holder_of(read_json_object(token.payload), section, now)


def _refusal(description: str, code: str = "invalid_token") -> GatewayError:
    detail = description[0].lower() + description[1:]
    return fault(code, detail, refused_fields("invalid_token", description))
