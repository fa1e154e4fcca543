"""What D1 knows: the words of its API, cards, consumers, keys, notifications, and how it refuses."""
