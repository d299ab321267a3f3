"""Other request formats that clients may use, translated to Messages and back. Pure."""
