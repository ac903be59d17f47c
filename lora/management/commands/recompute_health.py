"""Makes the health of LoRa devices anew from their frames: a fleet from before there was one, or rules that changed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone
from django_scopes import scopes_disabled

from lora import health


class Command(BaseCommand):
    help = (
        "Make the health of LoRa devices anew from their messages: of those that have none yet, or of all. The portal "
        "may run meanwhile. It may be stopped at any time, and started again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Also devices that have their health already.")
        parser.add_argument("--after", type=int, default=0, help="Go on behind the device with this number.")
        parser.add_argument("--batch", type=int, default=200, help="Devices between two lines of progress.")

    def handle(self, *args: Any, **options: Any) -> None:
        with scopes_disabled():
            self.run(every=options["all"], after=options["after"], batch=max(1, options["batch"]))

    def run(self, *, every: bool, after: int, batch: int) -> None:
        done, total = 0, health.to_recompute(after=after, every=every).count()
        while device_ids := list(health.to_recompute(after=after, every=every)[:batch]):
            health.recompute(device_ids, timezone.now())
            after, done = device_ids[-1], done + len(device_ids)
            self.stdout.write(
                f"{done:,} of {total:,} devices, up to number {after} (to go on from here: --after {after})"
            )
        self.stdout.write(f"{done:,} devices done.")
