"""The four own device types (T2) and the subscriptions that offer them (P3). Data only."""

from django.db import migrations

LORA_DECODERS = ["thingsml-lora", "raw-lora", "raw-lora-extended", "cayenne-lpp"]
TYPES = [
    {
        "slug": "own-lora",
        "name": "Own LoRa device (programmable)",
        "description": "A device that you program yourself: the portal makes DevEUI, AppEUI and AppKey.",
        "connectivity": "lora",
        "key_source": "portal",
        "decoders": LORA_DECODERS,
        "encoders": ["raw-lora"],
    },
    {
        "slug": "own-lora-preset",
        "name": "Own LoRa device (preset connectivity)",
        "description": "A device that came with its own DevEUI, AppEUI and AppKey.",
        "connectivity": "lora",
        "key_source": "customer",
        "decoders": LORA_DECODERS,
        "encoders": ["raw-lora"],
    },
    {
        "slug": "own-m2m",
        "name": "Own M2M device",
        "description": "A device with a SIM card that sends SenML over the mobile network.",
        "connectivity": "m2m",
        "key_source": "customer",
        "decoders": ["senml"],
        "encoders": ["raw-senml"],
    },
    {
        "slug": "own-internet",
        "name": "Own Internet device",
        "description": "A device that sends SenML over the Internet.",
        "connectivity": "internet",
        "key_source": "customer",
        "decoders": ["senml"],
        "encoders": ["raw-senml"],
    },
]
SUBSCRIPTIONS = {
    "freemium": ("Freemium", ["own-lora", "own-lora-preset", "own-internet"]),
    "modular": ("Modular", ["own-lora", "own-lora-preset", "own-m2m", "own-internet"]),
}


def make(apps, schema_editor):
    DeviceType = apps.get_model("devices", "DeviceType")
    Subscription = apps.get_model("accounts", "Subscription")
    for fields in TYPES:
        DeviceType.objects.get_or_create(slug=fields["slug"], defaults=fields | {"category": "own"})
    for slug, (name, types) in SUBSCRIPTIONS.items():
        subscription, _ = Subscription.objects.get_or_create(slug=slug, defaults={"name": name})
        subscription.device_types.add(*DeviceType.objects.filter(slug__in=types))


class Migration(migrations.Migration):
    dependencies = [("devices", "0002_senml_messages"), ("accounts", "0001_initial")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
