"""The hub's back office: topics, questions and cards are edited and reviewed here; progress and reviews are looked at.

Nothing here writes a published row itself. A form hands what its editor changed to a service, an action hands over
primary keys, and what a service refuses comes back as an error of the form or as a message.
"""

from memocards.admin import content, history, jobs, learners

__all__ = ["content", "history", "jobs", "learners"]
