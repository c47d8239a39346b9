"""Operations of the published networks: as XLA counts them, beside those counted by hand."""

import pytest

from solojax import config as config_lib
from solojax.bench import parts

# Giga multiplications with an addition, for an image of 800 x 1344, counted by hand from the
# architecture with borders as if they were inside. The head is both trunks and the mask features.
BY_HAND = {"backbone": 87.6, "neck": 60.9, "head": 70.0 + 34.1}


@pytest.fixture(scope="module")
def config() -> config_lib.Config:
    return config_lib.load("solov2_r50_fpn_1x")


def test_a_prediction_takes_no_more_than_was_counted_by_hand(config):
    found = parts.by_part(config, (800, 1344), "bfloat16")
    for name, count in BY_HAND.items():
        assert 0.97 < found[name].operations / (2e9 * count) < 1.03, name
    # 500 masks with each other, one block of 100 candidates measured, 100 masks made.
    pixels = 200 * 336
    by_hand = 2 * pixels * (500 * 500 + (100 + 100) * 256)
    assert 0.97 < found["detection"].operations / by_hand < 1.03
    assert sum(part.parameters for part in found.values()) == 46_592_912


def test_a_step_takes_no_more_than_three_times_its_forward_pass(config):
    step = parts.step_operations(config, (800, 1344))
    assert 2.9 < step / (2e9 * sum(BY_HAND.values())) < 3.1


def test_the_table_adds_its_parts_up(monkeypatch):
    made_up = {name: parts.Part(10, 1e9, 2e9) for name in (*parts.PARTS, "detection")}
    monkeypatch.setattr(parts, "by_part", lambda *_: made_up)
    monkeypatch.setattr(parts, "step_operations", lambda *_: 9e9)
    table = parts.table(config_lib.load("shapes"))
    assert "in all               40      4.0     8.00" in table
    assert "takes 9.0 GFLOP an image, 3.00 times its forward pass" in table
