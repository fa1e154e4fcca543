"""The operators' page: what the person on call wants to know of this gateway, on the admin port."""
