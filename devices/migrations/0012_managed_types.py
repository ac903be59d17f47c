"""The managed device types of the list of reported values (T2), with what they report and what they can be told.

Data only; support staff change it afterwards in the admin. A value that the list shows with a capital starts lower-case
in SenML, but for the GPS tag, whose short names are its own. Instructions to LoRa devices, all confirmed:

* FPort 10, two bytes, the most significant first: the sending interval in minutes;
* FPort 11, one byte: LocationTag II: 0 normal, 1 missing; LocationTag II v2: 1 alarm mode on, 0 off.
"""

from django.db import migrations

VOLTAGE, TEMPERATURE = ("batteryVoltage", "V"), ("temperature", "Cel")
HUMIDITY, CO2 = ("humidity", "%RH"), ("CO2Concentration", "ppm")
BATTERY_LOW, SABOTAGED = ("batteryLevelLow", "/"), ("sabotaged", "/")
FIRMWARE, MOVEMENT = ("firmwareVersion", ""), ("movementIndication", "")
# What every device has: who says where it is, and how often it sends. locAccuracy and locPrecision are deprecated.
COMMON = [
    ("timeOrigin", ""),
    ("interval", "min"),
    ("latitude", "lat"),
    ("longitude", "lon"),
    ("radius", "m"),
    ("locOrigin", ""),
    ("locTime", "s"),
    ("locAccuracy", "m"),
    ("locPrecision", "m"),
]


def bytes_way(fport, template):
    return {"by": "bytes", "fport": fport, "template": template, "confirmed": True}


INTERVAL_WAY = bytes_way(10, "{value:u16}")
MODE_WAY = bytes_way(11, "{value:u8}")
SENML_WAY = {"by": "senml"}
MODES = [{"label": "Normal", "value": 0}, {"label": "Missing", "value": 1}]
ON_OFF = [{"label": "On", "value": True}, {"label": "Off", "value": False}]


def interval_command(way):
    minutes = {5: "5 minutes", 10: "10 minutes", 15: "15 minutes", 30: "30 minutes", 60: "1 hour", 360: "6 hours"}
    return {
        "name": "interval",
        "label": "Sending interval",
        "help": "How often the device sends. A shorter interval empties its battery sooner.",
        "choices": [{"label": label, "value": value} for value, label in (minutes | {1440: "1 day"}).items()],
        "way": way,
    }


def interval_control(way):
    return {
        "name": "interval",
        "label": "Sending interval",
        "kind": "number",
        "unit": "min",
        "minimum": 1,
        "maximum": 1440,
        "reported": "interval",
        "way": way,
    }


MODE_COMMAND = {
    "name": "mode",
    "label": "Mode",
    "help": "A missing tag looks for its position more often.",
    "choices": MODES,
    "way": MODE_WAY,
}
MODE_CONTROL = {
    "name": "mode",
    "label": "Mode",
    "kind": "enum",
    "choices": MODES,
    "reported": "mode",
    "way": MODE_WAY,
}
ALARM_COMMAND = {
    "name": "alarmMode",
    "label": "Alarm mode",
    "help": "In alarm mode every movement is reported at once.",
    "choices": ON_OFF,
    "way": MODE_WAY,
}
ALARM_CONTROL = {"name": "alarmMode", "label": "Alarm mode", "kind": "boolean", "reported": "alarmMode", "way": MODE_WAY}

# slug: name, description, what it reports beside COMMON, further commands, further controls
LORA = {
    "kpn-conditionsensor-co2": (
        "Conditionsensor CO2",
        "Measures CO2, temperature, humidity, light and motion in a room.",
        [VOLTAGE, CO2, HUMIDITY, ("illuminance", "lx"), ("motion", "count"), TEMPERATURE],
        [],
        [],
    ),
    "kpn-conditionsensor-co2-iii": (
        "Conditionsensor CO2 III",
        "Measures CO2, volatile organic compounds, air pressure, temperature and humidity in a room.",
        [VOLTAGE, CO2, HUMIDITY, ("pressure", "Pa"), TEMPERATURE, ("VOC", "ppm")],
        [],
        [],
    ),
    "kpn-filltag": (
        "FillTag",
        "Says how full a bin is, how often its lid was opened, and which beacon is near.",
        [
            BATTERY_LOW,
            ("batteryLevelLow_beacon", "/"),
            ("count_LidOpen", "count"),
            ("detectedBeacon", ""),
            ("distance", "m"),
            ("distanceMeasurementIsValid", "/"),
            ("lidOpenedSincePreviousTransmission", "/"),
            TEMPERATURE,
        ],
        [],
        [],
    ),
    "kpn-locationtag-i": (
        "LocationTag I",
        "Follows an object, and says when it is tampered with.",
        [BATTERY_LOW, SABOTAGED, TEMPERATURE],
        [],
        [],
    ),
    "kpn-locationtag-ii": (
        "LocationTag II",
        "Follows an object that must not get lost.",
        [VOLTAGE, ("firmwareCRC", ""), FIRMWARE, ("mode", "enum"), ("settingsCRC", "")],
        [MODE_COMMAND],
        [MODE_CONTROL],
    ),
    "kpn-locationtag-ii-v2": (
        "LocationTag II v2",
        "Follows an object, feels movement, and says when it is tampered with.",
        [
            ("acceleratorActive", "/"),
            ("alarmMode", "/"),
            VOLTAGE,
            ("motionTime", "min"),
            MOVEMENT,
            ("nfcFieldDetected", ""),
            SABOTAGED,
            TEMPERATURE,
        ],
        [ALARM_COMMAND],
        [ALARM_CONTROL],
    ),
    "kpn-locationtag-iii": ("LocationTag III", "Follows an object by the network alone.", [], [], []),
    "kpn-locationtag-iii-gps": (
        "LocationTag III GPS",
        "Follows an object by GPS, with its movement and its inputs.",
        [
            ("AccX", "m/s2"),
            ("AccY", "m/s2"),
            ("AccZ", "m/s2"),
            ("CompX", "T"),
            ("CompY", "T"),
            ("CompZ", "T"),
            ("DvLat", "lat"),
            ("DvLon", "lon"),
            ("GpsFix", ""),
            ("Heading", "rad"),
            ("Io31", "/"),
            ("IoButt", "/"),
            ("IoMot", "/"),
            ("IoRxd", "/"),
            ("Speed", "m/s"),
            ("Temp", "Cel"),
            ("VBat", "V"),
        ],
        [],
        [],
    ),
    "kpn-locationtag-v": ("LocationTag V", "Follows an object, and says whether it moves.", [MOVEMENT], [], []),
}
LOCATIONTAG_VI = [
    VOLTAGE,
    FIRMWARE,
    ("altitude", "m"),
    ("gpsTime", "s"),
    ("heading", "rad"),
    ("status", ""),
    TEMPERATURE,
    ("velocity", "m/s"),
]


def described(values):
    return [{"name": name, "unit": unit} for name, unit in [*values, *COMMON]]


def types():
    """The fields of each type."""
    for slug, (name, description, values, commands, controls) in LORA.items():
        yield {
            "slug": slug,
            "name": name,
            "description": description,
            "connectivity": "lora",
            "decoders": ["thingsml-lora"],
            "measurements": described(values),
            "commands": [interval_command(INTERVAL_WAY), *commands],
            "controls": [interval_control(INTERVAL_WAY), *controls],
        }
    yield {
        "slug": "kpn-locationtag-vi",
        "name": "LocationTag VI",
        "description": "Follows an object by GPS over the mobile network.",
        "connectivity": "m2m",
        "decoders": ["senml"],
        "measurements": described(LOCATIONTAG_VI),
        "commands": [interval_command(SENML_WAY)],
        "controls": [interval_control(SENML_WAY)],
    }


def make(apps, schema_editor):
    DeviceType = apps.get_model("devices", "DeviceType")
    fixed = {"category": "managed", "key_source": "customer", "encoders": ["commands"]}
    for fields in types():
        DeviceType.objects.get_or_create(slug=fields["slug"], defaults=fields | fixed)


class Migration(migrations.Migration):
    dependencies = [("devices", "0011_codecs")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
