"""D1's model: the words of its API, cards, consumers, keys, notifications and errors."""
