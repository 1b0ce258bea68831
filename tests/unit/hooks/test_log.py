from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swagent.hooks.log import ScrubbedLog, kept
from swagent.process import KEEP_BYTES
from swagent.scrub import Scrubber

SECRET = "abcdef-ghijkl"
KEY = "-----BEGIN KEY-----\nAAAABBBBCCCCDDDDEEEE\nFFFFGGGGHHHHIIIIJJJJ\n-----END KEY-----\n"


def logged(path, scrubber, chunks):
    with ScrubbedLog(path, scrubber) as log:
        for chunk in chunks:
            log.write(chunk)
    return path.read_text()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_secret_cut_over_chunks_never_reaches_the_log(tmp_path, size):
    text = f"begin {SECRET} middle abcdef-other {SECRET}{SECRET}\n{KEY}end ä {SECRET[:5]}"
    data = text.encode()
    scrubber = Scrubber([("password", SECRET), ("key", KEY)])
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert logged(tmp_path / "log", scrubber, chunks) == scrubber.text(text)
    assert SECRET not in (tmp_path / "log").read_text() and "BBBB" not in (tmp_path / "log").read_text()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abcdefgh\n", max_size=12), max_size=12),
    st.lists(st.text("abcdefgh\n", min_size=6, max_size=9), max_size=3),
)
def test_a_stream_is_scrubbed_as_the_whole_text_would_be(pieces, secrets):
    scrubber = Scrubber([(f"s{number}", secret) for number, secret in enumerate(secrets)])
    out, rest = "", ""
    for piece in pieces:
        clean, rest = scrubber.take(rest + piece)
        out += clean
    assert out + scrubber.text(rest) == scrubber.text("".join(pieces))


def test_a_line_that_begins_no_secret_is_in_the_log_at_once(tmp_path):
    with ScrubbedLog(tmp_path / "log", Scrubber([("key", KEY), ("password", SECRET)])) as log:
        log.write(b"one line\n")
        assert (tmp_path / "log").read_text() == "one line\n"
        log.write(b"and abcde")
        assert (tmp_path / "log").read_text() == "one line\nand "


def test_the_log_is_the_owners_and_bytes_that_are_no_text_stay_readable(tmp_path):
    assert logged(tmp_path / "log", Scrubber(), [b"a\xff", b"\xc3", b"\xa4"]) == "a\ufffdä"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_stream_that_was_cut_in_front_loses_the_piece_of_a_secret_there():
    text = SECRET[3:] + "\n" + ("x" * 99 + "\n") * (KEEP_BYTES // 100)
    result = kept(text[-KEEP_BYTES:], Scrubber([("password", SECRET)]), limit=KEEP_BYTES * 2)
    assert "ghijkl" not in result and len(result) > KEEP_BYTES - 300


def test_a_long_stream_keeps_its_end_from_a_line_on():
    assert kept("first\nsecond\nthird\n", Scrubber(), limit=9) == "third\n"
    assert kept("short", Scrubber(), limit=9) == "short"
