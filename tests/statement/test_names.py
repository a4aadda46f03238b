"""A-47: names are ASCII, have one spelling and bounded length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teelog.errors import MalformedError
from teelog.statement import names
from teelog.statement.names import Stream

GOOD_NAMESPACES = [
    "acme.example",
    "a.b",
    "xn--bcher-kva.example",
    "a-b.c1.example",
    f"{'a' * 63}.example",
    "1.acme.example",
]
BAD_NAMESPACES = [
    "",
    "acme",
    "Acme.example",
    "acme.example.",
    ".acme.example",
    "acme..example",
    "-acme.example",
    "acme-.example",
    "acme_x.example",
    "acme.example/x",
    "acme.example\n",
    " acme.example",
    "bücher.example",
    "аcme.example",  # Cyrillic a
    "acme\u200b.example",
    "ac--me.example",
    "192.0.2.1",
    f"{'a' * 64}.example",
    ".".join(["a" * 60] * 5),
]


@pytest.mark.parametrize("text", GOOD_NAMESPACES)
def test_A_47_namespace_is_a_dns_name(text: str) -> None:
    assert names.namespace(text) == text


@pytest.mark.parametrize("text", BAD_NAMESPACES)
def test_A_47_namespace_with_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        names.namespace(text)


def test_stream_has_exactly_three_components() -> None:
    assert names.stream("acme.example/inference/stable") == Stream("acme.example", "inference", "stable")
    assert str(names.stream("acme.example/a._-9/0")) == "acme.example/a._-9/0"


@pytest.mark.parametrize(
    "text",
    [
        "acme.example/inference",
        "acme.example/inference/stable/x",
        "acme.example//stable",
        "acme.example/inference/",
        "acme.example/Inference/stable",
        "acme.example/-x/stable",
        "acme.example/inference/stable\n",
        f"acme.example/{'a' * 64}/stable",
        "acme/inference/stable",
        "acme.example/inférence/stable",
    ],
)
def test_A_47_stream_with_another_shape_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        names.stream(text)


@pytest.mark.parametrize("text", ["", "log example", "log+x", "log\n", "lög.example", "a" * 256])
def test_A_47_origin_is_printable_ascii_without_space_and_plus(text: str) -> None:
    assert names.origin("log.example/tee") == "log.example/tee"
    with pytest.raises(MalformedError):
        names.origin(text)


@pytest.mark.parametrize("text", ["", "1 2", "1/2", "1@2", "v1\u202e", "-1", "1" * 129])
def test_A_47_version_fits_stream_at_version(text: str) -> None:
    assert names.version("1.4.2-rc.1+build~5") == "1.4.2-rc.1+build~5"
    with pytest.raises(MalformedError):
        names.version(text)


@pytest.mark.parametrize("text", ["", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "\n", "sha256:" + "0" * 64])
def test_A_47_statement_id_is_64_lower_case_hex_digits(text: str) -> None:
    with pytest.raises(MalformedError):
        names.statement_id(text)


@given(st.text(max_size=40))
def test_A_47_accepted_names_are_ascii_without_control_characters(text: str) -> None:
    for read in (names.namespace, names.stream, names.origin, names.version, names.statement_id):
        try:
            read(text)
        except MalformedError:
            continue
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
