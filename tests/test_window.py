"""Windows: read from a program's lines, whatever stands between them."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.window import Window, windows


def test_windows_are_read() -> None:
    """Both sides, how often each ran, and how often they met."""
    lines = (
        "ok 4 windows_reached",
        "# window removal reader=120 remover=7 overlap=3",
        "# window meeting even=1 odd=0 overlap=0",
    )
    assert windows(lines) == (
        Window("removal", ("reader", "remover"), (120, 7), 3),
        Window("meeting", ("even", "odd"), (1, 0), 0),
    )


def test_what_is_no_window() -> None:
    """Half a line says nothing."""
    assert windows(("# window w a=1 b=2", "# window w a=1 b=2 overlap=x", "window w a=1 b=2 overlap=3", "#")) == ()


@given(st.lists(st.text()))
def test_any_text_can_be_read(lines: list[str]) -> None:
    """Nothing is raised."""
    windows(lines)
