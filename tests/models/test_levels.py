from solojax.models.levels import Levels


def test_levels_are_passed_on_as_they_are():
    assert Levels().apply({}, {"c1": 1, "c4": 2}) == {"p1": 1, "p4": 2}
