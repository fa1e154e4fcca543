"""D1 as the access control server (ACS): purchases, and how their cardholders are authenticated."""
