"""What stands before Django and the feed: who may ask, how much may be sent, and how an answer goes out."""
