import traceback

import pytest

from portal_gateway.config.postgres_dsn import BadDsn, dsn_parameters

CANARY = "canary"


@pytest.mark.parametrize(
    ("dsn", "parameters"),
    [
        ("postgresql://h/d", {"host": "h", "dbname": "d"}),
        (
            "postgres://u:a%40b@h:5433/d?sslmode=verify-full",
            {
                "user": "u",
                "password": "a@b",
                "host": "h",
                "port": "5433",
                "dbname": "d",
                "sslmode": "verify-full",
            },
        ),
        ("postgresql:///d?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "d"}),
        ("postgresql://[::1]:5/d", {"host": "::1", "port": "5", "dbname": "d"}),
        ("postgresql://a,b:6/d", {"host": "a,b", "port": ",6", "dbname": "d"}),
        ("postgresql://a,b/d?port=7", {"host": "a,b", "port": "7", "dbname": "d"}),
        ("postgresql://h?dbname=d", {"host": "h", "dbname": "d"}),
        (
            # A plus is a plus; SQLAlchemy would take it for a space.
            "postgresql://u+v:p+w@h/d?options=-c%20search_path%3Da+b&application_name=x",
            {
                "user": "u+v",
                "password": "p+w",
                "host": "h",
                "dbname": "d",
                "options": "-c search_path=a+b",
                "application_name": "x",
            },
        ),
    ],
)
def test_a_dsn_is_read_as_libpq_reads_it(dsn, parameters):
    assert dsn_parameters(dsn) == parameters


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        (CANARY, "not a DSN"),
        (f"mysql://{CANARY}/d", "not a DSN"),
        (f"postgresql+psycopg://{CANARY}/d", "not a DSN"),
        (f"host=h dbname={CANARY}", "not a DSN"),
        (f"postgresql://{CANARY}", "not a DSN that names a database"),
        (f"postgresql://u:{CANARY}@h/", "not a DSN that names a database"),
        (f"postgresql://u:{CANARY}%zz@h/d", "not a DSN that libpq can read"),
        (f"postgresql://u:{CANARY}%00@h/d", "not a DSN that libpq can read"),
        (f"postgresql://u:{CANARY}%ff@h/d", "not a DSN that libpq can read"),
        (f"postgresql://u:{CANARY} x@h/d", "not a DSN that libpq can read"),
        (f"postgresql://u:{CANARY}@[::1/d", "not a DSN that libpq can read"),
        (f"postgresql://h/d?password={CANARY}&pool_size=3", "not a DSN that libpq can read"),
        (f"postgresql://h/d?{CANARY}", "not a DSN that libpq can read"),
        (f"postgresql://u:{CANARY}@h:port/d", "not a DSN: its port is no number"),
        (f"postgresql://u:{CANARY}/{CANARY}@h/d", "not a DSN: its port is no number"),
        (f"postgresql://u:{CANARY}@h:0/d", "not a DSN: its port is no number from 1 to 65535"),
        (f"postgresql://u:{CANARY}@h:65536/d", "not a DSN: its port is no number"),
        (f"postgresql://u:{CANARY}@h:²/d", "not a DSN: its port is no number"),
        (f"postgresql://u:{CANARY}@a:1,b:2/d?port=3,4,5", "not a DSN: it has 3 ports and 2 hosts"),
        (f"postgresql://h/d?sslmode={CANARY}", "not a DSN: its sslmode is none of allow, disable"),
        (
            f"postgresql://h/d?connect_timeout={CANARY}",
            "not a DSN: its connect_timeout is",
        ),
        (
            f"postgresql://h/d?keepalives_idle={CANARY}",
            "not a DSN: its keepalives_idle is",
        ),
        (f"postgresql://h/d?target_session_attrs={CANARY}", "not a DSN: its target_session_attrs"),
    ],
)
def test_what_cannot_be_used_is_told_without_a_word_of_it(dsn, reason):
    with pytest.raises(BadDsn) as caught:
        dsn_parameters(dsn)
    assert str(caught.value).startswith(reason)
    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__context__ is None or caught.value.__suppress_context__
