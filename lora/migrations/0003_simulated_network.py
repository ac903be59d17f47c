"""The simulated network, where new devices are registered until another is made the default."""

from django.db import migrations


def make(apps, schema_editor):
    apps.get_model("lora", "Network").objects.get_or_create(
        slug="simulated", defaults={"name": "Simulated network", "kind": "simulated", "default": True}
    )


class Migration(migrations.Migration):
    dependencies = [("lora", "0002_frames")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
