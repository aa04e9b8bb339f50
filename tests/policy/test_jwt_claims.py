import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.config.jwt_tokens import JWTClaims, JWTSection
from portal_gateway.policy.jwt_claims import ExpiredToken, Holder, holder_of
from portal_gateway.wire.jwt_parsing import BadToken
from tests.wire.jwt_world import NOW, SECRET, claims

LEEWAY = 30.0


def section(**more):
    return JWTSection(algorithm="HS256", secret=SECRET.encode(), claims=JWTClaims(**more))


def judged(now=NOW, rules=None, **more) -> Holder:
    return holder_of(claims(**more), rules or section(), now)


def why(error=BadToken, **more):
    with pytest.raises(error) as caught:
        judged(**more)
    assert type(caught.value) is error
    return str(caught.value)


def test_the_holder_is_known_by_the_claims():
    holder = judged(scope="read", leases=["a-*"])
    assert holder.caller.key_id == "jwt:alice"
    assert holder.caller.scopes == {"read"}
    assert holder.caller.leases == ("a-*",)
    assert holder.caller.source == "jwt"
    assert holder.caller.digest == b""
    assert holder.expires == NOW + 300 + LEEWAY


# Times.


@pytest.mark.parametrize(
    ("after", "good"),
    [(-300, True), (0, True), (LEEWAY - 0.001, True), (LEEWAY, False), (1e9, False)],
)
def test_exp_holds_with_the_leeway(after, good):
    if good:
        assert judged(exp=NOW, now=NOW + after)
    else:
        assert why(ExpiredToken, exp=NOW, now=NOW + after) == "The token has expired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("before", "good"), [(0, True), (LEEWAY, True), (LEEWAY + 0.001, False), (250, False)]
)
def test_nbf_and_iat_hold_with_the_leeway(name, before, good):
    if good:
        assert judged(**{name: NOW + before})
    else:
        assert why(**{name: NOW + before})


def test_exp_is_required():
    assert why(exp=...) == "The token has no exp"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [None, "", "1800000300", "never", True, [], {}, [NOW], 1e300, float("inf"), 10**400, -1e13],
)
def test_a_time_is_a_number_that_is_a_date(name, value):
    assert f"The {name} of the token is no" in why(**{name: value})


def test_times_may_have_fractions():
    assert judged(exp=NOW + 0.5, nbf=NOW - 0.5, iat=int(NOW)).expires == NOW + 0.5 + LEEWAY


# Parties.

PARTIES = section(issuer="your-company.com", audience="portal-gateway")
GOOD = {"iss": "your-company.com", "aud": "portal-gateway"}


@pytest.mark.parametrize("audience", ["portal-gateway", ["x", "portal-gateway"]])
def test_issuer_and_audience_are_checked(audience):
    assert judged(rules=PARTIES, **{**GOOD, "aud": audience})


@pytest.mark.parametrize(
    "issuer",
    [
        ...,
        None,
        "",
        "your-company.com/",
        "your-company.com.evil.example",
        "Your-Company.com",
        "your-company.co",
        ["your-company.com"],
        {"your-company.com": 1},
        1,
    ],
)
def test_another_issuer_is_refused(issuer):
    assert why(rules=PARTIES, **{**GOOD, "iss": issuer}) == "The token is of another issuer"


@pytest.mark.parametrize(
    "audience",
    [
        ...,
        None,
        "",
        "portal",
        "portal-gateway2",
        "PORTAL-GATEWAY",
        "portal-gateway portal",
        [],
        ["portal"],
        [["portal-gateway"]],
        ["portal-gateway", 1],
        {"portal-gateway": 1},
        1,
    ],
)
def test_another_audience_is_refused(audience):
    assert "audience" in why(rules=PARTIES, **{**GOOD, "aud": audience})


@pytest.mark.parametrize("audience", ["portal-gateway", ["x"], [], ""])
def test_a_token_for_somebody_is_not_for_us_where_no_audience_is_configured(audience):
    assert judged()
    assert why(aud=audience) == "The token is for another audience"


# Whose.


@pytest.mark.parametrize("subject", ["a", "alice@example.com", "auth0|12", "jwt:x", "!" * 255])
def test_the_key_id_is_the_subject_behind_a_prefix(subject):
    assert judged(sub=subject).caller.key_id == f"jwt:{subject}"


@pytest.mark.parametrize(
    "subject", [..., None, "", " ", "a b", "a\n", "a\0", "álice", "x" * 256, 7, ["alice"], {}, True]
)
def test_what_is_no_key_id_is_refused(subject):
    assert "whose it is" in why(sub=subject)


def test_another_claim_may_say_whose_it_is():
    rules = section(key_id="client_id")
    assert judged(rules=rules, client_id="robot").caller.key_id == "jwt:robot"
    assert why(rules=rules)


# What for.


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (..., {"read", "write"}),
        ("", set()),
        ("read", {"read"}),
        ("read write admin", {"read", "write", "admin"}),
        ("openid profile", set()),
        ("openid  read", {"read"}),
        ("readwrite READ", set()),
        ("read\twrite", set()),
        ([], set()),
        (["read", "email"], {"read"}),
        (["read write"], set()),
    ],
)
def test_scopes(scope, expected):
    assert judged(scope=scope).caller.scopes == expected


@pytest.mark.parametrize("scope", [None, 1, True, {}, ["read", 1], [["read"]]])
def test_scopes_that_cannot_be_read_are_refused(scope):
    assert "scopes" in why(scope=scope)


def test_another_claim_may_have_the_scopes_and_others_be_the_default():
    rules = JWTSection(
        algorithm="HS256",
        claims=JWTClaims(scopes="https://example.com/scopes"),
        default_scopes=frozenset({"read"}),
    )
    assert judged(rules=rules, scope="admin").caller.scopes == {"read"}
    found = judged(rules=rules, **{"https://example.com/scopes": ["write"]})
    assert found.caller.scopes == {"write"}


@pytest.mark.parametrize(
    ("leases", "expected"),
    [(..., None), ([], ()), ("tool", ("tool",)), (["a-*", "b?", "도구"], ("a-*", "b?", "도구"))],
)
def test_leases(leases, expected):
    assert judged(leases=leases).caller.leases == expected


@pytest.mark.parametrize(
    "leases", [None, 1, True, {}, {"a": 1}, "", [""], [1], [None], [["a"]], ["a" * 257], ["a"] * 65]
)
def test_leases_that_cannot_be_read_are_refused(leases):
    assert "leases" in why(leases=leases)


def test_a_plan_is_looked_at_where_its_claim_is_named():
    assert judged(plan="gold").caller.plan == ""
    rules = section(plan="tier")
    assert judged(rules=rules, tier="gold").caller.plan == "gold"
    assert judged(rules=rules, tier=["gold"]).caller.plan == ""
    assert judged(rules=rules).caller.plan == ""


@given(
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iat", "iss", "aud", "scope", "leases"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=4,
        ),
    ),
    st.booleans(),
)
def test_any_claims_make_a_holder_or_are_refused(found, strict):
    rules = PARTIES if strict else section()
    try:
        holder = holder_of(found, rules, NOW)
    except BadToken:
        return
    assert holder.caller.key_id.startswith("jwt:")
    assert holder.expires > NOW
