"""A query string with a NUL is the asker's fault, on whatever page."""

import pytest
from django.test import Client

from publish.subscribers import create_subscriber

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "address",
    [
        "/admin/publish/publisheditem/?kind=%00",
        "/admin/memocards/question/?source=%00",
        "/admin/memocards/explanationjob/?status=%00",
        "/admin/autocomplete/?app_label=memocards&model_name=memocard&field_name=topic&term=%00",
        "/login/?next=%00",
    ],
)
def test_a_nul_in_a_query_is_a_bad_request(admin_client: Client, address: str) -> None:
    assert admin_client.get(address).status_code == 400


@pytest.mark.parametrize("parameter", ["after", "request_id"])
def test_the_api_goes_on_naming_the_parameter(client: Client, parameter: str) -> None:
    _subscriber, token = create_subscriber(name="consumer")
    answer = client.get(f"/api/feed?{parameter}=%00", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422
    assert parameter in answer.json()["errors"]
