"""The operators' page: what whoever is on call wants to know of this gateway, on the admin port."""
