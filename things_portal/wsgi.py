"""The pages as a WSGI application: Django's sync views are fastest so."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")
application = get_wsgi_application()
