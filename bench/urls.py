"""The hub's URLs, and a view that does the least that a rating could: update one row and commit."""

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from studyhub.urls import handler404, urlpatterns

__all__ = ["handler404", "urlpatterns"]


@csrf_exempt
def update_one_row(request: HttpRequest, card_id: int) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE memocards_memocard SET updated_at = now() WHERE id = %s", [card_id])
    return HttpResponse("{}", content_type="application/json")


urlpatterns = [path("bare/<int:card_id>", update_one_row), *urlpatterns]
