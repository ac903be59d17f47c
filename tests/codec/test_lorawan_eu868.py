"""EU868: airtime, ESP and data rates against published figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan import eu868


@pytest.mark.parametrize(
    ("rate", "size", "crc", "milliseconds"),
    [
        (3, 12, True, 144.384),
        (0, 64, True, 2793.472),
        (5, 255, True, 399.616),
        (0, 33, False, 1810.432),
        (0, 17, False, 1155.072),
    ],
)
def test_airtime(rate: int, size: int, crc: bool, milliseconds: float) -> None:
    assert eu868.airtime(rate, size, crc=crc) * 1000 == pytest.approx(milliseconds, abs=1e-6)


def test_coding_rate_lengthens_the_payload_only() -> None:
    # By hand from the formula: SF7, 23 bytes: 8 + 8 blocks of (CR + 4) symbols of 1.024 ms behind 12.25 symbols.
    assert [round(eu868.airtime(5, 23, coding_rate=rate) * 1000, 3) for rate in (1, 4)] == [61.696, 86.272]


@pytest.mark.parametrize(("rate", "milliseconds"), list(enumerate([1483, 823, 371, 206, 113, 62, 31])))
def test_airtime_of_a_join_request(rate: int, milliseconds: int) -> None:
    assert round(eu868.airtime(rate, 23) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("rssi", "snr", "esp"),
    [(-120, -20, -140.04), (-115, -5, -121.19), (-110, 0, -113.01), (-100, 5, -101.19), (-90, 10, -90.41)],
)
def test_esp(rssi: float, snr: float, esp: float) -> None:
    assert eu868.esp(rssi, snr) == pytest.approx(esp, abs=0.005)


@given(rssi=st.floats(-140, -30), snr=st.floats(-25, 15))
def test_both_published_forms_of_esp_agree(rssi: float, snr: float) -> None:
    assert eu868.esp(rssi, snr) == pytest.approx(rssi + snr - 10 * math.log10(1 + 10 ** (snr / 10)), abs=1e-9)


def test_data_rates() -> None:
    assert [rate.max_payload for rate in eu868.DATA_RATES] == [51, 51, 51, 115, 242, 242, 242]
    assert [eu868.data_rate(factor) for factor in (12, 11, 10, 9, 8, 7)] == [0, 1, 2, 3, 4, 5]
    assert eu868.data_rate(7, 250) == 6
    assert [rate.bit_rate for rate in eu868.DATA_RATES] == [250, 440, 980, 1760, 3125, 5470, 11000]
    assert str(eu868.DATA_RATES[6]) == "SF7/250 kHz"
    with pytest.raises(ValueError, match="SF6"):
        eu868.data_rate(6)


def test_windows_power_and_sub_bands() -> None:
    assert [eu868.rx1_data_rate(rate, 2) for rate in range(6)] == [0, 0, 0, 1, 2, 3]
    assert (eu868.eirp(0), eu868.eirp(7)) == (16.0, 2.0)
    assert eu868.link_margin(0, -12.5) == 7.5
    assert {eu868.sub_band(hertz) for hertz in eu868.DEFAULT_CHANNELS} == {("M", 0.01)}
    assert {eu868.sub_band(hertz) for hertz in eu868.EXTRA_CHANNELS} == {("L", 0.01)}
    assert eu868.sub_band(eu868.RX2_FREQUENCY) == ("P", 0.1)
    with pytest.raises(ValueError, match="EU868"):
        eu868.sub_band(902_300_000)
