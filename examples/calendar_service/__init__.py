"""An application that reads its users' calendars and never holds a refresh token."""
