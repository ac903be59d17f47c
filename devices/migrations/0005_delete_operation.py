"""The operation that marks a device as being deleted (D9). Choices only: no SQL, no lock."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("devices", "0004_jobs_and_columns")]

    operations = [
        migrations.AlterField(
            model_name="networktask",
            name="operation",
            field=models.CharField(
                choices=[
                    ("register", "Register"),
                    ("activate", "Activate"),
                    ("deactivate", "Deactivate"),
                    ("deregister", "Remove"),
                    ("delete", "Delete"),
                ],
                max_length=10,
                verbose_name="operation",
            ),
        ),
    ]
