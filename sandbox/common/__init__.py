"""What both simulators use: certificates, TLS, the serving of an application, faults, and the fields of JSON."""
