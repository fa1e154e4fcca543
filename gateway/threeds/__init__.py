"""What EMV 3DS asks of a requestor: message versions, 3DS Method, challenges, and the rules of each message."""
