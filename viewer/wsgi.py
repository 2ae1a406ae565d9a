"""The viewer for any WSGI server; `python -m viewer runserver` is one."""

import os

# Set, not defaulted: the hub's settings may be named in the same environment.
os.environ["DJANGO_SETTINGS_MODULE"] = "viewer.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
