"""The card platform's history of 3DS operations, page by page."""
