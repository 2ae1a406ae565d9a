"""Everything but the feed's native path, for those who run a WSGI server and serve /api/feed elsewhere."""

import os

from django.core.wsgi import get_wsgi_application

from studyhub.database_sessions import bound_requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studyhub.settings")

application = get_wsgi_application()
bound_requests()
