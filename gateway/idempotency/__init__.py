"""Repeated calls: the first reply to a request id, kept so that nothing is done twice and no card data is stored."""
