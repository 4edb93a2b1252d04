"""The names that leaders give, made harmless: one rule, whatever they say."""

import unicodedata

import pytest
from bytereel_codec.files import names
from bytereel_codec.files.names import FILE_NAME_BYTES_MAX, cut_name, fitted_name, safe_name
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("report.pdf", "report.pdf"),
        ("dev-disk-by\\x2duuid.swap", "dev-disk-by\\x2duuid.swap"),
        ("a:b*?$(x) 'q'.txt", "a:b*?$(x) 'q'.txt"),
        ("x.", "x"),
        ("x . .", "x"),
        ("  x", "x"),
        ("\u3000x\u202f", "x"),
        ("9\u202fAM.png", "9\u202fAM.png"),
        (".bash_profile", "_.bash_profile"),
        ("...", "fallback"),
        ("..x", "_..x"),
        ("-rf", "_-rf"),
        ("~", "_~"),
        ("~root", "_~root"),
        ("a~", "a~"),
        ("a-b", "a-b"),
        ("CON", "_CON"),
        ("nul .tar.gz", "_nul .tar.gz"),
        ("com1.txt", "_com1.txt"),
        ("console", "console"),
        ("COM10", "COM10"),
        ("CON" + " " * 300 + "x", "_CON"),
        ("a/../../b", "b"),
        ("/etc/passwd", "passwd"),
        ("a/", "fallback"),
        ("", "fallback"),
        (" ", "fallback"),
        ("..", "fallback"),
        ("\n", "fallback"),
        ("\u200b\u202e", "fallback"),
        ("_", "_"),
        ("x\x1b[2J\x07", "x_[2J_"),
        ("a\x00b", "a_b"),
        ("gpj\u202eexe", "gpj_exe"),
        ("a\u200bb\u2066c\ufeffd\u2028e\u00ade\U000e0041", "a_b_c_d_e_e_"),
        ("a\u3164b\u115fc\u2800", "a_b_c_"),
        ("latin-\udce9", "latin-\udce9"),
        ("lone-\ud800", "lone-_"),
        ("\u17b5", "fallback"),
        ("\ufe0f", "fallback"),
        ("\U000e0100\ufe0f", "fallback"),
        ("a\u17b4b\u2065c\ufff0", "a_b_c_"),
        ("\u2764\ufe0f.png", "\u2764\ufe0f.png"),
        ("\u845b\U000e0100", "\u845b\U000e0100"),
        ("\ufe0fx", "_x"),
        (" \ufe0fx", "_x"),
        ("x\ufe0f\ufe0f", "x\ufe0f_"),
        ("cafe\u0301", "cafe\u0301"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_what_a_name_becomes(name, harmless):
    assert safe_name(name, "fallback") == harmless


@pytest.mark.parametrize(("fallback", "used"), [("-x", "_-x"), ("..", "restored"), ("a/.b", "_.b"), ("", "restored")])
def test_a_fallback_is_made_harmless_too(fallback, used):
    assert safe_name("..", fallback) == used


@pytest.mark.parametrize("unit", ["n", "é", "あ", "😀", "\udcff", "\udc80"])
@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_a_name_fits_a_file_system_with_its_suffix_and_is_cut_between_characters(unit, suffix):
    unit_bytes = len(unit.encode("utf-8", "surrogateescape"))
    fitting = (FILE_NAME_BYTES_MAX - len(suffix)) // unit_bytes
    for count in (fitting, fitting + 1, 1000):
        name = safe_name(unit * count, suffix=suffix)
        assert name == unit * fitting + suffix or unit == "\udc80"
        assert len(name.encode("utf-8", "surrogateescape")) <= FILE_NAME_BYTES_MAX
    assert len(fitted_name(unit * 1000, ".mp4").encode("utf-8", "surrogateescape")) <= FILE_NAME_BYTES_MAX
    assert len(cut_name(unit * 2000).encode("utf-8", "surrogateescape")) <= 1024


@example("CON.")
@example("\u2028" * 300)
@given(st.text(st.characters(codec=None), max_size=400))
def test_any_name_is_made_harmless_once_and_for_all(name):
    harmless = safe_name(name)
    assert 0 < len(harmless.encode("utf-8", "surrogateescape")) <= FILE_NAME_BYTES_MAX
    assert "/" not in harmless
    assert harmless[0] not in ".-~ "
    assert harmless[-1] not in ". "
    assert not {unicodedata.category(each) for each in harmless if not 0xDC80 <= ord(each) < 0xDD00} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }
    assert safe_name(harmless) == harmless


def test_the_spaces_are_those_of_unicode() -> None:
    found = "".join(chr(number) for number in range(0x11_0000) if unicodedata.category(chr(number)) == "Zs")
    assert found == names._SPACES
