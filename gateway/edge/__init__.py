"""The aiohttp side: D1's HTTPS callbacks, one module a group."""
