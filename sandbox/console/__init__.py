"""The sandbox's console: a page that shows what happens between D1, the gateway and the issuer, and makes it happen."""
