from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from viewer import password, views

urlpatterns = [
    path("", views.home, name="home"),
    path("study/<str:queue>/", views.study, name="study"),
    path("rate/", views.rate, name="rate"),
    path("ratings/<uuid:review_id>/send-again/", views.send_again, name="send-again"),
    path("ratings/<uuid:review_id>/dismiss/", views.dismiss, name="dismiss"),
    path("topics/<int:topic_id>/", views.topic, name="topic"),
    path("questions/<int:question_id>/", views.question, name="question"),
    path("login/", password.login, name="login"),
    path("lock/", password.lock, name="lock"),
    # Browsers ask here before they have read a page that names another.
    path("favicon.ico", RedirectView.as_view(url=static("viewer/icon.svg"))),
]

handler404 = "viewer.views.page_not_found"
