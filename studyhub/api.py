"""The REST API: its routers, who may call, its errors and its documentation."""

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from kit.problems.description import CONTENT_TYPE, TITLES
from kit.problems.rest import register
from memocards.rest.content import cards_router, questions_router, topics_router
from memocards.rest.learning import learner_router
from publish.api import feed_router

# By these prefixes generated clients know the operations, wherever their views stand.
_OPERATIONS = {"memocards.rest.content": "memocards_api", "memocards.rest.learning": "memocards_learner_api"}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}


class StudyHubAPI(NinjaAPI):
    """NinjaAPI, whose document says that errors are problem+json, and what a body or its sender may run into."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        view = operation.view_func
        module = _OPERATIONS.get(view.__module__, view.__module__.replace(".", "_"))
        return f"{module}_{view.__name__}"

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        for operations in document["paths"].values():
            for operation in operations.values():
                for status in (400, 413) if "requestBody" in operation else ():
                    operation["responses"][status] = {"content": {"application/json": {"schema": _PROBLEM}}}
                for status, response in operation["responses"].items():
                    content = response.get("content", {}).get("application/json", {})
                    if content.get("schema") == _PROBLEM:
                        # Not Python's own phrases, which change from version to version.
                        response["description"] = TITLES[int(status)]
                        response["content"] = {CONTENT_TYPE: content}
        return document


api = StudyHubAPI(
    title="StudyHub",
    version="1",
    description="Topics, questions and study cards, ratings, and the feed of what is published. Whoever writes with a "
    "login instead of a token sends the CSRF token of one of the hub's pages along, in the header `X-CSRFToken`; this "
    "page does so by itself.",
    urls_namespace="api",
)
register(api)
# First: /study-cards/due is not a card of that id.
api.add_router("", learner_router)
api.add_router("/topics", topics_router)
api.add_router("/questions", questions_router)
api.add_router("/study-cards", cards_router)
api.add_router("/feed", feed_router)
