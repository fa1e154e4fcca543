"""Pagination of the card platform's history of 3DS operations."""
