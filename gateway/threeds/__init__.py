"""The duties of an EMV 3DS requestor: message versions, 3DS Method, challenges, and the rules of each message."""
