"""The models of the device screens: devices and what belongs to each, jobs over many, columns and views."""

from .device import (
    CONNECTION_ALLOWED,
    PROCESSING_ALLOWED,
    Category,
    Connection,
    ConnectivityKind,
    Device,
    DeviceState,
    DeviceType,
    Encoder,
    FlowLink,
    Identity,
    KeySource,
    NetworkTask,
    Processing,
    SenmlMessage,
)
from .jobs import JOB_ALLOWED, Job, JobItem, JobState, Outcome
from .listing import ColumnValue, SavedView, ValueColumn, ValueSource

__all__ = [
    "CONNECTION_ALLOWED",
    "JOB_ALLOWED",
    "PROCESSING_ALLOWED",
    "Category",
    "ColumnValue",
    "Connection",
    "ConnectivityKind",
    "Device",
    "DeviceState",
    "DeviceType",
    "Encoder",
    "FlowLink",
    "Identity",
    "Job",
    "JobItem",
    "JobState",
    "KeySource",
    "NetworkTask",
    "Outcome",
    "Processing",
    "SavedView",
    "SenmlMessage",
    "ValueColumn",
    "ValueSource",
]
