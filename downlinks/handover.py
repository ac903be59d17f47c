"""Instructions that M2M and Internet devices fetch: in the answer to their own message, one per answer (M5, I3).

For a new message of a device: first :func:`device_answered`, then :func:`hand_over`. For a message that came
before (the device repeats it because our answer was lost): :func:`hand_over` alone, which gives the same again.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from devices.connectivity import Instruction

from . import queue
from .execution import HAND_OVER, take
from .models import Event, State


def hand_over(device_id: int, now: datetime) -> Instruction | None:
    """The instruction for this answer; None where nothing waits or the device is not active.

    One statement takes it, whether a worker has claimed it already or not. It counts as on air from now.
    """
    with transaction.atomic():
        taken = take(HAND_OVER, device_id, now)
        if taken is None:
            return None
        queue.tell(device_id, taken.number, taken.source)
    return taken.instruction


def device_answered(device_id: int, at: datetime) -> bool:
    """A new message of the device: what was handed over before it is Delivered.

    The public protocol has no acknowledgement. Our reading: a device that sends again after it was answered
    lives and has had the answer; one that has not had it repeats its message, which is not a new one.
    """
    heads = queue.head_of(device_id).filter(state=State.EXECUTING, fport=None, sent_at__lt=at)
    head = heads.values("number", "source").first()
    return head is not None and queue.finish(device_id, head["number"], Event.ANSWERED, at, source=head["source"])
