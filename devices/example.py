"""Example requests for M2M and Internet devices (M3, I2): they work as printed once the shared secret is pasted in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest

# The token is SHA-256 of the body followed by the secret (reference, section 2.3). printf and not echo: no line
# end may come between them. --data-binary: curl's --data would take line ends out of a longer body.
CURL: Final = """\
SECRET='paste-the-shared-secret-here'
BODY='[{{"bn":"{base_name}","n":"temperature","u":"Cel","v":21.5}}]'
TOKEN=$(printf '%s%s' "$BODY" "$SECRET" | sha256sum | cut -d ' ' -f 1)
curl --include '{address}' \\
  --header "Things-Message-Token: $TOKEN" \\
  --header 'Content-Type: application/json' \\
  --data-binary "$BODY"
"""

PYTHON: Final = """\
import hashlib
import json
import urllib.request

SECRET = "paste-the-shared-secret-here"
pack = [{{"bn": "{base_name}", "n": "temperature", "u": "Cel", "v": 21.5}}]
body = json.dumps(pack).encode()
token = hashlib.sha256(body + SECRET.encode()).hexdigest()
request = urllib.request.Request(
    "{address}",
    data=body,
    headers={{"Things-Message-Token": token, "Content-Type": "application/json"}},
)
with urllib.request.urlopen(request) as answer:
    print(answer.status, answer.read().decode())
"""


@dataclass(frozen=True, slots=True)
class Example:
    slug: str
    label: str
    text: str


def examples(request: HttpRequest, path: str, base_name: str) -> list[Example]:
    """A shell script and a Python program that send one message to the way in at ``path``."""
    values = {"base_name": base_name, "address": request.build_absolute_uri(path)}
    return [
        Example("curl", "curl", CURL.format(**values)),
        Example("python", "Python", PYTHON.format(**values)),
    ]
