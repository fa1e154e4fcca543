"""D1 as the access control server (ACS): purchases and cardholder authentication."""
