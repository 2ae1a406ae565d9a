"""A StudyHub viewer: it follows the hub's feed into a database of its own and shows it to one learner."""
