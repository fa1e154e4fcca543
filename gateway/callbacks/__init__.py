"""Callbacks of the card platform that want an answer: who may answer, who does, and until when."""
