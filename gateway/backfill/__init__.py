"""Backfill: fetches from the card platform's history what its notifications did not bring."""
