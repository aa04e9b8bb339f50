"""Whatever stands in a file, it is a configuration or a list of located faults."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.config.faults import Fault
from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.model import Config

SECRET = "s3cr3t-0123456789"
ENVIRON = {"KEY": SECRET, "HOST": "relay.example"}

keys = st.sampled_from(
    [
        "gateway",
        "listen",
        "portal",
        "relays",
        "url",
        "tls",
        "ca_file",
        "credential_file",
        "pool",
        "max_idle",
        "max_active",
        "idle_timeout",
        "auth",
        "keys",
        "key",
        "id",
        "description",
        "scopes",
        "expires_at",
        "leases",
        "tool",
        "identity",
        "logging",
        "level",
        "format",
        "<<",
        "no",
        "extra",
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["ws://${HOST}/", "http://a", "5m", "info", "read", "2030-01-01T00:00:00Z"]),
    st.sampled_from(["${KEY}", "x${KEY}", "${NONE}", "127.0.0.1:80", "tcp:80", "A" * 26]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "gateway": st.fixed_dictionaries({"listen": scalars}) | trees,
        "portal": st.fixed_dictionaries({}, optional={"relays": trees, "pool": trees}) | trees,
        "auth": st.fixed_dictionaries(
            {"keys": st.lists(st.dictionaries(keys, trees, max_size=4), max_size=2) | trees}
        ),
        "leases": st.dictionaries(st.text(max_size=4), st.dictionaries(keys, scalars)) | trees,
        "logging": trees,
    },
)


def outcome(text: str) -> Config | tuple[Fault, ...]:
    try:
        return load_config_text(text, "file", ENVIRON, directory=Path("/nonexistent"))
    except ConfigInvalid as error:
        return error.faults


@given(sections | trees)
@settings(max_examples=150, deadline=None)
def test_a_configuration_or_located_faults(tree):
    # JSON is YAML; what of it is not (escaped surrogates, NaN) is text or refused.
    text = json.dumps(tree)
    found = outcome(text)
    if not isinstance(found, Config):
        assert found
        assert all(fault.line == 1 for fault in found)
        assert all(fault.reason.isprintable() for fault in found)
    assert outcome(text) == found
    # What the two are for is to be shown.
    if '"description"' not in text and '"id"' not in text:
        assert SECRET not in repr(found)
