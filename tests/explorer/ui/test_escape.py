"""Text from data stays text."""

import re

import pytest

from explorer.ui import escape


@pytest.mark.parametrize(
    "hostile", ["**x** <script>", ":red[x]", "[a](http://b)", "$x$", "`x`", "# x", "~~x~~", ":material/home:"]
)
def test_markdown_is_escaped_letter_by_letter(hostile):
    escaped = escape.for_markdown(hostile)
    assert escaped.replace("\\", "") == hostile
    for mark in "*<[:$`#~":
        assert escaped.count(mark) == escaped.count("\\" + mark)


@pytest.mark.parametrize(
    "text",
    [
        "see http://e.vil/a_b",
        "HTTPS://www.e.vil",
        "www.e.vil",
        "me.too+1@e.vil",
        "a -> b",
        "a <- b",
        "a -- b",
        "a <= b",
        "a <-> b",
    ],
)
def test_addresses_and_arrows_stay_letters(text):
    """Streamlit looks for them in the text that comes out of markdown, where no backslash is left."""
    for escaped in (escape.for_markdown(text), escape.message(f"{text} `x`")):
        shown = escaped.replace("\\", "").removesuffix(" `x`")
        assert shown.replace("\u2060", "") == text
        assert not re.search(r"(https?://|www(?=\.))[-.\w]|[-.\w+]@[-\w]+\.| (->|<-|<->|--|<=) ", shown, re.IGNORECASE)


@pytest.mark.parametrize("text", ["upstream validate --budget 10m", "a.b@", "--study x", "C:\\a://b"])
def test_what_is_copied_into_a_terminal_has_no_letter_more(text):
    assert "\u2060" not in escape.for_markdown(text)


def test_lines_cannot_start_a_block():
    assert "\n" not in escape.for_markdown("a\n# b")


def test_html_is_escaped_also_in_attributes():
    assert escape.for_html("\"><img src=x onerror='1'>") == "&quot;&gt;&lt;img src=x onerror=&#x27;1&#x27;&gt;"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\nb\tc"),
        ("a\r\nb", "a\nb"),
        ("\x00\x1b\x7f", "␀␛␡"),
        ("\x85", "[U+0085]"),
        ("\u202etfel\u202c \u2066x\u2069", "[U+202E]tfel[U+202C] [U+2066]x[U+2069]"),
        ("👩\u200d👧 <b> é שלום", "👩\u200d👧 <b> é שלום"),
    ],
)
def test_only_what_cannot_be_seen_is_written_as_a_symbol(text, shown):
    assert escape.visible(text) == shown


def test_markdown_and_html_show_control_characters():
    assert escape.for_markdown("a\x00b") == "a␀b"
    assert escape.for_html("a\u202eb") == "a[U+202E]b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>x</b> & <a href='y'>", "&lt;b&gt;x&lt;/b&gt; &amp; &lt;a href='y'&gt;"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("50 % of %{x}", "50 % of &#37;{x}"),
        ("#000001", "&#35;000001"),
        ("a\nb\x00", "a b␀"),
    ],
)
def test_a_plotly_figure_shows_letters_as_they_are(text, shown):
    assert escape.for_plotly(text) == shown


def test_message_sets_only_commands_as_code():
    assert escape.message("Bad *x*. Run `upstream demo`.") == r"Bad \*x\*\. Run `upstream demo`\."
    assert escape.message("one ` only :red[x]") == escape.for_markdown("one ` only :red[x]")
