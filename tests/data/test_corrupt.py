"""The short version of ``python -m tests.corrupt``."""

from tests.corrupt import tried


def test_damage_is_refused_or_harmless() -> None:
    ends, wrong = tried(20, seed=1, tell=print)
    assert not wrong, "\n".join(wrong)
    assert sum(count for end, count in ends.items() if end.endswith("refused")) > 10
