"""The REST API: its routers, who may call, its errors and its documentation."""

from ninja import NinjaAPI

from memocards.api import cards_router, questions_router, topics_router
from publish.api import feed_router
from studyhub import problems

api = NinjaAPI(
    title="StudyHub",
    version="1",
    description="Topics, questions and study cards, ratings, and the feed of what is published.",
    urls_namespace="api",
)
problems.register(api)
api.add_router("/topics", topics_router)
api.add_router("/questions", questions_router)
api.add_router("/study-cards", cards_router)
api.add_router("/feed", feed_router)
