"""What the pages say of keys is what the tables of keys say."""

import re

import pytest

from docs import list_settings
from portal_gateway.config.fields import Section, choice, list_of, text, true_or_false, whole_number
from portal_gateway.config.model import MetricsSection
from portal_gateway.config.rate_limits import RateLimitSection
from portal_gateway.config.times import duration

PAGE = list_settings.CONFIGURATION.read_text(encoding="utf-8")


def test_the_page_of_the_configuration_has_the_types_and_defaults_of_the_tables():
    assert list_settings.with_facts(PAGE) == PAGE, "run: make modules"


def test_the_page_of_all_settings_is_that_of_the_tables():
    written = list_settings.CONFIGURATION.with_name("settings.rst").read_text(encoding="utf-8")
    assert list_settings.page() == written, "run: make modules"


def test_a_type_or_default_that_has_changed_is_written_anew_and_what_is_said_of_it_stays():
    changed = PAGE.replace(":Type: duration from ``0s`` to ``1h``\n", ":Type: number\n", 1)
    changed = changed.replace(
        "``gateway.limits.fields``\n~~~~~~~~~~~~~~~~~~~~~~~~~\n\n"
        ":Type: whole number from 10 to 10000\n:Default: ``100``\n",
        "``gateway.limits.fields``\n~~~~~~~~~~~~~~~~~~~~~~~~~\n\n"
        ":Type: whole number\n:Default: ``99``, which is plenty\n",
    )
    assert changed.count("which is plenty") == 1
    again = list_settings.with_facts(changed)
    assert ":Default: ``100``, which is plenty\n" in again
    assert again.replace(", which is plenty", "") == PAGE


def test_a_key_that_is_not_described_and_one_that_there_is_not_are_found():
    title = "``sse.keepalive``\n~~~~~~~~~~~~~~~~~\n"
    with pytest.raises(LookupError, match=r"does not describe sse\.keepalive$"):
        list_settings.with_facts(PAGE.replace(title, "Nothing\n~~~~~~~\n"))
    more = "``sse.more``\n~~~~~~~~~~~~\n\n:Type: time\n\n"
    with pytest.raises(LookupError, match=r"there is not: sse\.more$"):
        list_settings.with_facts(PAGE.replace(title, more + title))


def test_a_default_that_the_code_does_not_have_is_found():
    none = ":Default: none: no comments\n"
    assert PAGE.count(none) == 1
    with pytest.raises(LookupError, match=r"^sse\.keepalive: the code has no default"):
        list_settings.with_facts(PAGE.replace(none, ":Default: ``15s``\n"))


def test_a_key_has_the_words_of_its_reader_and_the_default_of_its_section():
    section = Section(
        MetricsSection,
        {
            "series_budget": whole_number(5, 7),
            "listen": duration(0, 90),
            "enabled": true_or_false,
            "else": list_of(choice("word", ("a", "b", "c"))),
        },
        required=["listen"],
    )
    assert [tuple(setting) for setting in list_settings.settings(section, "x")] == [
        ("x.series_budget", "whole number from 5 to 7", False, "2000"),
        ("x.listen", "duration from ``0s`` to ``90s``", True, None),
        ("x.enabled", "``true`` or ``false``", False, "true"),
        ("x.else", "list, each ``a``, ``b`` or ``c``", False, None),
    ]


def test_a_reader_that_does_not_say_what_it_reads_is_refused():
    section = Section(MetricsSection, {"listen": text})
    with pytest.raises(TypeError, match=r"^metrics\.listen: its reader does not say"):
        list(list_settings.settings(section, "metrics"))


def test_the_default_that_stands_in_words_is_the_one_that_there_is():
    failed = RateLimitSection().failed_auth
    for key, value in (("requests_per_second", failed.requests), ("burst", failed.burst)):
        name = f"``rate_limit.failed_auth.{key}``"
        said = re.search(rf"^{name}\n~+\n\n:Type: .*\n:Default: ``(\d+)``", PAGE, re.MULTILINE)
        assert int(said[1]) == value
