"""ThingPark's pushes: tokens with every trap of the format, and recorded reports as neutral events (L3, L4, L9)."""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora.events import (
    DownlinkAcknowledged,
    DownlinkFailed,
    DownlinkSent,
    JoinAccept,
    JoinRequest,
    Located,
    Location,
    Reception,
    Uplink,
    from_json,
    to_json,
)
from lora.networks.thingpark import CAUSES, PushError, parse, sign_push, verify_push

FIXTURES = Path(__file__).parent.parent / "fixtures" / "thingpark"
RECORDED: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIXTURES.glob("*.json"))
}
UPLINK = RECORDED["uplink-with-token"]
KEY = UPLINK["as_key"]
NOW = datetime(2018, 10, 19, 11, 20, 50, tzinfo=UTC)
DEV_EUI = "0059AC000017338B"


def body(name: str) -> dict[str, Any]:
    return copy.deepcopy(RECORDED[name]["body"])


def uplink(**changes: object) -> dict[str, Any]:
    document = body("uplink-with-token")
    document["DevEUI_uplink"] |= changes
    return {"DevEUI_uplink": {k: v for k, v in document["DevEUI_uplink"].items() if v is not None}}


def verify(query: str, document: object, **options: Any) -> dict[str, Any]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return verify_push(query, content, **({"as_keys": [KEY], "now": NOW} | options))


def refused(query: str, document: object, **options: Any) -> tuple[int, str]:
    with pytest.raises(PushError) as caught:
        verify(query, document, **options)
    assert caught.value.sentence.endswith(".")
    return caught.value.status, caught.value.code


def test_verify_published_token() -> None:
    assert verify(UPLINK["query"], UPLINK["body"]) == UPLINK["body"]


def test_verify_any_order_key_case_and_token_case() -> None:
    pairs = UPLINK["query"].split("&")
    query = "&".join(reversed(pairs)).replace(pairs[-1].split("=")[1], pairs[-1].split("=")[1].upper())
    verify(query, UPLINK["body"], as_keys=["other", KEY.lower()])


def test_verify_plus_in_time_is_a_plus() -> None:
    verify(UPLINK["query"].replace("%2B", "+"), UPLINK["body"])


def test_verify_key_as_typed() -> None:
    query = sign_push(UPLINK["body"], as_key="abc", time=NOW)
    verify(query, UPLINK["body"], as_keys=["ABC"])
    text = "".join(f"{part}&" for part in query.split("&")[:-1])[:-1].replace("%3A", ":").replace("%2B", "+")
    signed = f"100006211{DEV_EUI}107639{text}AbC"
    typed = query.rsplit("=", 1)[0] + "=" + hashlib.sha256(signed.encode()).hexdigest()
    verify(typed, UPLINK["body"], as_keys=["AbC"])
    assert refused(typed, UPLINK["body"], as_keys=["abc"]) == (401, "bad-token")


@pytest.mark.parametrize("name", ["join-request", "downlink-sent", "location"])
def test_verify_fresh_token_for_each_recorded_report(name: str) -> None:
    query = sign_push(body(name), as_key=KEY, time=NOW.astimezone(timezone(timedelta(hours=2))))
    assert "%2B02%3A00" in query
    document = verify(query, body(name))
    assert parse(document)


@pytest.mark.parametrize("element", ["CustomerID", "DevEUI", "FPort", "FCntUp", "payload_hex"])
def test_verify_refuses_a_changed_body(element: str) -> None:
    changed = {"CustomerID": "1", "DevEUI": DEV_EUI[:-1] + "C", "FPort": 2, "FCntUp": 1, "payload_hex": "7638"}
    assert refused(UPLINK["query"], uplink(**{element: changed[element]})) == (401, "bad-token")


def test_verify_refuses_digits_moved_between_elements() -> None:
    document = uplink(FPort=1, FCntUp=23)
    query = sign_push(document, as_key=KEY, time=NOW)
    verify(query, document)
    assert refused(query, uplink(FPort=12, FCntUp=3)) == (401, "bad-token")


def test_verify_missing_fport_counts_as_zero() -> None:
    document = uplink(FPort=None)
    query = sign_push(document, as_key=KEY, time=NOW)
    assert "LrnFPort=0" in query
    verify(query, document)
    verify(query, uplink(FPort=0))


def test_verify_location_takes_the_deveui_in_lower_case() -> None:
    document = body("location")
    query = sign_push(document, as_key=KEY, time=NOW)
    document["DevEUI_location"]["DevEUI"] = DEV_EUI.lower()
    verify(query, document)


@pytest.mark.parametrize(
    ("query", "options", "code"),
    [
        (UPLINK["query"][:-1] + "1", {}, "bad-token"),
        (UPLINK["query"].partition("&Token")[0], {}, "bad-token"),
        (UPLINK["query"] + "é", {}, "bad-token"),
        ("", {}, "bad-token"),
        (UPLINK["query"].replace("AS_ID=hsmtest", "AS_ID=other"), {}, "bad-token"),
        (UPLINK["query"], {"as_keys": []}, "bad-token"),
        (UPLINK["query"], {"as_keys": [""]}, "bad-token"),
        (UPLINK["query"], {"as_keys": [KEY[:-1]]}, "bad-token"),
        (UPLINK["query"], {"now": NOW + timedelta(minutes=16)}, "stale"),
        (UPLINK["query"], {"now": NOW - timedelta(minutes=16)}, "stale"),
    ],
)
def test_verify_refuses_401(query: str, options: dict[str, Any], code: str) -> None:
    assert refused(query, UPLINK["body"], **options) == (401, code)


def test_verify_without_drift_limit_takes_an_old_message() -> None:
    verify(UPLINK["query"], UPLINK["body"], now=datetime(2026, 1, 1, tzinfo=UTC), max_drift=None)


def test_verify_refuses_a_signed_message_without_time() -> None:
    class Timeless(datetime):
        def isoformat(self, *args: object, **kwargs: object) -> str:
            return "yesterday"

    query = sign_push(UPLINK["body"], as_key=KEY, time=Timeless(2018, 1, 1, tzinfo=UTC))
    assert refused(query, UPLINK["body"], max_drift=None) == (401, "bad-time")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"DevEUI_uplink": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"1" * 10_000, 400),
        (b"<DevEUI_uplink>", 400),
        (b"<a>" * 30 + b"</a>" * 30, 400),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><DevEUI_uplink/>', 400),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><DevEUI_uplink/>'.encode("utf-16"), 400),
        (b" " * 300_000, 413),
        (b"[]", 422),
        (b"1", 422),
        (b'{"DevEUI_other": {}}', 422),
        (b'{"DevEUI_uplink": 5}', 422),
        (b'{"DevEUI_uplink": {}, "DevEUI_location": {}}', 422),
        (b"<other/>", 422),
    ],
)
def test_verify_refuses_what_is_no_report(content: bytes, status: int) -> None:
    assert refused("", content)[0] == status


def test_verify_refuses_a_doubled_parameter() -> None:
    assert refused(UPLINK["query"] + "&Time=x", UPLINK["body"]) == (400, "bad-query")
    assert refused("Time=%FF", UPLINK["body"]) == (400, "bad-query")


XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<DevEUI_uplink xmlns="http://uri.actility.com/lora"><Time>2018-10-19T13:20:48.291+02:00</Time>
<DevEUI>0059AC000017338B</DevEUI><FPort>1</FPort><FCntUp>0</FCntUp><MType>2</MType><payload_hex>7639</payload_hex>
<mic_hex>1b400c44</mic_hex><LrrRSSI>-117.0</LrrRSSI><LrrSNR>-19.0</LrrSNR><SpFact>12</SpFact><Channel>LC3</Channel>
<DevLrrCnt>1</DevLrrCnt><Lrrid>FF0101C2</Lrrid><LrrLAT>51.905693</LrrLAT><LrrLON>4.46333</LrrLON>
<Lrrs><Lrr><Lrrid>FF0101C2</Lrrid><LrrRSSI>-117.0</LrrRSSI><LrrSNR>-19.0</LrrSNR><LrrESP>-136.054337</LrrESP></Lrr></Lrrs>
<CustomerID>100006211</CustomerID><DevAddr>14C4CC04</DevAddr></DevEUI_uplink>"""


def test_xml_gives_the_same_event_and_token() -> None:
    assert parse(verify(UPLINK["query"], XML)) == parse(UPLINK["body"])


def test_xml_elements_that_repeat_become_a_list() -> None:
    one = b"<Lrr><Lrrid>B</Lrrid><LrrRSSI>-90</LrrRSSI><LrrSNR>%d</LrrSNR></Lrr>"
    document = verify(UPLINK["query"], XML.replace(b"</Lrrs>", one % 2 + one % 5 + b"</Lrrs>"))
    [event] = parse(document)
    assert isinstance(event, Uplink)
    assert [reception.snr for reception in event.receptions] == [5.0, 2.0, -19.0]


def test_parse_uplink() -> None:
    assert parse(UPLINK["body"]) == [
        Uplink(
            dev_eui=DEV_EUI,
            at=datetime(2018, 10, 19, 11, 20, 48, 291_000, tzinfo=UTC),
            spreading_factor=12,
            channel="LC3",
            mic="1b400c44",
            dev_addr="14C4CC04",
            receptions=(
                Reception(
                    gateway="FF0101C2", rssi=-117.0, snr=-19.0, esp=-136.054337, latitude=51.905693, longitude=4.46333
                ),
            ),
            gateway_count=1,
            fcnt=0,
            fport=1,
            payload=bytes.fromhex("7639"),
        )
    ]


def stringy(value: object) -> object:
    match value:
        case dict():
            return {key: stringy(inner) for key, inner in value.items()}
        case list():
            return [stringy(inner) for inner in value]
    return str(value)


def test_parse_text_and_numbers_give_equal_events() -> None:
    numbers = uplink(Frequency=868.1, ADRbit=1, ACKbit=1, DevLAT=51.9, DevLON=4.4, DevLocRadius=85, DevUlFCntUpUsed=0)
    [new, *_], [old, *_] = parse(numbers), parse(stringy(numbers))  # type: ignore[arg-type]
    assert repr(new) == repr(old)
    assert isinstance(new, Uplink)
    assert (new.frequency_hz, new.adr, new.ack) == (868_100_000, True, True)
    assert from_json(json.loads(json.dumps(to_json(new)))) == new


def test_parse_lrr_as_one_object_and_best_gateway_first() -> None:
    one = {"Lrrid": "A", "LrrRSSI": "-100", "LrrSNR": "-3"}
    [single] = parse(uplink(Lrrs={"Lrr": one}))
    [several] = parse(
        uplink(Lrrs={"Lrr": [one, {"Lrrid": "B", "LrrRSSI": -110, "LrrSNR": 4}, {"Lrrid": "C"}]}, DevLrrCnt=7)
    )
    [none] = parse(uplink(Lrrs=None, DevLrrCnt=None))
    assert isinstance(single, Uplink) and isinstance(several, Uplink) and isinstance(none, Uplink)
    assert [reception.gateway for reception in single.receptions] == ["A"]
    assert [reception.gateway for reception in several.receptions] == ["B", "A"]
    assert several.gateway_count == 7
    assert [(r.gateway, r.esp) for r in none.receptions] == [("FF0101C2", None)]
    assert none.gateway_count == 1


def test_parse_mac_commands_and_flags() -> None:
    [event] = parse(uplink(rawMacCommands="0307", MType=4, ADRAckReq="1"))
    [port_zero] = parse(uplink(FPort=0, payload_hex="02"))
    [empty] = parse(uplink(FPort=None, payload_hex=None))
    assert isinstance(event, Uplink) and isinstance(port_zero, Uplink) and isinstance(empty, Uplink)
    assert (event.mac, event.confirmed, event.adr_ack_req, event.adr) == (b"\x03\x07", True, True, False)
    assert (port_zero.mac, port_zero.payload, port_zero.fport) == (b"\x02", b"", 0)
    assert (empty.payload, empty.fport) == (b"", None)


def test_parse_ack_bit_also_acknowledges() -> None:
    first, second = parse(uplink(ACKbit="1"))
    assert isinstance(first, Uplink) and first.ack
    assert second == DownlinkAcknowledged(dev_eui=DEV_EUI, at=first.at)


GEO = {"DevLAT": "51.907218", "DevLON": "4.489303", "DevLocRadius": "85", "NwGeolocAlgo": 2, "NwGeolocAlgoUsed": 1}
SOLVED = Location(latitude=51.907218, longitude=4.489303, radius=85.0, method="RSSI")


def test_parse_embedded_location_belongs_to_the_frame_it_was_computed_from() -> None:
    for used in (None, 40):
        [event] = parse(uplink(**GEO, FCntUp=40, DevUlFCntUpUsed=used))
        assert isinstance(event, Uplink) and event.location == SOLVED
    event, located = parse(uplink(**GEO, FCntUp=41, DevUlFCntUpUsed="40"))
    assert isinstance(event, Uplink) and event.location is None
    assert located == Located(dev_eui=DEV_EUI, at=event.at, location=SOLVED, fcnt=40)


def test_parse_location_report() -> None:
    assert parse(body("location")) == [
        Located(
            dev_eui=DEV_EUI,
            at=datetime(2018, 10, 19, 11, 21, 10, 291_000, tzinfo=UTC),
            location=Location(
                latitude=51.907218,
                longitude=4.489303,
                radius=85.0,
                method="TDOA",
                solved_at=datetime(2018, 10, 19, 11, 20, 48, 291_000, tzinfo=UTC),
            ),
        )
    ]


def test_parse_join_request() -> None:
    [event] = parse(body("join-request"))
    assert isinstance(event, JoinRequest)
    assert (event.dev_eui, event.app_eui, event.dev_nonce) == (DEV_EUI, "00590D0000010161", 0x9E64)
    assert (event.mic, event.spreading_factor, event.gateway_count) == ("80d73062", 12, 1)
    assert event.receptions[0].esp == -98.539017


@pytest.mark.parametrize("frame", ["00", "0", "zz", "40" + "00" * 22, "00" * 24])
def test_parse_join_request_refuses_a_bad_frame(frame: str) -> None:
    document = body("join-request")
    document["DevEUI_uplink"]["rawJoinRequest"] = frame
    with pytest.raises(PushError) as caught:
        parse(document)
    assert caught.value.status == 422


def test_parse_notification() -> None:
    report = {"Time": "2018-10-19T13:21:10+02:00", "DevEUI": DEV_EUI, "Type": "join", "DevAddr": "14c4cc04"}
    assert parse({"DevEUI_notification": report}) == [
        JoinAccept(dev_eui=DEV_EUI, at=datetime(2018, 10, 19, 11, 21, 10, tzinfo=UTC), dev_addr="14C4CC04")
    ]
    assert parse({"DevEUI_notification": report | {"Type": "reset"}}) == []


def sent(**changes: object) -> DownlinkSent:
    document = body("downlink-sent")
    document["DevEUI_downlink_Sent"] |= changes
    [event] = parse(document)
    assert isinstance(event, DownlinkSent)
    return event


def test_parse_downlink_sent() -> None:
    event = sent(CorrelationID="0123456789ABCDEF", Frequency="869.525")
    assert (event.delivered, event.cause, event.window) == (True, "", "RX2")
    assert (event.fcnt, event.fport, event.gateway, event.spreading_factor) == (1, 1, "FF0101C2", 12)
    assert (event.correlation_id, event.frequency_hz) == ("0123456789ABCDEF", 869_525_000)
    assert sent(TransmissionSlot=1).window == "RX1"
    assert sent(DeliveryFailedCause1="00").window == ""


def test_parse_downlink_not_sent_names_the_last_real_cause() -> None:
    event = sent(DeliveryStatus=0, DeliveryFailedCause1="C0", DeliveryFailedCause2="d0")
    assert (event.delivered, event.cause) == (False, "D0")
    assert sent(DeliveryStatus=0, DeliveryFailedCause1="B0").cause == "B0"
    assert sent(DeliveryStatus=0).cause == ""
    assert event.cause in CAUSES


def test_parse_downlink_rejected() -> None:
    report = {"Time": "2019-08-22T16:48:02+02:00", "DevEUI": DEV_EUI, "FPort": 1, "DeliveryStatus": 350}
    at = datetime(2019, 8, 22, 14, 48, 2, tzinfo=UTC)
    text = "Downlink counter value already used. Expected=1238"
    assert parse({"DevEUI_downlink_Rejected": report | {"DownlinkRejectionCause": text}}) == [
        DownlinkFailed(dev_eui=DEV_EUI, at=at, cause="350", reason=text)
    ]
    assert parse({"DevEUI_downlink_Rejected": report | {"DownlinkRejectionCause": "E1", "CorrelationID": "7"}}) == [
        DownlinkFailed(dev_eui=DEV_EUI, at=at, correlation_id="7", cause="E1", reason=CAUSES["E1"])
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"DevEUI": "5"},
        {"DevEUI": None},
        {"DevAddr": "xyz"},
        {"Time": None},
        {"Time": "2018-10-19T13:20:48"},
        {"Time": "0001-01-01T00:00:00+02:00"},
        {"FCntUp": None},
        {"FCntUp": -1},
        {"FCntUp": 2**32},
        {"FCntUp": 1.5},
        {"FCntUp": "1_0"},
        {"FCntUp": "١"},
        {"FPort": 256},
        {"payload_hex": "7"},
        {"payload_hex": ["7639"]},
        {"rawMacCommands": "zz"},
        {"Lrrs": [1]},
        {"Lrrs": {"Lrr": [1]}},
        {"Frequency": "nan"},
        {"LrrRSSI": "inf", "Lrrs": None},
        {"ACKbit": "maybe"},
        {"DevLAT": 91, "DevLON": 0},
        {"Channel": "\x00"},
        {"Channel": "\ud800"},
        {"DevEUI": 10**5000},
    ],
)
def test_parse_refuses_fields_of_the_wrong_form(changes: dict[str, object]) -> None:
    with pytest.raises(PushError) as caught:
        parse(uplink(**changes))
    assert (caught.value.status, caught.value.code) == (422, "bad-field")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["Lrr", "LrrSNR"]), inner, max_size=2),
    max_leaves=4,
)
FIELD_NAMES = sorted(
    set().union(*(next(iter(record["body"].values())) for record in RECORDED.values()))
    | GEO.keys()
    | {"Type", "ACKbit"}
)


@given(st.sampled_from(sorted(RECORDED)), st.dictionaries(st.sampled_from(FIELD_NAMES), ANYTHING, max_size=3))
def test_parse_any_fields(name: str, changes: dict[str, object]) -> None:
    document = body(name)
    next(iter(document.values())).update(changes)
    try:
        parse(document)
    except PushError as error:
        assert error.status == 422


@given(
    st.text(max_size=60), st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"<DevEUI_uplink>" + tail)
)
def test_verify_any_bytes(query: str, content: bytes) -> None:
    with pytest.raises(PushError):
        verify_push(query, content, as_keys=[KEY], now=NOW)
