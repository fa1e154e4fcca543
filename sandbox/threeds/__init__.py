"""A simulator of the 3-D Secure server and of the access control server behind it, with its pages for browsers."""
