"""A comparison as a script has it."""

from compare.sample import sample
from talea.compare.answer import answer
from talea.compare.record import Comparison
from talea.compare.statistics import summarise


def test_what_follows_from_it_is_at_hand() -> None:
    found = sample()
    assert found.statistics == summarise(found)
    assert found.rows == found.statistics.figures
    assert found.answer == answer(found, found.statistics)
    assert [one.key for one in found.rows] == [one.key for one in found.taking_part]


def test_a_changed_copy_has_statistics_of_its_own() -> None:
    found = sample()
    assert found.rows
    assert found.model_copy(update={"runs": (), "contenders": ()}).rows == ()
    assert Comparison.from_json(found.to_json()) == found
