"""A subscriber's token, as a REST API takes it."""

from django.http import HttpRequest
from ninja.errors import AuthenticationError
from ninja.security import HttpBearer

from publish.subscribers import Reader, authenticate


class SubscriberToken(HttpBearer):
    """`Authorization: Bearer TOKEN`, as create_subscriber printed it. A wrong token is refused, not passed over."""

    openapi_name = "SubscriberToken"

    def authenticate(self, request: HttpRequest, token: str) -> Reader:
        reader = authenticate(token)
        if reader is None:
            raise AuthenticationError
        return reader
