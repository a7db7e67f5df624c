"""`ebbmark monitor`, in parts: whom it asks, what they showed, what that means, and how it looks."""
