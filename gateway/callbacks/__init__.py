"""Callbacks that the card platform expects a reply to: who may reply, who does, and until when."""
