"""The contract: what every service of Ebbmark agrees on; it imports no web or stream framework."""
