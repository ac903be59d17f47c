"""LoRaWAN frames against published vectors, round trips, and any bytes whatever (L9)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.lorawan.frames import (
    MAX_FCNT_GAP,
    DataFrame,
    FrameError,
    JoinAccept,
    JoinRequest,
    OtherFrame,
    SealedJoinAccept,
    full_fcnt,
    parse,
    read,
)
from codec.lorawan.keys import session_keys
from codec.lorawan.mac import Direction

NWK, APP = bytes.fromhex("44024241ed4ce9a68c6a8bc055233fd3"), bytes.fromhex("ec925802ae430ca77fd3dd73cb2cc588")
PUBLISHED = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
keys16 = st.binary(min_size=16, max_size=16)


def data_frame(data: bytes) -> DataFrame:
    frame = parse(data)
    assert isinstance(frame, DataFrame)
    return frame


def test_published_frame_is_read_verified_and_decrypted() -> None:
    frame = data_frame(PUBLISHED)
    assert (frame.direction, frame.confirmed, frame.dev_addr) == (Direction.UPLINK, False, 0x49BE7DF1)
    assert (frame.fcnt16, frame.fport, frame.mic.hex()) == (2, 1, "2b11ff0d")
    assert frame.verify(NWK, 2)
    assert not frame.verify(NWK, 2 + 0x10000)
    assert not frame.verify(APP, 2)
    assert frame.decrypt(nwk_skey=NWK, app_skey=APP, fcnt=2) == b"test"


def test_published_frame_is_made_to_the_byte() -> None:
    frame = DataFrame.sealed(
        direction=Direction.UPLINK,
        dev_addr=0x49BE7DF1,
        fcnt=2,
        nwk_skey=NWK,
        app_skey=APP,
        fport=1,
        payload=b"test",
    )
    assert frame.build() == PUBLISHED


def test_published_session_keys() -> None:
    made = session_keys(bytes.fromhex("98929b92c49edba9676d646d3b612456"), 0x376338, 0xAABBCC, 0xF18E)
    assert made[0].hex() == "4e3d6e6afbcc67af2ba3c8e8ec4acf4b"
    assert made[1].hex() == "610897aa6f1460623443b527d3ac6a9d"


def test_published_join_accept_of_zeros() -> None:
    wire = JoinAccept(0, 0, 0, rx_delay=0).build(bytes(16))
    assert wire.hex() == "20e3de108795f776b8037610ef7869b5b3"
    sealed = parse(wire)
    assert isinstance(sealed, SealedJoinAccept)
    assert sealed.open(bytes(16)) == JoinAccept(0, 0, 0, rx_delay=1)


def test_published_frame_with_options() -> None:
    frame = data_frame(bytes.fromhex("4084412505A3010009110308B33750F504D4B86A"))
    assert (frame.fopts.hex(), frame.fport, frame.adr, frame.ack, frame.fcnt16) == ("091103", 8, True, True, 1)


def test_join_request_is_little_endian_on_air() -> None:
    key = bytes(range(16))
    wire = JoinRequest("70B3D57ED0000001", "0059AC000017338B", 0x0102).build(key)
    assert wire[:19].hex() == "00010000d07ed5b3708b33170000ac59000201"
    request = parse(wire)
    assert isinstance(request, JoinRequest)
    assert (request.app_eui, request.dev_eui, request.dev_nonce) == ("70B3D57ED0000001", "0059AC000017338B", 0x0102)
    assert request.verify(key)
    assert not request.verify(bytes(16))
    assert not replace(request, dev_nonce=0x0103).verify(key)


@given(
    accept=st.builds(
        JoinAccept,
        app_nonce=st.integers(0, 2**24 - 1),
        net_id=st.integers(0, 2**24 - 1),
        dev_addr=st.integers(0, 2**32 - 1),
        rx1_dr_offset=st.integers(0, 7),
        rx2_data_rate=st.integers(0, 15),
        rx_delay=st.integers(1, 15),
        cf_list=st.just(())
        | st.lists(st.integers(0, 2**24 - 1).map(lambda n: n * 100), min_size=5, max_size=5).map(tuple),
    ),
    key=keys16,
)
def test_join_accept_comes_back(accept: JoinAccept, key: bytes) -> None:
    wire = accept.build(key)
    assert len(wire) == (33 if accept.cf_list else 17)
    sealed = parse(wire)
    assert isinstance(sealed, SealedJoinAccept)
    assert sealed.open(key) == accept
    with pytest.raises(FrameError):
        sealed.open(bytes(octet ^ 1 for octet in key))


def test_cf_list_has_five_frequencies() -> None:
    with pytest.raises(FrameError):
        JoinAccept(0, 0, 0, cf_list=(867_100_000,)).build(bytes(16))


@given(
    up=st.booleans(),
    confirmed=st.booleans(),
    dev_addr=st.integers(0, 2**32 - 1),
    fcnt=st.integers(0, 2**32 - 1),
    nwk=keys16,
    app=keys16,
    port=st.none() | st.integers(0, 255),
    payload=st.binary(max_size=222),
    fopts=st.binary(max_size=15),
    flags=st.tuples(*[st.booleans()] * 4),
)
def test_data_frame_comes_back(
    *,
    up: bool,
    confirmed: bool,
    dev_addr: int,
    fcnt: int,
    nwk: bytes,
    app: bytes,
    port: int | None,
    payload: bytes,
    fopts: bytes,
    flags: tuple[bool, bool, bool, bool],
) -> None:
    payload = b"" if port is None else payload
    fopts = b"" if port == 0 else fopts
    adr, adr_ack_req, ack, fpending = flags
    frame = DataFrame.sealed(
        direction=Direction.UPLINK if up else Direction.DOWNLINK,
        dev_addr=dev_addr,
        fcnt=fcnt,
        nwk_skey=nwk,
        app_skey=app,
        fport=port,
        payload=payload,
        fopts=fopts,
        confirmed=confirmed,
        adr=adr,
        adr_ack_req=adr_ack_req and up,
        ack=ack,
        fpending=fpending and not up,
    )
    again = data_frame(frame.build())
    assert again == frame
    assert again.verify(nwk, fcnt)
    assert again.decrypt(nwk_skey=nwk, app_skey=app, fcnt=fcnt) == payload
    assert not replace(again, mic=bytes(octet ^ 1 for octet in again.mic)).verify(nwk, fcnt)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_a_frame_error(data: bytes) -> None:
    try:
        frame = parse(data)
    except FrameError:
        return
    if isinstance(frame, SealedJoinAccept):
        with pytest.raises(FrameError):
            frame.open(bytes(16))
    elif isinstance(frame, DataFrame):
        assert len(frame.build()) == len(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_something(data: bytes) -> None:
    frame = read(data)
    if isinstance(frame, OtherFrame):
        assert (frame.mtype, frame.rest) == (data[0] >> 5 if data else None, data[1:])
        with pytest.raises(FrameError):
            parse(data)
    else:
        assert frame == parse(data)


def test_rejoin_requests_and_proprietary_frames_are_told_apart() -> None:
    by_network = read(bytes.fromhex("C0 00 130000 8B331700 00AC5900 0200 DEADBEEF"))
    assert by_network == OtherFrame(
        6,
        bytes.fromhex("00 130000 8B331700 00AC5900 0200 DEADBEEF"),
        rejoin_type=0,
        dev_eui="0059AC000017338B",
        net_id=0x13,
        rejoin_count=2,
        mic=bytes.fromhex("DEADBEEF"),
    )
    by_join_eui = read(bytes.fromhex("C0 01 010000D07ED5B370 8B33170000AC5900 0300 DEADBEEF"))
    assert isinstance(by_join_eui, OtherFrame)
    assert (by_join_eui.rejoin_type, by_join_eui.join_eui) == (1, "70B3D57ED0000001")
    assert (by_join_eui.dev_eui, by_join_eui.net_id, by_join_eui.rejoin_count) == ("0059AC000017338B", None, 3)
    assert read(bytes.fromhex("E0010203")) == OtherFrame(7, b"\x01\x02\x03")


@pytest.mark.parametrize(
    ("data", "mtype", "words"),
    [
        ("", None, "empty"),
        ("C003" + "00" * 17, 6, "type"),
        ("C001" + "00" * 17, 6, "type"),
        ("E1010203", 7, "major"),
        ("C1", 6, "major"),
        ("40F1", 2, "12 bytes"),
        ("00" * 22, 0, "23 bytes"),
    ],
)
def test_why_bytes_are_no_frame_is_said(data: str, mtype: int | None, words: str) -> None:
    frame = read(bytes.fromhex(data))
    assert isinstance(frame, OtherFrame)
    assert frame.mtype == mtype
    assert words in frame.problem
    assert frame.rejoin_type is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "40",
        "00" * 22,
        "20" + "00" * 17,
        "c0" + "00" * 22,
        "e0010203",
        "41F17DBE4900020001954378762B11FF0D",
        "40F17DBE490F020001954378762B11FF0D",
        "40F17DBE4901020002009543782B11FF0D",
    ],
)
def test_what_is_no_frame_is_refused(data: str) -> None:
    with pytest.raises(FrameError):
        parse(bytes.fromhex(data))


def test_port_zero_is_encrypted_with_the_network_key() -> None:
    frame = DataFrame.sealed(
        direction=Direction.DOWNLINK, dev_addr=1, fcnt=7, nwk_skey=NWK, app_skey=APP, fport=0, payload=b"\x06"
    )
    assert frame.decrypt(nwk_skey=NWK, app_skey=bytes(16), fcnt=7) == b"\x06"
    assert frame.frm_payload != b"\x06"


@pytest.mark.parametrize(
    "wrong",
    [{"fport": 0, "fopts": b"\x02"}, {"fport": None, "payload": b"x"}, {"fport": 1, "fopts": bytes(16)}],
)
def test_forbidden_frames_are_not_made(wrong: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        DataFrame.sealed(direction=Direction.UPLINK, dev_addr=1, fcnt=1, nwk_skey=NWK, app_skey=APP, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "on_air", "full"),
    [
        (None, 0, 0),
        (None, 65535, 65535),
        (0, 1, 1),
        (65535, 0, 65536),
        (0x1FFFE, 0x0001, 0x20001),
        (5, 5, None),
        (5, 4, None),
        (0, MAX_FCNT_GAP - 1, MAX_FCNT_GAP - 1),
        (0, MAX_FCNT_GAP, None),
        (0xFFFFFFFF, 0, None),
    ],
)
def test_full_fcnt(last: int | None, on_air: int, full: int | None) -> None:
    assert full_fcnt(last, on_air) == full


@given(last=st.integers(0, 2**32 - 1 - MAX_FCNT_GAP), gap=st.integers(1, MAX_FCNT_GAP - 1))
def test_every_gap_below_the_limit_is_bridged(last: int, gap: int) -> None:
    assert full_fcnt(last, last + gap & 0xFFFF) == last + gap
