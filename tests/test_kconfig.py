"""Settings keep where they were asked for, and a mistake in a fragment is named to the line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.kconfig import Kconfig, declared, parse, values

HERE = Path(__file__).parent


def test_a_fragment_is_read_with_its_lines() -> None:
    """All forms of a value, not set, and comments."""
    text = '# why\nCONFIG_A=y\n\n# CONFIG_B is not set\nCONFIG_C=0x1f\nCONFIG_D="a \\"b\\" c"\nCONFIG_E=-5\n'
    found = {(one.symbol, one.value, one.line) for one in parse(text, "x.config")}
    wanted = {("A", "y", 2), ("B", "n", 4), ("C", "0x1f", 5), ("D", '"a \\"b\\" c"', 6), ("E", "-5", 7)}
    assert found == wanted


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("CONFIG_A", "not a kconfig setting: CONFIG_A"),
        ("CONFIG_A=yes", "not a kconfig setting"),
        ("CONFIG_A = y", "not a kconfig setting"),
        ("CONFIG_A=y # on", "not a kconfig setting"),
        ("KASAN=y", "not a kconfig setting"),
        ("CONFIG_A=", "not a kconfig setting"),
        ("<html>", "not a kconfig setting"),
        ("#CONFIG_A is not set", "almost a setting"),
        ("# CONFIG_A is unset", "almost a setting"),
    ],
)
def test_anything_else_is_refused_with_its_place(line: str, says: str) -> None:
    """What the kernel's own tools would ignore in silence is an error here."""
    with pytest.raises(UserError) as caught:
        parse(f"CONFIG_OK=y\n{line}\n", "mine.config")
    assert str(caught.value).startswith(f"mine.config:2: {says}")
    assert caught.value.exit_status == 2


def test_a_setting_that_is_commented_out_is_a_comment() -> None:
    """As people do while they try things."""
    assert parse("#CONFIG_A=y\n# CONFIG_B=y\n", "x") == ()


def test_two_values_in_one_fragment_are_refused() -> None:
    """One of the two is a left-over, and nobody can say which."""
    with pytest.raises(UserError, match=r"x:3: CONFIG_A=n, but line 1 asks for y"):
        parse("CONFIG_A=y\nCONFIG_B=y\n# CONFIG_A is not set\n", "x")


def test_fragments_that_disagree_are_refused_with_both_places() -> None:
    """A profile that contradicts itself is a mistake in the profile."""
    first, second = parse("CONFIG_A=y\n", "one.config"), parse("\n# CONFIG_A is not set\n", "two.config")
    with pytest.raises(UserError, match=r"two.config:2: CONFIG_A=n, but one.config:1 asks for y"):
        Kconfig.merge([first, second])


def test_an_override_says_so() -> None:
    """The mark holds for the setting below it and for no other."""
    first = parse("CONFIG_A=1\nCONFIG_B=1\n", "one.config")
    second = parse("# override: smaller guests\n# and more to say\nCONFIG_A=2\n", "two.config")
    assert Kconfig.merge([first, second]).text() == "CONFIG_A=2\nCONFIG_B=1\n"
    third = parse("# override: smaller guests\nCONFIG_A=2\nCONFIG_B=2\n", "three.config")
    with pytest.raises(UserError, match=r"three.config:3: CONFIG_B=2"):
        Kconfig.merge([first, third])
    apart = parse("# override: smaller guests\n\nCONFIG_A=2\n", "four.config")
    with pytest.raises(UserError, match=r"four.config:3"):
        Kconfig.merge([first, apart])


def test_the_user_comes_last_and_wins() -> None:
    """Whoever adds a file of their own means it."""
    merged = Kconfig.merge([parse("CONFIG_A=y\n", "one")], parse("# CONFIG_A is not set\n", "mine"))
    assert [(one.value, one.where) for one in merged.settings] == [("n", "mine:1")]


def test_the_text_does_not_depend_on_the_order_of_fragments() -> None:
    """The same settings are the same kernel."""
    one, two = parse("CONFIG_B=y\n", "one"), parse("CONFIG_A=y\n", "two")
    assert Kconfig.merge([one, two]).text() == Kconfig.merge([two, one]).text()


def test_what_did_not_survive_is_named() -> None:
    """Silently dropped, changed, and set against the request."""
    kconfig = Kconfig.merge([parse("CONFIG_A=y\nCONFIG_B=40\n# CONFIG_C is not set\nCONFIG_D=0x10\nCONFIG_E=y\n", "x")])
    config = "CONFIG_B=32\nCONFIG_C=y\nCONFIG_D=0X10\nCONFIG_E=y\n# CONFIG_F is not set\n"
    found = [(one.setting.symbol, one.setting.value, one.got) for one in kconfig.mismatches(config)]
    assert found == [("A", "y", "n"), ("B", "40", "32"), ("C", "n", "y")]


def test_an_unknown_symbol_is_named_with_the_nearest() -> None:
    """A typing error must not become a kernel without the detector."""
    kconfig = Kconfig.merge([parse("CONFIG_KASSAN=y\n", "mine.config")])
    with pytest.raises(UserError) as caught:
        kconfig.known(["KASAN", "KCSAN", "SLUB"])
    assert str(caught.value) == "mine.config:1: this kernel has no CONFIG_KASSAN; did you mean KASAN?"


def test_an_optional_symbol_is_left_out_where_the_tree_does_not_know_it() -> None:
    """Profiles serve more than one release."""
    kconfig = Kconfig.merge([parse("# optional: since 6.11\nCONFIG_MEMCG_V1=y\nCONFIG_MEMCG=y\n", "x")])
    assert kconfig.known(["MEMCG"]).text() == "CONFIG_MEMCG=y\n"
    assert kconfig.known(["MEMCG", "MEMCG_V1"]).text() == "CONFIG_MEMCG=y\nCONFIG_MEMCG_V1=y\n"


def test_declared_symbols_are_read_from_a_kconfig_file() -> None:
    """Config and menuconfig declare; depends, select and help texts do not."""
    text = 'config A\n\tbool "A"\n\tselect B\n\thelp\n\t  A config.\n\nmenuconfig C\n\tdepends on D\n\tconfig E\n'
    assert declared(text) == {"A", "C", "E"}


def test_the_fragments_of_the_house_are_sound() -> None:
    """Each parses, none contradicts the others of its profile, and none turns KASAN off by SLUB_TINY."""
    read = {path.stem: parse(path.read_text(), path.name) for path in (HERE.parent / "kconfigs").glob("*.config")}
    for name in ("kasan", "kcsan", "plain"):
        merged = Kconfig.merge([read["base"], read["memcg"], read["fs"], read[name]])
        assert ("SLUB_TINY", "n") in {(one.symbol, one.value) for one in merged.settings}


_SYMBOL = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
_VALUE = st.one_of(st.sampled_from(["y", "m", "n"]), st.integers().map(str), st.integers(0, 2**64).map(hex))


@given(st.dictionaries(_SYMBOL, _VALUE))
def test_what_is_written_is_read_back(settings: dict[str, str]) -> None:
    """A text of settings, parsed, is those settings, and a .config made of it has no mismatch."""
    text = "".join(f"CONFIG_{name}={value}\n" for name, value in settings.items())
    kconfig = Kconfig.merge([parse(text, "x")])
    again = Kconfig.merge([parse(kconfig.text(), "x")])
    assert again.text() == kconfig.text()
    assert kconfig.mismatches(kconfig.text()) == ()
    assert values(kconfig.text()) == {name: value for name, value in settings.items() if value != "n"}


@given(st.text())
def test_any_text_is_settings_or_an_error_with_a_place(text: str) -> None:
    """No input brings the parser down."""
    try:
        parse(text, "x")
    except UserError as error:
        where = error.where
    else:
        where = "x:"
    assert where.startswith("x:")
