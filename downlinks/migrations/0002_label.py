"""What an instruction says in words, of commands and desired values. Adds a column with a constant default, which
rewrites nothing."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("downlinks", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="downlink",
            name="label",
            field=models.CharField(blank=True, db_default="", default="", max_length=200, verbose_name="in words"),
        ),
    ]
